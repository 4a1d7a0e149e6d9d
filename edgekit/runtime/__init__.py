"""One way to run any artefact: :func:`load` gives a :class:`Runner`, numpy arrays in, numpy arrays out.

A runner checks its inputs and names the one that does not fit. The runtimes themselves (onnxruntime, torch) are
imported only when an artefact that needs them is loaded.
"""

from __future__ import annotations

import importlib
import os
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgekit import device
from edgekit.errors import DataError, GraphFileError, IntegrityError, UnsupportedError, UsageError
from edgekit.runtime.native import Layer, NativeRunner
from edgekit.runtime.runner import Outputs, Runner, TensorInfo, check_file, read, require

if TYPE_CHECKING:
    from edgekit.graph import Graph

__all__ = [
    "GraphRunner",
    "Layer",
    "NativeRunner",
    "OnnxRunner",
    "Outputs",
    "Runner",
    "TensorInfo",
    "load",
    "optimized_operators",
]

NO_VNNI = (
    "this CPU has no VNNI: ONNX Runtime's INT8 saturates at 16 bits here, so its results may differ from the golden's"
)
INTEGER = (b"QLinear", b"QGemm", b"MatMulInteger", b"ConvInteger")  # in a file itself, so that nothing has to fuse

FIX_ONNX, FIX_TORCH = "pip install 'edgekit[onnx]'", "pip install 'edgekit[train]'"

# ONNX Runtime's word for an element type -> numpy's, where they differ.
NUMPY_NAMES = {"float": "float32", "double": "float64"}
ELEMENT_TYPES = ("float16", "bool", *(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)))


class OnnxRunner(Runner):
    """An ONNX file in ONNX Runtime on the CPU.

    Args:
        path: the file, weights inside.
        threads: for the operators of one call; several calls never run at once.
        optimise: whether ONNX Runtime may rewrite the graph; without, Q and DQ stay pairs around float operators. None:
            unless its integers would saturate on this processor, which is said.

    Raises:
        MissingDependency: onnxruntime is not installed.
        GraphFileError: the file is missing or is no ONNX model that ONNX Runtime can load.
        UnsupportedError: an input or output is no tensor of numbers.
    """

    runtime = "onnxruntime"

    def __init__(self, path: str | Path, *, threads: int = 1, optimise: bool | None = True) -> None:
        ort = require("onnxruntime", FIX_ONNX)
        self.version = str(ort.__version__)
        data = read(Path(path))
        saturates = b"QuantizeLinear" in data and device.is_x86() and not device.has_vnni()
        if optimise is None:
            optimise = not saturates
            if saturates:
                warnings.warn(NO_VNNI, RuntimeWarning, stacklevel=3)
        self._session = _session(ort, path, data, _options(ort, threads, optimise))
        inputs = tuple(_onnx_info(path, item) for item in self._session.get_inputs())
        outputs = tuple(_onnx_info(path, item) for item in self._session.get_outputs())
        super().__init__(Path(path).name, threads, inputs, outputs)
        if saturates and (optimise or any(name in data for name in INTEGER)):
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
        self._torch = require("torch", FIX_TORCH)
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


def load(
    source: str | os.PathLike[str] | Graph, *, threads: int = 1, isa: str | None = None, trust: bool = False
) -> Runner:
    """Opens an artefact for running; a plan needs numpy and nothing else.

    Args:
        source: a plan (``.ekm``), an ``.onnx`` file, a Graph saved as ``.safetensors``, or a Graph.
        threads: threads of one call.
        isa: the instruction set of a plan's kernels, by default the best that this machine has.
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
    path = Path(source) if isinstance(source, (str, os.PathLike)) else None
    if path is not None and path.suffix == ".ekm":
        return NativeRunner(path, threads=threads, isa=isa)
    if isa is not None:
        raise UsageError("isa chooses the kernels of a plan.", fix="Give it with a .ekm file only.")
    if path is None:
        return _load_graph(source, threads)
    if path.suffix == ".onnx":
        return OnnxRunner(path, threads=threads, optimise=None)
    if path.suffix == ".safetensors":
        return _load_saved(path, threads)
    if path.suffix in (".engine", ".plan"):
        return _load_engine(path, trust)
    raise UsageError(f"{path} has no suffix that edgekit can load.", fix="Give a .ekm, .onnx or .safetensors file.")


def optimized_operators(path: str | Path) -> Counter[str]:
    """How many nodes of each type ONNX Runtime really runs: the operators of its own optimised graph.

    Raises:
        MissingDependency: onnxruntime or onnx is not installed.
        GraphFileError: as for :class:`OnnxRunner`.
    """
    ort, onnx = require("onnxruntime", FIX_ONNX), require("onnx", FIX_ONNX)
    data, options = read(Path(path)), _options(ort, threads=1, optimise=True)
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
    require("torch", FIX_TORCH)
    from edgekit.graph import Graph

    if not isinstance(source, Graph):
        what = f"a {type(source).__name__} cannot be loaded."
        raise UsageError(what, fix="Give a path or a Graph; ek.capture makes one of a module.")
    return GraphRunner(source, threads=threads)


def _load_saved(path: Path, threads: int) -> Runner:
    check_file(path)
    require("torch", FIX_TORCH)
    from edgekit.graph import Graph

    return GraphRunner(Graph.load(path), threads=threads, name=path.name)


def _load_engine(path: Path, trust: bool) -> Runner:
    check_file(path)
    if not trust:
        raise IntegrityError(
            f"{path} is a bare TensorRT engine.",
            "An engine is native code, and nothing vouches for this one.",
            "Pass trust=True if you built it yourself on this machine.",
        )
    require("tensorrt", "pip install 'edgekit[tensorrt]' on a machine with an NVIDIA GPU")
    why = "This version of edgekit exports for TensorRT but does not run its engines."
    raise UnsupportedError(f"{path} cannot be run.", why, "Use trtexec.")


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


@contextmanager
def _torch_threads(torch: ModuleType, threads: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)
