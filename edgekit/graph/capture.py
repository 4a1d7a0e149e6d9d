"""From ``nn.Module`` to :class:`Graph`, by ``torch.export`` in inference mode with a dynamic batch."""

from __future__ import annotations

import copy
import inspect
import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.fx.graph import CodeGen
from torch.utils import _pytree as pytree

from edgekit.errors import InputError, ModelError
from edgekit.graph import attention, canonical, edit, freeze, refusal
from edgekit.graph.graph import Graph, TensorInfo
from edgekit.graph.quiet import quiet
from edgekit.graph.recurrent import shapes_at_once

_KEPT = ("val", *edit.SOURCE)  # the exporter's other notes on a node are its own affair
Inputs = Tensor | tuple[Any, ...] | Mapping[str, Any]


def capture(model: nn.Module, example_inputs: Inputs, submodule: str | None = None) -> Graph:
    """Capture a model as a canonical :class:`Graph` that holds its own copy of the weights.

    Args:
        model: any module that ``torch.export`` can trace; it is left as it was.
        example_inputs: a tensor, a tuple, or a dict of keyword arguments; the first dimension of each tensor is the
            batch. A batch of 1 is repeated to 2, since torch would keep 1 as a constant.
        submodule: capture only this submodule, on the inputs it gets when ``model`` runs on ``example_inputs``.

    Raises:
        InputError: for example inputs without a tensor, or a submodule that is not there or does not run.
        ModelError: where the model itself fails on the example inputs, or returns no tensor.
        CaptureError: where it cannot be traced; names the source line and the largest submodules that can be.
    """
    args, kwargs = _normalise(example_inputs)
    with _inference(model), _state_kept(model):
        with _state_kept(model):
            result = _run(model, args, kwargs)
            if submodule is not None:
                model, args, kwargs = refusal.part(model, args, kwargs, submodule)
                result = model(*args, **kwargs)
        names = _output_names(result)
        try:
            with quiet():
                module, inputs = _export(model, args, kwargs)
        except Exception as error:  # torch.export documents no closed set of exceptions
            raise refusal.refuse(model, args, kwargs, error) from error
        graph = Graph(module, inputs, names, attention.restore_dropout(model, module))
        graph.notes = _fixed_batches(inputs) + freeze.notes(model, module, args, kwargs)
        try:
            return canonical.canonicalise(graph)
        except Exception as error:  # what torch.export lets through, its shape propagation may still refuse
            raise refusal.refuse(model, args, kwargs, error) from error


def _normalise(example: Inputs) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Positional and keyword inputs, the batch repeated to 2 where every tensor's is 1."""
    if isinstance(example, Mapping):
        args, kwargs = (), dict(example)
    elif isinstance(example, (Tensor, tuple, list)):
        args, kwargs = (example,) if isinstance(example, Tensor) else tuple(example), {}
    else:
        raise InputError(f"example_inputs is of type {type(example).__name__}.", fix=_PASS)
    leaves, spec = pytree.tree_flatten((args, kwargs))
    batches = {leaf.shape[0] for leaf in leaves if _has_batch(leaf)}
    if not any(isinstance(leaf, Tensor) for leaf in leaves):
        raise InputError("example_inputs holds no tensor.", fix=_PASS)
    widened = [_plain(leaf, 2 if batches == {1} else 1) if isinstance(leaf, Tensor) else leaf for leaf in leaves]
    args, kwargs = pytree.tree_unflatten(widened, spec)
    return args, kwargs


_PASS = "Pass a tensor, a tuple of tensors or a dict of them."


def _plain(tensor: Tensor, times: int) -> Tensor:
    tensor = tensor.detach()
    return torch.cat([tensor] * times) if tensor.dim() else tensor


@contextmanager
def _inference(model: nn.Module) -> Iterator[None]:
    """Put ``model`` in inference mode and every submodule back in its own mode afterwards."""
    before = {module: module.training for module in model.modules()}
    try:
        model.eval()
        with torch.no_grad():
            yield
    finally:
        for module, training in before.items():
            module.training = training


