"""The bytes of an ONNX file: torch's exporter on a placed graph, our operators spelled as plain Q/DQ, a clean-up."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from onnxscript import ir, opset18
from torch import fx

from edgekit import __version__
from edgekit.errors import OperatorError, UnsupportedError
from edgekit.export import names, scan
from edgekit.graph import Graph, edit
from edgekit.graph.quiet import quiet
from edgekit.ops import numerics
from edgekit.runtime import nodes
from edgekit.targets import OnnxTarget

op: Any = opset18  # its stubs know no constants
IR_VERSION = 10  # the newest that ONNX Runtime 1.20 and the parser of TensorRT 10 read
_MOVES = ("Gather", "Transpose", "Reshape", "Unsqueeze", "Squeeze", "Slice", "Identity")
_NUMPY = {"uint8": np.uint8, "int8": np.int8}


def to_onnx(graph: Graph, target: OnnxTarget) -> onnx.ModelProto:
    """An ONNX model of a placed (or float) graph at the target's opset; the same graph gives the same bytes.

    Raises:
        OperatorError: for an operator that ONNX would compute otherwise.
        UnsupportedError: where the exporter cannot write an operator, or not at the target's opset.
    """
    graph = graph.copy()
    for node in edit.calls(graph.module):
        _check(node)
        _make_bounds_float(node)
    names.carry(graph)
    graph.module.recompile()
    with quiet(), torch.no_grad():
        try:
            program = torch.onnx.export(graph.module, **_options(graph, target))
        except torch.onnx.OnnxExporterError as error:
            raise UnsupportedError(
                f"the graph cannot be written as ONNX for {target.name}.", f"{_innermost(error)}."
            ) from error
    assert program is not None
    model: onnx.ModelProto = program.model_proto
    written = {entry.domain: entry.version for entry in model.opset_import}
    if written != {"": target.opset}:
        raise UnsupportedError(
            f"{target.name} needs opset {target.opset}, the exporter wrote {written}.",
            fix="An operator of this model has no form in that opset.",
        )
    if target.activation == "uint8":
        _store_unsigned(model, target.zero_point)
    names.restore(model)
    return _clean(model)


def _store_unsigned(model: onnx.ModelProto, zero_point: int) -> None:
    """Stored activations in the type of the computed ones, so that ONNX Runtime joins both in integers.

    They are told from weights by their single scale. Rows of a table are dequantised behind the Gather.
    """
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    producers = {name: node for node in model.graph.node for name in node.output}
    added = numpy_helper.from_array(np.array(zero_point, np.uint8), "stored_zero_point")
    for node in model.graph.node:
        if node.op_type != "DequantizeLinear" or len(tensors[node.input[1]].dims if node.input[1] in tensors else [0]):
            continue
        name = node.input[0]
        while name in producers and producers[name].op_type in _MOVES:
            name = producers[name].input[0]
        if name in tensors and tensors[name].data_type in (onnx.TensorProto.INT8, onnx.TensorProto.UINT8):
            node.input[2] = added.name
            if tensors[name].data_type == onnx.TensorProto.INT8:
                values = (numpy_helper.to_array(tensors[name]).astype(np.int16) + zero_point).astype(np.uint8)
                tensors[name].CopyFrom(numpy_helper.from_array(values, name))
    if any(added.name in node.input for node in model.graph.node):
        model.graph.initializer.append(added)


def _options(graph: Graph, target: OnnxTarget) -> dict[str, Any]:
    """Arguments of ``torch.onnx.export``; the batch stays dynamic."""
    return {
        "args": tuple(info.example() for info in graph.inputs),
        "dynamo": True,
        "opset_version": target.opset,
        "dynamic_shapes": tuple(
            {d: torch.export.Dim.AUTO for d, size in enumerate(info.shape) if size is None} for info in graph.inputs
        ),
        "external_data": False,
        "verbose": False,
        "input_names": [info.name for info in graph.inputs],
        "output_names": list(graph.output_names),
        "custom_translation_table": translations(target),
    }


def _innermost(error: BaseException) -> str:
    """The first line of the exception that all others came from."""
    while error.__cause__ is not None:
        error = error.__cause__
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")


def _check(node: fx.Node) -> None:
    """Refuse what the exporter would drop without a word."""
    if node.target is torch.ops.aten.avg_pool2d.default and edit.arguments(node)["divisor_override"] is not None:
        raise OperatorError(
            f"{edit.describe(node)} cannot be exported: ONNX has no average pool with a divisor of its own.",
            fix="Leave out divisor_override, and scale the layer behind instead.",
        )

    if node.target is torch.ops.aten.lstm.input:
        outputs, inputs = edit.arguments(node)["params"][1].meta["val"].shape
        if outputs != 4 * inputs:
            raise OperatorError(
                f"{edit.describe(node)} cannot be exported: the LSTM of ONNX has no projection.",
                fix="Leave out proj_size, and put a linear layer behind.",
            )


def _make_bounds_float(node: fx.Node) -> None:
    """The exporter fails on a clamp between an integer and a float, ``clamp(x, -0.5, 2)``."""
    if node.target is torch.ops.aten.clamp.default and node.meta["val"].is_floating_point():
        bounds = [edit.arguments(node)[name] for name in ("min", "max")]
        node.args = (node.args[0], *(bound if bound is None else float(bound) for bound in bounds))
        node.kwargs = {}


def translations(target: OnnxTarget) -> dict[Callable[..., Any], Callable[..., Any]]:
    """How the operators that plain ONNX lacks are spelled in a file for ``target``."""
    kind, offset = _NUMPY[target.activation], target.zero_point

    def integer(value: int) -> Any:
        return op.Constant(value=numpy_helper.from_array(np.array(value, kind)))

    def fake_quantize(x: Any, scale: Any, axis: int | None = None, lo: int = -128, hi: int = 127) -> Any:
        assert axis is None, "weights are stored as integers"
        zero_point = integer(offset)
        q = op.QuantizeLinear(x, scale, zero_point)
        if (lo, hi) != (numerics.S8_MIN, numerics.S8_MAX):
            q = op.Clip(q, integer(lo + offset), integer(hi + offset))
        return op.DequantizeLinear(q, scale, zero_point)

    def dequantize(x: Any, scale: Any, axis: int | None = None) -> Any:
        attributes = {} if axis is None else {"axis": axis}
        if x.dtype != ir.DataType.INT8:
            return op.DequantizeLinear(x, scale, **attributes)
        # ONNX Runtime makes QGemm of a Gemm only if its weight has a zero point, even where the default is the same.
        zero_point = op.Constant(value=numpy_helper.from_array(np.zeros([*scale.shape], np.int8)))
        return op.DequantizeLinear(x, scale, zero_point, **attributes)

    def linear(x: Any, weight: Any, bias: Any = None) -> Any:
        """One Gemm over all rows: ONNX Runtime has it in integers, bias and all, unlike MatMul and Add."""
        if len(x.shape) <= 2:
            return op.Gemm(x, weight, bias, transB=1)
        features, fan_in = (int(size) for size in weight.shape)
        rows = op.Reshape(x, op.Constant(value_ints=[-1, fan_in]))
        sizes = op.Concat(op.Shape(x, end=-1), op.Constant(value_ints=[features]), axis=0)
        return op.Reshape(op.Gemm(rows, weight, bias, transB=1), sizes)

    def mean(x: Any, dim: Any = None, keepdim: bool = False, dtype: int = -1) -> Any:
        assert dtype == -1, "canonical graphs hold no mean that changes the type"
        if len(x.shape) == 4 and sorted(dim or []) == [2, 3] and keepdim:
            return op.GlobalAveragePool(x)  # which ONNX Runtime has in integers, unlike ReduceMean
        return op.ReduceMean(x, op.Constant(value_ints=list(dim or [])), keepdims=int(keepdim))

    def scaled_matmul(a: Any, b: Any, scale: float) -> Any:
        return op.Mul(op.MatMul(a, b), _float(scale))

    def masked_softmax(x: Any, mask: Any = None) -> Any:
        if mask is None:
            return op.Softmax(x, axis=-1)
        weights = op.Softmax(op.Where(mask, x, _float(np.finfo(np.float32).min)), axis=-1)
        return op.Where(mask, weights, _float(0.0))

    def l2_norm(x: Any, eps: float) -> Any:
        length = op.ReduceL2(x, op.Constant(value_ints=[-1]), keepdims=1)
        return op.Div(x, op.Max(length, _float(eps)))

    s8 = torch.ops.edgekit
    table: dict[Callable[..., Any], Callable[..., Any]] = {
        s8.scaled_matmul.default: scaled_matmul,
        s8.masked_softmax.default: masked_softmax,
        s8.l2_norm.default: l2_norm,
        s8.fake_quantize.default: fake_quantize,
        s8.dequantize.default: dequantize,
        torch.ops.aten.mean.dim: mean,
    }
    table |= scan.translations(target)
    return table | ({torch.ops.aten.linear.default: linear} if target.activation == "uint8" else {})


def _float(value: float) -> Any:
    return op.Constant(value=numpy_helper.from_array(np.array(value, np.float32)))


def _clean(model: onnx.ModelProto) -> onnx.ModelProto:
    """Drop what nobody reads, and what leaks the builder's paths; name the batch; say who wrote it."""
    read = {name for node in nodes(model.graph) for name in node.input} | {o.name for o in model.graph.output}
    for tensor in [tensor for tensor in model.graph.initializer if tensor.name not in read]:
        model.graph.initializer.remove(tensor)
    model.ir_version = IR_VERSION
    model.producer_name, model.producer_version = "edgekit", __version__
    values = [*model.graph.input, *model.graph.output, *model.graph.initializer]
    for part in (model, model.graph, *nodes(model.graph), *values):
        del part.metadata_props[:]
        part.doc_string = ""
    model.graph.name = "edgekit"
    del model.graph.value_info[:]
    batches = {symbol: f"batch{i or ''}" for i, symbol in enumerate(_symbols(model))}
    for value in (*model.graph.input, *model.graph.output):
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param:
                dim.dim_param = re.sub(r"\w+", lambda word: batches.get(word[0], word[0]), dim.dim_param)
    return model


def _symbols(model: onnx.ModelProto) -> list[str]:
    """Names of the dynamic first dimensions of the inputs, in order."""
    shapes = [value.type.tensor_type.shape.dim for value in model.graph.input]
    return list(dict.fromkeys(shape[0].dim_param for shape in shapes if shape and shape[0].dim_param))
