"""Layers with weights, and products of two activations."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, fx

from edgekit.errors import NumericsError
from edgekit.fuse.rules import volumes
from edgekit.fuse.rules.rule import Rule
from edgekit.fuse.work import Work
from edgekit.graph import Graph, edit, kinds, patterns
from edgekit.graph.patterns import Cell
from edgekit.ops import numerics

aten, s8 = torch.ops.aten, torch.ops.edgekit
_LINES = (aten.conv1d.default, aten.conv_transpose1d.default)


@dataclass(frozen=True)
class IntegerLayer:
    """A layer in integers: int8 weight, int32 bias [C], float32 weight scale (along its axis), and input scale."""

    weight: Tensor
    bias: Tensor
    weight_scale: Tensor
    input_scale: Tensor

    @property
    def channel_scale(self) -> Tensor:
        """float32 [C]: the weight scale of every output channel; groups of a transposed convolution share theirs."""
        return self.weight_scale.repeat(len(self.bias) // len(self.weight_scale))


def integer_layer(graph: Graph, cell: Cell) -> IntegerLayer:
    """Weight and bias of a weighted cell as its integer operator has them; export writes the same numbers."""
    parts = edit.arguments(cell.body)
    source = patterns.scale_node(patterns.bytes_of(edit.input_node(cell.body)))
    input_scale = edit.get_tensor(graph.module, source).detach()
    groups = parts["groups"] if cell.body.target in patterns.TRANSPOSED else 1
    return integer_weight(graph, parts["weight"], parts["bias"], input_scale, groups)


def integer_weight(
    graph: Graph, weight: fx.Node, bias: fx.Node | None, input_scale: Tensor, groups: int = 1
) -> IntegerLayer:
    """The integers of a fake-quantised weight and its bias; ``groups`` is how many share the scales of channels."""
    fake = edit.arguments(weight)
    real, weight_scale = (edit.get_tensor(graph.module, fake[name]).detach() for name in ("x", "scale"))
    q = numerics.quantize(real, weight_scale, fake["axis"], fake["lo"], fake["hi"])
    layer = IntegerLayer(q, torch.zeros(groups * len(weight_scale), dtype=torch.int32), weight_scale, input_scale)
    if bias is None:
        return layer
    offset = edit.get_tensor(graph.module, bias).detach()
    _check_sums(q.movedim(fake["axis"], 0), offset, input_scale * layer.channel_scale)
    return IntegerLayer(q, numerics.quantize_bias(offset, input_scale, layer.channel_scale), weight_scale, input_scale)


def _check_sums(q: Tensor, bias: Tensor, step: Tensor) -> None:
    """A bias that was trained after its scale was chosen may have outgrown int32; every input must leave it room."""
    numerics.check_scale(step, "the scale of the bias")
    products = (-numerics.S8_MIN * q.double().abs().flatten(1).sum(1)).repeat(len(bias) // len(q))
    largest = (bias.double() / step.double()).abs().round() + products
    if not bool((largest < 2.0**31).all()):
        raise NumericsError(
            "the bias does not fit int32 beside the sum of products.",
            "It changed since the scales were chosen.",
            "Quantise the model again.",
        )


def _weighted(work: Work, cell: Cell) -> fx.Node:
    layer, body = integer_layer(work.source, cell), cell.body
    multiplier = numerics.multiplier(layer.input_scale, layer.channel_scale, work.scale(cell.end))
    weight = layer.weight
    if body.target in _LINES:
        weight = weight.unsqueeze(2)
    elif body.target is aten.conv3d.default:
        weight = weight.flatten(1, 2)
    named = {"weight": weight, "bias": layer.bias, "multiplier": multiplier}
    stored = tuple(work.stored(f"{body.name}.{name}", value) for name, value in named.items())
    if body.target is aten.conv3d.default:
        return volumes.convolution(work, cell, stored, layer.weight)
    x = work.value(edit.input_node(body))
    if body.target is aten.linear.default:
        return work.call(cell, s8.linear_s8.default, x, *stored, *work.bounds(cell))
    target = s8.conv_transpose2d_s8.default if body.target in patterns.TRANSPOSED else s8.conv2d_s8.default
    arguments = (*stored, *_geometry(body), *work.bounds(cell))
    if body.target not in _LINES:
        return work.call(cell, target, x, *arguments)
    rows = work.step(target, work.step(aten.unsqueeze.default, x, 2), *arguments)
    return work.call(cell, aten.squeeze.dim, rows, 2)


def _geometry(body: fx.Node) -> tuple[object, ...]:
    """The arguments behind the bias, for height and width; a line is one row."""
    parts = edit.arguments(body)

    def pair(name: str, row: int) -> list[int]:
        values = [parts[name]] if isinstance(parts[name], int) else list(parts[name])
        return [row, *values] if body.target in _LINES else values * (2 // len(values))

    stride, padding, dilation = pair("stride", 1), pair("padding", 0), pair("dilation", 1)
    if body.target in patterns.TRANSPOSED:
        return stride, padding, pair("output_padding", 0), parts["groups"], dilation
    return stride, padding, dilation, parts["groups"]


def _matmul(work: Work, cell: Cell) -> fx.Node:
    first, second = kinds.operands(cell.body)
    factor = edit.arguments(cell.body)["scale"] if cell.body.target is s8.scaled_matmul.default else 1.0
    multiplier = numerics.product_multiplier(work.scale(first), work.scale(second), work.scale(cell.end), factor)
    values = (work.value(first), work.value(second))
    return work.call(cell, s8.matmul_s8.default, *values, multiplier, *work.bounds(cell))


WEIGHTED = Rule("weighted", _weighted)
MATMUL = Rule("matmul", _matmul)
