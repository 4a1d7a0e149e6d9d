"""Runners: what they accept, what they refuse and how, and that they compute what the file says."""

import os
import subprocess
import sys
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekit import device, runtime
from edgekit.errors import (
    DataError,
    GraphFileError,
    IntegrityError,
    MissingDependency,
    UnsupportedError,
    UsageError,
)
from edgekit.runtime import GraphRunner, OnnxRunner, load, optimized_operators

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
helper = onnx.helper
FLOAT, INT64, STRING = onnx.TensorProto.FLOAT, onnx.TensorProto.INT64, onnx.TensorProto.STRING


def write(path: Path, nodes: list[Any], inputs: list[Any], outputs: list[Any], initialisers: Any = ()) -> Path:
    graph = helper.make_graph(nodes, "g", inputs, outputs, list(initialisers))
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString())
    return path


@pytest.fixture
def two_inputs(tmp_path: Path) -> Path:
    """y = a + b, z = relu(a); a has a dynamic batch."""
    value = helper.make_tensor_value_info
    nodes = [helper.make_node("Add", ["a", "b"], ["y"]), helper.make_node("Relu", ["a"], ["z"])]
    ends = [value("a", FLOAT, ["batch", 3]), value("b", FLOAT, [3])], [value(n, FLOAT, ["batch", 3]) for n in "yz"]
    return write(tmp_path / "two.onnx", nodes, *ends)


@pytest.fixture
def quantised(tmp_path: Path) -> Path:
    """One u8 linear layer between QuantizeLinear and DequantizeLinear, in ONNX Runtime's integer form."""
    value, numpy_helper = helper.make_tensor_value_info, onnx.numpy_helper
    weight = np.random.default_rng(0).integers(-127, 128, (8, 4), dtype=np.int8)
    constants = {"s": np.float32(0.05), "z": np.uint8(128), "sw": np.float32(0.01), "zw": np.int8(0), "w": weight}
    pairs = [("DequantizeLinear", ["w", "sw", "zw"], "wf")]
    pairs += [("QuantizeLinear", ["x", "s", "z"], "xq"), ("DequantizeLinear", ["xq", "s", "z"], "xf")]
    pairs += [("MatMul", ["xf", "wf"], "y"), ("QuantizeLinear", ["y", "s", "z"], "yq")]
    pairs += [("DequantizeLinear", ["yq", "s", "z"], "out")]
    nodes = [helper.make_node(kind, inputs, [output]) for kind, inputs, output in pairs]
    initialisers = [numpy_helper.from_array(np.asarray(array), name) for name, array in constants.items()]
    ends = [value("x", FLOAT, ["n", 8])], [value("out", FLOAT, ["n", 4])]
    return write(tmp_path / "q.onnx", nodes, *ends, initialisers)


A = np.array([[1, -2, 3], [-4, 5, -6]], np.float32)
B = np.array([10, 20, 30], np.float32)


def test_onnx_runs_with_several_inputs_and_outputs(two_inputs: Path) -> None:
    runner = load(two_inputs)
    y, z = runner.run(A, B)
    np.testing.assert_array_equal(y, A + B)
    np.testing.assert_array_equal(z, np.maximum(A, 0))
    assert [(info.name, info.shape, info.dtype) for info in runner.inputs] == [
        ("a", (None, 3), np.dtype("float32")),
        ("b", (3,), np.dtype("float32")),
    ]
    assert [info.name for info in runner.outputs] == ["y", "z"]
    assert (runner.name, runner.runtime, runner.device, runner.threads) == ("two.onnx", "onnxruntime", "cpu", 1)


def test_a_path_may_be_a_string_and_threads_are_taken(two_inputs: Path) -> None:
    assert load(str(two_inputs), threads=2).threads == 2


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ((A,), "takes 2 inputs (a, b), 1 were given"),
        ((A, B, B), "3 were given"),
        ((A.astype(np.float64), B), "input a is float64, the model takes float32"),
        ((A, B.astype(">f4")), "input b is >f4"),
        ((A.tolist(), B), "input a is a list"),
        ((A[0], B), "input a has shape (3,), the model takes (any, 3)"),
        ((A, B[:2]), "input b has shape (2,), the model takes (3)"),
    ],
)
def test_what_does_not_fit_is_named(two_inputs: Path, arrays: tuple[Any, ...], words: str) -> None:
    with pytest.raises(DataError) as caught:
        load(two_inputs).run(*arrays)
    assert words in str(caught.value)


