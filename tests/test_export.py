"""Exported files: run in ONNX Runtime against the golden, and read by onnx itself."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import quantised
import torch
from numpy.typing import NDArray
from onnx import numpy_helper
from onnx.reference import ReferenceEvaluator
from quantised import NETS, Written, build, conv, float_graph, items, quantise, tensors
from torch import Tensor, nn
from torch.nn import functional

import edgekit as ek
from edgekit import device, targets
from edgekit.export import ExportReport, qdq
from edgekit.export.reference import TensorRTReference
from edgekit.runtime import OnnxRunner, optimized_operators
from edgekit.sqnr import sqnr_db

TENSORRT = ("tensorrt-10.3", "tensorrt-10", "tensorrt-11")
FOR_TENSORRT = ("residual", "depthwise", "perceptron", "tables", "two-outputs", "preactivation", "sequence", "reshaped")
QUANTISED = [(name, "onnxruntime") for name in NETS] + [(name, "tensorrt-10") for name in FOR_TENSORRT]
QUANTISED += [("residual", "tensorrt-11"), ("sequence", "tensorrt-11")]
_TEMPORARY = tempfile.TemporaryDirectory()
FOLDER = Path(_TEMPORARY.name)
needs_vnni = pytest.mark.skipif(not device.has_vnni(), reason="without VNNI, ONNX Runtime's INT8 saturates at 16 bits")


@cache
def exported(name: str, target: str) -> tuple[Path, ExportReport]:
    """A net's quantised file and its report; every test of this module reads the same one."""
    path = FOLDER / f"{name}.{target}.onnx"
    return path, ek.export_onnx(quantised.quantised(name), path, target, inputs=[items(NETS[name].shape, 16, seed=3)])


@cache
def exported_float(name: str) -> tuple[Path, ExportReport]:
    path = FOLDER / f"{name}.float.onnx"
    return path, ek.export_onnx(float_graph(name), path, inputs=[items(NETS[name].shape, 16, seed=3)])


def wide(shape: tuple[int, ...]) -> Tensor:
    """1,100 inputs, a tenth of them far beyond the calibrated range, and some hardly above zero."""
    parts = [items(shape, 900, 7), items(shape, 110, 8, spread=30), items(shape, 90, 9, spread=0.01)]
    return torch.cat(parts)


def run(path: Path, x: Tensor, optimise: bool = True) -> tuple[NDArray[Any], ...]:
    return OnnxRunner(path, optimise=optimise).run(x.numpy())


@needs_vnni
@pytest.mark.parametrize("name", NETS)
def test_onnx_runtime_gives_the_bytes_of_the_golden(name: str) -> None:
    path, report = exported(name, "onnxruntime")
    assert report.validation.differing_bytes == 0
    x = wide(NETS[name].shape)
    for got, want in zip(run(path, x), tensors(ek.lower(quantised.quantised(name))(x)), strict=True):
        assert got.tobytes() == want.numpy().tobytes()


@pytest.mark.parametrize("name", NETS)
def test_every_layer_runs_in_integers(name: str) -> None:
    path, report = exported(name, "onnxruntime")
    operators = optimized_operators(path)
    assert operators["QLinearConv"] == NETS[name].convolutions
    assert operators["QGemm"] == NETS[name].linears
    assert not {"Conv", "Gemm", "MatMul", "MatMulIntegerToFloat", "FusedConv"} & set(operators)
    pools = {"residual": 1, "depthwise": 1, "two-outputs": 1}
    assert operators["QLinearGlobalAveragePool"] == pools.get(name, 0)
    convolutions = NETS[name].convolutions
    assert report.validation.integer_convolutions == f"{convolutions} of {convolutions}"


