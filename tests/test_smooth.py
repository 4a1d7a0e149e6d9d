"""SmoothQuant: the function and the activation's range stay, the spread of channels moves into the weights."""

from __future__ import annotations

import pytest
import rescaled
import torch
from quantised import build, items
from test_equalize import assert_same
from torch import Tensor, nn
from torch.nn import functional

import edgekit as ek
from edgekit.graph import Graph, edit
from edgekit.graph.canonical import fold_batch_norm
from edgekit.models import example, example_inputs
from edgekit.ops import numerics
from edgekit.quant import channels, seams
from edgekit.quant.smooth import smooth, stations
from edgekit.sqnr import sqnr_db


def peaks(graph: Graph, *inputs: Tensor) -> dict[str, Tensor]:
    return {node.name: seen.peak for node, seen in channels.collect(graph, stations(graph), [inputs]).items()}


class Normed(nn.Module):
    """A norm with outliers in its gain, read by two linears, one of which is gated."""

    def __init__(self, norm: nn.Module) -> None:
        super().__init__()
        self.norm, self.up, self.gate, self.down = norm, nn.Linear(16, 8), nn.Linear(16, 8), nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(x)
        return self.down(self.up(x) * functional.silu(self.gate(x)))


def outliers(norm: nn.Module) -> tuple[nn.Module, Graph, Tensor]:
    model, x = build(Normed(norm)), items((3, 16), 40)
    with torch.no_grad():
        model.norm.weight[5] = 60.0
        model.norm.weight[11] = 0.02
    return model, ek.capture(model, x), x


@pytest.mark.parametrize("norm", [nn.LayerNorm(16), nn.RMSNorm(16)], ids=["layer norm", "rms norm"])
def test_outliers_behind_a_norm_move_into_the_weights(norm: nn.Module) -> None:
    model, graph, x = outliers(norm)
    before = peaks(graph, x)
    smoothed, decisions = smooth(graph, before)
    after = peaks(smoothed, x)
    assert_same(smoothed(x), graph(x))
    name = next(node.name for node in seams.sources(graph, *seams.NORMS))
    assert float(after[name].max()) == pytest.approx(float(before[name].max()), rel=1e-5)
    assert after[name].max() / after[name].min() < (before[name].max() / before[name].min()) ** 0.8
    assert {decision.source: decision.readers for decision in decisions}[name] == ("linear", "linear_1")
    # The paper's balance at alpha 0.5: activation and weight of a channel are equally far from their own largest.
    columns = torch.maximum(*(dict(smoothed.named_parameters())[n].detach().abs().amax(0) for n in WEIGHTS))
    torch.testing.assert_close(after[name] / columns, (after[name] / columns).mean().expand(16), rtol=1e-4, atol=0)
    assert float(model.norm.weight[5]) == 60.0, "the model was edited"


WEIGHTS = ("up.weight", "gate.weight")


@pytest.mark.parametrize("alpha", [0.0, 1.0])
def test_alpha_says_who_takes_the_spread(alpha: float) -> None:
    _, graph, x = outliers(nn.LayerNorm(16))
    smoothed, _ = smooth(graph, peaks(graph, x), alpha)
    values = peaks(smoothed, x)["layer_norm"]
    columns = torch.maximum(*(dict(smoothed.named_parameters())[name].detach().abs().amax(0) for name in WEIGHTS))
    flat = values if alpha else columns
    torch.testing.assert_close(flat, flat.mean().expand(16), rtol=1e-4, atol=0)


def rounded(weight: Tensor, x: Tensor) -> Tensor:
    """A linear with both operands rounded to int8."""
    scale, step = numerics.weight_scale(weight, None, torch.tensor(1.0)), x.abs().max() / 127
    w = numerics.dequantize(numerics.quantize(weight, scale, 0, -127), scale, 0)
    return functional.linear(numerics.dequantize(numerics.quantize(x, step), step), w)


def test_a_linear_behind_outliers_is_quantised_better() -> None:
    model, graph, x = outliers(nn.LayerNorm(16))
    normed = model.norm(x).detach()
    want = functional.linear(normed, model.gate.weight.detach())
    smoothed, _ = smooth(graph, peaks(graph, x))
    parts = {name: value.detach() for name, value in smoothed.named_parameters()}
    inputs = functional.layer_norm(x, (16,), parts["norm.weight"], parts["norm.bias"])
    plain, better = (
        sqnr_db(want, rounded(model.gate.weight.detach(), normed)),
        sqnr_db(want, rounded(parts["gate.weight"], inputs)),
    )
    assert plain is not None
    assert better is not None
    assert better > plain + 2


@pytest.mark.parametrize("name", ["vit", "decoder", pytest.param("mobilenet_v2", marks=pytest.mark.slow)])
def test_nets_that_ship_compute_what_they_did(name: str) -> None:
    model, captured = example(name, seed=0)
    x = example_inputs(name, 8, seed=1)
    graph = fold_batch_norm(ek.capture(model.eval(), captured))
    smoothed, decisions = smooth(graph, peaks(graph, *x))
    assert any(decision.spread > 1.05 for decision in decisions)
    with torch.no_grad():
        assert_same(smoothed(*x), graph(*x))


@pytest.mark.parametrize("name", rescaled.NETS)
def test_layers_behind_layers_compute_what_they_did(name: str) -> None:
    graph, x = rescaled.capture(name)
    hard = rescaled.spread(graph, 100)
    smoothed, _ = smooth(hard, peaks(hard, x))
    assert_same(smoothed(x), graph(x))


def test_a_depthwise_reader_takes_all_of_the_spread() -> None:
    graph, x = rescaled.capture("triple")
    smoothed, _ = smooth(graph, peaks(graph, x))
    after = peaks(smoothed, x)
    torch.testing.assert_close(after["relu"], after["relu"].mean().expand(6), rtol=1e-4, atol=0)
    assert float(after["relu_1"].max() / after["relu_1"].min()) > 1.01


def test_silent_channels_keep_their_weights() -> None:
    model = build(nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2)))
    with torch.no_grad():
        model[0].bias[1] = -100
    graph, x = ek.capture(model, items((4,), 2)), items((4,))
    smoothed, _ = smooth(graph, peaks(graph, x))
    assert torch.equal(dict(smoothed.named_parameters())["2.weight"][:, 1], model[2].weight[:, 1])


def test_a_norm_that_a_sum_reads_is_left_alone() -> None:
    class PostNorm(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm, self.linear = nn.LayerNorm(6), nn.Linear(6, 6)

        def forward(self, x: Tensor) -> Tensor:
            x = self.norm(x)
            return x + self.linear(x)

    x = items((6,))
    graph = ek.capture(build(PostNorm()), x)
    _, decisions = smooth(graph, peaks(graph, x))
    assert "add" in {decision.source: decision.reason for decision in decisions}["layer_norm"]


def test_channels_are_gathered_as_if_at_once() -> None:
    model, x = nn.Sequential(nn.ReLU()), items((3, 4, 5), 50)
    graph = ek.capture(model, x)
    node = next(edit.calls(graph.module))
    seen = channels.collect(graph, {node: 1}, [*x.split(7)])[node]
    torch.testing.assert_close(seen.mean, x.relu().double().mean((0, 2, 3)))
    assert torch.equal(seen.peak, x.relu().double().amax((0, 2, 3)))
