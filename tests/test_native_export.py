"""``ek.export_native`` and ``ek.load("m.ekm")``: what is written, what is refused, states, and numpy alone."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from quantised import Written, conv, items, quantise, quantised
from torch import Tensor, nn
from torch.nn import functional

import edgekit as ek
from edgekit.data.spectrum import LogMel
from edgekit.errors import DataError, ExportMismatch, GraphFileError, OperatorError, UsageError
from edgekit.export.native import check
from edgekit.export.native.float_words import FUNCTIONS
from edgekit.export.native.format import HEADER, OPERATION, TENSOR, attribute_struct
from edgekit.export.native.words import TABLE
from edgekit.graph import edit
from edgekit.runtime import NativeRunner

engine = pytest.importorskip("edgekit._C", reason="the C++ extension is not built")
aten = torch.ops.aten
pytestmark = pytest.mark.skipif(not hasattr(engine, "Engine"), reason="edgekit._C was built before the engine")


def test_the_table_is_that_of_the_engine() -> None:
    layout = engine.plan_layout()
    assert (HEADER.size, TENSOR.size, OPERATION.size) == (layout["header"], layout["tensor"], layout["operation"])
    assert {word: list(names) for word, names in FUNCTIONS.items()} == layout["functions"]
    types = {"I": "u32", "i": "i32", "f": "f32", "d": "f64"}
    ours = [
        (
            row.attributes.word,
            (row.most, row.fewest, row.outputs),
            [(types[code], name) for name, code in row.attributes.layout()],
            attribute_struct(row.attributes).size,
        )
        for row in TABLE
    ]
    theirs = [
        (
            kind["name"],
            (kind["most"], kind["fewest"], kind["outputs"]),
            [(t, name) for t, name in kind["fields"] if name not in ("pad_", "pad2_")],
            kind["bytes"],
        )
        for kind in layout["kinds"]
    ]
    assert ours == theirs


@pytest.mark.skipif("avx2" not in engine.isa_flags(), reason="of the AVX2 tier")
def test_what_a_call_asks_of_a_tier_is_said_before_what_the_machine_lacks(tmp_path: Path) -> None:
    wide = nn.Conv2d(16, 16, 13, padding=6, groups=16)
    graph = quantise(Written(lambda s, x: s.b(s.a(x)), a=nn.Conv2d(3, 16, 1), b=wide), 3, 8, 8)
    ek.export_native(graph, tmp_path / "net.ekm")
    layers = [layer for layer in ek.load(tmp_path / "net.ekm", isa="avx2").explain() if layer.macs]
    assert [layer.kernel for layer in layers] == ["conv2d_s8_avx2", "conv2d_s8_ref"]
    assert layers[1].reason == "conv2d_s8_avx2: a depthwise kernel of more than 128 taps"


def test_a_plan_is_written_run_and_explained(tmp_path: Path) -> None:
    path = tmp_path / "net.ekm"
    report = ek.export_native(quantised("residual"), path)
    assert report.to_json()["bytes"] == path.stat().st_size
    assert report.least_bytes <= report.arena_bytes <= 1.15 * report.least_bytes
    assert (report.fused, report.copies) == (2, 0)
    assert "equal to the golden" in report.validated
    runner = ek.load(path, threads=2, isa="ref")
    assert isinstance(runner, NativeRunner)
    assert (runner.threads, runner.isa) == (2, "ref")
    x = items((3, 8, 8), 1, seed=4)
    (y,) = runner.run(x.numpy())
    assert y.tobytes() == ek.lower(quantised("residual"))(x).numpy().tobytes()
    layers = ek.explain(runner)
    assert [layer.kind for layer in layers].count("conv2d_s8") == 6
    assert all(layer.kernel for layer in layers)
    timed = runner.profile(x.numpy())
    assert len(timed) == len(layers)
    assert sum(layer.seconds or 0 for layer in timed) > 0


def test_another_batch(tmp_path: Path) -> None:
    path, values = tmp_path / "net.ekm", items((3, 8, 8), 8)
    report = ek.export_native(quantised("residual"), path, {"input": (4, 3, 8, 8)}, inputs=(values,))
    assert "2 runs" in report.validated
    assert ek.load(path).inputs[0].shape == (4, 3, 8, 8)
    with pytest.raises(UsageError, match="cannot have the shape"):
        ek.export_native(quantised("residual"), path, {"input": (1, 4, 8, 8)})
    with pytest.raises(UsageError, match="Did you mean"):
        ek.export_native(quantised("residual"), path, {"inputs": (1, 3, 8, 8)})


def test_a_float_graph_is_refused(tmp_path: Path) -> None:
    graph = ek.capture(nn.Linear(4, 2), (torch.zeros(2, 4),))
    with pytest.raises(UsageError, match="not quantised"):
        ek.export_native(graph, tmp_path / "net.ekm")


def test_every_call_that_a_plan_lacks_is_named_at_once(tmp_path: Path) -> None:
    def function(layers: nn.ModuleDict, x: Tensor) -> Tensor:
        y = torch.cumsum(layers["a"](x), 1)
        return layers["b"](torch.sort(y, 1)[0])

    graph = quantise(Written(function, a=nn.Linear(6, 6), b=nn.Linear(6, 3)), 6)
    with pytest.raises(OperatorError) as caught:
        ek.export_native(graph, tmp_path / "net.ekm")
    message = str(caught.value)
    assert "aten.cumsum" in message
    assert "aten.sort" in message
    assert message.count("quantised.py:28") == 2, "the line that calls the net's function"
    assert list(tmp_path.iterdir()) == []


def test_a_spectrum_is_refused_by_its_name(tmp_path: Path) -> None:
    front = LogMel(8000, 256, 128, 8)
    net = nn.Sequential(front, nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 5 * 6, 3))
    graph = quantise(net, 1024)
    with pytest.raises(OperatorError, match="log-mel spectrum") as caught:
        ek.export_native(graph, tmp_path / "net.ekm")
    calls = [node for node in ek.lower(graph).nodes if "data/spectrum.py" in edit.source_line(node)]
    assert len(calls) >= 7
    assert all(edit.describe(node) in str(caught.value) for node in calls if node.target is not aten.sym_size.int)
    assert "no form for" not in str(caught.value)
    assert "Capture the net behind it" in str(caught.value)


def test_a_file_that_differs_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check, "golden_outputs", lambda *_: {"output": torch.full((1, 5), 9.0)})
    graph = quantised("residual")
    monkeypatch.setattr(graph, "output_names", ("output",))
    with pytest.raises(ExportMismatch, match="differ from the golden"):
        ek.export_native(graph, tmp_path / "net.ekm")
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_plan_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "net.ekm"
    with pytest.raises(GraphFileError, match="does not exist"):
        ek.load(path)
    path.write_bytes(b"no plan")
    with pytest.raises(GraphFileError):
        ek.load(path)
    ek.export_native(quantised("perceptron"), path)
    with pytest.raises(DataError, match="float32"):
        ek.load(path).run(np.zeros((1, 2, 3, 5)))
    with pytest.raises(UsageError, match="isa"):
        ek.load(quantised("perceptron"), isa="ref")


def test_a_plan_needs_numpy_alone(tmp_path: Path) -> None:
    path = tmp_path / "net.ekm"
    ek.export_native(quantised("perceptron"), path)
    code = (
        "import sys, numpy as np, edgekit as ek\n"
        "m = ek.load(sys.argv[1]); m.run(np.zeros((1, 2, 3, 5), np.float32)); m.explain()\n"
        "third = {n.partition('.')[0] for n in sys.modules} - sys.stdlib_module_names\n"
        "heavy = {n for n in third if not n.startswith('_')} - {'edgekit', 'numpy'}\n"
        "assert not heavy & {'torch', 'onnx', 'onnxruntime', 'triton', 'pydantic', 'yaml', 'safetensors'}, heavy\n"
    )
    root = str(Path(ek.__file__).parents[1])
    subprocess.run([sys.executable, "-c", code, str(path)], check=True, env={**os.environ, "PYTHONPATH": root})


class Streamed(nn.Module):
    """A recurrent layer whose state comes in and goes out."""

    def __init__(self, layer: type[nn.GRU] | type[nn.LSTM]) -> None:
        super().__init__()
        self.layer = layer(5, 7, batch_first=True)

    def forward(self, x: Tensor, h0: Tensor) -> tuple[Tensor, Tensor]:
        y, hn = self.layer(x, h0.unsqueeze(0))
        return y, hn[0]


def test_a_state_goes_from_run_to_run(tmp_path: Path) -> None:
    values = (items((3, 5)), items((7,), seed=9))
    net = Streamed(nn.GRU).eval()
    graph = ek.quantize(ek.capture(net, values), [values]).graph
    path, shapes = tmp_path / "net.ekm", {"x": (1, 3, 5), "h0": (1, 7)}
    (_, kept) = graph.output_names
    report = ek.export_native(graph, path, shapes, states={"h0": kept})
    assert report.state_bytes > 0
    runner, golden, state = ek.load(path), ek.lower(graph), torch.zeros(1, 7)
    assert isinstance(runner, NativeRunner)
    assert [info.name for info in runner.inputs] == ["x"]
    first = []
    for step in range(3):
        x = items((3, 5), 1, seed=step)
        (got,) = runner.run(x.numpy())
        want, state = golden(x, state)
        assert got.tobytes() == want.numpy().tobytes()
        first.append(got.tobytes())
    runner.reset()
    assert runner.run(items((3, 5), 1, seed=0).numpy())[0].tobytes() == first[0]
    with pytest.raises(UsageError, match="no output"):
        ek.export_native(graph, path, shapes, states={"h0": "hm"})


def test_tensors_go_straight_into_a_concatenation(tmp_path: Path) -> None:
    def function(layers: nn.ModuleDict, x: Tensor) -> Tensor:
        x = functional.relu(layers["a"](x))
        return layers["d"](torch.cat([layers["b"](x), layers["c"](x)], 1))

    net = Written(function, a=conv(3, 8), b=conv(8, 4), c=conv(8, 6, 1), d=conv(10, 4))
    report = ek.export_native(quantise(net, 3, 7, 6), tmp_path / "net.ekm")
    kinds = [layer.kind for layer in ek.explain(ek.load(tmp_path / "net.ekm"))]
    assert report.copies == 0
    assert kinds.count("conv2d_s8") == 4
    assert "copy" not in kinds or kinds.count("lut_s8") == 2
