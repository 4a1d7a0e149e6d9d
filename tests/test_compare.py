"""``compare`` matches the values of any two forms of a net by name and measures their difference."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import quantised
import torch
from lowering import needs_vnni
from quantised import NETS, conv, float_graph, items
from torch import Tensor, nn

import edgekit as ek
from edgekit import cli
from edgekit.errors import DataError, GraphFileError, UsageError
from edgekit.graph import notes, patterns

onnx = pytest.importorskip("onnx")
runtime = pytest.importorskip("onnxruntime")

SOME = ("residual", "depthwise", "tables", "preactivation", "sequence")


def inputs(name: str) -> list[Tensor]:
    return [items(NETS[name].shape, 20, seed=9)]


@cache
def files(name: str, folder: Path) -> dict[str, Path]:
    written = {}
    for kind, graph in (("float", float_graph(name)), ("int8", quantised.quantised(name))):
        for target in ("onnxruntime", "tensorrt-10"):
            if (kind, target) != ("float", "tensorrt-10"):
                written[f"{kind} {target}"] = path = folder / f"{name}-{kind}-{target}.onnx"
                ek.export_onnx(graph, path, target)
    return written


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("compared")


@pytest.mark.parametrize("name", SOME)
def test_a_net_differs_nowhere_from_itself(name: str, folder: Path) -> None:
    graph = float_graph(name)
    for form in (graph, quantised.quantised(name), ek.lower(quantised.quantised(name)), *files(name, folder).values()):
        found = ek.compare(form, form, inputs(name))
        assert all(row.sqnr_db is None and not row.differing for row in (*found.layers, *found.outputs))
        assert found.items == 20
        assert found.layers
        assert not found.only_a
        assert not found.only_b


@needs_vnni
@pytest.mark.parametrize("name", SOME)
def test_the_file_has_every_byte_of_the_golden_under_its_name(name: str, folder: Path) -> None:
    graph = quantised.quantised(name)
    found = ek.compare(ek.lower(graph), files(name, folder)["int8 onnxruntime"], inputs(name))
    assert found.only_a == ()
    assert {row.name: row.differing for row in (*found.layers, *found.outputs) if row.differing} == {}
    cells = patterns.cells(graph)
    assert len(found.layers) == len(cells) - len(graph.outputs)


@pytest.mark.parametrize("name", SOME)
def test_the_error_of_a_layer_is_the_one_that_diagnose_finds(name: str) -> None:
    graph = quantised.quantised(name)
    want = {layer.name: layer for layer in ek.diagnose(graph, inputs(name), reference(name)).layers}
    for form, field in ((graph, "fake_db"), (ek.lower(graph), "sqnr_db")):
        found = ek.compare(reference(name), form, inputs(name))
        for row in found.layers:
            if row.name in want:  # which calls an input by the node's name, and has no dropout
                assert row.sqnr_db == pytest.approx(getattr(want[row.name], field)), row.name
        assert len(want.keys() & {row.name for row in found.layers}) >= len(want) - 2


@cache
def reference(name: str) -> ek.Graph:
    net = NETS[name]
    return ek.quantize(float_graph(name), [items(net.shape)]).reference


@pytest.mark.parametrize("name", SOME)
def test_float_and_int8_files_of_a_net_share_names(name: str, folder: Path) -> None:
    one, other = files(name, folder)["float onnxruntime"], files(name, folder)["int8 tensorrt-10"]
    found = ek.compare(one, other, inputs(name))
    assert len(found.layers) >= len(patterns.cells(quantised.quantised(name))) - 2
    assert all(20 < row.sqnr_db < 90 for row in (*found.layers, *found.outputs))
    assert "without optimisation" in found.ran[1]


def test_it_measures_what_differs(tmp_path: Path) -> None:
    """One weight of a file is changed: the layer that has it is the first to differ, by what numpy says."""
    graph, x = float_graph("perceptron"), inputs("perceptron")
    path = tmp_path / "m.onnx"
    ek.export_onnx(graph, path)
    model = onnx.load(path)
    weight = next(t for t in model.graph.initializer if list(t.dims) == [16, 24])
    values = onnx.numpy_helper.to_array(weight).copy()
    values[3] *= 2
    weight.CopyFrom(onnx.numpy_helper.from_array(values, weight.name))
    onnx.save(model, tmp_path / "changed.onnx")
    found = {row.name: row for row in ek.compare(path, tmp_path / "changed.onnx", x).layers}
    assert found["gelu"].sqnr_db is None
    row = found["linear_1"]
    assert (row.differing, row.count) == (20, 20 * 16)
    hidden = torch.nn.functional.gelu(torch.nn.functional.linear(x[0].flatten(1), *first_layer(graph)))
    want = hidden @ torch.from_numpy(values / np.where(np.arange(16) == 3, 2, 1)[:, None]).float().T
    assert row.largest == pytest.approx(float(want[:, 3].abs().max()), rel=1e-4)
    noise, signal = want[:, 3].double().square().sum(), want.double().square().sum()
    assert row.sqnr_db == pytest.approx(float(10 * torch.log10(signal / noise)), abs=1e-3)


def first_layer(graph: ek.Graph) -> tuple[Tensor, Tensor]:
    parameters = dict(graph.named_parameters())
    found = [parameters[name].detach() for name in parameters if name.startswith("1.")]
    return found[0], found[1]


def test_a_plan_shows_its_outputs(tmp_path: Path) -> None:
    graph = quantised.quantised("residual")
    ek.export_native(graph, tmp_path / "m.ekm")
    found = ek.compare(ek.lower(graph), tmp_path / "m.ekm", [inputs("residual")[0][:1]])
    assert [(row.name, row.differing) for row in found.outputs] == [("output", 0)]
    assert found.outputs[0].count > 0
    assert (found.layers, found.only_b) == ((), ())
    assert "native engine" in found.ran[1]
    with pytest.raises(DataError, match="the model takes"):
        ek.compare(graph, tmp_path / "m.ekm", inputs("residual"))  # a plan is made for one batch
    (tmp_path / "bad.ekm").write_bytes(b"no plan")
    with pytest.raises(GraphFileError):
        ek.compare(graph, tmp_path / "bad.ekm", inputs("residual"))


def test_files_of_others_are_compared_by_their_own_names(tmp_path: Path) -> None:
    """What ONNX Runtime's quantiser makes of a file: its pairs stand for the values in front of them."""
    quantization = pytest.importorskip("onnxruntime.quantization")
    path, x = tmp_path / "float.onnx", items((3, 8, 8), 32)
    model = nn.Sequential(conv(3, 8), nn.ReLU(), conv(8, 4)).eval()
    ek.export_onnx(ek.capture(model, x[:2]), path)

    class Reader(quantization.CalibrationDataReader):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            self.left = [{"input": x[i : i + 8].numpy()} for i in range(0, 32, 8)]

        def get_next(self) -> object:
            return self.left.pop() if self.left else None

    quantization.quantize_static(path, tmp_path / "theirs.onnx", Reader())
    found = ek.compare(path, tmp_path / "theirs.onnx", [x])
    rows = {row.name: row for row in found.layers}
    assert {"input", "relu"} <= rows.keys()
    assert "QuantizeLinear" in rows["relu"].operator_b
    assert all(25 < row.sqnr_db < 60 for row in (rows["input"], rows["relu"], *found.outputs))