def test_every_memory_layout_gives_the_same(two_inputs: Path) -> None:
    runner = load(two_inputs)
    wanted = runner.run(A, B)[0]
    wide = np.zeros((4, 6), np.float32)
    wide[::2, ::2] = A
    for layout in (np.asfortranarray(A), wide[::2, ::2], np.ascontiguousarray(A[::-1])[::-1]):
        np.testing.assert_array_equal(runner.run(layout, B)[0], wanted)
    assert runner.run(A[:0], B)[0].shape == (0, 3)


def test_nan_is_counted_and_said_once(two_inputs: Path) -> None:
    runner = load(two_inputs)
    bad = A.copy()
    bad[0, :2] = np.nan
    with pytest.warns(RuntimeWarning, match=r"input a of two\.onnx holds NaN"):
        runner.run(bad, B)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        runner.run(bad, B)
        runner.run(np.where(A > 0, np.inf, -np.inf).astype(np.float32), B)
    assert runner.nan_inputs == 4


def test_a_failure_inside_the_runtime_is_typed(tmp_path: Path) -> None:
    value = helper.make_tensor_value_info
    ends = [value("a", FLOAT, ["n"]), value("b", FLOAT, ["m"])], [value("y", FLOAT, ["k"])]
    path = write(tmp_path / "m.onnx", [helper.make_node("Add", ["a", "b"], ["y"])], *ends)
    with pytest.raises(DataError, match=r"cannot run m\.onnx"):
        load(path).run(np.ones(2, np.float32), np.ones(3, np.float32))


def test_an_input_that_is_no_tensor_of_numbers_is_refused(tmp_path: Path) -> None:
    value = helper.make_tensor_value_info
    ends = [value("text", STRING, ["n"])], [value("y", STRING, ["n"])]
    path = write(tmp_path / "s.onnx", [helper.make_node("Identity", ["text"], ["y"])], *ends)
    with pytest.raises(UnsupportedError, match=r"text of .* is a tensor\(string\)"):
        load(path)


def test_whole_numbers_go_in_as_they_are(tmp_path: Path) -> None:
    value = helper.make_tensor_value_info
    ends = [value("i", INT64, ["n"])], [value("y", INT64, ["n"])]
    path = write(tmp_path / "i.onnx", [helper.make_node("Neg", ["i"], ["y"])], *ends)
    assert load(path).run(np.array([2**40]))[0].tolist() == [-(2**40)]


# Files


@pytest.mark.parametrize("name", ["a.onnx", "a.safetensors", "a.engine", "a.plan"])
def test_a_missing_file_and_a_directory(tmp_path: Path, name: str) -> None:
    with pytest.raises(GraphFileError, match="does not exist"):
        load(tmp_path / name)
    (tmp_path / name).mkdir()
    with pytest.raises(GraphFileError, match="is a directory"):
        load(tmp_path / name)


@pytest.mark.parametrize("data", [b"", b"garbage", b"\x08\x09", b"\xff" * 1000])
@pytest.mark.parametrize("suffix", [".onnx", ".safetensors"])
def test_a_corrupt_file_is_a_typed_error(tmp_path: Path, suffix: str, data: bytes) -> None:
    path = tmp_path / f"bad{suffix}"
    path.write_bytes(data)
    with pytest.raises(GraphFileError, match="bad"):
        load(path)


def test_every_prefix_of_a_model_is_refused_or_runs(two_inputs: Path, tmp_path: Path) -> None:
    data = two_inputs.read_bytes()
    path = tmp_path / "prefix.onnx"
    refused = 0
    for length in range(len(data)):
        path.write_bytes(data[:length])
        try:
            load(path)
        except GraphFileError:
            refused += 1
    assert refused >= 0.9 * len(data)


@pytest.mark.parametrize("name", ["m.pt", "m.tflite", "m"])
def test_an_unknown_suffix_says_what_can_be_loaded(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match=r"\.onnx or \.safetensors"):
        load(tmp_path / name)


@pytest.mark.parametrize("source", [None, 7, object(), np.ones(3)])
def test_a_thing_that_is_no_model(source: Any) -> None:
    with pytest.raises(UsageError, match="cannot be loaded"):
        load(source)


@pytest.mark.parametrize("threads", [0, -1])
def test_threads_below_one(two_inputs: Path, threads: int) -> None:
    with pytest.raises(UsageError, match="threads is"):
        load(two_inputs, threads=threads)


