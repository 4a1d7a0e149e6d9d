"""Cutting: parameters and buffers lose the indices of the channels that go, integers in the graph that count them follow."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from edgekit.graph import Graph, edit
from edgekit.prune.groups import Channel, Coupling


def cut(graph: Graph, coupling: Coupling, channels: Iterable[Channel]) -> None:
    """Remove ``channels`` from ``graph`` in place and refresh it. ``coupling`` must come from this very graph."""
    gone: dict[tuple[str, int], set[int]] = {}
    for channel in channels:
        for member in channel.members:
            gone.setdefault((member.path, member.dim), set()).update(member.indices)
    for (path, dim), indices in gone.items():
        edit.set_tensor(graph.module, path, _without(edit.get_by_path(graph.module, path), dim, indices))
    for node, argument, (path, dim) in coupling.sizes:
        edit.set_argument(node, argument, edit.get_by_path(graph.module, path).shape[dim])
    graph.refresh()


def _without(tensor: Tensor, dim: int, indices: set[int]) -> Tensor:
    keep = torch.tensor([i for i in range(tensor.shape[dim]) if i not in indices])
    smaller = tensor.detach().index_select(dim, keep)
    return nn.Parameter(smaller, requires_grad=tensor.requires_grad) if isinstance(tensor, nn.Parameter) else smaller
