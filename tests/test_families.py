"""Whole nets of every family in INT8: all products in integers, and ONNX Runtime's bytes are the golden's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import hf
import pytest
import torch
from torch import Tensor

import edgekit as ek
from edgekit import fuse
from edgekit.graph import Graph
from edgekit.models import MODELS, example, example_inputs
from edgekit.sqnr import sqnr_db

SAMPLES = 40
QUICK = ("bert",)  # of Hugging Face: each takes up to half a minute
ZOO = ("encoder", "decoder", "vit", "tcn", "two_tower", "text_cnn", "gru_classifier", "lstm_classifier")


def check(graph: Graph, inputs: tuple[Tensor, ...], path: Path) -> None:
    """Quantise, lower, export for both kinds of target; each export runs its file against the golden."""
    result = ek.quantize(graph, calibration=[inputs], config=ek.QuantConfig(strict=True))
    lowered = fuse.lowered(result.graph)
    assert result.report.int8_macs == lowered.int8_macs == 1.0
    with torch.no_grad():
        pairs = zip(first(graph(*inputs)), first(lowered.graph(*inputs)), strict=True)
    noise = [value for a, b in pairs if (value := sqnr_db(a.numpy(), b.numpy())) is not None]
    assert min(noise) > 20  # random weights, up to two blocks of 8 bits
    pytest.importorskip("onnxruntime")
    report = ek.export_onnx(result.graph, path / "m.onnx", inputs=inputs)
    assert report.validation.golden_sqnr_db is None or report.validation.golden_sqnr_db >= 40
    assert not ek.export_onnx(result.graph, path / "t.onnx", "tensorrt-10", inputs=inputs).validation.failure


def first(results: Any) -> list[Tensor]:
    return [results] if isinstance(results, Tensor) else list(results)


@pytest.mark.parametrize("name", ZOO)
def test_nets_that_ship(name: str, tmp_path: Path) -> None:
    sizes = dict(MODELS[name].small)
    model, inputs = example(name, seed=0, **sizes)
    check(ek.capture(model.eval(), inputs), tuple(example_inputs(name, SAMPLES, seed=1, **sizes)), tmp_path)


@pytest.mark.parametrize("name", [n if n in QUICK else pytest.param(n, marks=pytest.mark.slow) for n in hf.FAMILIES])
def test_families_of_hugging_face(name: str, tmp_path: Path) -> None:
    pytest.importorskip("transformers", reason="the extra `hf` is not installed")
    torch.manual_seed(0)
    model, inputs = hf.FAMILIES[name]("sdpa", 2)
    graph = ek.capture(model.eval(), inputs)
    _, items = hf.FAMILIES[name]("sdpa", SAMPLES)
    check(graph, tuple(items[info.name] for info in graph.inputs), tmp_path)
