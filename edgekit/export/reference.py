"""What TensorRT computes from a placed graph, in exact integers: the reference for its files without a TensorRT.

TensorRT keeps a convolution's result unrounded until the addition fused behind it. So sums of products are exact
integers, scaled once in float64; whatever stands between them and the next quantisation works on float64 values.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx

from edgekit.graph import Graph, patterns
from edgekit.ops import numerics

own = torch.ops.edgekit
DEQUANTIZE = own.dequantize.default
_SINGLE = (own.gru.default, own.lstm.default)  # they round inside, as the file does step by step in float32


@dataclass(frozen=True)
class Quantized:
    """Integers q and the float64 scale (a scalar, or one for each index of the axis) that makes them real."""

    q: Tensor
    scale: Tensor
    axis: int | None = None

    def real(self) -> Tensor:
        """The real values in float64."""
        return self.q.double() * numerics.along(self.scale, self.axis, self.q.dim())


class TensorRTReference(fx.Interpreter):
    """Runs a graph placed for TensorRT; outputs are float64."""

    def __init__(self, graph: Graph) -> None:
        super().__init__(graph.module)

    def call_function(self, target: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        """One call, on integers where it has them."""
        if target is DEQUANTIZE:
            return Quantized(args[0], args[1].double(), args[2] if len(args) > 2 else None)
        if target is patterns.FAKE_QUANTIZE:
            return _quantize(_real(args[0]), *args[1:], **kwargs)
        if target in patterns.WEIGHTED and all(isinstance(value, Quantized) for value in args[:2]):
            return _accumulate(target, *args)
        if target in _SINGLE:
            return fx.node.map_aggregate(super().call_function(target, fx.node.map_aggregate(args, _single), {}), _real)
        return super().call_function(target, fx.node.map_aggregate(args, _real), dict(kwargs))

    def output(self, target: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:  # noqa: ARG002
        """The outputs as float64 tensors."""
        result = args[0]
        return tuple(_real(r) for r in result) if isinstance(result, (tuple, list)) else _real(result)


def _quantize(
    values: Tensor, scale: Tensor, axis: int | None = None, lo: int = numerics.S8_MIN, hi: int = numerics.S8_MAX
) -> Quantized:
    assert axis is None, "an activation has one scale"
    steps = (values / scale.double()).clamp(lo, hi)
    return Quantized(steps.round(), scale.double())


def _accumulate(target: Any, x: Quantized, weight: Quantized, bias: Tensor | None = None, *geometry: Any) -> Tensor:
    """The exact accumulator times both scales, plus the bias: what the layer hands on before any rounding."""
    sums: Tensor = target(x.q.double(), weight.q.double(), None, *geometry)
    axis = -1 if target is torch.ops.aten.linear.default else 1
    scale = weight.scale.repeat(sums.shape[axis] // len(weight.scale))  # groups of a transposed one share theirs
    result = sums * numerics.along(x.scale * scale, axis, sums.dim())
    return result if bias is None else result + numerics.along(_real(bias), axis, sums.dim())


def _single(value: Any) -> Any:
    real = _real(value)
    return real.float() if isinstance(real, Tensor) and real.is_floating_point() else real


def _real(value: Any) -> Any:
    if isinstance(value, Quantized):
        return value.real()
    return value.double() if isinstance(value, Tensor) and value.is_floating_point() else value
