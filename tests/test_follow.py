"""A file run in float that is too far from its reference is followed operator by operator: ties pass, errors do not."""

from __future__ import annotations

import importlib
from pathlib import Path

import numpy as np
import pytest
import quantised
import torch
from quantised import items
from torch import nn

import edgekit as ek
from edgekit import device, targets
from edgekit.errors import ExportMismatch
from edgekit.export import qdq
from edgekit.export.follow import MOST_APART, Steps, follow
from edgekit.graph import Graph

onnx = pytest.importorskip("onnx")
VALIDATE = importlib.import_module("edgekit.export.validate")  # the package has a function of this name


def placed(graph: Graph, target: str = "tensorrt-10") -> Graph:
    return qdq.place(graph, targets.onnx_target(target))


def followed(graph: Graph, path: Path, x: torch.Tensor, target: str = "tensorrt-10") -> Steps:
    return follow(path, placed(graph, target), [x], [x.numpy()], targets.onnx_target(target).zero_point)


@pytest.mark.parametrize("target", ["onnxruntime", "tensorrt-10"])
@pytest.mark.parametrize("name", ["residual", "depthwise", "two-outputs", "reshaped", "tables"])
def test_a_right_file_is_right_operator_by_operator(name: str, target: str, tmp_path: Path) -> None:
    graph, x = quantised.quantised(name), items(quantised.NETS[name].shape, 40, seed=4)
    ek.export_onnx(graph, tmp_path / "m.onnx", target)
    found = followed(graph, tmp_path / "m.onnx", x, target)
    assert found.are_ties
    assert found.compared > 1000
    assert found.apart <= MOST_APART * found.compared


@pytest.mark.parametrize("target", ["onnxruntime", "tensorrt-10"])
@pytest.mark.parametrize("layer", range(6))
def test_weights_that_are_off_by_one_are_found(layer: int, target: str, tmp_path: Path) -> None:
    graph, x = quantised.quantised("residual"), items((3, 8, 8), 40, seed=4)
    ek.export_onnx(graph, tmp_path / "m.onnx", target)
    model = onnx.load(tmp_path / "m.onnx")
    weights = [t for t in model.graph.initializer if t.data_type == onnx.TensorProto.INT8 and len(t.dims) == 4]
    codes = onnx.numpy_helper.to_array(weights[layer]).copy()
    codes -= np.sign(codes)
    weights[layer].CopyFrom(onnx.numpy_helper.from_array(codes, weights[layer].name))
    onnx.save(model, tmp_path / "wrong.onnx")
    assert followed(graph, tmp_path / "m.onnx", x, target).are_ties
    assert not followed(graph, tmp_path / "wrong.onnx", x, target).are_ties


def test_another_net_has_other_quantisers(tmp_path: Path) -> None:
    ek.export_onnx(quantised.quantised("residual"), tmp_path / "m.onnx", "tensorrt-10")
    shallow = quantised.quantise(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()), 3, 8, 8)
    assert not followed(shallow, tmp_path / "m.onnx", items((3, 8, 8), 4)).are_ties


def test_steps_are_ties_only_if_few_and_near() -> None:
    own = torch.zeros(20_000)
    for change, ties in (([], True), ([0], True), (range(2), True), (range(3), False)):
        theirs, found = own.clone(), Steps()
        theirs[list(change)] = 1
        found.add(own, theirs)
        assert found.are_ties is ties, change
    found = Steps()
    found.add(own, own.index_fill(0, torch.tensor([3]), 2))
    assert not found.are_ties
    assert not Steps().are_ties


@pytest.mark.filterwarnings("ignore:this CPU has no VNNI")
@pytest.mark.parametrize("target", ["onnxruntime", "tensorrt-10"])
def test_export_takes_ties_for_what_they_are(target: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No net is small whose ties are certain to add up, so the first look at the outputs is made to fail."""
    monkeypatch.setattr(device, "has_vnni", lambda: False)
    graph, x = quantised.quantised("residual"), items((3, 8, 8), 40)
    near = VALIDATE._too_noisy
    calls: list[str] = []

    def first_time(expected: object, got: object, what: str) -> str:
        calls.append(what)
        return "too far" if len(calls) == 1 else near(expected, got, what)  # type: ignore[arg-type]

    monkeypatch.setattr(VALIDATE, "_too_noisy", first_time)
    found = ek.export_onnx(graph, tmp_path / "m.onnx", target, inputs=[x]).validation
    assert found.failure == ""
    assert "operator by operator: " in found.validated
    assert len(calls) == 2


def test_where_onnx_runtime_computes_in_integers_nothing_is_excused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(device, "has_vnni", lambda: True)
    monkeypatch.setattr(VALIDATE, "_too_noisy", lambda *_: "too far")
    with pytest.raises(ExportMismatch, match=r"too far|values differ from the golden"):
        ek.export_onnx(quantised.quantised("residual"), tmp_path / "m.onnx")


def test_a_wrong_file_is_refused_all_the_same(tmp_path: Path) -> None:
    graph, x = quantised.quantised("perceptron"), items((2, 3, 5), 40)
    ek.export_onnx(graph, tmp_path / "m.onnx", "tensorrt-10")
    model = onnx.load(tmp_path / "m.onnx")
    for tensor in model.graph.initializer:
        if tensor.data_type == onnx.TensorProto.INT8 and len(tensor.dims) == 2:
            codes = np.roll(onnx.numpy_helper.to_array(tensor), 1, 0)
            tensor.CopyFrom(onnx.numpy_helper.from_array(codes, tensor.name))
    onnx.save(model, tmp_path / "wrong.onnx")
    target = targets.onnx_target("tensorrt-10")
    found = VALIDATE.validate(tmp_path / "wrong.onnx", graph, placed(graph), target, [x], 1e-4)
    assert "dB from the reference" in found.failure
