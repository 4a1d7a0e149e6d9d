"""The balanced preset: what each family gets, and that it saves a net that plain quantisation loses."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import quantised
import rescaled
import torch
from quantised import items
from torch import Tensor, nn
from torch.nn import functional

import edgekit as ek
from edgekit.data.digits import digits
from edgekit.data.preprocess import Deployed
from edgekit.data.spectrum import LogMel
from edgekit.graph import Graph
from edgekit.graph.canonical import fold_batch_norm
from edgekit.models import example
from edgekit.quant import preset

TRAINED = 1200


def data() -> tuple[Tensor, Tensor]:
    split = digits()
    return torch.from_numpy(split.inputs[0]), torch.from_numpy(split.targets[0])


@pytest.fixture(scope="module")
def trained() -> Graph:
    """A depthwise net that reads nine digits of ten, trained for some seconds."""
    torch.manual_seed(0)
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(48, 10)]
    stem = [nn.Conv2d(1, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU()]
    body = [rescaled.depthwise(16, 32, 2), rescaled.depthwise(32, 48, 2)]
    model, (x, y) = nn.Sequential(*stem, *body, *head), data()
    optimizer = torch.optim.AdamW(model.parameters(), 3e-3)
    for _ in range(10):
        for batch in torch.randperm(TRAINED).split(50):
            optimizer.zero_grad()
            functional.cross_entropy(model(x[batch]), y[batch]).backward()
            optimizer.step()
    return fold_batch_norm(ek.capture(model.eval(), x[:2]))


def points(graph: Graph) -> float:
    x, y = data()
    with torch.no_grad():
        return float((graph(x[TRAINED:]).argmax(1) == y[TRAINED:]).float().mean()) * 100


def integer(graph: Graph, **options: object) -> Graph:
    return ek.lower(ek.quantize(graph, [data()[0][:256]], ek.QuantConfig(**options)).graph)  # type: ignore[arg-type]


def test_balanced_saves_a_net_made_hard_on_purpose(trained: Graph) -> None:
    """Ranges of neighbouring channels lie up to two hundred apart: the weak ones are left without a step."""
    hard, best = rescaled.spread(trained, 200), points(trained)
    assert best > 85
    assert points(hard) == pytest.approx(best, abs=0.2)
    assert best - points(integer(hard)) > 5
    assert best - points(integer(hard, preset="balanced")) < 1
    assert best - points(integer(hard, equalize=True)) < 2


def test_balanced_does_no_harm_to_an_easy_net(trained: Graph) -> None:
    assert points(trained) - points(integer(trained, preset="balanced")) < 1


FAMILIES = {"vit": "transformer", "gru_classifier": "recurrent", "ds_cnn": "convolutional", "mlp": "dense"}


def test_preprocessing_has_no_part_in_the_family() -> None:
    """A spectrum is a convolution, and what reads it may be none."""
    spectrum = LogMel(8000, 200, 100, 8)
    flat = nn.Sequential(nn.Flatten(), nn.Linear(9 * 8, 4))
    assert preset.family(ek.capture(Deployed(spectrum, flat).eval(), torch.randn(2, 1000))) == "dense"


@pytest.mark.parametrize("name", FAMILIES)
def test_the_family_decides(name: str) -> None:
    graph = ek.capture(example(name, seed=0)[0].eval(), example(name, seed=0)[1])
    plain, balanced = ek.QuantConfig(), ek.QuantConfig(preset="balanced")
    assert preset.family(graph) == FAMILIES[name]
    assert not preset.choose(graph, plain).any
    choice = preset.choose(graph, balanced)
    assert choice == preset.BALANCED[preset.family(graph)]
    assert choice.any
    assert choice.why
    asked = ek.QuantConfig(preset="balanced", smooth=not choice.smooth, equalize=True, observer="minmax")
    assert preset.choose(graph, asked).smooth is not choice.smooth
    assert preset.choose(graph, asked).equalize
    assert preset.configured(asked, choice).observer == "minmax"
    assert preset.configured(balanced, choice).observer == (choice.observer or "minmax")


@pytest.mark.parametrize("name", quantised.NETS)
def test_balanced_nets_are_as_close_to_float_as_plain_ones(name: str) -> None:
    """Random nets have no outliers: nothing is to be won, and no more than a step or two may be lost."""
    net, graph = quantised.NETS[name], quantised.float_graph(name)
    x = items(net.shape)
    result = ek.quantize(graph, iter([x]), ek.QuantConfig(preset="balanced"))
    wanted, got = quantised.tensors(graph(x)), quantised.tensors(ek.lower(result.graph)(x))
    plain = quantised.tensors(ek.lower(quantised.quantised(name))(x))
    for want, one, other in zip(wanted, got, plain, strict=True):
        noise, before = ((value - want).detach().square().mean().sqrt() for value in (one, other))
        assert float(noise) <= 1.5 * float(before)
    for a, b in zip(quantised.tensors(result.reference(x)), wanted, strict=True):
        assert float((a - b).detach().abs().max()) <= 1e-4 * float(b.detach().abs().max())


def test_layers_are_compared_with_the_rescaled_float_net(trained: Graph) -> None:
    hard, x = rescaled.spread(trained, 100), data()[0][:256]
    result = ek.quantize(hard, [x], ek.QuantConfig(preset="balanced"))
    layers = ek.diagnose(result.graph, [x], result.reference).layers
    assert min(layer.sqnr_db for layer in layers if layer.sqnr_db is not None) > 20


def test_the_report_says_what_was_done() -> None:
    graph, x = quantised.float_graph("depthwise"), items((4, 7, 9))
    assert "balance" not in ek.quantize(graph, [x]).report.to_json()
    balance = ek.quantize(graph, [x], ek.QuantConfig(preset="balanced")).report.to_json()["balance"]
    assert balance["choice"]["family"] == "convolutional"
    assert [one["source"] for one in balance["rescaled"]] == ["conv2d", "conv2d_1", "conv2d_2"]
    assert balance["rescaled"][2]["reason"]
    assert {one["layer"] for one in balance["corrected"]} == {"conv2d", "conv2d_1", "conv2d_2"}


def test_one_pass_unless_channels_are_rescaled() -> None:
    graph, x = quantised.float_graph("perceptron"), items((2, 3, 5))

    class Counted:
        passes = 0

        def __iter__(self) -> Iterator[Tensor]:
            self.passes += 1
            return iter([x])

    corrected = Counted()
    ek.quantize(graph, corrected, ek.QuantConfig(bias_correction=True))
    assert corrected.passes == 1
    once = ek.quantize(graph, iter([x]), ek.QuantConfig(preset="balanced")).graph
    assert torch.equal(once(x), ek.quantize(graph, [x], ek.QuantConfig(preset="balanced")).graph(x))
