"""The oracle of pruning: the uncut graph, in double, with every cut index left out of every sum, mean and maximum.

Values keep their full size; what is cut of them is 0, so that it adds nothing to a product. Where 0 would count
(means, norms, extremes, softmax), the operator runs on what is left. Then every value of the pruned graph, not only its
outputs, must be what is left of the same value here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx

from edgekit.graph import Graph, edit
from edgekit.prune.analysis import Analysis, Dims, Kept, Slot
from edgekit.prune.groups import Coupling
from edgekit.prune.surgery import keeper

aten, own = torch.ops.aten, torch.ops.edgekit


class Run(fx.Interpreter):
    """Runs a graph and remembers every value; with masks, as the oracle does."""

    def __init__(self, graph: Graph, coupling: Coupling | None = None, victims: frozenset[int] = frozenset()) -> None:
        copy = graph.copy()
        copy.module.double()
        super().__init__(copy.module, garbage_collect_values=False)
        self.values: dict[str, Any] = {}
        self.left: dict[str, tuple[Any, ...]] = {}
        if coupling is not None:
            self.left = masks(coupling.state, keeper(coupling.state, victims))

    def run_node(self, n: fx.Node) -> Any:
        rule = RULES.get(n.target) if self.left else None
        if n.op == "call_function" and rule is not None:
            args, kwargs = self.fetch_args_kwargs_from_env(n)
            result = rule(self, n, edit.arguments(n), args, kwargs)
        else:
            result = super().run_node(n)
        if isinstance(result, Tensor) and result.dtype == torch.float32:
            result = result.double()  # a state of zeros, which has no input to take its type from
        if isinstance(result, Tensor) and n.name in self.left:
            result = zeroed(result, self.left[n.name])
        self.values[n.name] = result
        return result

    def places(self, n: fx.Node) -> list[Tensor]:
        """The indices that are left of each dimension of a value."""
        value = self.values[n.name]
        found = self.left.get(n.name, (None,) * value.dim())
        return [
            torch.arange(size) if mask is None else torch.from_numpy(np.flatnonzero(mask))
            for size, mask in zip(value.shape, found, strict=True)
        ]

    def compact(self, n: fx.Node) -> Tensor:
        """What is left of a value, as a tensor of its own."""
        value: Tensor = self.values[n.name]
        for d, places in enumerate(self.places(n)):
            value = value.index_select(d, places)
        return value


def masks(state: Analysis, kept: Kept) -> dict[str, tuple[Any, ...]]:
    """For each value, which indices of each dimension are left; None where all are."""
    return {node.name: tuple(_mask(dim, kept) for dim in dims) for node, dims in state.dims.items() if dims}


def _mask(dim: Any, kept: Kept) -> Any:
    atoms = dim.atoms if isinstance(dim, Slot) else dim
    return None if atoms is None else kept(atoms)


def zeroed(value: Tensor, left: Dims) -> Tensor:
    for d, mask in enumerate(left):
        if mask is not None and not mask.all():
            shape = [-1 if i == d else 1 for i in range(value.dim())]
            value = torch.where(torch.from_numpy(mask).reshape(shape), value, torch.zeros((), dtype=value.dtype))
    return value


def _on_what_is_left(run: Run, n: fx.Node, parts: Any, args: Any, kwargs: Any) -> Tensor:
    """Norms, softmax and reductions: computed on what is left, put back where it belongs."""
    source = edit.input_node(n)
    changed = {name: run.compact(a) if isinstance(a, fx.Node) else a for name, a in parts.items()}
    places = run.places(source)
    if "normalized_shape" in parts:
        changed["normalized_shape"] = [len(p) for p in places[len(places) - len(parts["normalized_shape"]) :]]
    if "num_groups" in parts:
        each = run.values[source.name].shape[1] // parts["num_groups"]
        changed["num_groups"] = len({int(i) // each for i in places[1]})
    schema = n.target._schema.arguments  # type: ignore[union-attr]
    result: Tensor = n.target(*[changed[a.name] for a in schema if not a.kwarg_only])  # type: ignore[operator]
    shape = [int(size) if isinstance(size, int) else result.shape[d] for d, size in enumerate(n.meta["val"].shape)]
    full = torch.zeros(shape, dtype=result.dtype)
    left = torch.ones(shape, dtype=torch.bool)
    for d, mask in enumerate(run.left.get(n.name, ())):
        if mask is not None:
            left &= torch.from_numpy(mask).reshape([-1 if i == d else 1 for i in range(len(shape))])
    full[left] = result.flatten()
    return full


def _attention(run: Run, n: fx.Node, parts: Any, args: Any, kwargs: Any) -> Tensor:
    """Keys that are cut are masked: their score of 0 would count in the softmax."""
    keys = run.left.get(parts["key"].name, (None, None))[-2]
    if keys is not None and not parts["is_causal"]:
        minus = torch.zeros(len(keys), dtype=torch.float64).masked_fill(~torch.from_numpy(keys), -torch.inf)
        mask = args[3] if len(args) > 3 else None
        if mask is not None and mask.dtype == torch.bool:
            mask = torch.zeros(mask.shape, dtype=torch.float64).masked_fill(~mask, -torch.inf)
        minus = minus.expand(args[0].shape[-2], -1)
        args = (*args[:3], minus if mask is None else mask + minus, *args[4:])
    result: Tensor = n.target(*args, **kwargs)  # type: ignore[operator]
    return result


RULES: dict[Any, Callable[..., Any]] = dict.fromkeys(
    (
        aten.layer_norm.default, aten.rms_norm.default, aten.group_norm.default, aten.softmax.int,
        aten.log_softmax.int, aten.mean.dim, aten.mean.default, aten.sum.dim_IntList, aten.amax.default,
        aten.amin.default, aten.var.correction, aten.std.correction, aten.logsumexp.default,
        aten.linalg_vector_norm.default, aten._weight_norm.default, aten.prod.dim_int, own.l2_norm.default,
    ),
    _on_what_is_left,
) | {aten.scaled_dot_product_attention.default: _attention}  # fmt: skip


def check_every_value(
    graph: Graph, coupling: Coupling, victims: frozenset[int], pruned: Graph, inputs: Sequence[Tensor]
) -> None:
    """Every value of the pruned graph is what is left of the same value of the masked one."""
    doubles = [x.double() if x.is_floating_point() else x for x in inputs]
    oracle, subject = Run(graph, coupling, victims), Run(pruned)
    with torch.no_grad():
        oracle.run(*doubles)
        subject.run(*doubles)
    nodes = {node.name: node for node in graph.nodes}
    floats = {name: y for name, y in subject.values.items() if isinstance(y, Tensor) and y.is_floating_point()}
    assert floats
    for name, got in floats.items():
        expected = oracle.compact(nodes[name])
        assert got.shape == expected.shape, f"{name}: {tuple(got.shape)} instead of {tuple(expected.shape)}"
        assert torch.equal(got.isfinite(), expected.isfinite()), name
        if got.numel():
            error, size = (float(v.detach().nan_to_num(0, 0, 0).abs().max()) for v in (got - expected, expected))
            assert error <= ROUNDING * (1 + size), f"{name} is off by {error}"


# Both add the same products, but for zeros, in another order. A sum of n <= 2000 terms errs by at most n * 2**-53 of
# the sum of their sizes; ten layers, none of which amplifies by more than 100 in all, stay below
# 10 * 100 * 2000 * 2**-53 < 1e-9 of the largest value. A wrong cut is off by far more.
ROUNDING = 1e-9
