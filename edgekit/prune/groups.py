"""Which channels must go together: every index of every dimension is an atom, and operators tie atoms to one another.

A class of tied atoms is a *channel*: it is cut everywhere or nowhere. Atoms that must stay (model inputs and outputs,
operators that pruning does not know) freeze their channel, with the reason. The picture is that of DepGraph (Fang et
al. 2023), worked out on indices instead of layers, so that flatten, depthwise convolution and shared weights need no
special case downstream.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from torch import fx

from edgekit.graph import Graph, front
from edgekit.prune import ties
from edgekit.prune.ties import Analysis, Size


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
    """Channels that run through the same dimensions of the same tensors, such as those of one residual stage."""

    channels: tuple[Channel, ...]

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
        sizes: integers in the graph that follow from the length of a tensor's dimension.
        refusals: (node, reason) for every operator that made its inputs unprunable.
    """

    groups: tuple[Group, ...]
    sizes: tuple[Size, ...]
    refusals: tuple[tuple[str, str], ...]


def couple(graph: Graph, exclude: Iterable[fx.Node] = ()) -> Coupling:
    """Find the channels of a graph.

    Args:
        graph: canonical graph with fresh shapes.
        exclude: nodes whose output channels the user wants kept.
    """
    state, excluded, fixed = Analysis(graph), set(exclude), set(front.front_calls(graph))
    for node in graph.nodes:
        if node.op == "get_attr":
            state.dims[node] = () if fixed.issuperset(node.users) else state.stored(node)
        elif node.op == "placeholder" or node in fixed:
            state.dims[node] = (None,) * len(graph.shape(node))
        elif node.op == "call_function":
            state.dims[node] = ties.propagate(state, node)
            if node in excluded:
                state.freeze(state.dims[node], "excluded by the user")
    for name, node in zip(graph.output_names, graph.output_nodes(), strict=True):
        state.freeze(state.dims[node], f"model output {name}")
    return Coupling(_groups(state), tuple(state.sizes), tuple(state.refusals))


def _groups(state: Analysis) -> tuple[Group, ...]:
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
