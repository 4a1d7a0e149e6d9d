"""Where channels may be rescaled: a seam is what a layer or norm writes and only layers read, scale for scale.

Between the two stand operators that let a positive factor of each channel through, ``f(s x) = s f(x)``. Dividing what
the source writes by ``s`` and multiplying what the readers' weights expect by ``s`` leaves the function as it was, to
rounding, while the ranges of activations and weights move (Nagel et al. 2019; Xiao et al. 2023).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn

from edgekit.graph import Graph, edit
from edgekit.graph.graph import known_size

aten = torch.ops.aten
LAYERS = (aten.conv1d.default, aten.conv2d.default, aten.linear.default)
NORMS = (aten.layer_norm.default, aten.rms_norm.default, aten.group_norm.default)


@dataclass(frozen=True)
class Place:
    """Where a tensor holds the channels: along ``axis``, each one ``repeats`` times in a row."""

    axis: int
    repeats: int = 1


@dataclass(frozen=True)
class Seam:
    """What may be rescaled together.

    Attributes:
        source: the layer or norm whose outputs are divided.
        places: where the source's output and every tensor behind it holds the channels.
        readers: the layers whose inputs are multiplied.
    """

    source: fx.Node
    places: dict[fx.Node, Place]
    readers: tuple[fx.Node, ...]

    @property
    def ceilings(self) -> dict[fx.Node, float]:
        """The clamps on the way that have an upper bound, which is one for all channels, and that bound."""
        bounds = {node: edit.arguments(node)["max"] for node in self.places if node.target is aten.clamp.default}
        return {node: float(bound) for node, bound in bounds.items() if bound is not None}

    @property
    def read(self) -> dict[fx.Node, Place]:
        """The tensors that the readers read, and where these hold the channels."""
        return {edit.input_node(layer): self.places[edit.input_node(layer)] for layer in self.readers}


@dataclass(frozen=True)
class Decision:
    """What became of one source: rescaled by factors of this spread, or left alone for a reason."""

    source: str
    readers: tuple[str, ...] = ()
    spread: float = 1.0
    reason: str = ""

    def to_json(self) -> dict[str, Any]:
        """The decision as plain JSON values."""
        return asdict(self)


def sources(graph: Graph, *targets: object) -> Iterator[fx.Node]:
    """The calls that may stand before a seam, in order."""
    return (node for node in edit.calls(graph.module) if node.target in targets)


def find(graph: Graph, source: fx.Node) -> Seam | str:
    """The seam behind a layer or norm, or why there is none."""
    if reason := _not_its_own(source, "weight", "bias"):
        return reason
    places, readers, waiting = {source: _written(source)}, list[fx.Node](), [source]
    while waiting:
        node = waiting.pop()
        for user in node.users:
            if user.op != "output" and not isinstance(user.meta.get("val"), Tensor):
                continue  # a size
            if user.target in LAYERS and edit.input_node(user) is node:
                if reason := _cannot_read(user, places[node]):
                    return reason
                readers.append(user)
            elif user in places or (place := _carried(graph, user, node, places[node])) is None:
                return f"{user.name} ({edit.operator_name(user)}) reads it, which no factor passes"
            else:
                places[user] = place
                waiting.append(user)
    return Seam(source, places, tuple(readers)) if readers else "no layer reads it"


def rescale(graph: Graph, seam: Seam, factors: Tensor) -> None:
    """Divide the source's channels by ``factors`` (float64 [C], positive) and multiply the readers' weights by them."""
    parts = edit.arguments(seam.source)
    for name in ("weight", "bias"):
        if parts.get(name) is not None:
            value = edit.get_tensor(graph.module, parts[name])
            store(graph, parts[name], value.double() / factors.reshape(-1, *[1] * (value.dim() - 1)))
    for layer in seam.readers:
        node, repeats = edit.arguments(layer)["weight"], seam.places[edit.input_node(layer)].repeats
        weight = edit.get_tensor(graph.module, node)
        inputs = factors.repeat_interleave(repeats).reshape(groups(layer), 1, -1, 1)
        store(graph, node, (by_group(layer, weight.double()) * inputs).reshape(weight.shape))


def store(graph: Graph, node: fx.Node, value: Tensor) -> None:
    """Replace the parameter that ``node`` reads, rounded to its type."""
    old = edit.get_tensor(graph.module, node)
    edit.set_tensor(graph.module, str(node.target), nn.Parameter(value.to(old.dtype)))


def groups(layer: fx.Node) -> int:
    """The groups of a convolution; 1 for a linear."""
    return int(edit.arguments(layer).get("groups", 1))


def by_group(layer: fx.Node, weight: Tensor) -> Tensor:
    """A layer's weight as [groups, outputs of a group, inputs of a group, kernel]."""
    count = groups(layer)
    return weight.reshape(count, weight.shape[0] // count, weight.shape[1], -1)


def magnitudes(graph: Graph, layer: fx.Node) -> Tensor:
    """Largest magnitude of every kernel, float64 [groups, outputs of a group, inputs of a group]."""
    weight = edit.get_tensor(graph.module, edit.arguments(layer)["weight"]).detach()
    return by_group(layer, weight.double().abs()).amax(3)


def input_axis(layer: fx.Node) -> int:
    """Where the input of a layer holds its channels."""
    return edit.input_node(layer).meta["val"].dim() - 1 if layer.target is aten.linear.default else 1


def _written(source: fx.Node) -> Place:
    last = source.meta["val"].dim() - 1
    return Place(1 if source.target not in (aten.linear.default, *NORMS[:2]) else last)


def _not_its_own(node: fx.Node, *names: str) -> str:
    """Why the stored tensors of these names may not be changed; empty if they may."""
    parts = edit.arguments(node)
    stored = [parts[name] for name in names if parts.get(name) is not None]
    if node.target in NORMS and (not stored or parts["weight"] is None or parts["weight"].meta["val"].dim() != 1):
        return f"{node.name} has no gain for each channel"
    if any(value.op != "get_attr" for value in stored):
        return f"the weight or bias of {node.name} is computed, not stored"
    paths = {value.target for value in stored}
    readers = {user for n in node.graph.nodes if n.op == "get_attr" and n.target in paths for user in n.users}
    return "" if readers == {node} else f"{node.name} shares its weight or bias"


def _cannot_read(layer: fx.Node, place: Place) -> str:
    if reason := _not_its_own(layer, "weight"):
        return reason
    fits = place.axis == input_axis(layer) and (place.repeats == 1 or layer.target is aten.linear.default)
    return "" if fits else f"{layer.name} reads the channels along another axis"


def _carried(graph: Graph, user: fx.Node, source: fx.Node, place: Place) -> Place | None:
    """Where the result of ``user`` holds the channels; None if a factor on them does not pass through it."""
    carry = _CARRY.get(user.target)
    return carry(graph, user, source, place) if carry and user.op == "call_function" else None


Carry = Callable[[Graph, fx.Node, fx.Node, Place], Place | None]


def _same(_: Graph, user: fx.Node, source: fx.Node, place: Place) -> Place | None:
    return place if user.args[0] is source else None


def _window(_: Graph, user: fx.Node, __: fx.Node, place: Place) -> Place | None:
    spatial = user.meta["val"].dim() - (2 if user.target in _OVER_TWO else 1)
    return place if place.axis < spatial else None


def _clamp(_: Graph, user: fx.Node, __: fx.Node, place: Place) -> Place | None:
    return place if edit.arguments(user)["min"] == 0 else None


def _multiply(_: Graph, user: fx.Node, source: fx.Node, place: Place) -> Place | None:
    here, there = source.meta["val"].shape, user.meta["val"].shape
    alone = user.args.count(source) == 1
    return place if alone and len(here) == len(there) and here[place.axis] == there[place.axis] else None


def _mean(_: Graph, user: fx.Node, source: fx.Node, place: Place) -> Place | None:
    rank, parts = source.meta["val"].dim(), edit.arguments(user)
    dims = {d % rank for d in parts["dim"] or range(rank)}
    gone = 0 if parts["keepdim"] else sum(d < place.axis for d in dims)
    return None if place.axis in dims else Place(place.axis - gone, place.repeats)


def _flatten(graph: Graph, user: fx.Node, source: fx.Node, place: Place) -> Place | None:
    shape, parts = source.meta["val"].shape, edit.arguments(user)
    first, last = parts["start_dim"] % len(shape), parts["end_dim"] % len(shape)
    if not first <= place.axis <= last:
        return Place(place.axis - max(0, last - first) * (place.axis > last), place.repeats)
    inner = [known_size(size) for size in shape[place.axis + 1 : last + 1]]
    if first != place.axis or None in inner:
        return None
    return Place(first, place.repeats * math.prod(graph.shape(source)[place.axis + 1 : last + 1]))


def _transpose(_: Graph, user: fx.Node, source: fx.Node, place: Place) -> Place | None:
    rank, parts = source.meta["val"].dim(), edit.arguments(user)
    swapped = {parts["dim0"] % rank: parts["dim1"] % rank, parts["dim1"] % rank: parts["dim0"] % rank}
    return Place(swapped.get(place.axis, place.axis), place.repeats)


def _permute(_: Graph, user: fx.Node, source: fx.Node, place: Place) -> Place | None:
    rank = source.meta["val"].dim()
    return Place([d % rank for d in edit.arguments(user)["dims"]].index(place.axis), place.repeats)


def _pad(_: Graph, user: fx.Node, source: fx.Node, place: Place) -> Place | None:
    parts, rank = edit.arguments(user), source.meta["val"].dim()
    zeros = not parts["value"] and parts.get("mode", "constant") == "constant"
    return place if zeros and rank - len(parts["pad"]) // 2 > place.axis else None


_OVER_TWO = (aten.max_pool2d.default, aten.avg_pool2d.default)
_CARRY: dict[Any, Carry] = {
    **dict.fromkeys((aten.relu.default, aten.leaky_relu.default, aten.detach.default, aten.alias.default), _same),
    **dict.fromkeys((aten.dropout.default, aten.feature_dropout.default), _same),
    **dict.fromkeys((*_OVER_TWO, aten.max_pool1d.default, aten.avg_pool1d.default), _window),
    aten.prelu.default: _same,
    aten.clamp.default: _clamp,
    aten.mul.Tensor: _multiply,
    aten.mean.dim: _mean,
    aten.flatten.using_ints: _flatten,
    aten.transpose.int: _transpose,
    aten.permute.default: _permute,
    aten.constant_pad_nd.default: _pad,
    aten.pad.default: _pad,
}
