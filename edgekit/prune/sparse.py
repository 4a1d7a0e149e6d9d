"""Penalties that make whole channels small while a net trains, so that cutting them costs little."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from edgekit.errors import UsageError
from edgekit.graph import Graph, edit
from edgekit.options import SparsityConfig
from edgekit.prune.groups import Group, couple

EPSILON = 1e-12  # under the root, whose gradient at 0 would be infinite


def penalty(graph: Graph, config: SparsityConfig) -> Callable[[Graph], Tensor]:
    """A function of a graph with the tensors of ``graph``: what is added to its loss.

    ``group_lasso`` is the sum, over all channels that may be cut, of the norm of all their weights together (Wen et al.
    2016, arXiv:1608.03665, on the groups of DepGraph); ``batch_norm`` the sum of the magnitudes of the scales that
    batch norm gives them (Liu et al. 2017, arXiv:1708.06519).

    Raises:
        UsageError: nothing in the graph can be made sparse so.
    """
    groups = [group for group in couple(graph.copy()).groups if not group.frozen]
    terms = _lasso(graph, groups) if config.kind == "group_lasso" else _scales(graph, groups)
    if not terms:
        raise UsageError(f"sparsity {config.kind!r} finds nothing to make sparse.", fix="Leave `sparsity` out.")

    def value(now: Graph) -> Tensor:
        parameters = dict(now.named_parameters())
        return config.weight * torch.stack([term(parameters) for term in terms]).sum()

    return value


Term = Callable[[Mapping[str, Tensor]], Tensor]


def _lasso(graph: Graph, groups: Sequence[Group]) -> list[Term]:
    weights = {name for name, parameter in graph.named_parameters() if parameter.dim() > 1}
    found: list[Term] = []
    for group in groups:
        columns = [i for i, (path, _) in enumerate(group.places) if path in weights]
        indices = [torch.from_numpy(group.indices[i]) for i in columns]
        places = [group.places[i] for i in columns]
        if places:
            found.append(lambda now, places=places, indices=indices: _norms(now, places, indices))  # type: ignore[misc]
    return found


def _norms(now: Mapping[str, Tensor], places: Sequence[tuple[str, int]], indices: Sequence[Tensor]) -> Tensor:
    squares = [
        now[path].movedim(dim, 0)[index.to(now[path].device).flatten()].square().reshape(len(index), -1).sum(1)
        for (path, dim), index in zip(places, indices, strict=True)
    ]
    return (torch.stack(squares).sum(0) + EPSILON).sqrt().sum()


def _scales(graph: Graph, groups: Sequence[Group]) -> list[Term]:
    norms = [edit.arguments(n)["weight"] for n in edit.calls(graph.module) if "batch_norm" in edit.operator_name(n)]
    paths = {str(n.target) for n in norms if n is not None}
    mine = sorted({path for group in groups for path, _ in group.places if path in paths})
    return [lambda now, path=path: now[path].abs().sum() for path in mine]  # type: ignore[misc]
