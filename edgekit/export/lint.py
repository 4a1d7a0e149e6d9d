"""Our own check of an ONNX file, stricter than the ONNX checker: what a target would refuse, or run in float."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from edgekit.export.view import FileView
from edgekit.runtime import nodes
from edgekit.targets import OnnxTarget

_TINY = float(np.finfo(np.float32).tiny)
_WEIGHTED = ("Conv", "ConvTranspose", "Gemm", "MatMul")
_ACTIVATIONS = ("Relu", "Clip")


def lint(model: onnx.ModelProto, target: OnnxTarget, quantised: bool, float_layers: int = 0) -> list[str]:
    """Everything that is wrong with a file for ``target``, a sentence each; an empty list is a clean file.

    Args:
        model: the file's content.
        target: whom it is for.
        quantised: whether its layers must be in integers.
        float_layers: convolutions and products of matrices that the model computes in float.
    """
    elsewhere = [t.name for t in model.graph.initializer if t.data_location == onnx.TensorProto.EXTERNAL]
    if elsewhere:  # and is not read from there either
        return [f"{', '.join(elsewhere)} is stored in another file"]
    views = list(FileView(model.graph).with_bodies())
    findings = [*_header(model, target), *_metadata(model), *chain(*(_pairs(view, target) for view in views))]
    if quantised:
        findings += [*chain(*(_layers(view, target) for view in views)), *_islands(views, float_layers)]
        if target.activation == "int8":
            findings += _fusions(views[0])  # TensorRT fuses no addition in the body of a loop
    return findings


def _header(model: onnx.ModelProto, target: OnnxTarget) -> Iterator[str]:
    versions = {entry.domain: entry.version for entry in model.opset_import}
    if versions != {"": target.opset}:
        yield f"the operator sets are {versions}, not opset {target.opset}"
    if model.functions:
        yield f"it defines functions of its own: {', '.join(f.name for f in model.functions)}"
    for node in nodes(model.graph):
        if node.domain:
            yield f"{node.name} is {node.domain}::{node.op_type}, which no plain ONNX reader knows"


def _metadata(model: onnx.ModelProto) -> Iterator[str]:
    graph = model.graph
    parts: list[Any] = [*nodes(graph), *graph.input, *graph.output, *graph.value_info, *graph.initializer]
    for name, part in [("the model", model), ("the graph", graph), *((part.name, part) for part in parts)]:
        if part.doc_string or part.metadata_props:
            yield f"{name} carries metadata of the machine that wrote it"


def _pairs(view: FileView, target: OnnxTarget) -> Iterator[str]:
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
        yield from _axis(view, node, scale)


def _zero_point(view: FileView, node: onnx.NodeProto, target: OnnxTarget) -> Iterator[str]:
    zero_point = view.constants.get(node.input[2]) if len(node.input) > 2 else None
    stored = view.constants.get(node.input[0])
    if stored is not None and (zero_point is None or stored.dtype.name != "uint8"):
        if zero_point is not None and zero_point.any():
            yield f"{node.name} gives a weight a zero point other than 0"
        return
    right = zero_point is not None and zero_point.dtype.name == target.activation
    if zero_point is None or not right or bool((zero_point != target.zero_point).any()):
        yield f"{node.name} is not {target.activation} with zero point {target.zero_point}"


def _closed(view: FileView, quantize: onnx.NodeProto) -> Iterator[str]:
    """Q must be read by DQ of the same scale only, a Clip in between or not."""
    name = quantize.output[0]
    readers = view.users.get(name, [])
    if len(readers) == 1 and readers[0].op_type == "Clip":
        name = readers[0].output[0]
        readers = view.users.get(name, [])
    same = all(n.op_type == "DequantizeLinear" and n.input[1:] == quantize.input[1:] for n in readers)
    if not readers or not same or name in view.outputs:
        yield f"{quantize.name} is not closed by DequantizeLinear with its own scale and zero point"


def _axis(view: FileView, node: onnx.NodeProto, scale: NDArray[Any]) -> Iterator[str]:
    """One scale for an activation; for what is stored one, or one for each output channel, axis 0 or 1."""
    if scale.ndim == 0:
        return
    if node.input[0] not in view.constants:
        yield f"{node.name} has {scale.size} scales; an activation has one"
        return
    axis = next((a.i for a in node.attribute if a.name == "axis"), 1)
    shape = view.constants[node.input[0]].shape
    if not shape or axis not in (0, 1, -len(shape)) or shape[axis] != scale.size:
        yield f"{node.name} has {scale.size} scales along axis {axis} of {shape}"


def _in_float(view: FileView, node: onnx.NodeProto) -> bool:
    return any(view.kind_behind(view.moved_from(name)) != "DequantizeLinear" for name in node.input[:2])


def _layers(view: FileView, target: OnnxTarget) -> Iterator[str]:
    for node in view.nodes:
        if node.op_type not in _WEIGHTED or _in_float(view, node):
            continue
        source = view.producer[view.moved_from(node.input[1])].input[0]
        is_product = node.op_type == "MatMul" and source not in view.constants
        if not is_product and (source not in view.constants or view.constants[source].dtype != np.int8):
            yield f"the weight of {node.name} is not stored as int8"
        if len(node.input) > 2:
            yield from _bias(view, node, target)


def _islands(views: list[FileView], expected: int) -> Iterator[str]:
    found = [n.name for view in views for n in view.nodes if n.op_type in _WEIGHTED and _in_float(view, n)]
    if len(found) > expected:
        yield from (f"{name} does not read dequantised values on both sides: it would run in float" for name in found)
    elif len(found) < expected:
        yield f"{len(found)} layers are in float, where the model has {expected}"


def _bias(view: FileView, node: onnx.NodeProto, target: OnnxTarget) -> Iterator[str]:
    name = node.input[2]
    if target.bias == "int32":
        name = view.producer[name].input[0] if view.kind_behind(name) == "DequantizeLinear" else ""
    if name not in view.constants or view.constants[name].dtype.name != target.bias:
        yield f"the bias of {node.name} is not stored as {target.bias}"


def _fusions(view: FileView) -> Iterator[str]:
    """TensorRT fuses convolution, addition and activation only with no pair in between and one on the skip branch."""
    for node in view.nodes:
        if node.op_type in _ACTIVATIONS and _is_own_pair(view, node.input[0]):
            pair = view.producer[view.producer[node.input[0]].input[0]]
            if view.kind_behind(pair.input[0]) in (*_WEIGHTED, "Add"):
                yield f"a pair stands between {pair.input[0]} and {node.name}"
        behind = [view.kind_behind(view.moved_from(name)) for name in node.input]
        is_bias = any(name in view.constants for name in node.input)
        if (
            node.op_type == "Add"
            and node.output[0] in view.quantised
            and not is_bias
            and "DequantizeLinear" not in behind
        ):
            yield f"no branch of {node.name} has a pair"


def _is_own_pair(view: FileView, name: str) -> bool:
    """Whether a value comes from a Q/DQ pair that nobody else reads; a pair with more readers has to be there."""
    if view.kind_behind(name) != "DequantizeLinear" or view.readers(name) > 1:
        return False
    quantized = view.producer[name].input[0]
    return view.kind_behind(quantized) == "QuantizeLinear" and view.readers(quantized) == 1
