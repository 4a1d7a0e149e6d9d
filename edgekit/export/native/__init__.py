"""Plans for the native engine: :func:`export_native` compiles, runs the file and holds it against the golden."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from edgekit import disk
from edgekit.errors import UsageError
from edgekit.export.native import check
from edgekit.export.native.compile import Compiled, compile_plan
from edgekit.export.native.format import to_bytes
from edgekit.export.validate import generated_inputs
from edgekit.fuse import lower
from edgekit.graph import Graph, TensorInfo, capture, edit, patterns
from edgekit.runtime import NativeRunner

__all__ = ["NativeReport", "export_native"]
RUNS = 4  # with generated inputs


@dataclass(frozen=True)
class NativeReport:
    """A written plan.

    Attributes:
        file, bytes: its name and size.
        arena_bytes: memory that a context needs for tensors.
        least_bytes: the most that is live at once: no arena can be smaller.
        state_bytes: memory that lasts from run to run.
        operations: how many.
        fused: sums that are part of the layer in front of them.
        copies: copies that only bring a tensor into another order.
        validated: on what, in words.
    """

    file: str
    bytes: int
    arena_bytes: int
    least_bytes: int
    state_bytes: int
    operations: int
    fused: int
    copies: int
    validated: str

    def to_json(self) -> dict[str, Any]:
        """The report as plain JSON values."""
        return asdict(self)


def export_native(
    graph: Graph | nn.Module,
    path: str | Path,
    shapes: Mapping[str, Sequence[int]] | None = None,
    *,
    inputs: Sequence[Tensor] | None = None,
    states: Mapping[str, str] | None = None,
    seed: int = 0,
    example_inputs: Any = None,
) -> NativeReport:
    """Write a plan (``.ekm``) for the native engine, run it, and compare its bytes with the golden's.

    Args:
        graph: a quantised or an integer Graph, or a module with quantisers together with ``example_inputs``.
        path: the file to write; it appears only once it has passed.
        shapes: of inputs by name; without, the batch is 1.
        inputs: real inputs to validate on, one tensor each, of any number of batches; else values are generated.
        states: by input the output that the next run reads there (streaming): ``{"h0": "hn"}``.
        seed: of the generated inputs.

    Raises:
        UsageError: the graph is not quantised, or has no such input, output or shape.
        OperatorError: names every call that a plan cannot hold, with its source line.
        ExportMismatch: the engine does not compute what the golden does (:mod:`edgekit.export.native.check`); nothing
            is written then.
    """
    path = Path(path)
    source = graph if isinstance(graph, Graph) else capture(graph, example_inputs)
    integer = lower(source) if patterns.cells(source) else source
    if not any(edit.operator_name(node).endswith("_s8") for node in edit.calls(integer.module)):
        raise UsageError("the graph is not quantised.", fix="Call ek.quantize first.")
    compiled = compile_plan(integer, shapes, states)
    data, given = to_bytes(compiled.plan), _given(source, compiled, inputs, seed)
    taps = check.with_taps(integer)
    with tempfile.TemporaryDirectory() as folder:
        runner = _runner(Path(folder) / path.name, data)
        tapped = None
        if taps is not None:
            tapped = _runner(Path(folder) / "tapped.ekm", to_bytes(compile_plan(taps, shapes, states).plan))
        words = check.validate(runner, tapped, integer, given, states or {})
    disk.write_file(path, data)
    plan = compiled.plan
    sizes = (plan.arena_bytes, plan.least_bytes, plan.state_bytes, len(plan.operations))
    words += "" if inputs is not None else ", generated"
    return NativeReport(path.name, len(data), *sizes, compiled.fused, compiled.copies, words)


def _runner(path: Path, data: bytes) -> NativeRunner:
    disk.write_file(path, data)
    return NativeRunner(path)


def _given(source: Graph, compiled: Compiled, inputs: Sequence[Tensor] | None, seed: int) -> list[tuple[Tensor, ...]]:
    """Inputs of the plan's shapes, one tuple for each run."""
    graph = compiled.fixed.graph
    values = [compiled.fixed.values[node] for node in graph.nodes if node.op == "placeholder"]
    infos = tuple(TensorInfo(i.name, tuple(v.shape), v.dtype) for i, v in zip(graph.inputs, values, strict=True))
    if inputs is None:
        fixed = Graph(source.module, infos, source.output_names)
        return [generated_inputs(fixed, seed=seed + run) for run in range(RUNS)]
    batch = infos[0].shape[0] or 1
    runs = max(len(inputs[0]) // batch, 1)
    return [tuple(x[run * batch : (run + 1) * batch] for x in inputs) for run in range(runs)]
