"""How many of a net's products are integer: in the golden, and in what ONNX Runtime really runs."""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import onnxruntime
from numpy.typing import NDArray

from edgekit.graph import Graph, cost, edit

Shapes = list[tuple[str, list[int]]]


def int8_share(graph: Graph, integer: Graph) -> float | None:
    """Products of integer operators over all products of the float graph; None for a net without any.

    Args:
        graph: in float.
        integer: the golden of it; what stands before it there, such as preprocessing, is in float and not counted.
    """
    total = cost.total_macs(graph)
    done = sum(cost.macs(integer, node) for node in edit.calls(integer.module) if _is_integer(node))
    return done / total if total else None


def _is_integer(node: Any) -> bool:
    return edit.operator_name(node).endswith("_s8")


def runtime_share(path: Path, inputs: Sequence[NDArray[Any]]) -> float | None:
    """The share of products that ONNX Runtime computes from integers, after all its optimisations.

    It is read off the profile of one run: the kernels that ran, with types and shapes of what each took and gave.
    """
    options = onnxruntime.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads, options.enable_profiling = 3, 1, True
    options.add_session_config_entry("session.disable_prepacking", "1")  # packed weights are missing from the profile
    with tempfile.TemporaryDirectory() as folder:
        options.profile_file_prefix = str(Path(folder) / "profile")
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        session.run(None, {value.name: array for value, array in zip(session.get_inputs(), inputs, strict=True)})
        events = json.loads(Path(session.end_profiling()).read_text())
    kernels = [event["args"] for event in events if event["name"].endswith("_kernel_time")]
    counted = [(products(kernel), _reads_integers(kernel)) for kernel in kernels]
    total = sum(count for count, _ in counted)
    return sum(count for count, integer in counted if integer) / total if total else None


def products(kernel: dict[str, Any]) -> int:
    """Multiply-accumulates of one kernel, by the name of its operator and its shapes."""
    name, reads, writes = kernel["op_name"], _shapes(kernel["input_type_shape"]), _shapes(kernel["output_type_shape"])
    shapes = [shape for _, shape in reads]
    if "Conv" in name and name != "ConvTranspose":
        weight = max(shapes[1:], key=len)
        return math.prod(writes[0][1]) * math.prod(weight[1:])
    if name == "ConvTranspose":
        return math.prod(shapes[0]) * math.prod(shapes[1][1:])
    if name in ("GRU", "LSTM", "RNN", "DynamicQuantizeLSTM"):
        return math.prod(shapes[0][:2]) * (math.prod(shapes[1]) + math.prod(shapes[2]))
    if "MatMul" in name or "Gemm" in name:
        return math.prod(writes[0][1]) * shapes[0][-1]
    return 0


def _reads_integers(kernel: dict[str, Any]) -> bool:
    return _shapes(kernel["input_type_shape"])[0][0] in ("int8", "uint8")


def _shapes(listed: list[dict[str, list[int]]]) -> Shapes:
    return [item for each in listed for item in each.items()]
