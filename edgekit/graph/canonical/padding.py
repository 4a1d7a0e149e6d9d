"""Padding of convolutions in numbers, not by name."""

from __future__ import annotations

from typing import Any

import torch
from torch import fx

from edgekit.graph import edit
from edgekit.graph.canonical.rule import Rule, always, become, calls_of
from edgekit.graph.graph import Graph

aten = torch.ops.aten
_NUMBERED: dict[Any, Any] = {
    aten.conv1d.padding: aten.conv1d.default,
    aten.conv2d.padding: aten.conv2d.default,
    aten.conv3d.padding: aten.conv3d.default,
}


def _one_sided(node: fx.Node) -> str:
    odd = all(total % 2 == 0 for total in _totals(node))
    return "" if odd or edit.arguments(node)["padding"] == "valid" else "an even kernel pads one side more"


def _totals(node: fx.Node) -> list[int]:
    """Padding of both sides together, for each dimension, that keeps the size."""
    parts = edit.arguments(node)
    kernel = parts["weight"].meta["val"].shape[2:]
    return [(k - 1) * d for k, d in zip(kernel, _spread(parts["dilation"], len(kernel)), strict=True)]


def _spread(values: list[int], rank: int) -> list[int]:
    """One number for each dimension, where one may have been given for all."""
    return list(values) * rank if len(values) == 1 else list(values)


def _to_numbers(_: Graph, node: fx.Node) -> None:
    parts, totals = edit.arguments(node), _totals(node)
    padding = [0 if parts["padding"] == "valid" else total // 2 for total in totals]
    operands = (parts["input"], parts["weight"], parts["bias"])
    become(node, _NUMBERED[node.target], *operands, parts["stride"], padding, parts["dilation"], parts["groups"])


def _pad_first(_: Graph, node: fx.Node) -> None:
    parts, totals = edit.arguments(node), _totals(node)
    sides = [side for total in reversed(totals) for side in (total // 2, total - total // 2)]
    padded = edit.call_before(node, aten.constant_pad_nd.default, (parts["input"], sides))
    operands, none = (padded, parts["weight"], parts["bias"]), [0] * len(totals)
    become(node, _NUMBERED[node.target], *operands, parts["stride"], none, parts["dilation"], parts["groups"])


ONE_SIDED = Rule("named padding that differs by side", calls_of(*_NUMBERED), always, _pad_first)  # not for training
RULES = (Rule("named padding", calls_of(*_NUMBERED), _one_sided, _to_numbers),)
