"""Preprocessing of bytes as a table: what floats do to a uint8 input before it is quantised has 256 results a channel.

The float calls are run once, here, on every byte; the plan looks the answer up, and so gives the very bytes that torch
gives.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx

from edgekit.export.native.specialise import Fixed
from edgekit.graph import edit

aten, s8 = torch.ops.aten, torch.ops.edgekit
QUANTIZE = s8.quantize_s8.default
POINTWISE = (
    aten.to.dtype, aten._to_copy.default, aten.to.dtype_layout, aten.sub.Tensor, aten.sub.Scalar, aten.add.Tensor,
    aten.add.Scalar, aten.mul.Tensor, aten.mul.Scalar, aten.div.Tensor, aten.div.Scalar, aten.neg.default,
    aten.clamp.default, aten.relu.default, aten.sqrt.default, aten.log.default, aten.log1p.default,
    aten.pow.Tensor_Scalar,
)  # fmt: skip


@dataclass(frozen=True)
class ByteFront:
    """A quantised input of bytes.

    Attributes:
        image: the uint8 input.
        calls: from it to the quantise call, that one last.
        axis: the dimension along which constants differ; None where they do not.
    """

    image: fx.Node
    calls: tuple[fx.Node, ...]
    axis: int | None


def find(fixed: Fixed) -> dict[fx.Node, ByteFront]:
    """By quantise call, the fronts that are functions of single bytes."""
    found = {node: _front(fixed, node) for node in fixed.nodes if node.target is QUANTIZE}
    return {node: front for node, front in found.items() if front is not None}


def _front(fixed: Fixed, node: fx.Node) -> ByteFront | None:
    behind, waiting = set[fx.Node](), [node]
    while waiting:
        here = waiting.pop()
        if here not in behind and not fixed.is_constant(here):
            behind.add(here)
            waiting += here.all_input_nodes
    images = [n for n in behind if n.op == "placeholder"]
    calls = tuple(n for n in fixed.nodes if n in behind)
    if len(images) != 1 or fixed.values[images[0]].dtype is not torch.uint8:
        return None
    pointwise = all(n.target in POINTWISE and fixed.sizes(n) == fixed.sizes(images[0]) for n in calls[:-1])
    if not pointwise or any(user not in behind and user.target is not QUANTIZE for n in calls[:-1] for user in n.users):
        return None
    axes = {axis for call in calls[:-1] for axis in _axes(fixed, call)}
    return ByteFront(images[0], calls, next(iter(axes), None)) if len(axes) < 2 else None


def _axes(fixed: Fixed, call: fx.Node) -> set[int]:
    """Dimensions along which a constant operand may differ."""
    rank = len(fixed.sizes(call))
    constants = [fixed.values[n] for n in call.all_input_nodes if fixed.is_constant(n)]
    shapes = [value.shape for value in constants if isinstance(value, Tensor)]
    return {rank - len(shape) + d for shape in shapes for d, size in enumerate(shape) if size != 1}


def table(fixed: Fixed, front: ByteFront) -> Tensor:
    """int8 [256], or [channels, 256]: entry 0 answers the byte 128, which is -128 as int8."""
    sizes = [1] * len(fixed.sizes(front.image))
    if front.axis is not None:
        sizes[front.axis] = fixed.sizes(front.image)[front.axis]
    every = ((torch.arange(256) + 128) % 256).to(torch.uint8)
    values: Mapping[fx.Node, Any] = {front.image: every.reshape(256, *[1] * len(sizes)).expand(256, *sizes)}
    for call in front.calls:
        args, kwargs = fx.map_arg((call.args, call.kwargs), lambda n: values.get(n, fixed.values[n]))  # noqa: B023
        values = {**values, call: edit.overload(call)(*args, **kwargs)}
    result: Tensor = values[front.calls[-1]].reshape(256, math.prod(sizes)).t().contiguous()
    return result if front.axis is not None else result[0]
