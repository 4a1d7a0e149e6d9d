"""The bytes of an ONNX file: torch's exporter on a placed graph, our operators spelled as plain Q/DQ, then a clean-up."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from onnxscript import ir
from onnxscript import opset18 as op

from edgekit import __version__
from edgekit.errors import UnsupportedError
from edgekit.graph import Graph
from edgekit.graph.quiet import quiet
from edgekit.ops import numerics
from edgekit.targets import OnnxTarget

IR_VERSION = 10  # the newest that ONNX Runtime 1.20 and the parser of TensorRT 10 read
_NUMPY = {"uint8": np.uint8, "int8": np.int8}


def to_onnx(graph: Graph, target: OnnxTarget) -> onnx.ModelProto:
    """An ONNX model of a placed (or float) graph at the target's opset, without metadata; the same graph gives the same bytes.

    Raises:
        UnsupportedError: where the exporter cannot write the target's opset.
    """
    example = tuple(info.example() for info in graph.inputs)
    dynamic = tuple({d: torch.export.Dim.AUTO for d, size in enumerate(i.shape) if size is None} for i in graph.inputs)
    with quiet(), torch.no_grad():
        program = torch.onnx.export(
            graph.module,
            example,
            dynamo=True,
            opset_version=target.opset,
            dynamic_shapes=dynamic,
            external_data=False,
            verbose=False,
            input_names=[info.name for info in graph.inputs],
            output_names=list(graph.output_names),
            custom_translation_table=translations(target),
        )
    assert program is not None
    model: onnx.ModelProto = program.model_proto
    written = {entry.domain: entry.version for entry in model.opset_import}
    if written != {"": target.opset}:
        raise UnsupportedError(
            f"{target.name} needs opset {target.opset}, the exporter wrote {written}.",
            fix="An operator of this model has no form in that opset.",
        )
    return _clean(model, graph)


def translations(target: OnnxTarget) -> dict[Callable[..., Any], Callable[..., Any]]:
    """How the operators that plain ONNX lacks are spelled in a file for ``target``."""
    kind, offset = _NUMPY[target.activation], target.zero_point

    def integer(value: int) -> Any:
        return op.Constant(value=numpy_helper.from_array(np.array(value, kind)))

    def fake_quantize(x: Any, scale: Any, axis: int | None = None, lo: int = -128, hi: int = 127) -> Any:
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

    def mean(x: Any, dim: Any = None, keepdim: bool = False, dtype: int = -1) -> Any:
        if len(x.shape) == 4 and sorted(dim or []) == [2, 3] and keepdim:
            return op.GlobalAveragePool(x)  # which ONNX Runtime has in integers, unlike ReduceMean
        return op.ReduceMean(x, op.Constant(value_ints=list(dim or [])), keepdims=int(keepdim))

    s8 = torch.ops.edgekit
    return {
        s8.fake_quantize.default: fake_quantize,
        s8.dequantize.default: dequantize,
        torch.ops.aten.mean.dim: mean,
    }


def _clean(model: onnx.ModelProto, graph: Graph) -> onnx.ModelProto:
    """Drop what leaks the builder's paths and makes the file twice as long; name the batch; say who wrote it."""
    model.ir_version = IR_VERSION
    model.producer_name, model.producer_version = "edgekit", __version__
    values = [*model.graph.input, *model.graph.output, *model.graph.value_info, *model.graph.initializer]
    for part in (model, model.graph, *model.graph.node, *values):
        del part.metadata_props[:]
        part.doc_string = ""
    model.graph.name = "edgekit"
    del model.graph.value_info[:]
    names = {symbol: f"batch{'' if not i else i}" for i, symbol in enumerate(_symbols(model))}
    for value in (*model.graph.input, *model.graph.output):
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param:
                dim.dim_param = names.get(dim.dim_param, dim.dim_param)
    return model


def _symbols(model: onnx.ModelProto) -> list[str]:
    """Names of the dynamic first dimensions of the inputs, in order."""
    shapes = [value.type.tensor_type.shape.dim for value in model.graph.input]
    return list(dict.fromkeys(shape[0].dim_param for shape in shapes if shape and shape[0].dim_param))