def test_values_of_another_shape_are_named_and_not_compared(tmp_path: Path) -> None:
    x = items((6,))
    graphs = [ek.capture(nn.Sequential(nn.Linear(6, n), nn.Linear(n, 2)).eval(), x) for n in (3, 4)]
    row = ek.compare(*graphs, [x]).layers[-1]
    assert (row.name, row.count) == ("linear", 0)
    assert "shape" in row.note
    assert "[64, 3] in a, [64, 4] in b" in str(ek.compare(*graphs, [x]))


def test_mixed_graphs_are_compared_too() -> None:
    class Mixed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.head = conv(3, 4), nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(torch.cumsum(torch.relu(self.conv(x)), 2).mean((2, 3)))

    x = items((3, 8, 8))
    graph = ek.capture(Mixed().eval(), x[:2])
    result = ek.quantize(graph, [x])
    found = ek.compare(graph, ek.lower(result.graph), [x])
    assert {"x", "relu", "cumsum", "mean"} <= {row.name for row in found.layers}
    assert all(row.sqnr_db > 25 for row in found.layers if row.sqnr_db is not None)


def test_the_outputs_alone_can_be_asked_for() -> None:
    found = ek.compare(float_graph("residual"), quantised.quantised("residual"), inputs("residual"), layers=False)
    assert found.layers == found.only_a == found.only_b == ()
    assert found.outputs[0].sqnr_db > 20
    assert "worst" not in str(found)


def test_bad_input_is_refused(tmp_path: Path) -> None:
    graph, x = float_graph("residual"), inputs("residual")
    with pytest.raises(UsageError, match="no items"):
        ek.compare(graph, graph, [])
    with pytest.raises(UsageError, match="outputs"):
        ek.compare(graph, float_graph("two-outputs"), x)
    with pytest.raises(UsageError, match="cannot be compared"):
        ek.compare(graph, tmp_path / "m.tflite", x)
    with pytest.raises(GraphFileError, match="does not exist"):
        ek.compare(graph, tmp_path / "m.onnx", x)
    with pytest.raises(DataError, match="shape"):
        ek.compare(graph, graph, [x[0][:, :1]])
    with pytest.raises(DataError, match="takes"):
        ek.compare(graph, graph, [{"picture": x[0]}])
    (tmp_path / "bad.onnx").write_bytes(b"no model")
    with pytest.raises(GraphFileError):
        ek.compare(graph, tmp_path / "bad.onnx", x)


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    float_graph("residual").save(tmp_path / "float.safetensors")
    x = inputs("residual")[0].numpy()
    np.savez(tmp_path / "x.npz", x=x, y=np.zeros(len(x), np.int64))
    arguments = [str(tmp_path / "float.safetensors"), str(files("residual", folder)["int8 onnxruntime"])]
    for more, count in (([], 0), (["--layers"], 11)):
        with pytest.raises(SystemExit) as ended:
            cli.main(["compare", *arguments, "--data", str(tmp_path / "x.npz"), "--json", *more])
        assert ended.value.code == 0
        content = json.loads(capsys.readouterr().out)
        assert (content["items"], len(content["layers"])) == (20, count)
    with pytest.raises(SystemExit):
        cli.main(["compare", *arguments, "--data", str(tmp_path / "x.npz"), "--layers"])
    assert "worst: " in capsys.readouterr().out


def test_the_pair_behind_a_value_stands_for_it() -> None:
    for cell in patterns.cells(quantised.quantised("residual")):
        assert notes.value_name(cell.end) == notes.value_name(cell.real)