@pytest.mark.parametrize("suffix", [".engine", ".plan"])
def test_an_engine_is_native_code(tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / f"net{suffix}"
    path.write_bytes(b"ptrt")
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    with pytest.raises(IntegrityError, match="native code"):
        load(path)
    with pytest.raises(MissingDependency, match="tensorrt"):
        load(path, trust=True)


def test_a_missing_runtime_is_named_with_its_cure(two_inputs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MissingDependency, match=r"edgekit\[onnx\]"):
        load(two_inputs)


def test_loading_onnx_does_not_import_torch(two_inputs: Path) -> None:
    code = "import sys; from edgekit.runtime import load; load(sys.argv[1]); assert 'torch' not in sys.modules"
    root = str(Path(runtime.__file__).parents[2])
    subprocess.run([sys.executable, "-c", code, str(two_inputs)], check=True, env={**os.environ, "PYTHONPATH": root})


# Quantised files


def test_the_optimised_operators_are_counted(quantised: Path) -> None:
    counted = optimized_operators(quantised)
    assert isinstance(counted, Counter)
    assert counted["QLinearMatMul"] == 1
    assert counted["MatMul"] == 0
    with pytest.raises(GraphFileError):
        optimized_operators(quantised.parent / "missing.onnx")


@pytest.mark.skipif(not device.has_vnni(), reason="without VNNI, ONNX Runtime's INT8 saturates at 16 bits")
def test_without_optimisation_the_pairs_stay_pairs(quantised: Path) -> None:
    x = np.random.default_rng(1).normal(size=(5, 8)).astype(np.float32)
    (plain,), (fast,) = OnnxRunner(quantised, optimise=False).run(x), OnnxRunner(quantised).run(x)
    assert np.abs(plain - fast).max() <= 0.05 + 1e-6, "at most one step of the output's scale"


def test_a_cpu_without_vnni_is_warned_about(quantised: Path, two_inputs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "is_x86", lambda: True)
    monkeypatch.setattr(device, "has_vnni", lambda: False)
    with pytest.warns(RuntimeWarning, match="no VNNI"):
        load(quantised)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load(two_inputs)
        OnnxRunner(quantised, optimise=False)  # pairs around float operators: nothing saturates
        monkeypatch.setattr(device, "has_vnni", lambda: True)
        load(quantised)


# Graphs

torch = pytest.importorskip("torch")


class Net(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm, self.linear = torch.nn.BatchNorm1d(3), torch.nn.Linear(3, 2)

    def forward(self, x: Any) -> Any:
        return self.linear(self.norm(x)), x.sum(1)


@pytest.fixture(scope="module")
def graph() -> Any:
    import edgekit as ek

    torch.manual_seed(0)
    return ek.capture(Net().eval(), (torch.from_numpy(A),))


def test_a_graph_runs_as_it_does_in_torch(graph: Any) -> None:
    runner = load(graph)
    assert isinstance(runner, GraphRunner)
    assert (runner.name, runner.runtime, runner.device) == ("graph", "torch", "cpu")
    with torch.no_grad():
        wanted = [tensor.numpy() for tensor in graph(torch.from_numpy(A))]
    for got, want in zip(runner.run(A), wanted, strict=True):
        np.testing.assert_array_equal(got, want)
    with pytest.raises(DataError, match="the model takes float32"):
        runner.run(A.astype(np.float64))
    np.testing.assert_array_equal(runner.run(A[::-1])[1], A[::-1].sum(1))


def test_running_a_graph_in_training_mode_changes_nothing(graph: Any) -> None:
    training = graph.copy().train()
    before = {name: tensor.clone() for name, tensor in training.module.state_dict().items()}
    wanted = load(graph).run(A)
    for got, want in zip(load(training).run(A), wanted, strict=True):
        np.testing.assert_array_equal(got, want)
    assert all(torch.equal(tensor, before[name]) for name, tensor in training.module.state_dict().items())


def test_torch_keeps_its_own_threads(graph: Any) -> None:
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        load(graph, threads=1).run(A)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_a_saved_graph_runs_the_same(graph: Any, tmp_path: Path) -> None:
    path = tmp_path / "net.safetensors"
    graph.save(path)
    runner = load(path)
    assert runner.name == "net.safetensors"
    for got, want in zip(runner.run(A), load(graph).run(A), strict=True):
        np.testing.assert_array_equal(got, want)
