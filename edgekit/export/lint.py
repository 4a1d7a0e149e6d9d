"""Our own check of an ONNX file, stricter than the ONNX checker: what TensorRT or ONNX Runtime would refuse, or silently run in float."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx
from onnx import numpy_helper

from edgekit.targets import OnnxTarget

_TINY = float(np.finfo(np.float32).tiny)
_WEIGHTED = ("Conv", "Gemm", "MatMul")
_ACTIVATIONS = ("Relu", "Clip")


class _View:
    """A model's graph by name."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self.nodes = list(model.graph.node)
        self.constants = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
        self.constants |= {
            n.output[0]: numpy_helper.to_array(n.attribute[0].t)
            for n in self.nodes
            if n.op_type == "Constant" and n.attribute[0].HasField("t")
        }
        self.producer = {name: node for node in self.nodes for name in node.output}
        self.users: dict[str, list[onnx.NodeProto]] = {}
        for node in self.nodes:
            for name in node.input:
                self.users.setdefault(name, []).append(node)

    def kind_behind(self, name: str) -> str:
        """The operator that makes a value, or nothing."""
        return self.producer[name].op_type if name in self.producer else ""


def lint(model: onnx.ModelProto, target: OnnxTarget, quantised: bool) -> list[str]:
    """Everything that is wrong with a file for ``target``, a sentence each; an empty list is a clean file."""
    view = _View(model)
    findings = [*_header(model, target), *_pairs(view, target)]
    if quantised:
        findings += _layers(view, target)
        if target.activation == "int8":
            findings += _fusions(view)
    return findings


def _header(model: onnx.ModelProto, target: OnnxTarget) -> Iterator[str]:
    versions = {entry.domain: entry.version for entry in model.opset_import}
    if versions != {"": target.opset}:
        yield f"the operator sets are {versions}, not opset {target.opset}"
    for node in model.graph.node:
        if node.domain:
            yield f"{node.name} is {node.domain}::{node.op_type}, which no plain ONNX reader knows"
        if node.doc_string or node.metadata_props:
            yield f"{node.name} carries metadata of the machine that wrote it"


def _pairs(view: _View, target: OnnxTarget) -> Iterator[str]:
    for node in view.nodes:
        if node.op_type not in ("QuantizeLinear", "DequantizeLinear"):
            continue
        scale = view.constants.get(node.input[1])
        if scale is None:
            yield f"the scale of {node.name} is not constant"
            continue
        if not bool(np.all(np.isfinite(scale)) and np.all(scale >= _TINY)):
            yield f"the scale of {node.name} is not a normal positive number"
        yield from _zero_point(view, node, target)
        if node.op_type == "QuantizeLinear":
            yield from _closed(view, node)
        elif node.input[0] in view.constants and scale.ndim == 1:
            yield from _axis(view, node, scale)


def _zero_point(view: _View, node: onnx.NodeProto, target: OnnxTarget) -> Iterator[str]:
    stored = node.input[0] in view.constants
    zero_point = view.constants.get(node.input[2]) if len(node.input) > 2 else None
    if stored:
        if zero_point is not None and zero_point.any():
            yield f"{node.name} gives a weight a zero point other than 0"
    elif (
        zero_point is None
        or zero_point.dtype.name != target.activation
        or bool((zero_point != target.zero_point).any())
    ):
        yield f"{node.name} is not {target.activation} with zero point {target.zero_point}"


def _closed(view: _View, quantize: onnx.NodeProto) -> Iterator[str]:
    """Q must be read by DQ of the same scale only, a Clip in between or not."""
    name = quantize.output[0]
    readers = view.users.get(name, [])
    if len(readers) == 1 and readers[0].op_type == "Clip":
        readers = view.users.get(readers[0].output[0], [])
    if not readers or any(n.op_type != "DequantizeLinear" or n.input[1:] != quantize.input[1:] for n in readers):
        yield f"{quantize.name} is not closed by DequantizeLinear with its own scale and zero point"


def _axis(view: _View, node: onnx.NodeProto, scale: np.ndarray) -> Iterator[str]:
    axis = next((a.i for a in node.attribute if a.name == "axis"), 1)
    shape = view.constants[node.input[0]].shape
    if not -len(shape) <= axis < len(shape) or shape[axis] != scale.size:
        yield f"{node.name} has {scale.size} scales along axis {axis} of {shape}"


def _layers(view: _View, target: OnnxTarget) -> Iterator[str]:
    for node in view.nodes:
        if node.op_type not in _WEIGHTED:
            continue
        if any(view.kind_behind(name) != "DequantizeLinear" for name in node.input[:2]):
            yield f"{node.name} does not read dequantised values on both sides: it would run in float"
            continue
        weight = view.constants.get(view.producer[node.input[1]].input[0])
        if weight is None or weight.dtype != np.int8:
            yield f"the weight of {node.name} is not stored as int8"
        if len(node.input) > 2 and target.bias == "int32" and view.kind_behind(node.input[2]) != "DequantizeLinear":
            yield f"the bias of {node.name} is not stored as int32"


def _fusions(view: _View) -> Iterator[str]:
    """TensorRT fuses convolution + addition + activation only without pairs in between, and with one on the skip branch."""
    for node in view.nodes:
        if node.op_type in _ACTIVATIONS and view.kind_behind(node.input[0]) == "DequantizeLinear":
            pair = view.producer[view.producer[node.input[0]].input[0]]
            if view.kind_behind(pair.input[0]) in (*_WEIGHTED, "Add"):
                yield f"a pair stands between {pair.input[0]} and {node.name}"
        if node.op_type == "Add" and all(view.kind_behind(name) in _WEIGHTED for name in node.input):
            yield f"no branch of {node.name} has a pair"
