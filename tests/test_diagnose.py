"""``diagnose`` measures what each layer lost and finds what was planted; its remedies help."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path

import numpy as np
import pytest
import quantised
import torch
from quantised import NETS, Written, conv, float_graph, items
from torch import Tensor, fx, nn

import edgekit as ek
from edgekit import cli
from edgekit.debug import Diagnosis
from edgekit.debug.causes import Context, cause
from edgekit.debug.layers import layers_of
from edgekit.errors import DataError, UsageError
from edgekit.graph import Graph, edit, notes, patterns
from edgekit.graph.canonical import fold_batch_norm
from edgekit.quant.insert import strip


class Recorder(fx.Interpreter):
    """Runs a graph and keeps every value."""

    def __init__(self, graph: Graph) -> None:
        super().__init__(graph.module)
        self.values: dict[str, Tensor] = {}

    def run_node(self, n: fx.Node) -> object:
        self.values[n.name] = super().run_node(n)
        return self.values[n.name]


@pytest.mark.parametrize("name", ["residual", "two-outputs", "reshaped"])
def test_errors_are_signal_to_noise_of_each_layer(name: str) -> None:
    folded, graph = fold_batch_norm(float_graph(name)), quantised.quantised(name)
    integer, x = ek.lower(graph), items(NETS[name].shape, 20, seed=9)
    want, fake, got = Recorder(folded), Recorder(graph), Recorder(integer)
    with torch.no_grad():
        for recorder in (want, fake, got):
            recorder.run(x)
    found = ek.diagnose(graph, [x[:7], x[7:]], folded)
    cells = {notes.value_name(cell.real): cell for cell in patterns.cells(graph)}
    assert [layer.name for layer in found.layers] == list(cells)
    by_name = {notes.value_name(node): node.name for node in integer.nodes if notes.scale(node) is not None}
    for layer in found.layers:
        cell = cells[layer.name]
        signal = want.values[cell.real.name].double().numpy()
        real = got.values[by_name[layer.name]].double().numpy() * float(edit.get_tensor(graph.module, cell.scale))
        rounded = fake.values[cell.end.name].double().numpy()
        for value, error in ((real, layer.sqnr_db), (rounded, layer.fake_db)):
            assert error == pytest.approx(10 * np.log10((signal**2).sum() / ((signal - value) ** 2).sum()), abs=1e-3)
    assert found.items == 20
    assert {"name", "operator", "source", "macs", "sqnr_db", "cause", "remedy"} <= found.layers[0].to_json().keys()


def test_layers_name_operator_macs_and_line() -> None:
    found = ek.diagnose(quantised.quantised("residual"), [items((3, 8, 8), 4)])
    first = found["relu_1"]
    assert (first.operator, first.macs) == ("conv2d_s8", 8 * 8 * 8 * 8 * 9)
    file, line = first.source.split(":")
    assert file == "quantised.py"
    assert "self.first(x)" in Path(quantised.__file__).read_text().splitlines()[int(line) - 1]
    with pytest.raises(UsageError, match="no quantised value"):
        found["nothing"]


@pytest.mark.parametrize("name", sorted(NETS))
def test_the_parts_of_an_error_are_the_error(name: str) -> None:
    """Errors of independent sources add up: 2 dB are room for the part in which they are not independent."""
    graph, x = quantised.quantised(name), items(NETS[name].shape, 20, seed=9)
    floats = strip(graph)
    layers = layers_of(graph, floats)
    want, fake = Recorder(floats), Recorder(graph)
    with torch.no_grad():
        want.run(x)
        fake.run(x)
        for layer in layers:
            layer.see(want.values, fake.values, None)
    for layer in layers:
        seen = layer.seen
        parts = seen.inherited.noise + seen.own
        assert 10 * abs(np.log10(parts / seen.fake.noise)) < 2, layer.cell.body.name
        assert not layer.moves or seen.own == 0


def test_without_a_reference_the_rounding_is_taken_out() -> None:
    for name in ("residual", "tables"):
        graph = quantised.quantised(name)
        x = items(NETS[name].shape, 5)
        torch.testing.assert_close(strip(graph)(x), fold_batch_norm(float_graph(name))(x))


def planted(model: nn.Module, x: Tensor, *, calibrate: Tensor | None = None, **options: object) -> Diagnosis:
    """The diagnosis of a net that is calibrated on x, or on something else."""
    graph = ek.capture(model.eval(), x[:2])
    config = ek.QuantConfig(**options)  # type: ignore[arg-type]
    result = ek.quantize(graph, [x if calibrate is None else calibrate], config)
    return ek.diagnose(result.graph, [x], result.reference)


def wide_channel() -> nn.Module:
    """Channel 3 of the first convolution is 300 times as wide as the others, and read with weights as much smaller."""
    model = nn.Sequential(conv(3, 8), nn.ReLU(), conv(8, 4))
    with torch.no_grad():
        model[0].weight[3] *= 300
        model[2].weight[:, 3] /= 300
    return model


def test_an_outlier_channel_is_found_and_balanced_evens_it_out() -> None:
    x = items((3, 8, 8))
    found = planted(wide_channel(), x)
    assert found["relu"].cause == "outlier channel"
    assert found["relu"].detail.startswith("channel 3 of its values")
    assert found["relu"].sqnr_db > 30  # most of the signal is in the wide channel, and the error hides behind it
    assert found["conv2d_1"].cause == "inherited"
    assert "relu" in found["conv2d_1"].detail
    assert found.worst()[0].name == "relu"
    assert "balanced" in found["relu"].remedy
    better = planted(wide_channel(), x, preset="balanced")
    assert better["conv2d_1"].sqnr_db > found["conv2d_1"].sqnr_db + 6


def test_an_outlier_channel_of_a_weight_is_found_where_all_have_one_scale() -> None:
    model, x = nn.Sequential(nn.Linear(16, 8), nn.Tanh()), items((16,))
    x[:, 1] = x[:, 0]
    with torch.no_grad():
        model[0].weight[5, :2] = torch.tensor([30.0, -30.0])  # cancels out: only the weight is wide, not the result
    found = planted(model, x, per_channel=False)
    assert found["linear"].cause == "outlier channel"
    assert found["linear"].detail.startswith("channel 5 of its weight")
    assert "per_channel" in found["linear"].remedy
    assert planted(model, x)["linear"].sqnr_db > found["linear"].sqnr_db + 6


def test_saturation_is_found_and_better_calibration_helps() -> None:
    model, x = nn.Sequential(conv(3, 8), nn.ReLU(), conv(8, 4)), items((3, 8, 8))
    found = planted(model, x, calibrate=0.2 * x)
    assert found["input_1"].cause == "saturated"
    assert "beyond" in found["input_1"].detail
    assert planted(model, x)["conv2d_1"].sqnr_db > found["conv2d_1"].sqnr_db + 6


def test_a_dead_layer_is_found() -> None:
    model = nn.Sequential(conv(3, 8), nn.ReLU(), conv(8, 4))
    with torch.no_grad():
        model[0].bias.fill_(-1000)
    found = planted(model, items((3, 8, 8)))
    assert found["relu"].cause == "dead"
    assert "prune" in found["relu"].remedy
    assert found["relu"].name not in [layer.name for layer in found.worst()]


@pytest.mark.parametrize(("factor", "name"), [(1e-4, "vanished"), (0.02, "unused range")])
def test_a_scale_shared_with_a_wider_tensor_is_found(factor: float, name: str) -> None:
    model = Written(
        lambda m, x: m["head"](torch.cat((m["narrow"](x), m["wide"](x)), 1)),
        narrow=conv(3, 4),
        wide=conv(3, 4),
        head=conv(8, 2),
    )
    with torch.no_grad():
        for parameter in model.layers["narrow"].parameters():
            parameter.mul_(factor)
    layer = planted(model, items((3, 8, 8)))["conv2d"]
    assert layer.cause == name
    assert "conv2d_1" in layer.remedy


def test_rare_values_are_found_and_an_observer_that_cuts_them_helps() -> None:
    model, x = nn.Sequential(nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 4)), items((16,), 256)
    x[0, 0] = 400.0
    found = planted(model, x)
    assert found["input_1"].cause == "rare values"
    assert "observer" in found["input_1"].remedy
    usual = x[1:]
    graph = ek.capture(model.eval(), x[:2])
    observers = (ek.QuantConfig(observer="percentile", percentile=99.9), ek.QuantConfig())
    cut, all_in = (ek.diagnose(ek.quantize(graph, [x], config).graph, [usual]) for config in observers)
    assert cut["linear_1"].sqnr_db > all_in["linear_1"].sqnr_db + 6


def test_an_outlier_weight_is_found() -> None:
    model, x = nn.Sequential(nn.Linear(2048, 4), nn.Flatten()), items((2048,))
    x[:, 7] = 0
    with torch.no_grad():
        model[0].weight[:, 7] = 10.0  # weighs a feature that is never there, and takes the steps of all others
    layer = planted(model, x)["linear"]
    assert (layer.cause, "channel" in layer.detail) == ("outlier weight", True)


def test_keeping_what_it_names_in_float_helps() -> None:
    x = items((3, 8, 8))
    found = planted(wide_channel(), x)
    names = re.search(r"keep_float=(\(.*\))", found["relu"].remedy)
    assert names is not None
    kept = ast.literal_eval(names[1])
    assert kept == ("conv2d", "conv2d_1")
    model = nn.Sequential(wide_channel(), nn.Sigmoid(), conv(4, 2))
    loud = planted(model, x)["sigmoid"].sqnr_db
    assert planted(model, x, keep_float=kept)["sigmoid"].sqnr_db > loud + 6


def test_an_integer_operator_that_differs_from_fake_quantisation_is_a_bug_and_called_one() -> None:
    graph = quantised.quantised("perceptron")
    layers = layers_of(graph, strip(graph))
    layer, x = layers[2], torch.randn(50)
    layer.seen.fake.add(x, x + 0.001)
    layer.seen.arithmetic.add(x, x + 0.5)
    layer.seen.is_alive = True
    assert cause(layer, {}, Context(graph, {})).name == "arithmetic"


@pytest.mark.parametrize("kind", [nn.GRU, nn.LSTM])
def test_recurrent_layers_are_told_with_what_they_round_inside(kind: type[nn.Module]) -> None:
    model = nn.Sequential(nn.Linear(4, 8), kind(8, 16, batch_first=True)).eval()
    x = torch.randn(40, 12, 4)
    result = ek.quantize(ek.capture(model, x[:2]), [x])
    found = ek.diagnose(result.graph, [x], result.reference)
    name = f"{kind.__name__.lower()}_y"
    assert found[name].operator == f"{kind.__name__.lower()}_s8"
    assert found[name].macs > 0
    assert found[name].sqnr_db > 25
    assert found[name].own_db > found[name].fake_db - 0.5


def test_bad_input_is_refused() -> None:
    graph, x = quantised.quantised("perceptron"), items(NETS["perceptron"].shape)
    with pytest.raises(UsageError, match="not quantised"):
        ek.diagnose(float_graph("perceptron"), [x])
    with pytest.raises(UsageError, match="no items"):
        ek.diagnose(graph, [])
    with pytest.raises(DataError, match="shape"):
        ek.diagnose(graph, [x[:, :1]])
    with pytest.raises(DataError, match="inputs"):
        ek.diagnose(graph, [(x, x)])
    with pytest.raises(DataError, match="other"):
        ek.diagnose(graph, [{"other": x}])
    with pytest.raises(UsageError, match="reference"):
        ek.diagnose(graph, [x], float_graph("reshaped"))


def test_text_points_at_the_worst_and_the_command_prints_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    x = items((3, 8, 8))
    result = ek.quantize(ek.capture(wide_channel().eval(), x[:2]), [x])
    text = str(ek.diagnose(result.graph, [x]))
    assert "channel 3 of its values" in text
    assert text.count("Remedy: ") >= 1
    result.graph.save(tmp_path / "q.safetensors")
    result.reference.save(tmp_path / "r.safetensors")
    np.savez(tmp_path / "x.npz", x=x.numpy(), y=np.zeros(len(x), np.int64))
    for more in ([], ["--reference", str(tmp_path / "r.safetensors")]):
        with pytest.raises(SystemExit) as ended:
            cli.main(["diagnose", str(tmp_path / "q.safetensors"), "--data", str(tmp_path / "x.npz"), "--json", *more])
        assert ended.value.code == 0
        content = json.loads(capsys.readouterr().out)
        assert content["items"] == 64
        assert {layer["name"]: layer["cause"] for layer in content["layers"]}["relu"] == "outlier channel"
