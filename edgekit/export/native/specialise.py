"""A graph at fixed shapes: every size is a number, and what depends on constants and sizes alone is computed here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, fx
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode

from edgekit.errors import UsageError, did_you_mean
from edgekit.graph import Graph, edit

aten = torch.ops.aten
SIZES_ONLY = (
    aten.sym_size.int, aten.zeros_like.default, aten.ones_like.default, aten.full_like.default, aten.new_zeros.default,
    aten.new_ones.default, aten.new_full.default, aten.empty_like.default, aten.new_empty.default,
)  # fmt: skip  # results that depend on no value of their tensor


@dataclass(frozen=True)
class Fixed:
    """A graph with the value of every node: a fake tensor where inputs decide it, else what it is.

    Attributes:
        graph: the integer graph.
        values: by node.
        nodes: the calls that have to be made at run time, in order.
    """

    graph: Graph
    values: Mapping[fx.Node, Any]
    nodes: tuple[fx.Node, ...]

    def sizes(self, node: fx.Node) -> tuple[int, ...]:
        """The shape of a node's tensor."""
        return tuple(self.values[node].shape)

    def is_constant(self, value: object) -> bool:
        """Whether an argument is known before the run."""
        return not (isinstance(value, fx.Node) and _is_open(self.values[value]))

    def argument(self, value: Any) -> Any:
        """An argument with numbers and constant tensors in the place of their nodes."""
        return fx.map_arg(value, lambda node: self.values[node])


def pinned(graph: Graph, shapes: Mapping[str, Sequence[int]] | None = None) -> Graph:
    """A copy with every input at a fixed shape: as given by name, else a batch of 1.

    Raises:
        UsageError: for a shape that the graph cannot take, or of an input that it does not have.
    """
    sizes, own = _input_sizes(graph, shapes or {}), graph.copy()
    own.inputs = tuple(replace(info, shape=size) for info, size in zip(graph.inputs, sizes, strict=True))
    return own.refresh()


def specialise(graph: Graph) -> Fixed:
    """What is known of a :func:`pinned` graph before it runs."""
    mode = FakeTensorMode(allow_non_fake_inputs=True)
    walk = _Walk(graph, mode)
    with mode:
        inputs = [info.example() for info in graph.inputs]
    with torch.no_grad():
        walk.run(*inputs)
    return Fixed(graph, walk.values, tuple(_live(graph, walk.values)))


def _input_sizes(graph: Graph, shapes: Mapping[str, Sequence[int]]) -> list[tuple[int, ...]]:
    names = [info.name for info in graph.inputs]
    for name in shapes:
        if name not in names:
            raise UsageError(f"there is no input {name}.{did_you_mean(name, names)}", fix=f"It has {', '.join(names)}.")
    found = []
    for info in graph.inputs:
        if info.name not in shapes and None in info.shape[1:]:
            fix = f"Give shapes={{{info.name!r}: (...)}}."
            raise UsageError(f"input {info.name} has open sizes besides the batch: {info.shape}.", fix=fix)
        size = tuple(shapes.get(info.name, [1 if d is None else d for d in info.shape]))
        fits = len(size) == len(info.shape)
        if (
            not fits
            or any(d is not None and d != s for s, d in zip(size, info.shape, strict=True))
            or min(size, default=1) < 1
        ):
            wanted = ", ".join("any" if d is None else str(d) for d in info.shape)
            raise UsageError(f"input {info.name} cannot have the shape {size}.", fix=f"The model takes ({wanted}).")
        found.append(size)
    return found


class _Walk(fx.Interpreter):
    """Runs the graph, in real tensors where all arguments are known, in fake ones where not."""

    def __init__(self, graph: Graph, mode: FakeTensorMode) -> None:
        super().__init__(graph.module)
        self.mode, self.values = mode, dict[fx.Node, Any]()

    def run_node(self, n: fx.Node) -> Any:
        """Note what the node gives."""
        self.values[n] = super().run_node(n)
        return self.values[n]

    def call_function(self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Compute on real tensors, or shapes alone."""
        known = not any(map(_is_open, _flat((args, kwargs))))
        if known:
            return super().call_function(target, args, kwargs)
        with self.mode:
            result = super().call_function(target, _fakes(self.mode, args), _fakes(self.mode, kwargs))
        if target in SIZES_ONLY and isinstance(result, Tensor):
            return super().call_function(target, fx.node.map_aggregate(args, _zeros), kwargs)
        return result


def _fakes(mode: FakeTensorMode, arguments: Any) -> Any:
    def fake(value: Any) -> Any:
        real = isinstance(value, Tensor) and not isinstance(value, FakeTensor)
        return mode.from_tensor(value, static_shapes=True) if real else value

    return fx.node.map_aggregate(arguments, fake)


def _zeros(value: Any) -> Any:
    return torch.zeros(value.shape, dtype=value.dtype) if _is_open(value) else value


def _is_open(value: object) -> bool:
    return isinstance(value, FakeTensor) or (isinstance(value, (tuple, list)) and any(map(_is_open, value)))


def _flat(value: Any) -> list[Any]:
    found: list[Any] = []

    def note(item: Any) -> Any:
        found.append(item)
        return item

    fx.node.map_aggregate(value, note)
    return found


def _live(graph: Graph, values: Mapping[fx.Node, Any]) -> list[fx.Node]:
    """Calls with an open value that the outputs need."""
    wanted, found = set(graph.output_nodes()), list[fx.Node]()
    for node in reversed(list(graph.nodes)):
        if node in wanted and _is_open(values[node]):
            if node.op == "call_function":
                found.append(node)
            wanted.update(edit_inputs(node))
    return found[::-1]


def edit_inputs(node: fx.Node) -> list[fx.Node]:
    """The nodes that a call reads; of a size alone, none."""
    return [] if node.target in SIZES_ONLY else node.all_input_nodes


def tensor_of(value: Any) -> Tensor:
    """A constant as a tensor."""
    return value.detach() if isinstance(value, Tensor) else torch.tensor(value)


def described(nodes: Sequence[fx.Node]) -> str:
    """Nodes with their operators and source lines, for errors."""
    return "; ".join(map(edit.describe, nodes))
