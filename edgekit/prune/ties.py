"""What each operator ties together: one rule for each kind, from the dimensions of its inputs to its output's."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, fx

from edgekit.graph import Graph, edit
from edgekit.graph.fold import LAYERS
from edgekit.prune.union import UnionFind

aten = torch.ops.aten
Atoms = np.ndarray[Any, np.dtype[np.int64]]  # [size of the dimension]: the atom of each index
Dims = tuple[Atoms | None, ...]  # one entry for each dimension; None where the dimension is never cut

SAME_SHAPE = (
    aten.relu.default, aten.clamp.default, aten.sigmoid.default, aten.tanh.default, aten.gelu.default,
    aten.silu.default, aten.hardswish.default, aten.hardsigmoid.default, aten.elu.default, aten.leaky_relu.default,
    aten.dropout.default, aten.feature_dropout.default, aten.detach.default,
)  # fmt: skip
ELEMENTWISE = (aten.add.Tensor, aten.sub.Tensor, aten.mul.Tensor, aten.div.Tensor)
FAKE_QUANTIZE = torch.ops.edgekit.fake_quantize.default
POOLS = (aten.max_pool2d.default, aten.avg_pool2d.default, aten.adaptive_avg_pool2d.default)
CONVOLUTIONS = tuple(target for target in LAYERS if target is not aten.linear.default)
FIXED = "it meets a dimension of fixed size"


class Size(NamedTuple):
    """An integer argument that is the length of a tensor's dimension divided by ``per``."""

    node: fx.Node
    argument: str
    path: str
    dim: int
    per: int


@dataclass
class Analysis:
    """What is known of a graph so far: the atoms of every stored tensor and of every value."""

    graph: Graph
    atoms: UnionFind = field(default_factory=UnionFind)
    frozen: dict[int, str] = field(default_factory=dict)
    parameters: dict[str, Dims] = field(default_factory=dict)
    dims: dict[fx.Node, Dims] = field(default_factory=dict)
    sizes: list[Size] = field(default_factory=list)
    refusals: list[tuple[str, str]] = field(default_factory=list)
    paths: dict[int, str] = field(default_factory=dict)

    def stored(self, node: fx.Node) -> Dims:
        """The dimensions of a stored tensor; tied ones share them, and those of a kernel are never cut."""
        value = edit.get_attribute(self.graph.module, str(node.target))
        if not isinstance(value, Tensor):
            return ()  # a part of the graph with code of its own
        path = self.paths.setdefault(id(value), str(node.target))
        if path not in self.parameters:
            channels = tuple(self.atoms.new(size) for size in value.shape[:2])
            self.parameters[path] = channels + (None,) * len(value.shape[2:])
        return self.parameters[path]

    def path(self, node: fx.Node) -> str:
        """The path of the stored tensor behind ``node``, looking through a fake_quantize; empty if it is computed."""
        while node.target in (*SAME_SHAPE, FAKE_QUANTIZE):
            node = edit.input_node(node)
        if node.op != "get_attr":
            return ""
        return self.paths[id(edit.get_tensor(self.graph.module, node))]

    def freeze(self, dims: Iterable[Atoms | None], reason: str) -> None:
        """Keep these indices; the first reason stands."""
        for atoms in dims:
            for atom in () if atoms is None else atoms:
                self.frozen.setdefault(int(atom), reason)

    def refuse(self, node: fx.Node, reason: str, dims: Iterable[Atoms | None]) -> None:
        """Freeze what ``node`` touches, with a line in the report."""
        self.refusals.append((node.name, reason))
        self.freeze(dims, reason)

    def tie(self, a: Atoms | None, b: Atoms | None, reason: str = FIXED) -> None:
        """Make two index arrays one; tied to a dimension that is never cut, an array is frozen."""
        if a is None or b is None:
            self.freeze((a, b), reason)
        else:
            self.atoms.union(a, b)


def propagate(state: Analysis, node: fx.Node) -> Dims:
    """Tie what ``node`` ties and return the dimensions of its output."""
    rule = _RULES.get(node.target, _unknown)
    return rule(state, node)


def _convolution(state: Analysis, node: fx.Node) -> Dims:
    parts = edit.arguments(node)
    source, weight = state.dims[parts["input"]], state.dims[parts["weight"]]
    outputs, inputs, *kernel = weight
    if len(source) != len(weight) or outputs is None or inputs is None:
        return _unknown(state, node)
    path = state.path(parts["weight"])
    if parts["groups"] == 1:
        state.tie(source[1], inputs, "model input")
    elif len(inputs) == 1 and source[1] is not None and path:
        per = len(outputs) // parts["groups"]  # outputs for each input
        state.atoms.union(np.repeat(source[1], per), outputs)
        state.sizes.append(Size(node, "groups", path, 0, per))
    else:
        state.refuse(node, f"{edit.describe(node)} has {parts['groups']} groups", (source[1], outputs, inputs))
    _tie_bias(state, parts["bias"], outputs)
    return (None, outputs, *kernel)


