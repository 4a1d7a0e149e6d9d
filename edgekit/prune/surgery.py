"""Cutting: parameters and buffers lose the indices of the channels that go, integers that count them follow."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from edgekit.graph import Graph, edit
from edgekit.prune.groups import Channel, Coupling


def cut(graph: Graph, coupling: Coupling, channels: Iterable[Channel]) -> None:
    """Remove ``channels`` from ``graph`` in place and refresh it. ``coupling`` must come from this very graph."""
    gone: dict[str, dict[int, set[int]]] = {}
    for channel in channels:
        for member in channel.members:
            gone.setdefault(member.path, {}).setdefault(member.dim, set()).update(member.indices)
    for path, dims in gone.items():
        old = edit.get_by_path(graph.module, path)
        new = _without(old, dims)
        for name in _names(graph, old):
            edit.set_tensor(graph.module, name, new)
    for size in coupling.sizes:
        length = edit.get_by_path(graph.module, size.path).shape[size.dim]
        edit.set_argument(size.node, size.argument, length // size.per)
    graph.refresh()


def _names(graph: Graph, tensor: Tensor) -> list[str]:
    """Every path of a stored tensor: tied weights have several."""
    paths = {str(node.target) for node in graph.nodes if node.op == "get_attr"}
    return sorted(path for path in paths if edit.get_attribute(graph.module, path) is tensor)


def _without(tensor: Tensor, dims: dict[int, set[int]]) -> Tensor:
    smaller = tensor.detach()
    for dim, indices in dims.items():
        keep = [i for i in range(tensor.shape[dim]) if i not in indices]
        smaller = smaller.index_select(dim, torch.tensor(keep, device=tensor.device))
    return nn.Parameter(smaller, requires_grad=tensor.requires_grad) if isinstance(tensor, nn.Parameter) else smaller
