"""Writing artefacts, each run and compared before it appears: :func:`export_onnx` and :func:`export_native`.

:func:`export_kernels` writes kernels for devices that are elsewhere, and says what it could not check.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from onnx import ModelProto
from onnx.checker import ValidationError, check_model
from onnx.shape_inference import InferenceError
from torch import Tensor, fx, nn

from edgekit import disk
from edgekit.errors import ExportMismatch
from edgekit.export import qdq
from edgekit.export.lint import lint
from edgekit.export.native import NativeReport, export_native
from edgekit.export.onnx import to_onnx
from edgekit.export.triton_aot import KernelReport, export_kernels
from edgekit.export.validate import Validation, generated_inputs, validate
from edgekit.graph import Graph, capture, cost, edit, kinds, patterns
from edgekit.graph.explicit import ATTENTION, write_out_attention
from edgekit.sqnr import sqnr_db
from edgekit.targets import OnnxTarget, onnx_target

__all__ = [
    "ExportReport", "KernelReport", "NativeReport", "Validation",
    "export_kernels", "export_native", "export_onnx", "sqnr_db",
]  # fmt: skip


@dataclass(frozen=True)
class ExportReport:
    """A written file: target, name, opset, size, and how it compares with its graph."""

    target: str
    file: str
    opset: int
    bytes: int
    validation: Validation

    def to_json(self) -> dict[str, Any]:
        """The report as one flat JSON object."""
        flat: dict[str, Any] = asdict(self)
        return {key: value for key, value in flat.items() if key != "validation"} | self.validation.to_json()


def export_onnx(
    graph: Graph | nn.Module,
    path: str | Path,
    target: str = "onnxruntime",
    *,
    inputs: Sequence[Tensor] | None = None,
    tolerance: float = 1e-4,
    seed: int = 0,
    example_inputs: Any = None,
) -> ExportReport:
    """Write an ONNX file for one target and check it; a graph without fake_quantize goes out as float.

    Args:
        graph: a Graph, or a module together with ``example_inputs``.
        path: the file to write; it appears only once it has passed.
        target: a row of ``targets.toml``: ``onnxruntime``, ``tensorrt-10.3`` (JetPack 6), ``tensorrt-10`` or
            ``tensorrt-11``.
        inputs: real inputs to validate on, one tensor each; without them values are generated, and the report says so.
        tolerance: for a float file, the difference allowed relative to ``1 + |value|``.
        seed: of the generated inputs.

    Raises:
        UsageError: for an unknown target.
        UnsupportedError: for an operator that ONNX at the target's opset lacks.
        ExportMismatch: where lint finds something or the file does not compute what it should; nothing is written then.
    """
    row, path = onnx_target(target), Path(path)
    source = graph if isinstance(graph, Graph) else capture(graph, example_inputs)
    source = write_out_attention(source, flat_only=True)
    quantised = bool(patterns.cells(source))
    placed = qdq.place(source, row) if quantised else source
    model = to_onnx(placed, row)
    _check(model, row, quantised, _float_layers(source) if quantised else 0, path.name)
    data = model.SerializeToString(deterministic=True)
    values = tuple(inputs) if inputs is not None else generated_inputs(source, seed=seed)
    with tempfile.TemporaryDirectory() as folder:
        candidate = Path(folder) / path.name
        disk.write_file(candidate, data)
        result = validate(candidate, source, placed, row, values, tolerance)
    if result.failure:
        raise ExportMismatch(
            f"{path.name} for {target}: {result.failure}.", fix="Keep the float file and report this model."
        )
    disk.write_file(path, data)
    if inputs is None:
        result = replace(result, validated=f"{result.validated}, generated")
    return ExportReport(target, path.name, row.opset, len(data), result)


def _multiplies_bytes(node: fx.Node) -> bool:
    kind, reads = kinds.kind_of(node), [edit.input_node(n) if _is_alias(n) else n for n in kinds.operands(node)]
    return kind in (kinds.MATMUL, kinds.BATCHED, kinds.SCALED) and all(map(patterns.is_quantised, reads))


def _is_alias(node: fx.Node) -> bool:
    return node.target is patterns.AS_FLOAT


def _float_layers(graph: Graph) -> int:
    """Convolutions and products of matrices that a quantised graph computes in float.

    A product of two tensors of bytes is one of dequantised values in the file, whatever the graph calls it.
    """
    found = [node for node in patterns.float_calls(graph) if cost.macs(graph, node) and not _multiplies_bytes(node)]
    return sum(_PRODUCTS.get(node.target, 1) for node in found)


_PRODUCTS: dict[Any, int] = {  # where it is not one
    **dict.fromkeys(cost.RECURRENT, 0),
    ATTENTION: 2,
    torch.ops.edgekit.gru.default: 3,
    torch.ops.edgekit.lstm.default: 4,
}


def _check(model: ModelProto, target: OnnxTarget, quantised: bool, float_layers: int, name: str) -> None:
    try:
        check_model(model, full_check=True)
        findings = lint(model, target, quantised, float_layers)
    except (ValidationError, InferenceError) as error:
        findings = [f"the ONNX checker says: {error}"]
    if findings:
        raise ExportMismatch(
            f"{name} for {target.name} is not sound: {'; '.join(findings[:5])}.", fix="Please report this model."
        )
