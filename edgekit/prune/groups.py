"""Which channels must go together: operators tie the indices of every dimension to one another.

A choice of :mod:`edgekit.prune.atoms` that runs through some parameter is a *channel*: it is cut everywhere or
nowhere. What must stay (model inputs and outputs, operators that pruning does not know) freezes its channel, with the
reason. The picture is that of DepGraph (Fang et al. 2023), worked out on indices instead of layers, so that reshapes,
heads, grouped convolutions, shuffles and shared weights need no special case downstream.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from torch import Tensor, fx

from edgekit.graph import Graph, edit, front
from edgekit.prune import residual, rules
from edgekit.prune.analysis import Analysis
from edgekit.prune.atoms import Indices
from edgekit.prune.rules import sources

Place = tuple[str, int]  # path and dimension of a stored tensor


@dataclass(frozen=True, eq=False)
class Group:
    """Channels that run through the same dimensions of the same tensors, such as those of one residual stage.

    Attributes:
        choices: of each channel the one that it stands for, in the order of the first tensor's indices.
        places: every dimension of a parameter or buffer that the channels run through.
        indices: for each place, which indices there are a channel's, [channels, each].
        fixed: of each channel why it cannot be cut; empty where it can.
        factor: where a dimension is seen as several, such as heads times the width of a head, which of them these
            channels are, from the outermost; -1 where it is not.
        rivals: groups of the same dimension's other factors, by their place among all groups.
    """

    choices: tuple[int, ...]
    places: tuple[Place, ...]
    indices: tuple[Indices, ...]
    fixed: tuple[str, ...]
    factor: int = -1
    rivals: frozenset[int] = frozenset()

    def __len__(self) -> int:
        """How many channels there are."""
        return len(self.choices)

    @property
    def name(self) -> str:
        """The first tensor whose first dimension produces these channels."""
        return min(self.places, key=lambda place: place[1])[0]

    @property
    def frozen(self) -> str:
        """Why some of the channels cannot be cut; empty if all of them can."""
        return next(filter(None, self.fixed), "")

    def __str__(self) -> str:
        fixed = sum(map(bool, self.fixed))
        head = f"{self.name}: {len(self)} channels" + (f", {fixed} fixed" if fixed else "")
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


def couple(graph: Graph, exclude: Iterable[fx.Node] = (), *, keep_residual: bool = False) -> Coupling:
    """Find the channels of a graph.

    Args:
        graph: canonical graph with fresh shapes.
        exclude: nodes whose output channels the user wants kept.
        keep_residual: keep the channels that additions of two results make one.
    """
    state, excluded, fixed = Analysis(graph), set(exclude), _front(graph)
    computed = residual.computed(graph) if keep_residual else set[fx.Node]()
    for node in graph.nodes:
        if node.op == "get_attr":
            state.dims[node] = () if node.users and fixed.issuperset(node.users) else state.read(node)
        elif node.op == "placeholder" or node in fixed:
            state.dims[node] = (None,) * len(state.sizes(node)) if isinstance(node.meta["val"], Tensor) else ()
        elif node.op == "call_function":
            joined = residual.joined(state, node, computed)
            rules.propagate(state, node)
            state.freeze(joined, f"{node.name} adds results of such channels")
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


Runs = tuple[tuple[int, int], ...]  # the layouts that a choice runs through, and how many indices it has there


def _groups(state: Analysis) -> tuple[Group, ...]:
    """Channels with the same places make a group, in the order of the graph."""
    layouts = _layouts(state)
    factors = {choice: place for layout in reversed(layouts) for choice, (place, _) in layout.rivals.items()}
    alike: dict[tuple[Runs, int], list[int]] = {}
    for choice, runs in _runs(layouts).items():
        alike.setdefault((runs, factors.get(choice, -1)), []).append(choice)
    of = {choice: i for i, choices in enumerate(alike.values()) for choice in choices}
    found = []
    for i, ((runs, factor), choices) in enumerate(alike.items()):
        own = [layouts[key] for key, _ in runs]
        rivals = {of[rival] for layout in own for choice in choices for rival in layout.rivals.get(choice, (0, ()))[1]}
        places, indices = _columns(own, choices)
        reasons = tuple(map(state.atoms.reason, choices))
        found.append(Group(tuple(choices), places, indices, reasons, factor, frozenset(rivals - {i})))
    return tuple(found)


def _layouts(state: Analysis) -> list[_Layout]:
    """One for every array of atoms: dimensions that met share it."""
    found: dict[int, _Layout] = {}
    stored = ((path, dim, slot.atoms) for path, slots in state.stored.items() for dim, slot in enumerate(slots))
    for order, (path, dim, atoms) in enumerate(stored):
        if atoms is not None:
            if id(atoms) not in found:
                found[id(atoms)] = _Layout.of(state, atoms)
            found[id(atoms)].places.append((order, (path, dim)))
    return list(found.values())


def _runs(layouts: Sequence[_Layout]) -> dict[int, Runs]:
    found: dict[int, list[tuple[int, int]]] = {}
    for key, layout in enumerate(layouts):
        for choice, indices in layout.indices.items():
            found.setdefault(choice, []).append((key, len(indices)))
    return {choice: tuple(runs) for choice, runs in found.items()}


def _columns(layouts: Sequence[_Layout], choices: Sequence[int]) -> tuple[tuple[Place, ...], tuple[Indices, ...]]:
    """Places and the indices of the choices there, in the order of the graph."""
    columns = [layout.column(choices) for layout in layouts]
    at = {numbered: column for layout, column in zip(layouts, columns, strict=True) for numbered in layout.places}
    return tuple(place for _, place in sorted(at)), tuple(at[numbered] for numbered in sorted(at))


@dataclass(frozen=True)
class _Layout:
    """Where the choices of one dimension lie in it.

    Attributes:
        indices: of each choice.
        rivals: of each choice that shares an index with others, its place among them, and those others.
        places: dimensions that are laid out so, each behind its number in the order of the graph.
    """

    indices: dict[int, list[int]]
    rivals: dict[int, tuple[int, set[int]]]
    places: list[tuple[int, Place]] = field(default_factory=list)

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
        return cls(found, rivals)

    def column(self, choices: Iterable[int]) -> Indices:
        """Indices [choices, each]; every one of them has as many."""
        return np.array([self.indices[choice] for choice in choices], np.int64)
