"""What an artefact holds, for ``edgekit inspect``."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from edgekit import runtime
from edgekit.errors import UsageError


def inspect(path: Path) -> tuple[dict[str, Any], str]:
    """An artefact as JSON values and as text.

    Raises:
        UsageError: for a suffix that is neither ``.onnx`` nor ``.safetensors``.
        GraphFileError: for a file that is not what its suffix says.
    """
    if path.suffix == ".onnx":
        return _onnx(path)
    if path.suffix == ".safetensors":
        return _graph(path)
    raise UsageError(f"{path} has no suffix that edgekit knows.", fix="Give a .onnx or .safetensors file.")


def _graph(path: Path) -> tuple[dict[str, Any], str]:
    from edgekit.graph import Graph, cost, edit

    graph = Graph.load(path)
    nodes = [
        {
            "name": node.name,
            "operator": edit.operator_name(node),
            "shape": list(graph.shape(node)) if hasattr(node.meta.get("val"), "shape") else None,
            "macs": cost.macs(graph, node),
            "parameters": cost.parameters(graph, node),
            "source": edit.source_line(node),
        }
        for node in graph.nodes
        if node.op == "call_function"
    ]
    totals = {"macs": cost.total_macs(graph), "parameters": cost.total_parameters(graph), "notes": list(graph.notes)}
    return {"file": str(path), "nodes": nodes, **totals}, str(graph)


def _onnx(path: Path) -> tuple[dict[str, Any], str]:
    import onnx

    runner = runtime.load(path)
    model = onnx.load(path)
    stored = Counter(node.op_type for node in model.graph.node)
    runs = runtime.optimized_operators(path)
    content: dict[str, Any] = {
        "file": str(path),
        "bytes": path.stat().st_size,
        "opset": {entry.domain: entry.version for entry in model.opset_import},
        "inputs": [_tensor(info) for info in runner.inputs],
        "outputs": [_tensor(info) for info in runner.outputs],
        "operators": dict(sorted(stored.items())),
        "onnxruntime_runs": dict(sorted(runs.items())),
    }
    lines = [f"{path}: {content['bytes']:,} bytes, opset {content['opset'].get('', '?')}"]
    lines += [
        f"  {kind} {t['name']}: {t['dtype']} {t['shape']}" for kind in ("inputs", "outputs") for t in content[kind]
    ]
    lines += [f"  stored: {_counts(stored)}", f"  ONNX Runtime runs: {_counts(runs)}"]
    return content, "\n".join(lines)


def _tensor(info: runtime.TensorInfo) -> dict[str, Any]:
    return {
        "name": info.name,
        "shape": ["N" if size is None else size for size in info.shape],
        "dtype": str(info.dtype),
    }


def _counts(operators: Counter[str]) -> str:
    return ", ".join(f"{count} {name}" for name, count in operators.most_common())
