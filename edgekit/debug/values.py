"""Every value that an artefact computes, by the name under which all forms of a net know it."""

from __future__ import annotations

import operator
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, fx

from edgekit.errors import MissingDependency, UsageError
from edgekit.fuse.work import DEQUANTIZE
from edgekit.graph import Graph, edit, kinds, notes, patterns
from edgekit.runtime import FIX_ONNX, GraphRunner, NativeRunner, OnnxRunner, Outputs, Runner

Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Origin:
    """What makes a value: its operator, and file and line of the user's code where they are known."""

    operator: str
    source: str = ""


class Values(ABC):
    """An artefact that shows its values.

    Attributes:
        name: of the file, or ``graph``.
        runner: the artefact as it is deployed, with inputs and outputs.
        origins: of every value that :meth:`run` gives, in the order in which they are computed; outputs are not among
            them.
        ends: of the outputs.
        words: how it was run, for people.
    """

    name: str
    runner: Runner
    origins: dict[str, Origin]
    ends: tuple[Origin, ...]
    words: str

    @abstractmethod
    def run(self, arrays: Outputs) -> tuple[Arrays, Outputs]:
        """Inner values by name, those in INT8 as the real numbers that they stand for, and the outputs."""


def open_values(artefact: Graph | str | Path) -> Values:
    """A Graph, a Graph saved as ``.safetensors``, an ``.onnx`` file or a plan (``.ekm``).

    Raises:
        UsageError: for anything else.
        GraphFileError: for a file that is not what its suffix says.
        MissingDependency: onnx or onnxruntime is not installed.
    """
    if isinstance(artefact, Graph):
        return GraphValues(artefact)
    path = Path(artefact)
    if path.suffix == ".safetensors":
        return GraphValues(Graph.load(path), path.name)
    if path.suffix == ".onnx":
        return _file(path)
    if path.suffix == ".ekm":
        return PlanValues(path)
    raise UsageError(f"{path} cannot be compared.", fix="Give a Graph, a .safetensors, an .onnx or an .ekm file.")


def _file(path: Path) -> Values:
    try:
        from edgekit.debug.file_values import FileValues
    except ImportError as error:
        raise MissingDependency("onnx is needed for this.", f"{error}.", f"Try: {FIX_ONNX}.") from error
    return FileValues(path, OnnxRunner(path))


class PlanValues(Values):
    """A plan in the native engine, which overwrites its inner values as it goes: only the outputs can be seen."""

    def __init__(self, path: Path) -> None:
        self.runner = NativeRunner(path)
        self.name, self.origins = path.name, {}
        self.ends = tuple(Origin("output") for _ in self.runner.outputs)
        self.words = f"native engine {self.runner.version}, {self.runner.isa}"

    def run(self, arrays: Outputs) -> tuple[Arrays, Outputs]:
        """No inner values, and the outputs."""
        return {}, self.runner.run(*arrays)


class GraphValues(Values):
    """A float, quantised or integer Graph; where a value is rounded to INT8, it is the rounded one that counts."""

    def __init__(self, graph: Graph, name: str = "graph") -> None:
        self.name, self.runner = name, GraphRunner(graph, name=name)
        self._graph = graph.copy().eval()
        ends = [_rounded(node) for node in self._graph.output_nodes()]
        self.ends = tuple(map(_origin, ends))
        outputs = {notes.value_name(node) for node in ends}
        self._shown = {value: node for node, value in named(self._graph).items() if value not in outputs}
        self.origins = {value: _origin(node) for value, node in self._shown.items()}
        self.words = f"torch {self.runner.version}"

    def run(self, arrays: Outputs) -> tuple[Arrays, Outputs]:
        """All values by name and the outputs; see :meth:`Values.run`."""
        self.runner.check(*arrays)
        found = dict[fx.Node, Tensor]()
        result = record(self._graph, map(torch.from_numpy, arrays), found, set(self._shown.values()))
        values = {name: real(node, found[node]).numpy() for name, node in self._shown.items()}
        outputs = (result,) if isinstance(result, Tensor) else tuple(result)
        return values, tuple(output.numpy() for output in outputs)


def named(graph: Graph) -> dict[fx.Node, str]:
    """The nodes of a graph whose values have a meaning in its other forms, and the names of those values."""
    cells = patterns.cells(graph)
    hidden = {node for cell in cells if cell.inner is not None for node in (cell.body, cell.inner)}
    inputs = [node for node in graph.nodes if node.op == "placeholder"]
    given = {node.name: info.name for node, info in zip(inputs, graph.inputs, strict=True)}
    last = {notes.value_name(node): node for node in graph.nodes if node not in hidden and _is_value(node)}
    return {node: given.get(name, name) for name, node in last.items()}


def _rounded(output: fx.Node) -> fx.Node:
    """The bytes behind an output of an integer graph, or the output itself."""
    return edit.input_node(output) if output.target is DEQUANTIZE else output


def _is_value(node: fx.Node) -> bool:
    if node.op not in ("placeholder", "call_function") or not isinstance(node.meta.get("val"), Tensor):
        return False
    if node.target is DEQUANTIZE or node.target is patterns.AS_FLOAT:
        return False
    if node.target is patterns.FAKE_QUANTIZE:
        return not patterns.is_weight(node)
    return kinds.is_float(node) or notes.scale(node) is not None


def real(node: fx.Node, value: Tensor) -> Tensor:
    """The real numbers that the value of a node stands for."""
    scale = notes.scale(node)
    return value if value.is_floating_point() or scale is None else value.float() * scale


def record(graph: Graph, inputs: Any, found: dict[fx.Node, Any], wanted: set[fx.Node] | None = None) -> Any:
    """Run a graph, keeping the values of some nodes, or of all; returns its outputs."""

    class Recorder(fx.Interpreter):
        def run_node(self, n: fx.Node) -> Any:
            value = super().run_node(n)
            if wanted is None or n in wanted:
                found[n] = value
            return value

    with torch.no_grad():
        return Recorder(graph.module).run(*inputs)


def _origin(node: fx.Node) -> Origin:
    while node.target is patterns.FAKE_QUANTIZE:
        node = edit.input_node(node)
    if node.op == "placeholder":
        return Origin("input")
    made = edit.input_node(node) if node.target is operator.getitem else node
    return Origin(edit.operator_name(made), edit.short_source(node))


Rebuild = Callable[[NDArray[Any]], NDArray[Any]]


def dequantized(scale: NDArray[Any], zero_point: NDArray[Any]) -> Rebuild:
    """What makes reals of stored integers that have one scale."""
    step = np.float32(scale.reshape(-1)[0])
    offset = int(zero_point.reshape(-1)[0])
    return lambda codes: (codes.astype(np.int32) - offset).astype(np.float32) * step
