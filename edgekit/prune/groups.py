"""Which channels must go together: every index of every dimension is an atom, and operators tie atoms to one another.

A class of tied atoms is a *channel*: it is cut everywhere or nowhere. Atoms that must stay (model inputs and outputs, operators this
file does not know) freeze their channel, with the reason. The picture is that of DepGraph (Fang et al. 2023), worked out on indices
instead of layers, so that flatten, depthwise convolution and shared weights need no special case downstream.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import fx

from edgekit.graph import Graph, edit
from edgekit.prune.union import UnionFind

aten = torch.ops.aten
Atoms = np.ndarray  # int64 [size of the dimension]: the atom of each index
Dims = tuple[Atoms | None, ...]  # one entry for each dimension; None where the dimension is never cut

SAME_SHAPE = (
    aten.relu.default, aten.clamp.default, aten.sigmoid.default, aten.tanh.default, aten.gelu.default, aten.silu.default,
    aten.hardswish.default, aten.hardsigmoid.default, aten.elu.default, aten.leaky_relu.default, aten.dropout.default,
    aten.feature_dropout.default, torch.ops.edgekit.fake_quantize.default,
)  # fmt: skip
ELEMENTWISE = (aten.add.Tensor, aten.sub.Tensor, aten.mul.Tensor)
POOLS = (aten.max_pool2d.default, aten.avg_pool2d.default)


@dataclass(frozen=True)
class Member:
    """Indices of one dimension of one parameter or buffer that belong to a channel."""

    path: str
    dim: int
    indices: tuple[int, ...]


@dataclass(frozen=True)
class Channel:
    """A class of indices that are cut together, or kept: ``frozen`` says why it cannot be cut."""

    members: tuple[Member, ...]
    frozen: str = ""


@dataclass(frozen=True)
class Group:
    """Channels that run through the same dimensions of the same tensors, such as the output channels of one residual stage."""

    channels: tuple[Channel, ...]

    @property
    def name(self) -> str:
        """The first tensor whose first dimension produces these channels."""
        return min(self.places, key=lambda place: place[1])[0]

    @property
    def places(self) -> tuple[tuple[str, int], ...]:
        """Every (tensor, dimension) that the channels run through."""
        return tuple((member.path, member.dim) for member in self.channels[0].members)

    def __str__(self) -> str:
        frozen = sum(bool(channel.frozen) for channel in self.channels)
        head = f"{self.name}: {len(self.channels)} channels" + (f", {frozen} fixed" if frozen else "")
        return "\n".join([head, *(f"  {path} dim {dim}" for path, dim in self.places)])


@dataclass
class Coupling:
    """The result of the analysis.

    Attributes:
        groups: all channels that run through some parameter.
        sizes: (node, argument, (tensor, dim)): an integer in the graph that is the length of that dimension.
        refusals: (node, reason) for every operator that made its inputs unprunable.
    """

    groups: tuple[Group, ...]
    sizes: tuple[tuple[fx.Node, str, tuple[str, int]], ...]
    refusals: tuple[tuple[str, str], ...]


@dataclass
class _Analysis:
    graph: Graph
    atoms: UnionFind = field(default_factory=UnionFind)
    frozen: dict[int, str] = field(default_factory=dict)
    parameters: dict[str, Dims] = field(default_factory=dict)
    dims: dict[fx.Node, Dims] = field(default_factory=dict)
    sizes: list[tuple[fx.Node, str, tuple[str, int]]] = field(default_factory=list)
    refusals: list[tuple[str, str]] = field(default_factory=list)

    def fresh(self, shape: Sequence[int]) -> Dims:
        return tuple(self.atoms.new(size) for size in shape)

    def freeze(self, dims: Iterable[Atoms | None], reason: str) -> None:
        for atoms in dims:
            for atom in () if atoms is None else atoms:
                self.frozen.setdefault(int(atom), reason)

    def tie(self, a: Atoms | None, b: Atoms | None, reason: str) -> None:
        """Make two index arrays one; tied to a dimension that is never cut, an array is frozen."""
        if a is None or b is None:
            self.freeze((a, b), reason)
        else:
            self.atoms.union(a, b)


def couple(graph: Graph, exclude: Iterable[fx.Node] = ()) -> Coupling:
    """Find the channels of a graph.

    Args:
        graph: canonical graph with fresh shapes.
        exclude: nodes whose output channels the user wants kept.
    """
    state, excluded = _Analysis(graph), set(exclude)
    for node in graph.nodes:
        if node.op == "get_attr":
            path = str(node.target)
            if path not in state.parameters:
                shape = edit.get_tensor(graph.module, node).shape
                state.parameters[path] = state.fresh(shape[:2]) + (None,) * len(shape[2:])  # the rest are kernel positions
            state.dims[node] = state.parameters[path]
        elif node.op == "placeholder":
            state.dims[node] = (None,) * len(graph.shape(node))
        elif node.op == "call_function":
            state.dims[node] = _propagate(state, node)
            if node in excluded:
                state.freeze(state.dims[node], "excluded by the user")
    for name, node in zip(graph.output_names, graph.output_nodes(), strict=True):
        state.freeze(state.dims[node], f"model output {name}")
    return Coupling(_groups(state), tuple(state.sizes), tuple(state.refusals))


def _propagate(state: _Analysis, node: fx.Node) -> Dims:
    if node.target is aten.conv2d.default:
        return _convolution(state, node)
    if node.target is aten.linear.default:
        return _linear(state, node)
    if node.target is aten.batch_norm.default:
        return _batch_norm(state, node)
    if node.target in SAME_SHAPE:
        return state.dims[edit.input_node(node)]
    if node.target in ELEMENTWISE:
        return _elementwise(state, node)
    if node.target in POOLS:
        return (*state.dims[edit.input_node(node)][:2], None, None)
    if node.target is aten.mean.dim:
        return _mean(state, node)
    if node.target is aten.flatten.using_ints:
        return _flatten(state, node)
    return _unknown(state, node)


def _convolution(state: _Analysis, node: fx.Node) -> Dims:
    parts = edit.arguments(node)
    source, weight = state.dims[parts["input"]], state.dims[parts["weight"]]
    outputs, inputs, *_ = weight
    assert outputs is not None
    if parts["groups"] == 1:
        state.tie(source[1], inputs, "model input")
    elif inputs is not None and len(inputs) == 1 and source[1] is not None:
        state.atoms.union(np.repeat(source[1], len(outputs) // parts["groups"]), outputs)
        state.freeze((inputs,), "one input channel for each group")
        state.sizes.append((node, "groups", (str(parts["weight"].target), 0)))
    else:
        reason = f"{edit.describe(node)} has {parts['groups']} groups"
        state.refusals.append((node.name, reason))
        state.freeze((source[1], outputs, inputs), reason)
    if parts["bias"] is not None:
        state.tie(state.dims[parts["bias"]][0], outputs, "")
    return (None, outputs, None, None)


def _linear(state: _Analysis, node: fx.Node) -> Dims:
    parts = edit.arguments(node)
    source, (outputs, inputs) = state.dims[parts["input"]], state.dims[parts["weight"]]
    state.tie(source[-1], inputs, "model input")
    if parts["bias"] is not None:
        state.tie(state.dims[parts["bias"]][0], outputs, "")
    return (*source[:-1], outputs)


def _batch_norm(state: _Analysis, node: fx.Node) -> Dims:
    parts = edit.arguments(node)
    source = state.dims[parts["input"]]
    for name in ("weight", "bias", "running_mean", "running_var"):
        if parts[name] is not None:
            state.tie(source[1], state.dims[parts[name]][0], "model input")
    return source


def _elementwise(state: _Analysis, node: fx.Node) -> Dims:
    operands = [state.dims[n] for n in node.all_input_nodes]
    shapes = [state.graph.shape(n) for n in node.all_input_nodes]
    rank = len(state.graph.shape(node))
    result: list[Atoms | None] = []
    for d in range(rank):
        present = [
            dims[d - rank] for dims, shape in zip(operands, shapes, strict=True) if len(shape) >= rank - d and shape[d - rank] != 1
        ]
        for other in present[1:]:
            state.tie(present[0], other, f"{node.name} joins it with a dimension of fixed size")
        result.append(next((atoms for atoms in present if atoms is not None), None))
    return tuple(result)


def _mean(state: _Analysis, node: fx.Node) -> Dims:
    parts, source = edit.arguments(node), state.dims[edit.input_node(node)]
    gone = {d % len(source) for d in parts["dim"]}
    state.freeze((source[d] for d in gone), f"{edit.describe(node)} averages over it")
    if parts["keepdim"]:
        return tuple(None if d in gone else atoms for d, atoms in enumerate(source))
    return tuple(atoms for d, atoms in enumerate(source) if d not in gone)


def _flatten(state: _Analysis, node: fx.Node) -> Dims:
    """Index (c, h, w) of the flat dimension goes when channel c goes."""
    parts, source = edit.arguments(node), state.dims[edit.input_node(node)]
    shape = state.graph.shape(edit.input_node(node))
    start, end = parts["start_dim"] % len(source), parts["end_dim"] % len(source)
    cut = [d for d in range(start, end + 1) if source[d] is not None]
    if not cut:
        return (*source[:start], None, *source[end + 1 :])
    if len(cut) > 1 or start == 0:
        return _unknown(state, node)
    (d,) = cut
    before, after = math.prod(shape[start:d]), math.prod(shape[d + 1 : end + 1])
    return (*source[:start], np.tile(np.repeat(source[d], after), before), *source[end + 1 :])  # type: ignore[arg-type]


def _unknown(state: _Analysis, node: fx.Node) -> Dims:
    reason = f"{edit.describe(node)} is not known to pruning"
    touched = [n for n in node.all_input_nodes if any(atoms is not None for atoms in state.dims.get(n, ()))]
    if touched:
        state.refusals.append((node.name, reason))
    for source in touched:
        state.freeze(state.dims[source], reason)
    value = node.meta.get("val")
    return (None,) * (value.dim() if isinstance(value, torch.Tensor) else 0)


def _groups(state: _Analysis) -> tuple[Group, ...]:
    """Collect tied atoms into channels, and channels with the same places into groups, in the order of the graph."""
    members: dict[int, dict[tuple[str, int], list[int]]] = {}
    for path, dims in state.parameters.items():
        for dim, atoms in enumerate(dims):
            for index, atom in enumerate(() if atoms is None else atoms):
                members.setdefault(state.atoms.find(int(atom)), {}).setdefault((path, dim), []).append(index)
    reasons = {state.atoms.find(atom): reason for atom, reason in reversed(state.frozen.items())}
    groups: dict[tuple[tuple[str, int], ...], list[Channel]] = {}
    for root, places in members.items():
        channel = Channel(tuple(Member(p, d, tuple(i)) for (p, d), i in places.items()), reasons.get(root, ""))
        groups.setdefault(tuple(places), []).append(channel)
    return tuple(Group(tuple(channels)) for channels in groups.values())
