"""What is not exported: unknown targets, operators that ONNX computes otherwise, files that fail their checks."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import quantised
from onnx import numpy_helper
from quantised import conv, float_graph, items, quantise
from test_export import exported, exported_float, needs_vnni, run
from torch import nn

import edgekit as ek
from edgekit import device, export
from edgekit.errors import ExportMismatch, OperatorError, OutputError, UnsupportedError, UsageError
from edgekit.graph import edit, patterns
from edgekit.runtime import OnnxRunner


def test_an_unknown_target_is_refused_with_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"onnxruntim.*Did you mean 'onnxruntime'.*tensorrt-10"):
        ek.export_onnx(quantised.quantised("perceptron"), tmp_path / "m.onnx", "onnxruntim")
    assert list(tmp_path.iterdir()) == []


def pooled(**options: Any) -> nn.Module:
    return nn.Sequential(conv(2, 2), nn.AvgPool2d(3, 2, **options))


@pytest.mark.parametrize(
    ("options", "target", "expected"),
    [
        ({"divisor_override": 4}, "onnxruntime", "divisor of its own"),
        ({"divisor_override": 4}, "tensorrt-10", "divisor of its own"),
        ({"ceil_mode": True}, "onnxruntime", "hangs over"),
    ],
)
def test_pools_that_onnx_computes_otherwise_are_named(
    options: dict[str, Any], target: str, expected: str, tmp_path: Path
) -> None:
    with pytest.raises(OperatorError, match=rf"avg_pool2d \(aten\.avg_pool2d\) at .*{expected}"):
        ek.export_onnx(quantise(pooled(**options), 2, 8, 8), tmp_path / "m.onnx", target)
    assert list(tmp_path.iterdir()) == []


@needs_vnni
def test_ceil_mode_without_a_hanging_window_is_exact(tmp_path: Path) -> None:
    report = ek.export_onnx(quantise(pooled(ceil_mode=True), 2, 9, 9), tmp_path / "m.onnx")
    assert report.validation.differing_bytes == 0


@needs_vnni
def test_a_2x2_average_may_differ_by_one_step_on_ties(tmp_path: Path) -> None:
    model = nn.Sequential(nn.ReLU(), nn.AvgPool2d(2))
    graph = quantise(model, 2, 8, 8)
    report = ek.export_onnx(graph, tmp_path / "m.onnx")
    x = items((2, 8, 8), 200, seed=3)
    step = float(edit.get_tensor(graph.module, patterns.cells(graph)[-1].scale))
    difference = np.abs(run(tmp_path / "m.onnx", x)[0] - ek.lower(graph)(x).numpy())
    assert difference.max() <= step * 1.001
    assert report.validation.sqnr_db is None or report.validation.sqnr_db >= 40


def test_what_the_exporter_cannot_write_is_a_typed_error(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match=r"cannot be written as ONNX for onnxruntime\..*edgekit.*s8"):
        ek.export_onnx(ek.lower(quantised.quantised("perceptron")), tmp_path / "m.onnx")


def corrupted(monkeypatch: pytest.MonkeyPatch, good: Path, change: Any) -> None:
    """Let the exporter give ``good``, changed."""
    model = onnx.load(good)
    change(model)
    monkeypatch.setattr(export, "to_onnx", lambda graph, target: model)


def scale_weights(model: onnx.ModelProto) -> None:
    for tensor in model.graph.initializer:
        value = numpy_helper.to_array(tensor)
        if value.ndim == 2:
            tensor.CopyFrom(numpy_helper.from_array((value // 2).astype(value.dtype), tensor.name))


def poison_floats(model: onnx.ModelProto) -> None:
    """NaN in what only the second output reads."""
    name = [node for node in model.graph.node if node.op_type == "Gemm"][-1].input[2]
    for tensor in model.graph.initializer:
        if tensor.name == name:
            value = numpy_helper.to_array(tensor)
            tensor.CopyFrom(numpy_helper.from_array(np.full_like(value, np.nan), tensor.name))


def drop_an_output(model: onnx.ModelProto) -> None:
    model.graph.output[0].type.tensor_type.elem_type = onnx.TensorProto.INT64


def add_metadata(model: onnx.ModelProto) -> None:
    model.graph.node[0].doc_string = "/home/me"


@pytest.mark.parametrize(
    ("name", "target", "change", "expected"),
    [
        pytest.param(
            "perceptron",
            "onnxruntime",
            scale_weights,
            "values differ from the golden, where none may",
            marks=needs_vnni,
        ),
        ("perceptron", "tensorrt-10", scale_weights, "dB from the reference, under 40"),
        ("two-outputs", "tensorrt-10", poison_floats, "dB from the reference, under 40"),
        ("perceptron", "onnxruntime", drop_an_output, "ONNX checker says"),
        ("perceptron", "onnxruntime", add_metadata, "metadata of the machine"),
        ("float perceptron", "onnxruntime", scale_weights, r"differs from its graph by more than 0\.0001"),
        ("float two-outputs", "onnxruntime", poison_floats, "differs from its graph"),
    ],
)
def test_a_file_that_fails_is_not_written(
    name: str, target: str, change: Any, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(b"the old file")
    plain = name.removeprefix("float ")
    graph = float_graph(plain) if plain != name else quantised.quantised(name)
    corrupted(monkeypatch, (exported_float(plain) if plain != name else exported(name, target))[0], change)
    with pytest.raises(ExportMismatch, match=expected) as caught:
        ek.export_onnx(graph, path, target)
    assert caught.value.exit_code == 5
    assert "m.onnx" in caught.value.what
    assert path.read_bytes() == b"the old file"
    assert list(tmp_path.iterdir()) == [path]


def test_a_place_that_cannot_be_written_is_an_output_error(tmp_path: Path) -> None:
    with pytest.raises(OutputError):
        ek.export_onnx(float_graph("perceptron"), tmp_path / "missing" / "m.onnx")


def test_a_cpu_without_vnni_validates_without_optimisation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """There ONNX Runtime's own INT8 is what is wrong, not the file."""
    corrupted(monkeypatch, exported("perceptron", "onnxruntime")[0], lambda model: None)
    monkeypatch.setattr(device, "has_vnni", lambda: False)
    monkeypatch.setattr(device, "is_x86", lambda: True)
    optimised: list[bool] = []
    runner = OnnxRunner.__init__

    def spied(self: OnnxRunner, path: Any, *, threads: int = 1, optimise: bool = True) -> None:
        optimised.append(optimise)
        runner(self, path, threads=threads, optimise=optimise)

    monkeypatch.setattr(OnnxRunner, "__init__", spied)
    with pytest.warns(RuntimeWarning, match="no VNNI"):
        report = ek.export_onnx(quantised.quantised("perceptron"), tmp_path / "m.onnx")
    assert optimised == [False]
    assert "without optimisation" in report.validation.validated
    assert report.validation.sqnr_db is None or report.validation.sqnr_db >= 40


def test_a_file_for_tensorrt_is_not_warned_about(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It runs in float on every processor."""
    monkeypatch.setattr(device, "has_vnni", lambda: False)
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        ek.export_onnx(quantised.quantised("perceptron"), tmp_path / "t.onnx", "tensorrt-10")