@contextmanager
def _state_kept(model: nn.Module) -> Iterator[None]:
    """Give every buffer that a run of ``model`` counts in its values back."""
    values = [(buffer, buffer.detach().clone()) for buffer in model.buffers()]
    try:
        yield
    finally:
        with torch.no_grad():
            for buffer, value in values:
                buffer.copy_(value)


def _run(model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    try:
        return model(*args, **kwargs)
    except Exception as error:  # the user's code may raise anything
        raise ModelError(
            f"the model fails on the example inputs: {error}",
            fix="Check their number, shapes and types; the first dimension is the batch.",
        ) from error


def _export(
    model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[fx.GraphModule, tuple[TensorInfo, ...]]:
    given = inspect.signature(model.forward).bind(*args, **kwargs).arguments
    dynamic = pytree.tree_map(lambda leaf: {0: torch.export.Dim.AUTO} if _has_batch(leaf) else None, dict(given))
    with shapes_at_once():
        program = torch.export.export(model, args, kwargs, dynamic_shapes=dynamic)
    exported = program.module(check_guards=False)
    exported.graph.set_codegen(CodeGen())
    _name_tied(model, exported)
    # A new GraphModule drops the guarding hooks; the copy shares no weight with the user's model.
    module = copy.deepcopy(fx.GraphModule(exported, exported.graph))
    module.training = False
    for node in list(module.graph.nodes):
        node.meta = {key: node.meta[key] for key in _KEPT if key in node.meta}
        if edit.is_call(node, torch.ops.aten._assert_tensor_metadata.default):
            module.graph.erase_node(node)  # the exporter's check of its own work
    result = module.graph.output_node()
    leaves = [leaf for leaf in pytree.tree_leaves(result.args[0]) if _is_tensor(leaf)]
    result.args = (leaves[0] if len(leaves) == 1 else tuple(leaves),)
    placeholders = [node for node in module.graph.nodes if node.op == "placeholder"]
    for node in placeholders:
        if not _is_tensor(node):
            _drop_constant_input(module, node)
    # A placeholder's target is the user's name for it; its node may have to go by another, as "input" does.
    return module, tuple(TensorInfo.of(str(n.target), n.meta["val"]) for n in placeholders if _is_tensor(n))


def _name_tied(model: nn.Module, exported: fx.GraphModule) -> None:
    """Let tied weights go by the first of their names, as in ``model.named_parameters()``; torch takes the last."""
    first = {id(parameter): name for name, parameter in model.named_parameters()}
    for node in exported.graph.nodes:
        if node.op == "get_attr":
            node.target = first.get(id(edit.get_attribute(exported, str(node.target))), node.target)


def _has_batch(leaf: Any) -> bool:
    return isinstance(leaf, Tensor) and leaf.dim() > 0


def _is_tensor(leaf: Any) -> bool:
    return isinstance(leaf, fx.Node) and isinstance(leaf.meta.get("val"), Tensor)


def _drop_constant_input(module: fx.GraphModule, node: fx.Node) -> None:
    """A number, None or bool among the inputs is frozen at its example value."""
    for user in list(node.users):
        user.args, user.kwargs = fx.node.map_arg(
            (user.args, user.kwargs), lambda n: n.meta.get("val") if n is node else n
        )
    module.graph.erase_node(node)


def _fixed_batches(inputs: tuple[TensorInfo, ...]) -> tuple[str, ...]:
    notes = tuple(
        f"input {info.name} is captured with a fixed batch of {info.shape[0]}: the model computes with that size"
        for info in inputs
        if info.shape and info.shape[0] is not None
    )
    for note in notes:
        warnings.warn(note, stacklevel=3)
    return notes


def _output_names(result: Any) -> tuple[str, ...]:
    """``output`` for one tensor, keys of a dict (Hugging Face outputs too), else ``output_0``, ``output_1``, ..."""
    paths = pytree.tree_flatten_with_path(result)[0]
    tensors = [path for path, leaf in paths if isinstance(leaf, Tensor)]
    if not tensors:
        raise ModelError("the model returns no tensor.", fix="Return a tensor, or a tuple or dict of them.")
    if len(tensors) == 1 and not tensors[0]:
        return ("output",)
    names = ["_".join(re.findall(r"\w+", pytree.keystr(path))) for path in tensors]
    return tuple(f"output_{name}" if name[0].isdigit() else name for name in names)
