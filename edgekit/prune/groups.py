"""Which channels must go together: operators tie the indices of every dimension to one another.

A choice of :mod:`edgekit.prune.atoms` that runs through some parameter is a *channel*: it is cut everywhere or
nowhere. What must stay (model inputs and outputs, operators that pruning does not know) freezes its channel, with the
reason. The picture is that of DepGraph (Fang et al. 2023), worked out on indices instead of layers, so that reshapes,
heads, grouped convolutions, shuffles and shared weights need no special case downstream.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from torch import Tensor, fx

from edgekit.graph import Graph, edit, front
from edgekit.prune import rules
from edgekit.prune.analysis import Analysis
from edgekit.prune.atoms import Indices
from edgekit.prune.rules import sources


class Member(NamedTuple):
    """Indices of one dimension of one parameter or buffer that belong to a channel."""

    path: str
    dim: int
    indices: tuple[int, ...]


@dataclass(frozen=True)
class Channel:
    """Indices that are cut together, or kept: ``frozen`` says why they cannot be cut."""

    choice: int
    members: tuple[Member, ...]
    frozen: str = ""


@dataclass(frozen=True)
class Group:
    """Channels that run through the same dimensions of the same tensors, such as those of one residual stage.

    Attributes:
        channels: in the order of the first tensor's indices.
        factor: where a dimension is seen as several, such as heads times the width of a head, which of them these
            channels are, from the outermost; -1 where it is not.
        rivals: groups of the same dimension's other factors, by their place among all groups.
    """

    channels: tuple[Channel, ...]
    factor: int = -1
    rivals: frozenset[int] = frozenset()

    @property
    def name(self) -> str:
        """The first tensor whose first dimension produces these channels."""
        return min(self.places, key=lambda place: place[1])[0]

    @property
    def places(self) -> tuple[tuple[str, int], ...]:
        """Every (tensor, dimension) that the channels run through."""
        return tuple((member.path, member.dim) for member in self.channels[0].members)

    @property
    def frozen(self) -> str:
        """Why some of the channels cannot be cut; empty if all of them can."""
        return next((channel.frozen for channel in self.channels if channel.frozen), "")

    def __str__(self) -> str:
        frozen = sum(bool(channel.frozen) for channel in self.channels)
        head = f"{self.name}: {len(self.channels)} channels" + (f", {frozen} fixed" if frozen else "")
        return "\n".join([head, *(f"  {path} dim {dim}" for path, dim in self.places)])


@dataclass(frozen=True)
class Coupling:
    """The result of the analysis.

    Attributes:
        groups: all channels that run through some parameter.
        state: the analysis, with what follows from a cut.
    """

    groups: tuple[Group, ...]
    state: Analysis

    @property
    def refusals(self) -> tuple[tuple[str, str], ...]:
        """(node, reason) for every operator that made its inputs unprunable."""
        return tuple(self.state.refusals)

    @cached_property
    def readers(self) -> dict[str, tuple[str, ...]]:
        """For each stored tensor, the operators that read it."""
        found: dict[str, set[str]] = {}
        for node in self.state.graph.nodes:
            if node.op == "get_attr":
                found.setdefault(str(node.target), set()).update(map(edit.operator_name, node.users))
        return {path: tuple(sorted(names)) for path, names in found.items()}

    @cached_property
    def together(self) -> tuple[Indices, ...]:
        """Dimensions of values, each of which keeps at least one index."""
        dims = [*self.state.dims.values(), *(d for results in self.state.results.values() for d in results)]
        return tuple({id(dim): dim for one in dims for dim in one if isinstance(dim, np.ndarray)}.values())


def couple(graph: Graph, exclude: Iterable[fx.Node] = ()) -> Coupling:
    """Find the channels of a graph.

    Args:
        graph: canonical graph with fresh shapes.
        exclude: nodes whose output channels the user wants kept.
    """
    state, excluded, fixed = Analysis(graph), set(exclude), _front(graph)
    for node in graph.nodes:
        if node.op == "get_attr":
            state.dims[node] = () if node.users and fixed.issuperset(node.users) else state.read(node)
        elif node.op == "placeholder" or node in fixed:
            state.dims[node] = (None,) * len(state.sizes(node)) if isinstance(node.meta["val"], Tensor) else ()
        elif node.op == "call_function":
            rules.propagate(state, node)
            if node in excluded:
                state.freeze(state.dims[node], "excluded by the user")
    for name, node in zip(graph.output_names, graph.output_nodes(), strict=True):
        state.freeze(state.dims[node], f"model output {name}")
    return Coupling(_groups(state), state)


def _front(graph: Graph) -> set[fx.Node]:
    """The calls of the front that compute with the values of an input: what ships with the model stays whole.

    What is learned, such as an embedding, is not of them, nor what only has the size of an input, such as zeros.
    """
    found: set[fx.Node] = set()
    for node in front.front_calls(graph):
        if node.target is not front.EMBEDDING and node.target not in sources.RULES:
            values = [n for n in node.all_input_nodes if isinstance(n.meta.get("val"), Tensor)]
            if any(n.op == "placeholder" or n in found for n in values):
                found.add(node)
    return found


def _groups(state: Analysis) -> tuple[Group, ...]:
    """Collect channels by choice, and channels with the same places into groups, in the order of the graph."""
    members: dict[int, list[Member]] = {}
    layouts: dict[int, _Layout] = {}
    for path, slots in state.stored.items():
        for dim, slot in enumerate(slots):
            if slot.atoms is None:
                continue
            if id(slot.atoms) not in layouts:  # dimensions that met share one array
                layouts[id(slot.atoms)] = _Layout.of(state, slot.atoms)
            for choice, indices in layouts[id(slot.atoms)].indices.items():
                members.setdefault(choice, []).append(Member(path, dim, indices))
    factors: dict[int, int] = {}
    rivals: dict[int, set[int]] = {}
    for layout in layouts.values():
        for choice, (place, others) in layout.rivals.items():
            factors.setdefault(choice, place)
            rivals.setdefault(choice, set()).update(others)
    found: dict[tuple[object, ...], list[Channel]] = {}
    for choice, own in members.items():
        key = (*((m.path, m.dim, len(m.indices)) for m in own), factors.get(choice, -1))
        found.setdefault(key, []).append(Channel(choice, tuple(own), state.atoms.reason(choice)))
    return _with_rivals(list(found.values()), factors, rivals)


@dataclass(frozen=True)
class _Layout:
    """Where the choices of one dimension lie in it.

    Attributes:
        indices: of each choice.
        rivals: of each choice that shares an index with others, its place among them, and those others.
    """

    indices: dict[int, tuple[int, ...]]
    rivals: dict[int, tuple[int, set[int]]]

    @classmethod
    def of(cls, state: Analysis, atoms: Indices) -> _Layout:
        found: dict[int, list[int]] = {}
        rivals: dict[int, tuple[int, set[int]]] = {}
        for index, atom in enumerate(atoms.tolist()):
            choices = state.atoms.choices(atom)
            for place, choice in enumerate(choices):
                found.setdefault(choice, []).append(index)
                if len(choices) > 1:
                    rivals.setdefault(choice, (place, set()))[1].update(choices)
        return cls({choice: tuple(indices) for choice, indices in found.items()}, rivals)


def _with_rivals(found: list[list[Channel]], factors: dict[int, int], rivals: dict[int, set[int]]) -> tuple[Group, ...]:
    of = {channel.choice: i for i, channels in enumerate(found) for channel in channels}
    return tuple(
        Group(
            tuple(channels),
            factors.get(channels[0].choice, -1),
            frozenset(of[r] for channel in channels for r in rivals.get(channel.choice, ()) if of[r] != i),
        )
        for i, channels in enumerate(found)
    )
