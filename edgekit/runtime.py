"""One way to run any artefact: :func:`load` gives a :class:`Runner`, numpy arrays in, numpy arrays out.

A runner checks its inputs and names the one that does not fit. The runtimes themselves (onnxruntime, torch) are
imported only when an artefact that needs them is loaded.
"""

from __future__ import annotations

import importlib
import os
import tempfile
import warnings
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgekit import device
from edgekit.errors import DataError, GraphFileError, IntegrityError, MissingDependency, UnsupportedError, UsageError

if TYPE_CHECKING:
    from edgekit.graph import Graph

Outputs = tuple[NDArray[Any], ...]

NO_VNNI = (
    "this CPU has no VNNI: ONNX Runtime's INT8 saturates at 16 bits here, so its results may differ from the golden's"
)
INTEGER = (b"QLinear", b"QGemm", b"MatMulInteger", b"ConvInteger")  # in a file itself, so that nothing has to fuse

FIX_ONNX, FIX_TORCH = "pip install 'edgekit[onnx]'", "pip install 'edgekit[train]'"

# ONNX Runtime's word for an element type -> numpy's, where they differ.
NUMPY_NAMES = {"float": "float32", "double": "float64"}
ELEMENT_TYPES = ("float16", "bool", *(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)))


@dataclass(frozen=True)
class TensorInfo:
    """A named input or output: shape, with None for a dynamic size, and dtype."""

    name: str
    shape: tuple[int | None, ...]
    dtype: np.dtype[Any]


class Runner(ABC):
    """A loaded artefact.

    Attributes:
        name: the file's name, or ``graph``.
        runtime, version: what runs it.
        device: ``cpu`` or ``cuda``.
        threads: that one call uses.
        inputs, outputs: in the order of :meth:`run`.
        nan_inputs: NaN values seen in float inputs so far; the integer kernels map them to 0.
    """

    runtime: str
    version: str | None
    device = "cpu"

    def __init__(
        self, name: str, threads: int, inputs: tuple[TensorInfo, ...], outputs: tuple[TensorInfo, ...]
    ) -> None:
        self.name, self.threads, self.inputs, self.outputs = name, threads, inputs, outputs
        self.nan_inputs = 0

    def run(self, *arrays: NDArray[Any]) -> Outputs:
        """Runs the artefact on one array for each input.

        Raises:
            DataError: an input has the wrong type, dtype or shape, or there are too many or too few.
        """
        return self.bind(*arrays)()

    def bind(self, *arrays: NDArray[Any]) -> Callable[[], Outputs]:
        """Checks the inputs once and returns the bare call, which is what a benchmark times.

        Raises:
            DataError: as :meth:`run`.
        """
        self.check(*arrays)
        return self._bind(arrays)

    def check(self, *arrays: NDArray[Any]) -> None:
        """Refuses inputs that do not fit.

        Raises:
            DataError: as :meth:`run`.
        """
        if len(arrays) != len(self.inputs):
            names = ", ".join(info.name for info in self.inputs)
            raise DataError(f"{self.name} takes {len(self.inputs)} inputs ({names}), {len(arrays)} were given.")
        for info, array in zip(self.inputs, arrays, strict=True):
            _check(info, array)
            self._count_nan(info, array)

    @abstractmethod
    def _bind(self, arrays: tuple[NDArray[Any], ...]) -> Callable[[], Outputs]:
        """The bare call on checked inputs."""

    def _count_nan(self, info: TensorInfo, array: NDArray[Any]) -> None:
        # The minimum is NaN if any value is, and costs a fraction of looking at each.
        if not np.issubdtype(info.dtype, np.floating) or not array.size or not np.isnan(array.min()):
            return
        if not self.nan_inputs:
            text = f"input {info.name} of {self.name} holds NaN: edgekit's INT8 makes it 0, ONNX Runtime's -128"
            warnings.warn(text, RuntimeWarning, stacklevel=5)
        self.nan_inputs += int(np.isnan(array).sum())


