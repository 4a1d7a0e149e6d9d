"""Bias correction: no layer is off on average on the data that it was corrected with."""

from __future__ import annotations

import pytest
import quantised
import torch
from quantised import Written, build, conv, items
from torch import Tensor, nn
from torch.nn import functional

import edgekit as ek
from edgekit.graph import Graph, edit, patterns
from edgekit.ops import numerics
from edgekit.quant import channels, seams
from edgekit.quant.correct import correct, stations


def means(graph: Graph, x: Tensor) -> dict[str, Tensor]:
    seen = channels.collect(graph, stations(graph), [x])
    return {layer.name: seen[edit.input_node(layer)].mean for layer in seams.sources(graph, *seams.LAYERS)}


def corrected(model: nn.Module, x: Tensor) -> tuple[Graph, Graph, float]:
    """The quantised graph before and after, and the largest shift."""
    graph = ek.capture(model, x)
    before = ek.quantize(graph, [x]).graph
    after, corrections = correct(before, means(graph, x))
    return before, after, max(one.to_json()["largest"] for one in corrections)


def layer(graph: Graph, name: str) -> tuple[Tensor, Tensor]:
    """The rounded weight and the bias of a layer."""
    parts = edit.arguments(next(node for node in graph.nodes if node.name == name))
    fake = parts["weight"]
    scale = edit.get_tensor(graph.module, patterns.scale_node(fake))
    weight = edit.get_tensor(graph.module, edit.input_node(fake)).detach()
    bias = edit.get_tensor(graph.module, parts["bias"]).detach()
    return numerics.dequantize(numerics.quantize(weight, scale, 0, -127), scale, 0), bias


@pytest.mark.parametrize("bias", [True, False])
def test_a_linear_is_right_on_average(bias: bool) -> None:
    model, x = build(nn.Sequential(nn.Linear(20, 6, bias=bias))), items((20,)) + 3
    _, after, largest = corrected(model, x)
    error = functional.linear(x, *layer(after, "linear")) - model(x).detach()
    assert largest > 1e-3, "nothing to correct: the test shows nothing"
    assert float(error.mean(0).abs().max()) < 1e-5


@pytest.mark.parametrize("groups", [1, 2, 4])
@pytest.mark.parametrize("padding", [0, 1])
def test_a_convolution_is_right_inside(groups: int, padding: int) -> None:
    """Exactly so for images of one colour, whose patches are all alike; padding counts as if there were more of it."""
    model = build(nn.Sequential(conv(4, 8, padding=padding, groups=groups)))
    x = (items((4, 1, 1)) + 2).expand(-1, -1, 6, 6).contiguous()
    _, after, largest = corrected(model, x)
    weight, bias = layer(after, "conv2d")
    error = functional.conv2d(x, weight, bias, padding=padding, groups=groups) - model(x).detach()
    inside = error if not padding else error[:, :, 1:-1, 1:-1]
    assert largest > 1e-3
    assert float(inside.mean((0, 2, 3)).abs().max()) < 1e-5


def test_weights_that_int8_holds_need_no_correction() -> None:
    model, x = build(nn.Sequential(nn.Linear(6, 3))), items((6,)) + 1
    with torch.no_grad():
        model[0].weight.copy_(torch.randint(-127, 127, (3, 6), generator=torch.Generator().manual_seed(0)) / 64)
        model[0].weight[:, 0] = 127 / 64
    before, after, largest = corrected(model, x)
    assert largest == 0
    assert torch.equal(before(x), after(x))


def test_a_bias_that_two_layers_share_is_corrected_for_each() -> None:
    def function(layers: nn.ModuleDict, x: Tensor) -> Tensor:
        return layers["a"](functional.relu(layers["a"](x)))

    model, x = build(Written(function, a=nn.Linear(6, 6))), items((6,)) + 1
    before, after, _ = corrected(model, x)
    first, second = (layer(after, name)[1] for name in ("linear", "linear_1"))
    assert not torch.equal(first, second)
    assert torch.equal(layer(before, "linear")[1], layer(before, "linear_1")[1]), "the input was edited"


def test_a_corrected_bias_leaves_the_sum_its_room() -> None:
    """Biases that fill all the room int32 has are not pushed over."""
    model, x = build(nn.Sequential(nn.Linear(8, 64))), items((8,)) + 5
    with torch.no_grad():
        model[0].weight.mul_(1e-9)
        model[0].bias.copy_(torch.where(model[0].bias > 0, 1.0, -1.0))
    _, after, _ = corrected(model, x)
    scales = {name.rpartition(".")[2]: value for name, value in after.module.named_buffers()}
    scale = scales["input_1_scale"] * scales["linear_weight_scale"]
    steps = layer(after, "linear")[1].double() / scale.double()
    assert float(steps.abs().max()) <= numerics.bias_room(8) * (1 + 1e-6)


@pytest.mark.parametrize("name", quantised.NETS)
def test_corrected_nets_lower_as_before(name: str) -> None:
    net, graph = quantised.NETS[name], quantised.quantised(name)
    x = items(net.shape)
    after, corrections = correct(graph, means(quantised.float_graph(name), x))
    assert len(corrections) == net.convolutions + net.linears
    golden, fake = quantised.tensors(ek.lower(after)(x)), quantised.tensors(after(x))
    for a, b in zip(golden, fake, strict=True):
        assert float((a - b).abs().max()) <= 0.1 * float(b.abs().max())
