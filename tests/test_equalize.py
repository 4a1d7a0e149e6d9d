"""Equalisation: the function stays, the ranges of neighbouring layers meet, and what cannot be moved is named."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import rescaled
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from quantised import Written, build, conv, items, tensors
from torch import Tensor, nn
from torch.nn import functional

import edgekit as ek
from edgekit.graph import Graph, edit
from edgekit.quant import seams
from edgekit.quant.equalize import equalize
from edgekit.quant.seams import Decision


def weights(graph: Graph) -> list[Tensor]:
    layers = seams.sources(graph, *seams.LAYERS)
    return [edit.get_tensor(graph.module, edit.arguments(layer)["weight"]).detach() for layer in layers]


def assert_same(got: Tensor, want: Tensor) -> None:
    """A handful of float32 roundings in each of at most five layers."""
    got, want = got.detach(), want.detach()
    assert float((got - want).abs().max()) <= 2e-5 * float(want.abs().max())


@pytest.mark.parametrize("name", rescaled.NETS)
def test_the_function_stays(name: str) -> None:
    graph, x = rescaled.capture(name)
    want, before = graph(x), [weight.clone() for weight in weights(graph)]
    hard = rescaled.spread(graph, 100)
    assert_same(hard(x), want)
    equalised, decisions = equalize(hard)
    assert_same(equalised(x), want)
    assert max(decision.spread for decision in decisions) > 3
    assert all(torch.equal(a, b) for a, b in zip(weights(graph), before, strict=True)), "the input was edited"


@settings(deadline=None, max_examples=15)
@given(by=st.floats(1, 100), seed=st.integers(0, 9))
def test_whatever_the_scales_were_the_weights_come_out_alike(by: float, seed: int) -> None:
    """Equalised weights do not depend on how the same function was written down."""
    graph, _ = rescaled.capture("triple")
    want = weights(equalize(graph)[0])
    got = weights(equalize(rescaled.spread(graph, by, seed))[0])
    for a, b in zip(want, got, strict=True):
        torch.testing.assert_close(a, b, rtol=0.05, atol=0)  # sweeps end where nothing moves by more than 1 %


def test_a_pair_meets_in_the_geometric_mean() -> None:
    """Equations 7 and 11 of Nagel et al. 2019."""
    model = build(nn.Sequential(nn.Linear(5, 7, bias=False), nn.ReLU(), nn.Linear(7, 3, bias=False)))
    first, second = model[0].weight.detach().abs().amax(1), model[2].weight.detach().abs().amax(0)
    one, two = weights(equalize(ek.capture(model, items((5,), 2)))[0])
    torch.testing.assert_close(one.abs().amax(1), (first * second).sqrt())
    torch.testing.assert_close(two.abs().amax(0), (first * second).sqrt())


def test_a_depthwise_triple_meets_in_the_cube_root() -> None:
    graph, _ = rescaled.capture("triple")
    first, middle, last = weights(graph)
    want = (first.abs().amax((1, 2, 3)) * middle.abs().amax((1, 2, 3)) * last.abs().amax((0, 2, 3))) ** (1 / 3)
    one, two, three = weights(equalize(graph)[0])
    for got in (one.abs().amax((1, 2, 3)), two.abs().amax((1, 2, 3)), three.abs().amax((0, 2, 3))):
        torch.testing.assert_close(got, want, rtol=0.02, atol=0)


def test_dead_channels_stay_as_they_are() -> None:
    model = build(nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 3)))
    with torch.no_grad():
        model[0].weight[1] = 0
        model[2].weight[:, 3] = 0
        model[0].weight[4] *= 1e-30
    graph, x = ek.capture(model, items((4,), 2)), items((4,))
    equalised, _ = equalize(graph)
    assert_same(equalised(x), graph(x))
    assert torch.equal(weights(equalised)[1][:, 1], model[2].weight.detach()[:, 1])
    assert torch.equal(weights(equalised)[0][3], model[0].weight.detach()[3])


def test_no_bias_grows_beyond_the_largest() -> None:
    model = build(nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 3)))
    with torch.no_grad():
        model[0].weight[2] *= 1e-3
        model[0].bias.copy_(torch.tensor([1.0, -2.0, 2.0, 0.5, 0.1]))
    equalised, _ = equalize(ek.capture(model, items((4,), 2)))
    bias = dict(equalised.named_parameters())["0.bias"]
    assert float(bias.detach().abs().max()) <= 2.0 * (1 + 1e-6)
    assert float(bias[2]) == pytest.approx(2.0)


def clamped(bound: float) -> tuple[Graph, Tensor]:
    model = build(nn.Sequential(conv(3, 6, bias=False), nn.Hardtanh(0, bound), conv(6, 4)))
    with torch.no_grad():
        model[0].weight.mul_(torch.tensor([3.0, 3.0, 0.1, 0.01, 0.1, 0.02]).reshape(-1, 1, 1, 1))
    x = items((3, 5, 5))
    return ek.capture(model, x), x


def test_behind_a_clamp_only_channels_below_its_bound_move_and_not_past_it() -> None:
    graph, x = clamped(2.0)
    peak = functional.conv2d(x, weights(graph)[0], padding=1).clamp(0, 2).amax((0, 2, 3)).double()
    assert set((peak == 2).tolist()) == {True, False}
    equalised, decisions = equalize(graph, {"hardtanh": peak})
    assert_same(equalised(x), graph(x))
    ratio = (weights(equalised)[0] / weights(graph)[0]).amax((1, 2, 3))
    assert torch.equal(ratio[peak == 2], torch.ones(2))
    assert bool((ratio[peak < 2] > 1.5).all())
    assert bool((ratio * peak <= 2.0001).all())
    assert decisions[0].reason == ""


def refused(model: nn.Module, *shape: int) -> dict[str, Decision]:
    graph, x = ek.capture(build(model), items(shape, 2)), items(shape)
    equalised, decisions = equalize(graph)
    for got, want in zip(tensors(equalised(x)), tensors(graph(x)), strict=True):
        assert_same(got, want)
    return {decision.source: decision for decision in decisions}


def function(forward: Callable[[nn.ModuleDict, Tensor], object], **layers: nn.Module) -> nn.Module:
    return Written(forward, **layers)


REFUSED: dict[str, tuple[nn.Module, str]] = {
    "residual": (function(lambda m, x: m["b"](y := functional.relu(m["a"](x))) + y, a=conv(3, 3), b=conv(3, 3)), "add"),
    "table": (nn.Sequential(conv(3, 4), nn.Sigmoid(), conv(4, 2)), "sigmoid"),
    "gelu": (nn.Sequential(conv(3, 4), nn.GELU(), conv(4, 2)), "gelu"),
    "square": (function(lambda m, x: m["b"]((y := m["a"](x)) * y), a=conv(3, 4), b=conv(4, 2)), "mul"),
    "output": (function(lambda m, x: (y := m["a"](x), m["b"](y))[::-1], a=conv(3, 4), b=conv(4, 2)), "output"),
    "bound": (nn.Sequential(conv(3, 4), nn.ReLU6(), conv(4, 2)), "one upper bound"),
    "both bounds": (nn.Sequential(conv(3, 4), nn.Hardtanh(), conv(4, 2)), "hardtanh"),
    "shared": (function(lambda m, x: m["b"](m["a"](m["a"](x))), a=conv(3, 3), b=conv(3, 2)), "shares"),
    "mean of channels": (function(lambda m, x: m["b"](m["a"](x).mean(1)), a=conv(3, 4), b=nn.Linear(4, 2)), "mean"),
    "another axis": (function(lambda m, x: m["b"](m["a"](x)), a=conv(3, 4), b=nn.Linear(4, 2)), "another axis"),
    "nobody": (nn.Sequential(conv(3, 4), nn.ReLU()), "output"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_no_factor_passes_is_left_alone_and_named(name: str) -> None:
    model, reason = REFUSED[name]
    found = refused(model, 3, 4, 4)["conv2d"]
    assert reason in found.reason
    assert found.spread == 1.0
    assert found.to_json()["reason"] == found.reason
