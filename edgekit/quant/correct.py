"""Fast bias correction: the mean error that rounded weights make on calibration data goes into the bias.

Nagel et al. 2019, section 4.2. The expected error of a layer is ``(W_q - W) E[x]``, so the mean of each channel of its
float input is all that is needed of the data. Padding is taken for interior: next to a border a convolution sees zeros
where the mean is assumed, and is corrected a little too much there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn

from edgekit.graph import Graph, edit, patterns
from edgekit.ops import numerics
from edgekit.quant import seams
from edgekit.quant.channels import Channels


@dataclass(frozen=True)
class Correction:
    """By how much a layer's bias moved, at most; in the units of its output."""

    layer: str
    largest: float

    def to_json(self) -> dict[str, Any]:
        """The correction as plain JSON values."""
        return asdict(self)


def stations(graph: Graph) -> dict[fx.Node, int]:
    """The inputs of layers whose mean :func:`correct` asks for, and the axis of their channels."""
    layers = (node for node in edit.calls(graph.module) if node.target in seams.LAYERS)
    return {edit.input_node(layer): seams.input_axis(layer) for layer in layers}


def means(seen: Mapping[fx.Node, Channels]) -> dict[str, Tensor]:
    """For every layer by name, the mean of each channel of its input, seen in the float graph."""
    readers = ((user, one) for node, one in seen.items() for user in node.users if user.target in seams.LAYERS)
    return {layer.name: one.mean for layer, one in readers}


def correct(graph: Graph, means: Mapping[str, Tensor]) -> tuple[Graph, tuple[Correction, ...]]:
    """Return a copy of a quantised graph with corrected biases, and by how much each moved.

    Args:
        graph: with fake_quantize in front of weights.
        means: float64 [inputs] of each layer's float input, by name of the layer; a layer without is left alone.
    """
    graph, corrections = graph.copy(), []
    for layer in edit.calls(graph.module):
        if layer.target in seams.LAYERS and layer.name in means:
            weight = edit.arguments(layer)["weight"]
            if edit.is_call(weight, patterns.FAKE_QUANTIZE):
                corrections.append(Correction(layer.name, _correct(graph, layer, weight, means[layer.name])))
    return graph.refresh(), tuple(corrections)


def _correct(graph: Graph, layer: fx.Node, fake: fx.Node, mean: Tensor) -> float:
    weight = edit.get_tensor(graph.module, edit.input_node(fake)).detach()
    scale = edit.get_tensor(graph.module, patterns.scale_node(fake))
    rounded = numerics.quantize(weight, scale, 0, -numerics.WEIGHT_MAX, numerics.WEIGHT_MAX)
    error = numerics.dequantize(rounded, scale, 0).double() - weight.double()
    means = mean.reshape(seams.groups(layer), 1, -1, 1)
    shift = (seams.by_group(layer, error) * means).sum((2, 3)).flatten()
    limit = _input_scale(graph, layer).double() * scale.double() * numerics.bias_room(weight[0].numel())
    _move(graph, layer, -shift, limit)
    return float(shift.abs().max())


def _input_scale(graph: Graph, layer: fx.Node) -> Tensor:
    node = edit.input_node(layer)
    while node.target in patterns.TRAINING_ONLY:
        node = edit.input_node(node)
    return edit.get_tensor(graph.module, patterns.scale_node(node))


def _move(graph: Graph, layer: fx.Node, shift: Tensor, limit: Tensor) -> None:
    """Add ``shift`` to a layer's bias, within what the accumulator has room for; a new one where it is shared."""
    parts = edit.arguments(layer)
    old, weight = parts["bias"], edit.input_node(parts["weight"])
    start = edit.get_tensor(graph.module, old).detach() if old is not None else torch.zeros(len(shift))
    value = nn.Parameter((start.double() + shift).clamp(-limit, limit).to(start.dtype))
    if old is not None and set(old.users) == {layer} and _reads(graph, old) == 1:
        edit.set_tensor(graph.module, str(old.target), value)
        return
    path = f"{str(weight.target).rpartition('.')[0]}.bias".lstrip(".")
    edit.set_argument(layer, "bias", edit.add_tensor(graph.module, path, value, before=layer))


def _reads(graph: Graph, stored: fx.Node) -> int:
    return sum(node.op == "get_attr" and node.target == stored.target for node in graph.nodes)