class OnnxRunner(Runner):
    """An ONNX file in ONNX Runtime on the CPU.

    Args:
        path: the file, weights inside.
        threads: for the operators of one call; several calls never run at once.
        optimise: whether ONNX Runtime may rewrite the graph; without, Q and DQ stay pairs around float operators.

    Raises:
        MissingDependency: onnxruntime is not installed.
        GraphFileError: the file is missing or is no ONNX model that ONNX Runtime can load.
        UnsupportedError: an input or output is no tensor of numbers.
    """

    runtime = "onnxruntime"

    def __init__(self, path: str | Path, *, threads: int = 1, optimise: bool = True) -> None:
        ort = _require("onnxruntime", FIX_ONNX)
        self.version = str(ort.__version__)
        data = _read(Path(path))
        self._session = _session(ort, path, data, _options(ort, threads, optimise))
        inputs = tuple(_onnx_info(path, item) for item in self._session.get_inputs())
        outputs = tuple(_onnx_info(path, item) for item in self._session.get_outputs())
        super().__init__(Path(path).name, threads, inputs, outputs)
        integer = b"QuantizeLinear" in data and (optimise or any(name in data for name in INTEGER))
        if integer and device.is_x86() and not device.has_vnni():
            warnings.warn(NO_VNNI, RuntimeWarning, stacklevel=3)

    def _bind(self, arrays: tuple[NDArray[Any], ...]) -> Callable[[], Outputs]:
        feed = {info.name: array for info, array in zip(self.inputs, arrays, strict=True)}
        run, names, raised = self._session.run, [info.name for info in self.outputs], _ort_exceptions()

        def call() -> Outputs:
            try:
                return tuple(run(names, feed))
            except raised as error:
                raise DataError(f"ONNX Runtime cannot run {self.name} on these inputs.", f"{error}") from error

        return call


class GraphRunner(Runner):
    """A Graph in torch, in evaluation mode and without gradients; later edits of the Graph do not reach it.

    Args:
        graph: any Graph; the integer one gives the golden result.
        threads: of torch, set for each call and put back after it.
        name: for messages and tables.

    Raises:
        UnsupportedError: an input or output has a dtype that numpy lacks.
    """

    runtime = "torch"

    def __init__(self, graph: Graph, *, threads: int = 1, name: str = "graph") -> None:
        self._torch = _require("torch", FIX_TORCH)
        self.version = str(self._torch.__version__)
        self._graph = graph.copy().eval()
        tensors = self._graph.module.state_dict().values()
        self.device = next((tensor.device.type for tensor in tensors), "cpu")
        super().__init__(name, threads, tuple(map(self._info, graph.inputs)), tuple(map(self._info, graph.outputs)))

    def _info(self, item: Any) -> TensorInfo:
        try:
            dtype = self._torch.empty(0, dtype=item.dtype).numpy().dtype
        except TypeError as error:
            raise UnsupportedError(f"tensor {item.name} is {item.dtype}, which numpy does not have.") from error
        return TensorInfo(item.name, tuple(item.shape), dtype)

    def _bind(self, arrays: tuple[NDArray[Any], ...]) -> Callable[[], Outputs]:
        torch = self._torch
        tensors = [torch.from_numpy(np.array(array, copy=True)).to(self.device) for array in arrays]

        def call() -> Outputs:
            with torch.inference_mode(), _torch_threads(torch, self.threads):
                result = self._graph(*tensors)
                results = (result,) if isinstance(result, torch.Tensor) else tuple(result)
                return tuple(tensor.cpu().numpy() for tensor in results)

        return call


def load(source: str | os.PathLike[str] | Graph, *, threads: int = 1, trust: bool = False) -> Runner:
    """Opens an artefact for running.

    Args:
        source: a ``.onnx`` file, a Graph saved as ``.safetensors``, or a Graph.
        threads: threads of one call.
        trust: allows a bare TensorRT engine, which is native code, to be loaded.

    Raises:
        GraphFileError: the file is missing, a directory, or not what its name says.
        IntegrityError: a bare engine without ``trust``.
        MissingDependency: the runtime it needs is not installed.
        UnsupportedError: the artefact cannot be run here.
        UsageError: ``threads`` below 1, or nothing that edgekit can load.
    """
    if threads < 1:
        raise UsageError(f"threads is {threads}.", fix="Give 1 or more.")
    if not isinstance(source, (str, os.PathLike)):
        return _load_graph(source, threads)
    path = Path(source)
    if path.suffix == ".onnx":
        return OnnxRunner(path, threads=threads)
    if path.suffix == ".safetensors":
        return _load_saved(path, threads)
    if path.suffix in (".engine", ".plan"):
        return _load_engine(path, trust)
    raise UsageError(f"{path} has no suffix that edgekit can load.", fix="Give a .onnx or .safetensors file.")


def optimized_operators(path: str | Path) -> Counter[str]:
    """How many nodes of each type ONNX Runtime really runs: the operators of its own optimised graph.

    Raises:
        MissingDependency: onnxruntime or onnx is not installed.
        GraphFileError: as for :class:`OnnxRunner`.
    """
    ort, onnx = _require("onnxruntime", FIX_ONNX), _require("onnx", FIX_ONNX)
    data, options = _read(Path(path)), _options(ort, threads=1, optimise=True)
    with tempfile.TemporaryDirectory() as folder:
        options.optimized_model_filepath = os.path.join(folder, "optimised.onnx")
        _session(ort, path, data, options)
        model = onnx.load(options.optimized_model_filepath)
    return Counter(node.op_type for node in nodes(model.graph))


