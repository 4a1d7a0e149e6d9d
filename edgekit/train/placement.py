"""Where a graph trains: which device, how it gets there, and how it comes back."""

from __future__ import annotations

import os
from typing import Any

import torch
from torch import fx

from edgekit.errors import UnsupportedError
from edgekit.graph import Graph

CPU = torch.device("cpu")


def choose(wanted: str) -> torch.device:
    """The device for ``auto``, ``cpu`` or ``cuda``; under ``torchrun`` every process takes a GPU of its own.

    Raises:
        UnsupportedError: ``cuda`` on a machine without one.
    """
    found = torch.cuda.is_available()
    if wanted == "cuda" and not found:
        raise UnsupportedError(
            "torch sees no CUDA device.", fix="Set `device: auto` or `device: cpu`, or see `edgekit doctor`."
        )
    if wanted == "cpu" or not found:
        return CPU
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", torch.cuda.current_device())))


def move(graph: Graph, place: torch.device) -> Graph:
    """Move every stored tensor, and every call that names a device, to ``place``; returns the graph itself."""
    graph.module.to(place)  # constants as well: a GraphModule keeps them as buffers
    for part in graph.module.modules():
        if isinstance(part, fx.GraphModule):
            _move_calls(part, place)
    return graph


def _move_calls(module: fx.GraphModule, place: torch.device) -> None:
    for node in module.graph.nodes:
        node.args = fx.node.map_aggregate(node.args, lambda value: _there(value, place))
        node.kwargs = fx.node.map_aggregate(node.kwargs, lambda value: _there(value, place))
    module.recompile()


def _there(value: Any, place: torch.device) -> Any:
    return place if isinstance(value, torch.device) else value