@pytest.mark.parametrize(("name", "target"), [pair for pair in QUANTISED if pair[1] in TENSORRT])
def test_tensorrt_files_are_40_db_from_their_reference(name: str, target: str) -> None:
    """On other inputs than the export itself looked at."""
    path, report = exported(name, target)
    assert report.validation.sqnr_db is None or report.validation.sqnr_db >= 40
    placed = qdq.place(quantised.quantised(name), targets.onnx_target(target))
    x = items(NETS[name].shape, 50, seed=11)
    with torch.no_grad():
        expected = tensors(TensorRTReference(placed).run(x))
    for got, want in zip(run(path, x, optimise=False), expected, strict=True):
        noise = sqnr_db(want, got)
        assert noise is None or noise >= 40


@pytest.mark.parametrize("name", ["depthwise", "perceptron", "maximum", "sequence", "two-outputs"])
def test_the_tensorrt_reference_is_the_golden_where_nothing_is_added(name: str) -> None:
    """Its float64 rounds once where float32 rounds twice, which moves a value only beside a tie: one step, rarely."""
    graph, x = quantised.quantised(name), items(NETS[name].shape, 60, seed=12)
    with torch.no_grad():
        got = tensors(TensorRTReference(qdq.place(graph, targets.onnx_target("tensorrt-10"))).run(x))
    for reference, golden in zip(got, tensors(ek.lower(graph)(x)), strict=True):
        assert float((reference.float() != golden).double().mean()) < 1e-3
        assert (sqnr_db(golden, reference) or 100) > 60


def test_the_tensorrt_reference_adds_before_it_rounds() -> None:
    """Recomputed in exact arithmetic for ``relu(conv(x) + x)``."""

    def function(layers: nn.ModuleDict, x: Tensor) -> Tensor:
        return functional.relu(layers["a"](x) + x)

    graph, x = quantise(Written(function, a=conv(3, 3)), 3, 6, 6), items((3, 6, 6), 20, seed=2)
    integer = ek.lower(graph).module.state_dict()
    state = graph.module.state_dict()
    sx, sw, sy = (state[n].double() for n in ("x_scale", "conv2d_weight_scale", "relu_scale"))
    q = (x.double() / sx).clamp(-128, 127).round()  # float32 quantisation differs on ties only, which normals avoid
    products = functional.conv2d(q, integer["conv2d.weight"].double(), None, padding=1)
    real = (products + integer["conv2d.bias"].double().view(-1, 1, 1)) * (sx * sw).view(-1, 1, 1) + q * sx
    want = (real.clamp(min=0) / sy).clamp(-128, 127).round() * sy
    placed = qdq.place(graph, targets.onnx_target("tensorrt-10"))
    with torch.no_grad():
        got = TensorRTReference(placed).run(x)
    # The bias is stored as float32(q * sx * sw): a relative 2^-24 of it, which can only move a tie.
    assert float((got - want).abs().max()) <= float(sy) * 1.001
    assert float((got != want).double().mean()) < 1e-3
    assert bool((got != ek.lower(graph)(x).double()).any()), "the golden rounds twice; this net must show it"


class File:
    """A file by name, for questions that the linter must not answer about itself."""

    def __init__(self, path: Path) -> None:
        self.model = onnx.load(path)
        self.nodes = self.model.graph.node
        self.maker = {name: node for node in self.nodes for name in node.output}
        self.stored = {t.name: numpy_helper.to_array(t) for t in self.model.graph.initializer}

    def of(self, *kinds: str) -> list[onnx.NodeProto]:
        return [node for node in self.nodes if node.op_type in kinds]

    def makers(self, node: onnx.NodeProto) -> list[str]:
        return [self.maker[name].op_type if name in self.maker else "stored" for name in node.input]


@pytest.mark.parametrize("target", TENSORRT)
def test_tensorrt_files_let_layers_fuse(target: str) -> None:
    """Convolution, addition and ReLU with nothing in between; the other branch of each addition comes from a pair."""
    file = File(exported("residual", target)[0])
    relus, additions = file.of("Relu"), file.of("Add")
    assert len(relus) == 5
    assert len(additions) == 2
    assert {file.makers(node)[0] for node in relus} == {"Conv", "Add"}
    assert [sorted(file.makers(node)) for node in additions] == [["Conv", "DequantizeLinear"]] * 2
    assert not file.of("Clip")