def nodes(graph: Any) -> Iterator[Any]:
    """All nodes of an ONNX graph, those of loops and branches too."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from nodes(attribute.g)


def _load_graph(source: Any, threads: int) -> Runner:
    _require("torch", FIX_TORCH)
    from edgekit.graph import Graph

    if not isinstance(source, Graph):
        what = f"a {type(source).__name__} cannot be loaded."
        raise UsageError(what, fix="Give a path or a Graph; ek.capture makes one of a module.")
    return GraphRunner(source, threads=threads)


def _load_saved(path: Path, threads: int) -> Runner:
    _check_file(path)
    _require("torch", FIX_TORCH)
    from edgekit.graph import Graph

    return GraphRunner(Graph.load(path), threads=threads, name=path.name)


def _load_engine(path: Path, trust: bool) -> Runner:
    _check_file(path)
    if not trust:
        raise IntegrityError(
            f"{path} is a bare TensorRT engine.",
            "An engine is native code, and nothing vouches for this one.",
            "Pass trust=True if you built it yourself on this machine.",
        )
    _require("tensorrt", "pip install 'edgekit[tensorrt]' on a machine with an NVIDIA GPU")
    why = "This version of edgekit exports for TensorRT but does not run its engines."
    raise UnsupportedError(f"{path} cannot be run.", why, "Use trtexec.")


def _check_file(path: Path) -> None:
    if path.is_dir():
        raise GraphFileError(f"{path} is a directory, not a model file.")
    if not path.exists():
        raise GraphFileError(f"{path} does not exist.", fix="Check the path.")


def _read(path: Path) -> bytes:
    """The whole file: what is looked at and what the runtime loads are the same bytes."""
    _check_file(path)
    try:
        return path.read_bytes()
    except OSError as error:
        raise GraphFileError(f"{path} cannot be read.", f"{error.strerror}.") from error


def _require(module: str, fix: str) -> ModuleType:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingDependency(
            f"{module} is needed for this and cannot be imported.", f"{error}.", f"Try: {fix}."
        ) from error


def _options(ort: ModuleType, threads: int, optimise: bool) -> Any:
    """Session options: explicit threads, one operator at a time, silent below errors."""
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    level = ort.GraphOptimizationLevel
    options.graph_optimization_level = level.ORT_ENABLE_ALL if optimise else level.ORT_DISABLE_ALL
    options.log_severity_level = 4
    return options


@cache
def _ort_exceptions() -> tuple[type[Exception], ...]:
    """What ONNX Runtime raises: a dozen classes without a common base."""
    classes = vars(importlib.import_module("onnxruntime.capi.onnxruntime_pybind11_state")).values()
    own = (item for item in classes if isinstance(item, type) and issubclass(item, Exception))
    return (RuntimeError, ValueError, *own)


def _session(ort: ModuleType, path: str | Path, data: bytes, options: Any) -> Any:
    try:
        return ort.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    except _ort_exceptions() as error:
        raise GraphFileError(f"{path} is no model that ONNX Runtime can load.", f"{error}") from error


def _onnx_info(path: str | Path, item: Any) -> TensorInfo:
    element = item.type.removeprefix("tensor(").removesuffix(")")
    dtype = NUMPY_NAMES.get(element, element)
    if element not in NUMPY_NAMES and element not in ELEMENT_TYPES:
        raise UnsupportedError(
            f"{item.name} of {path} is a {item.type}.", "edgekit runs models with tensors of numbers."
        )
    return TensorInfo(item.name, tuple(d if isinstance(d, int) else None for d in item.shape), np.dtype(dtype))


def _check(info: TensorInfo, array: object) -> None:
    if not isinstance(array, np.ndarray):
        raise DataError(f"input {info.name} is a {type(array).__name__}.", fix="Give a numpy array.")
    if array.dtype != info.dtype:
        raise DataError(
            f"input {info.name} is {array.dtype}, the model takes {info.dtype}.", fix="Convert it with .astype()."
        )
    fits = array.ndim == len(info.shape) and all(
        want is None or want == size for want, size in zip(info.shape, array.shape, strict=True)
    )
    if not fits:
        wanted = ", ".join("any" if size is None else str(size) for size in info.shape)
        raise DataError(f"input {info.name} has shape {tuple(array.shape)}, the model takes ({wanted}).")


@contextmanager
def _torch_threads(torch: ModuleType, threads: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)