def _linear(state: Analysis, node: fx.Node) -> Dims:
    parts = edit.arguments(node)
    source, weight = state.dims[parts["input"]], state.dims[parts["weight"]]
    if len(weight) != 2 or weight[0] is None or weight[1] is None:
        return _unknown(state, node)
    outputs, inputs = weight[0], weight[1]
    state.tie(source[-1], inputs, "model input")
    _tie_bias(state, parts["bias"], outputs)
    return (*source[:-1], outputs)


def _tie_bias(state: Analysis, bias: fx.Node | None, outputs: Atoms) -> None:
    if bias is not None:
        state.tie(state.dims[bias][0], outputs, "its bias is computed")


def _batch_norm(state: Analysis, node: fx.Node) -> Dims:
    parts = edit.arguments(node)
    source = state.dims[parts["input"]]
    for name in ("weight", "bias", "running_mean", "running_var"):
        if parts[name] is not None:
            state.tie(source[1], state.dims[parts[name]][0], f"{node.name} normalises a dimension of fixed size")
    return source


def _same_shape(state: Analysis, node: fx.Node) -> Dims:
    return state.dims[edit.input_node(node)]


def _fake_quantize(state: Analysis, node: fx.Node) -> Dims:
    parts = edit.arguments(node)
    source, scale = state.dims[parts["x"]], state.dims[parts["scale"]]
    if parts["axis"] is not None:
        state.tie(source[parts["axis"]], scale[0])
    return source


def _elementwise(state: Analysis, node: fx.Node) -> Dims:
    """Dimensions are aligned from the last; one of size 1 is spread and ties nothing."""
    rank = len(state.graph.shape(node))
    operands = [n for n in node.all_input_nodes if isinstance(n.meta["val"], Tensor)]
    padded = [(None,) * (rank - len(state.dims[n])) + state.dims[n] for n in operands]
    shapes = [(1,) * (rank - len(state.dims[n])) + state.graph.shape(n) for n in operands]
    result: list[Atoms | None] = []
    for d in range(rank):
        present = [dims[d] for dims, shape in zip(padded, shapes, strict=True) if shape[d] != 1]
        for other in present[1:]:
            state.tie(present[0], other, f"{node.name} joins it with a dimension of fixed size")
        result.append(next((atoms for atoms in present if atoms is not None), None))
    return tuple(result)


def _pool(state: Analysis, node: fx.Node) -> Dims:
    return (*state.dims[edit.input_node(node)][:-2], None, None)


def _mean(state: Analysis, node: fx.Node) -> Dims:
    parts, source = edit.arguments(node), state.dims[edit.input_node(node)]
    gone = {d % len(source) for d in parts["dim"] or range(len(source))}
    state.freeze((source[d] for d in gone), f"{edit.describe(node)} averages over it")
    if parts["keepdim"]:
        return tuple(None if d in gone else atoms for d, atoms in enumerate(source))
    return tuple(atoms for d, atoms in enumerate(source) if d not in gone)


def _flatten(state: Analysis, node: fx.Node) -> Dims:
    """Index (c, h, w) of the flat dimension goes when channel c goes."""
    parts, source = edit.arguments(node), state.dims[edit.input_node(node)]
    shape = state.graph.shape(edit.input_node(node))
    start, end = parts["start_dim"] % len(source), parts["end_dim"] % len(source)
    found = [(d, source[d]) for d in range(start, end + 1) if source[d] is not None]
    if not found:
        return (*source[:start], None, *source[end + 1 :])
    d, channels = found[0]
    if len(found) > 1 or start == 0 or channels is None:
        return _unknown(state, node)
    before, after = math.prod(shape[start:d]), math.prod(shape[d + 1 : end + 1])
    return (*source[:start], np.tile(np.repeat(channels, after), before), *source[end + 1 :])


def _size(state: Analysis, node: fx.Node) -> Dims:
    parts = edit.arguments(node)
    dims = state.dims[parts["self"]]
    state.freeze((dims[parts["dim"]],), f"{edit.describe(node)} reads its size")
    return ()


def _unknown(state: Analysis, node: fx.Node) -> Dims:
    """Freeze every input: a cut through an operator that pruning does not know could change what is left."""
    touched = [n for n in node.all_input_nodes if any(atoms is not None for atoms in state.dims[n])]
    if touched:
        reason = f"{edit.describe(node)} is not known to pruning"
        state.refuse(node, reason, (atoms for n in touched for atoms in state.dims[n]))
    value = node.meta.get("val")
    return (None,) * (value.dim() if isinstance(value, Tensor) else 0)


_RULES: dict[Any, Callable[[Analysis, fx.Node], Dims]] = {
    **dict.fromkeys(CONVOLUTIONS, _convolution),
    **dict.fromkeys(SAME_SHAPE, _same_shape),
    **dict.fromkeys(ELEMENTWISE, _elementwise),
    **dict.fromkeys(POOLS, _pool),
    aten.linear.default: _linear,
    aten.batch_norm.default: _batch_norm,
    aten.mean.dim: _mean,
    aten.flatten.using_ints: _flatten,
    aten.sym_size.int: _size,
    FAKE_QUANTIZE: _fake_quantize,
}
