"""Float calls without a form of their own, written out in calls that have one, as torch's decompositions say.

At fixed shapes an operator such as a norm or a softmax is a few sums, products and functions. What is written in its
place has its source line, so errors and ``explain`` name what the user wrote.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor, fx
from torch._decomp import core_aten_decompositions, get_decompositions
from torch.func import functionalize
from torch.fx.experimental.proxy_tensor import make_fx

from edgekit.export.native.specialise import Fixed
from edgekit.graph import Graph, edit

aten = torch.ops.aten
MORE = (
    aten._softmax, aten._log_softmax, aten.native_layer_norm, aten.native_batch_norm,
    aten._native_batch_norm_legit_no_training, aten._native_batch_norm_legit, aten._fused_rms_norm, aten.elu,
    aten.leaky_relu, aten.hardtanh, aten.hardswish, aten.hardsigmoid, aten.softplus, aten.addmm, aten.baddbmm,
    aten.addcmul, aten.addcdiv, aten.linalg_vector_norm, aten.norm, aten.logsumexp, aten.threshold,
    aten._scaled_dot_product_flash_attention_for_cpu, aten.hardshrink, aten.softshrink, aten.celu, aten.selu,
    aten._prelu_kernel, aten._safe_softmax, aten.native_dropout, aten.glu, aten.log_sigmoid_forward,
    aten.lerp, aten.im2col, aten.frac, aten.unbind,
)  # fmt: skip
VIEWS = (aten.view.default, aten._unsafe_view.default)
KEPT = (aten._to_copy.default, aten.index_select.default)  # known as they are


def expand(fixed: Fixed, calls: Sequence[fx.Node], is_known: Callable[[object], bool]) -> Graph:
    """The graph with these calls written out, where every call that this takes is known; the others stay."""
    graph = fixed.graph.copy()
    same = dict(zip(fixed.graph.nodes, graph.nodes, strict=True))
    for node in calls:
        written = _written_out(fixed, node, is_known)
        if written is not None:
            results = _insert(graph, same[node], [same[n] for n in _inputs(fixed, node)], written)
            for old, new in _results(node, results):
                same[old].replace_all_uses_with(new)
                same[old] = new
    edit.clean(graph.module)
    return graph


def _inputs(fixed: Fixed, node: fx.Node) -> list[fx.Node]:
    """The tensors that a call reads."""
    return [n for n in node.all_input_nodes if isinstance(fixed.values[n], Tensor)]


def _written_out(fixed: Fixed, node: fx.Node, is_known: Callable[[object], bool]) -> fx.GraphModule | None:
    """The calls that compute a call, as a module of the tensors that it reads; None where some are not known."""
    if not isinstance(node.target, torch._ops.OpOverload):
        return None
    sources = _inputs(fixed, node)

    def function(*tensors: Tensor) -> Any:
        given = dict(zip(sources, tensors, strict=True))
        args, kwargs = fx.map_arg((node.args, node.kwargs), lambda n: given.get(n, fixed.values[n]))
        return edit.overload(node)(*args, **kwargs)

    examples = [torch.zeros(fixed.sizes(n), dtype=fixed.values[n].dtype) for n in sources]
    with torch.no_grad():
        module = make_fx(function, _table(), tracing_mode="fake")(*examples)
        if any(_is_in_place(call) for call in module.graph.nodes):
            module = make_fx(functionalize(module, remove="mutations"), tracing_mode="fake")(*examples)
    module.graph.eliminate_dead_code()
    return module if all(is_known(call.target) for call in _open_calls(module)) else None


def _is_in_place(node: fx.Node) -> bool:
    return isinstance(node.target, torch._ops.OpOverload) and node.target._schema.is_mutable


def _open_calls(module: fx.GraphModule) -> list[fx.Node]:
    """Calls that depend on an input."""
    behind = {n for n in module.graph.nodes if n.op == "placeholder"}
    for node in module.graph.nodes:
        if not behind.isdisjoint(node.all_input_nodes):
            behind.add(node)
    return [n for n in module.graph.nodes if n in behind and n.op == "call_function"]


def _results(node: fx.Node, results: Any) -> list[tuple[fx.Node, fx.Node]]:
    """The nodes with the results of a call, each with what has its value now: the call, or those that take one each."""
    if isinstance(results, fx.Node):
        return [(node, results)]
    return [(user, results[user.args[1]]) for user in node.users]


def _insert(graph: Graph, node: fx.Node, inputs: list[fx.Node], module: fx.GraphModule) -> Any:
    """The calls of a module in front of a node; its results."""
    placeholders = [n for n in module.graph.nodes if n.op == "placeholder"]
    new: dict[fx.Node, Any] = dict(zip(placeholders, inputs, strict=True))
    with graph.module.graph.inserting_before(node):
        for part in module.graph.nodes:
            if part.op == "get_attr":
                value = edit.get_attribute(module, str(part.target))
                new[part] = edit.add_tensor(graph.module, f"{node.name}.{part.name}", value, node)
            elif part.op == "call_function":
                new[part] = graph.module.graph.node_copy(part, new.__getitem__)
                if part.target in VIEWS:  # what was traced on dense tensors may get others
                    new[part].target = aten.reshape.default
                new[part].meta = {}
                edit.copy_source(node, new[part])
    return fx.map_arg(module.graph.output_node().args[0], new.__getitem__)


def _variance_and_mean(
    x: Tensor, dim: list[int] | None = None, *, correction: float | None = None, keepdim: bool = False
) -> tuple[Tensor, Tensor]:
    dims = list(range(x.dim())) if not dim else [d % x.dim() for d in dim]
    mean = x.mean(dims, True)
    free = math.prod(x.shape[d] for d in dims) - (1 if correction is None else correction)
    variance = torch.square(x - mean).sum(dims, keepdim) / free
    return variance, mean if keepdim else mean.squeeze(dims)


def _variance(
    x: Tensor, dim: list[int] | None = None, *, correction: float | None = None, keepdim: bool = False
) -> Tensor:
    return _variance_and_mean(x, dim, correction=correction, keepdim=keepdim)[0]


def _deviation(
    x: Tensor, dim: list[int] | None = None, *, correction: float | None = None, keepdim: bool = False
) -> Tensor:
    return torch.sqrt(_variance(x, dim, correction=correction, keepdim=keepdim))


def _largest(x: Tensor, dim: int, keepdim: bool = False) -> tuple[Tensor, Tensor]:
    return torch.amax(x, dim, keepdim), torch.argmax(x, dim, keepdim)


def _least(x: Tensor, dim: int, keepdim: bool = False) -> tuple[Tensor, Tensor]:
    return torch.amin(x, dim, keepdim), torch.argmin(x, dim, keepdim)


def _parts(x: Tensor, size: int, dim: int = 0) -> list[Tensor]:
    return [aten.slice.Tensor(x, dim, begin, begin + size) for begin in range(0, x.shape[dim], size)]


def _parts_of_sizes(x: Tensor, sizes: list[int], dim: int = 0) -> list[Tensor]:
    ends = list(itertools.accumulate(sizes))
    return [aten.slice.Tensor(x, dim, end - size, end) for size, end in zip(sizes, ends, strict=True)]


def _group_norm(
    x: Tensor, weight: Tensor | None, bias: Tensor | None, n: int, c: int, area: int, groups: int, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    sets = x.reshape(n, groups, c // groups * area)
    variance, mean = _variance_and_mean(sets, [2], correction=0, keepdim=True)
    scale, each = torch.rsqrt(variance + eps), (1, c, *[1] * (x.dim() - 2))
    y = ((sets - mean) * scale).reshape(x.shape)
    y = y if weight is None else y * weight.reshape(each)
    return y if bias is None else y + bias.reshape(each), mean.squeeze(2), scale.squeeze(2)


OWN: dict[Any, Callable[..., Any]] = {
    aten.var.correction: _variance,
    aten.var_mean.correction: _variance_and_mean,
    aten.std.correction: _deviation,
    aten.max.dim: _largest,
    aten.min.dim: _least,
    aten.native_group_norm.default: _group_norm,
    aten.split.Tensor: _parts,
    aten.unsafe_split.Tensor: _parts,
    aten.split_with_sizes.default: _parts_of_sizes,
}


@cache
def _table() -> dict[Any, Any]:
    table = core_aten_decompositions() | get_decompositions(list(MORE))
    return {target: rule for target, rule in dict(table).items() if target not in KEPT} | OWN