@pytest.mark.parametrize(("name", "target"), QUANTISED)
def test_the_file_is_what_the_target_reads(name: str, target: str) -> None:
    import tomllib

    path, report = exported(name, target)
    row = tomllib.loads(Path(targets.__file__).with_name("targets.toml").read_text())["onnx"][target]
    file = File(path)
    assert {o.domain: o.version for o in file.model.opset_import} == {"": row["opset"]}
    assert report.opset == row["opset"]
    assert report.bytes == path.stat().st_size
    assert file.model.ir_version <= 10
    zero_points = {
        v.dtype.name for n in file.of("QuantizeLinear") for v in [file.stored.get(n.input[2])] if v is not None
    }
    constants = [numpy_helper.to_array(n.attribute[0].t) for n in file.of("Constant") if n.attribute[0].HasField("t")]
    assert zero_points | {c.dtype.name for c in constants if c.ndim == 0} <= {row["activation"], "int64"}


@pytest.mark.parametrize("target", ["onnxruntime", "tensorrt-10"])
def test_weights_and_biases_are_stored_as_integers(target: str) -> None:
    file = File(exported("residual", target)[0])
    layers = file.of("Conv", "Gemm")
    assert len(layers) == 7
    for node in layers:
        stored = [file.maker[n].input if n in file.maker else [n] for n in node.input[1:]]
        weight, bias = (file.stored[names[0]] for names in stored)
        assert weight.dtype == np.int8
        assert weight.min() >= -127
        assert bias.dtype == (np.int32 if target == "onnxruntime" else np.float32)
    assert not [v for v in file.stored.values() if v.dtype == np.float32 and v.ndim > 1]


def test_a_float_bias_is_the_integer_one_multiplied_out() -> None:
    files = [File(exported("depthwise", target)[0]) for target in ("onnxruntime", "tensorrt-10")]
    for integer, real in zip(files[0].of("Conv"), files[1].of("Conv"), strict=True):
        source = files[0].maker[integer.input[2]]
        q, scale = (files[0].stored[name] for name in source.input[:2])
        np.testing.assert_array_equal(np.float32(q) * scale, files[1].stored[real.input[2]])


@pytest.mark.parametrize(("name", "target"), QUANTISED)
def test_nothing_of_this_machine_is_in_the_file(name: str, target: str) -> None:
    path, _ = exported(name, target)
    data = path.read_bytes()
    leaks = [
        os.getcwd(),
        os.path.expanduser("~") + "/",
        torch.__path__[0],
        "site-packages",
        ".py",
        "torch",
        "namespace",
    ]
    assert [leak for leak in leaks if leak.encode() in data] == []
    model = onnx.load(path)
    graph = model.graph
    for part in (model, graph, *graph.node, *graph.input, *graph.output, *graph.initializer, *graph.value_info):
        assert not part.metadata_props
        assert not part.doc_string
    assert (model.producer_name, model.producer_version) == ("edgekit", ek.__version__)


AGAIN = """
import hashlib, sys, pathlib, tempfile
import quantised, edgekit as ek
for target in sys.argv[1:]:
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder, "other-name.onnx")
        ek.export_onnx(quantised.quantised("two-outputs"), path, target)
        print(hashlib.sha256(path.read_bytes()).hexdigest())
"""


