"""GRU and LSTM in INT8: written out as torch computes them, lowered to one operator a direction, exported as Scan."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, nn

import edgekit as ek
from edgekit import device, fuse, quant
from edgekit.export.lint import lint
from edgekit.graph import Graph, cost, edit
from edgekit.quant import statistics
from edgekit.runtime import OnnxRunner, optimized_operators
from edgekit.sqnr import sqnr_db
from edgekit.targets import onnx_target

KINDS = {"gru": nn.GRU, "lstm": nn.LSTM}
SHAPES: dict[str, dict[str, Any]] = {
    "time first": {},
    "batch first": {"batch_first": True},
    "deep, both ways": {"num_layers": 2, "bidirectional": True, "batch_first": True, "dropout": 0.5},
    "without bias, both ways": {"bias": False, "bidirectional": True},
}
FEATURES, UNITS, BATCH, STEPS = 6, 10, 32, 7


class Net(nn.Module):
    """A recurrent layer, states given or not, and a linear layer over its results; the last states are outputs."""

    def __init__(self, kind: str, options: dict[str, Any]) -> None:
        super().__init__()
        self.layer = KINDS[kind](FEATURES, UNITS, **options)
        self.head = nn.Linear(UNITS * (1 + self.layer.bidirectional), 3)

    def forward(self, x: Tensor, *states: Tensor) -> tuple[Tensor, ...]:
        given = () if not states else (states[0] if len(states) == 1 else states,)
        y, last = self.layer(x, *given)
        return (self.head(y), *([last] if isinstance(last, Tensor) else last))


def net(kind: str, shape: str) -> Net:
    torch.manual_seed(0)
    return Net(kind, SHAPES[shape]).eval()


def inputs(model: Net, with_states: bool, seed: int = 0, steps: int = STEPS) -> tuple[Tensor, ...]:
    generator, layer = torch.Generator().manual_seed(seed), model.layer
    x = torch.randn(*((BATCH, steps) if layer.batch_first else (steps, BATCH)), FEATURES, generator=generator)
    size = (layer.num_layers * (1 + layer.bidirectional), BATCH, UNITS)
    count = 0 if not with_states else 1 if isinstance(layer, nn.GRU) else 2
    return (x, *(torch.rand(size, generator=generator) * 2 - 1 for _ in range(count)))


def quantised(model: Net, with_states: bool, **options: Any) -> tuple[quant.QuantResult, tuple[Tensor, ...]]:
    values = inputs(model, with_states)
    config = ek.QuantConfig(**{"strict": True, "allow_few": True} | options)
    return ek.quantize(ek.capture(model, values), [values, inputs(model, with_states, 1)], config), values


def operators(graph: Graph) -> Counter[str]:
    return Counter(edit.operator_name(node).rpartition(".")[2] for node in edit.calls(graph.module))


def decibels(expected: tuple[Tensor, ...], got: tuple[Tensor, ...]) -> float:
    pairs = zip(expected, got, strict=True)
    return min(x for a, b in pairs if (x := sqnr_db(a.detach().numpy(), b.detach().numpy()) or 200.0))


every = pytest.mark.parametrize("with_states", [False, True], ids=["zeros", "states"])
each_kind = pytest.mark.parametrize("kind", KINDS)
each_shape = pytest.mark.parametrize("shape", SHAPES)
QUICK = ("time first", "batch first")  # files of the others take a minute each to write and run
each_file = pytest.mark.parametrize(
    "shape", [s if s in QUICK else pytest.param(s, marks=pytest.mark.slow) for s in SHAPES]
)


@each_kind
@each_shape
@every
def test_written_out_it_computes_what_torch_does(kind: str, shape: str, with_states: bool) -> None:
    model = net(kind, shape)
    values = inputs(model, with_states)
    graph = ek.capture(model, values)
    written = quant.prepare(graph)
    torch.testing.assert_close(written(*values), model(*values), rtol=1e-5, atol=1e-6)
    assert f"{kind}.input" not in str(operators(written))
    assert cost.total_macs(written) == cost.total_macs(graph)


@each_kind
@each_shape
@every
def test_each_direction_is_one_integer_operator(kind: str, shape: str, with_states: bool) -> None:
    model = net(kind, shape)
    result, values = quantised(model, with_states)
    lowered = fuse.lowered(result.graph)
    directions, gates = model.layer.num_layers * (1 + model.layer.bidirectional), 3 if kind == "gru" else 4
    found = operators(lowered.graph)
    assert found[f"{kind}_s8"] == directions
    assert found["linear_s8"] == directions * gates + 1
    assert not {"linear", "matmul", "gru", "lstm", "sigmoid", "tanh"} & set(found)
    assert result.report.int8_macs == lowered.int8_macs == 1.0
    assert {o.operator for o in lowered.operators if o.macs} == {"aten.linear", f"edgekit.{kind}"}
    with torch.no_grad():
        assert decibels(model(*values), result.graph(*values)) > 25
        assert decibels(result.graph(*values), lowered.graph(*values)) > 35


@each_kind
@each_file
def test_the_files_compute_what_the_golden_does(kind: str, shape: str, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    model = net(kind, shape)
    result, values = quantised(model, with_states=True)
    report = ek.export_onnx(result.graph, tmp_path / "m.onnx", inputs=values)
    assert (report.validation.golden_sqnr_db or 200) >= 40
    file = onnx.load(tmp_path / "m.onnx")
    scans = [node for node in file.graph.node if node.op_type == "Scan"]
    assert len(scans) == model.layer.num_layers * (1 + model.layer.bidirectional)
    bodies = [attribute.g for node in scans for attribute in node.attribute if attribute.name == "body"]
    assert {node.op_type for body in bodies for node in body.node} >= {"QuantizeLinear", "DequantizeLinear", "Gemm"}
    matrices = [tensor for tensor in file.graph.initializer if len(tensor.dims) > 1]
    assert {tensor.data_type for tensor in matrices} <= {onnx.TensorProto.INT8, onnx.TensorProto.UINT8}
    for target in ("tensorrt-10", "tensorrt-11"):
        assert not ek.export_onnx(result.graph, tmp_path / "t.onnx", target, inputs=values).validation.failure


def test_onnx_runtime_runs_the_products_of_a_body_in_integers(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    result, values = quantised(net("gru", "time first"), with_states=False)
    ek.export_onnx(result.graph, tmp_path / "m.onnx", inputs=values)
    found = optimized_operators(tmp_path / "m.onnx")
    assert found["Gemm"] + found["MatMul"] == 0
    assert found["QGemm"] == 4 + 3  # inputs of the gates and head, and the body's


@each_kind
def test_time_stays_dynamic(kind: str, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    model = net(kind, "time first")
    result, values = quantised(model, with_states=False)
    ek.export_onnx(result.graph, tmp_path / "m.onnx", inputs=values)
    # As float pairs where ONNX Runtime's integers would saturate.
    runner, golden = OnnxRunner(tmp_path / "m.onnx", optimise=device.has_vnni()), ek.lower(result.graph)
    for steps in (1, 2, 31):
        (x,) = inputs(model, with_states=False, seed=steps, steps=steps)
        got = tuple(map(torch.from_numpy, runner.run(x.numpy())))
        assert got[0].shape == (steps, BATCH, 3)
        assert decibels(golden(x), got) >= 40


@each_kind
def test_step_by_step_it_gives_the_bytes_of_the_whole_sequence(kind: str) -> None:
    model = net(kind, "time first")
    result, (x, *states) = quantised(model, with_states=True)
    golden = ek.lower(result.graph)
    whole, *last = golden(x, *states)
    for t, expected in enumerate(whole):
        y, *states = golden(x[t : t + 1], *states)
        assert torch.equal(y[0], expected)
    assert all(map(torch.equal, states, last))


def test_the_state_has_one_scale_and_the_cell_stays_out_of_int8() -> None:
    result, values = quantised(net("lstm", "deep, both ways"), with_states=True)
    assert "the cell of an LSTM" in next(r for name, r in result.report.kept_float.items() if name.startswith("stack"))
    golden = ek.lower(result.graph)
    _, hidden, cell = golden(*values)
    step = hidden[hidden != 0].abs().min()
    torch.testing.assert_close(hidden / step, (hidden / step).round(), rtol=0, atol=1e-3)
    assert len(cell.unique()) > 256


@each_kind
@pytest.mark.parametrize("factor", [0.0, 1e-8, 1e-3, 3.0])
def test_weights_of_any_size_are_carried(kind: str, factor: float) -> None:
    """Dead recurrent parts, summands next to nothing beside the others, gates that are all open or closed."""
    model = net(kind, "time first")
    with torch.no_grad():
        for weight in (model.layer.weight_hh_l0, model.layer.bias_hh_l0):
            weight.mul_(factor)
    result, values = quantised(model, with_states=False)
    golden = ek.lower(result.graph)
    with torch.no_grad():
        assert decibels(model(*values)[:1], result.graph(*values)[:1]) > 15
        assert decibels(result.graph(*values)[:1], golden(*values)[:1]) > 25


@each_kind
@pytest.mark.parametrize("bias", [-60.0, 60.0])
def test_gates_that_are_stuck_are_carried(kind: str, bias: float) -> None:
    model = net(kind, "time first")
    with torch.no_grad():
        model.layer.bias_ih_l0.fill_(bias)
    result, values = quantised(model, with_states=False)
    ek.lower(result.graph)(*values)


def test_input_that_is_zero_throughout_stays_zero() -> None:
    model = net("lstm", "without bias, both ways")
    values = (torch.zeros(STEPS, BATCH, FEATURES),)
    result = ek.quantize(ek.capture(model, values), [values], ek.QuantConfig(allow_few=True))
    _, *states = ek.lower(result.graph)(*values)
    assert all(int(state.count_nonzero()) == 0 for state in states)
    assert any("hidden" in name for name in result.report.dead)


@each_kind
def test_a_layer_that_is_kept_in_float_is_an_island(kind: str, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    model = net(kind, "deep, both ways")
    result, values = quantised(model, with_states=False, keep_float=("layer",))
    lowered = fuse.lowered(result.graph)
    assert operators(lowered.graph)[kind] == 4
    assert {o.operator for o in lowered.operators if o.reason and o.macs} == {f"edgekit.{kind}", "aten.linear"}
    assert 0 < (result.report.int8_macs or 0) < 0.1
    report = ek.export_onnx(result.graph, tmp_path / "m.onnx", inputs=values)
    assert (report.validation.golden_sqnr_db or 200) >= 40


def test_projected_states_stay_in_float_with_the_reason() -> None:
    model = nn.Sequential(nn.Linear(FEATURES, 5), nn.LSTM(5, UNITS, proj_size=4, batch_first=True)).eval()
    x = torch.randn(BATCH, STEPS, FEATURES)
    with pytest.warns(RuntimeWarning, match="lstm.*stays in float: its states are projected"):
        ek.quantize(ek.capture(model, x), [x])


@each_kind
def test_graphs_are_the_same_when_they_are_saved_and_loaded(kind: str, tmp_path: Path) -> None:
    result, values = quantised(net(kind, "batch first"), with_states=True)
    for graph in (result.graph, ek.lower(result.graph)):
        graph.save(tmp_path / "g")
        with torch.no_grad():
            assert all(map(torch.equal, Graph.load(tmp_path / "g")(*values), graph(*values)))


@each_kind
def test_every_quantity_learns(kind: str) -> None:
    """The weights behind each rounding get a gradient, so that a quantised layer can be trained further."""
    result, values = quantised(net(kind, "batch first"), with_states=False)
    for parameter in result.graph.module.parameters():
        parameter.requires_grad_(True)
    result.graph(*values)[0].square().sum().backward()
    named = dict(result.graph.named_parameters())
    assert all(p.grad is not None and float(p.grad.abs().max()) > 0 for n, p in named.items() if "layer" in n)


def test_a_defect_in_a_body_is_found(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    result, values = quantised(net("gru", "time first"), with_states=False)
    ek.export_onnx(result.graph, tmp_path / "m.onnx", inputs=values)
    file, target = onnx.load(tmp_path / "m.onnx"), onnx_target("onnxruntime")
    assert lint(file, target, quantised=True) == []
    body = next(a.g for node in file.graph.node for a in node.attribute if a.name == "body")
    layer = next(node for node in body.node if node.op_type == "Gemm")
    weight = onnx.numpy_helper.from_array(np.zeros((UNITS, UNITS), np.float32), "planted")
    file.graph.initializer.append(weight)
    layer.input[1] = "planted"
    assert any("would run in float" in finding for finding in lint(file, target, quantised=True))


@each_kind
def test_statistics_of_two_places_are_those_of_all_the_data(kind: str) -> None:
    model = net(kind, "batch first")
    graph = ek.capture(model, inputs(model, with_states=False))
    items = [inputs(model, with_states=False, seed=seed) for seed in (1, 2)]
    whole = ek.quantize(graph, items).report.scales
    parts = statistics.merged([quant.collect(graph, [item]) for item in items])
    assert ek.quantize(graph, parts).report.scales == whole
    assert any(name.endswith("hidden_" + ("r" if kind == "gru" else "i")) for name in whole)


@pytest.mark.parametrize("layer", [nn.GRU, nn.LSTM])
def test_a_recurrent_layer_stays_in_float_by_the_name_it_was_captured_with(layer: type[nn.Module]) -> None:
    x = torch.randn(40, 6, 4)
    graph = ek.capture(nn.Sequential(nn.Linear(4, 3), layer(3, 5, batch_first=True)).eval(), x[:2])
    name = next(node.name for node in graph.nodes if layer.__name__.lower() in node.name)
    report = ek.quantize(graph, [x], ek.QuantConfig(keep_float=(name,))).report
    assert f"{name}_y" in report.kept_float
    assert "linear" not in report.kept_float
    assert sum(key.startswith(f"{name}_") for key in report.kept_float) >= (4 if layer is nn.GRU else 5)
