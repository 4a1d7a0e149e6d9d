"""Recurrent layers are captured whole, in a time that does not grow with the steps of time, and exported."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

import edgekit as ek
from edgekit.errors import ExportMismatch, OperatorError
from edgekit.graph.recurrent import RECURRENT, shapes_at_once

LAYERS: dict[str, tuple[type[nn.RNNBase], dict[str, Any]]] = {
    "gru": (nn.GRU, {}),
    "deep gru both ways": (nn.GRU, {"num_layers": 2, "bidirectional": True}),
    "time first": (nn.GRU, {"batch_first": False}),
    "without bias": (nn.GRU, {"bias": False}),
    "lstm": (nn.LSTM, {}),
    "lstm both ways": (nn.LSTM, {"bidirectional": True}),
    "lstm with projection": (nn.LSTM, {"proj_size": 3}),
    "rnn": (nn.RNN, {}),
    "rnn with relu": (nn.RNN, {"nonlinearity": "relu"}),
}


class Recurrent(nn.Module):
    """Every output of a recurrent layer."""

    def __init__(self, kind: type[nn.RNNBase], options: dict[str, Any]) -> None:
        super().__init__()
        self.layer = kind(4, 6, **{"batch_first": True, **options})

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        output, state = self.layer(x)
        return (output, *(state if isinstance(state, tuple) else (state,)))


@pytest.fixture(params=list(LAYERS))
def layer(request: pytest.FixtureRequest) -> Recurrent:
    torch.manual_seed(0)
    return Recurrent(*LAYERS[request.param]).eval()


def test_shapes_at_once_are_those_of_real_values(layer: Recurrent) -> None:
    for batch, steps in ((1, 1), (3, 7)):
        x = torch.rand(batch, steps, 4)
        with torch.no_grad():
            real = layer(x)
        mode = FakeTensorMode(allow_non_fake_inputs=True)
        with shapes_at_once(), torch.no_grad(), mode:
            fake = layer(mode.from_tensor(x))
        assert [(f.shape, f.dtype) for f in fake] == [(r.shape, r.dtype) for r in real]


def test_real_values_are_computed_as_ever(layer: Recurrent) -> None:
    x = torch.rand(3, 5, 4)
    expected = layer(x)
    with shapes_at_once():
        inside = layer(x)
        gradients = torch.autograd.grad(inside[0].sum(), list(layer.parameters()), allow_unused=True)
    assert all(torch.equal(a, b) for a, b in zip(expected, inside, strict=True))
    assert all(gradient is None or bool(torch.isfinite(gradient).all()) for gradient in gradients)


def test_the_shortcut_ends_with_the_block() -> None:
    before = [dict(operator.py_kernels) for operator in RECURRENT]
    block = ExitStack()
    block.enter_context(shapes_at_once())
    assert [dict(operator.py_kernels) for operator in RECURRENT] != before
    block.__exit__(ZeroDivisionError, ZeroDivisionError(), None)
    assert [dict(operator.py_kernels) for operator in RECURRENT] == before


def test_capture_is_the_layer_for_another_batch(layer: Recurrent) -> None:
    graph = ek.capture(layer, torch.rand(2, 40, 4))
    assert sum(node.target in RECURRENT for node in graph.nodes) == 1
    x = torch.rand(5, 40, 4)
    with torch.no_grad():
        assert all(torch.equal(a, b) for a, b in zip(layer(x), graph(x), strict=True))


def test_export_is_the_layer_or_a_refusal(layer: Recurrent, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    graph = ek.capture(layer, torch.rand(2, 6, 4))
    if layer.layer.proj_size:
        with pytest.raises(OperatorError, match="no projection"):
            ek.export_onnx(graph, tmp_path / "m.onnx")
    elif not layer.layer.batch_first:  # the exporter writes a dynamic number of steps as if it were the batch
        with pytest.raises(ExportMismatch, match="does not run"):
            ek.export_onnx(graph, tmp_path / "m.onnx")
    else:
        assert not ek.export_onnx(graph, tmp_path / "m.onnx").validation.failure