def test_the_same_graph_gives_the_same_bytes_also_in_a_fresh_process(tmp_path: Path) -> None:
    want = [
        hashlib.sha256(exported("two-outputs", t)[0].read_bytes()).hexdigest() for t in ("onnxruntime", "tensorrt-10")
    ]
    ek.export_onnx(quantised.quantised("two-outputs"), tmp_path / "b.onnx", "tensorrt-10")
    assert hashlib.sha256((tmp_path / "b.onnx").read_bytes()).hexdigest() == want[1]
    folders = os.pathsep.join([str(Path(__file__).parent), str(Path(ek.__file__).parents[1])])
    environment = {**os.environ, "PYTHONPATH": folders, "PYTHONHASHSEED": "17"}
    command = [sys.executable, "-c", AGAIN, "onnxruntime"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.split() == want[:1]


@pytest.mark.parametrize(
    ("name", "target"), [("residual", "onnxruntime"), ("reshaped", "tensorrt-10"), ("sequence", "onnxruntime")]
)
def test_the_batch_is_dynamic_and_named(name: str, target: str) -> None:
    path, _ = exported(name, target)
    graph = onnx.load(path).graph
    for value in (*graph.input, *graph.output):
        assert value.type.tensor_type.shape.dim[0].dim_param == "batch"
        assert all(d.dim_value > 0 for d in value.type.tensor_type.shape.dim[1:])
    x, runner = items(NETS[name].shape, 7), OnnxRunner(path, optimise=target == "onnxruntime")
    whole = runner.run(x.numpy())[0]
    for batch in (1, 3):
        np.testing.assert_array_equal(runner.run(x[:batch].numpy())[0], whole[:batch])


def test_names_of_inputs_and_outputs_are_the_graphs() -> None:
    graph = onnx.load(exported("two-outputs", "onnxruntime")[0]).graph
    assert [value.name for value in graph.input] == ["x"]
    assert [value.name for value in graph.output] == ["output_0", "output_1"]


@pytest.mark.parametrize("name", ["perceptron", "average"])
def test_onnxs_own_interpreter_agrees(name: str) -> None:
    """Float sums may be taken in another order there: one step on a tie at most, and hardly ever."""
    path, _ = exported(name, "onnxruntime")
    x = items(NETS[name].shape, 6, seed=4)
    (other,) = ReferenceEvaluator(str(path)).run(None, {onnx.load(path).graph.input[0].name: x.numpy()})
    (got,) = run(path, x, optimise=False)
    step = np.unique(np.abs(np.diff(np.unique(got)))).min()
    assert np.abs(other - got).max() <= step * 1.001
    assert (other != got).mean() < 2e-3


def test_an_int8_file_is_about_a_quarter_of_the_float_one(tmp_path: Path) -> None:
    net = nn.Sequential(conv(16, 64), nn.ReLU(), conv(64, 64))
    graph = ek.capture(build(net), items((16, 6, 6), 2))
    whole = ek.export_onnx(graph, tmp_path / "float.onnx").bytes
    integer = ek.quantize(graph, [items((16, 6, 6))]).graph
    assert 0.25 < ek.export_onnx(integer, tmp_path / "int8.onnx").bytes / whole < 0.3


def test_a_float_linear_is_within_the_bound_of_float32_sums(tmp_path: Path) -> None:
    """K products and a bias in any order: (K + 1) 2^-24 of the sum of magnitudes, to first order; twice that here.

    Source: Higham, Accuracy and Stability of Numerical Algorithms, section 3.1.
    """
    model = build(nn.Sequential(nn.Linear(200, 30)))
    x = items((200,), 40)
    ek.export_onnx(model, tmp_path / "m.onnx", example_inputs=x, inputs=[x])
    weight, bias = (value.detach().double() for value in (model[0].weight, model[0].bias))
    exact = x.double() @ weight.t() + bias
    bound = 2 * 201 * 2.0**-24 * (x.double().abs() @ weight.abs().t() + bias.abs())
    assert bool(((torch.from_numpy(run(tmp_path / "m.onnx", x)[0]) - exact).abs() <= bound).all())


@pytest.mark.parametrize("name", ["residual", "perceptron", "two-outputs"])
def test_float_files_compute_what_the_module_does(name: str) -> None:
    path, report = exported_float(name)
    assert report.validation.reference == "graph"
    assert report.validation.differing_bytes is None
    x = items(NETS[name].shape, 9, seed=8)
    with torch.no_grad():
        wanted = tensors(build(NETS[name].model())(x))
    for got, want in zip(run(path, x), wanted, strict=True):
        np.testing.assert_allclose(got, want.numpy(), rtol=2e-5, atol=2e-5)


def test_attention_without_heads_is_written_in_steps(tmp_path: Path) -> None:
    """ONNX has attention for four dimensions alone."""
    model = Written(
        lambda s, x: s.head((s.q(x) @ s.k(x).mT).softmax(-1) @ x),
        q=nn.Linear(6, 8),
        k=nn.Linear(6, 8),
        head=nn.Linear(6, 3),
    )
    graph = ek.capture(model.eval(), torch.randn(2, 5, 6))
    assert any("scaled_dot_product" in str(node.target) for node in graph.nodes)
    assert not ek.export_onnx(graph, tmp_path / "model.onnx").validation.failure


def test_a_module_with_example_inputs_will_do(tmp_path: Path) -> None:
    model, x = build(nn.Sequential(nn.Linear(4, 3))), items((4,), 5)
    report = ek.export_onnx(model, tmp_path / "m.onnx", "tensorrt-10", example_inputs=x)
    assert report.validation.validated.endswith("64 inputs, generated")
    np.testing.assert_allclose(run(tmp_path / "m.onnx", x)[0], model(x).detach().numpy(), rtol=1e-5, atol=1e-6)


def awkward(kind: str) -> nn.Module:
    def function(layers: nn.ModuleDict, x: Tensor) -> Any:
        y = layers["a"](x)
        if kind == "x + x":
            return functional.relu(y + y)
        if kind == "two convolutions":
            return torch.clamp(y + layers["b"](x), -0.5, 2)
        if kind == "dropout between":
            return layers["b"](functional.relu(layers["dropout"](y)))
        if kind == "inner output":
            return y, functional.relu(layers["b"](y) + y)
        if kind == "input returned":
            return x, y
        return y.flatten(1), y.flatten(1)

    return Written(function, a=conv(3, 3), b=conv(3, 3), dropout=nn.Dropout(0.3))


@pytest.mark.parametrize(
    ("kind", "target"),
    [
        ("x + x", "onnxruntime"),
        ("x + x", "tensorrt-10"),
        ("two convolutions", "onnxruntime"),
        ("two convolutions", "tensorrt-10"),
        ("dropout between", "tensorrt-10"),
        ("inner output", "onnxruntime"),
        ("input returned", "onnxruntime"),
        ("twice the same", "tensorrt-10"),
    ],
)
def test_awkward_graphs(kind: str, target: str, tmp_path: Path) -> None:
    report = ek.export_onnx(quantise(awkward(kind), 3, 6, 6), tmp_path / "m.onnx", target)
    found = report.validation
    assert found.failure == ""
    assert found.sqnr_db is None or found.sqnr_db >= 40
    if target == "onnxruntime" and device.has_vnni():
        assert found.differing_bytes == 0


def test_the_report_is_flat_json() -> None:
    _, report = exported("residual", "onnxruntime")
    content = report.to_json()
    assert content["target"] == "onnxruntime"
    assert content["reference"] == "golden"
    assert content["integer_convolutions"] == "6 of 6"
    assert content["validated"].startswith("ONNX Runtime ")
    assert "on 16 inputs" in content["validated"]
    assert not any(isinstance(value, (dict, list)) for value in content.values())


def test_exporting_leaves_the_graph_alone() -> None:
    graph = quantised.quantised("residual")
    before = str(graph.module.graph)
    for target in ("onnxruntime", "tensorrt-10"):
        qdq.place(graph, targets.onnx_target(target))
        assert str(graph.module.graph) == before
