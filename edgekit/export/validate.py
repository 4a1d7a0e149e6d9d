"""Does a file compute what its graph computes? Every export runs the file on inputs and measures the difference."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import compress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from edgekit import device
from edgekit.errors import DataError, ExportMismatch
from edgekit.export import tap
from edgekit.export.follow import follow
from edgekit.export.reference import TensorRTReference
from edgekit.fuse import lower
from edgekit.graph import Graph, edit, front, kinds, patterns
from edgekit.ops import numerics
from edgekit.runtime import NO_VNNI, OnnxRunner, optimized_operators
from edgekit.sqnr import sqnr_db
from edgekit.targets import OnnxTarget

Arrays = Sequence[NDArray[Any]]
MIN_SQNR_DB = 40.0


@dataclass(frozen=True)
class Validation:
    """A file against its reference.

    Attributes:
        reference: what it was compared with.
        max_difference: largest absolute difference over all outputs.
        sqnr_db: signal to noise against the reference; None where nothing differs.
        differing_bytes: int8 outputs that differ from the golden, for a quantised file.
        golden_sqnr_db: signal to noise against the golden; None where nothing differs or there is no golden.
        integer_convolutions: ``"9 of 9"``, how many convolutions ONNX Runtime runs in integers, where it is the target.
        validated: runtime, version and inputs, in words.
        failure: why the file is refused; empty if it is not.
    """

    reference: str
    max_difference: float
    sqnr_db: float | None
    differing_bytes: int | None = None
    golden_sqnr_db: float | None = None
    integer_convolutions: str | None = None
    validated: str = ""
    failure: str = ""

    def to_json(self) -> dict[str, Any]:
        """The validation as plain JSON values."""
        return asdict(self)


def validate(
    path: Path, source: Graph, placed: Graph, target: OnnxTarget, inputs: Sequence[Tensor], tolerance: float
) -> Validation:
    """Run ``path`` and compare it with what it must compute.

    A float file is held against its graph, a file for ONNX Runtime against the golden, one for TensorRT against its
    reference. A quantised file that runs in float is followed operator by operator where ties add up.

    Args:
        path: the file.
        source: the graph it was made from.
        placed: the same with the target's pairs.
        target: whom the file is for.
        inputs: one tensor for each input.
        tolerance: for a float file, relative to ``1 + |value|``.
    """
    arrays = [x.detach().cpu().numpy() for x in inputs]
    if not patterns.cells(source):
        return _float(path, source, inputs, arrays, tolerance)
    integer = lower(source)
    if target.activation == "uint8":
        return _onnxruntime(path, source, placed, integer, target.zero_point, inputs, arrays)
    return _tensorrt(path, placed, _outputs(integer(*inputs)), inputs, arrays)


def _float(path: Path, source: Graph, inputs: Sequence[Tensor], arrays: Arrays, tolerance: float) -> Validation:
    with torch.no_grad():
        expected = _outputs(source(*inputs))
    runner = OnnxRunner(path)
    got, failure = _run(runner, arrays, expected), ""
    if not all(map(partial(_close, tolerance), got, expected)):
        failure = f"it differs from its graph by more than {tolerance} * (1 + |value|)"
    return _compared("graph", expected, got, validated=_words(runner, arrays), failure=failure)


def _onnxruntime(
    path: Path,
    source: Graph,
    placed: Graph,
    integer: Graph,
    zero_point: int,
    inputs: Sequence[Tensor],
    arrays: Arrays,
) -> Validation:
    """Bytes on a CPU with VNNI; elsewhere ONNX Runtime's INT8 saturates, so the file runs as float Q/DQ instead."""
    vnni, golden = device.has_vnni(), _outputs(integer(*inputs))
    if not vnni and device.is_x86():
        warnings.warn(NO_VNNI, RuntimeWarning, stacklevel=2)
    runner = OnnxRunner(path, optimise=vnni)
    got = _run(runner, arrays, golden)
    failure, differing = _too_noisy(golden, got, "the golden"), _differing_bytes(integer, golden, got)
    ties = "" if vnni or not failure else _only_ties(path, placed, inputs, arrays, got, zero_point)
    failure = "" if ties else failure
    if vnni and patterns.has_islands(source):
        tapped, taps = tap.run_tapped(path, arrays, zero_point)
        differing = _differing_bytes(integer, _outputs(tap.run_from(integer, inputs, taps)), tapped)
    if differing and vnni and is_exact(source, integer):
        failure = f"{differing} values differ from the golden, where none may"
    convolutions = sum(c.body.target in patterns.CONVOLUTIONS for c in patterns.cells(source) if not c.is_border)
    fused = optimized_operators(path)["QLinearConv"]
    if fused < convolutions:
        failure = failure or f"ONNX Runtime runs only {fused} of {convolutions} convolutions in integers"
    words = _words(runner, arrays) + ("" if vnni else f" without optimisation{ties}, since this CPU has no VNNI")
    result = _compared("golden", golden, got, validated=words, failure=failure)
    return replace(
        result,
        differing_bytes=differing,
        golden_sqnr_db=result.sqnr_db,
        integer_convolutions=f"{fused} of {convolutions}",
    )


def _tensorrt(path: Path, placed: Graph, golden: Arrays, inputs: Sequence[Tensor], arrays: Arrays) -> Validation:
    with torch.no_grad():
        expected = _outputs(TensorRTReference(placed).run(*inputs))
    runner = OnnxRunner(path, optimise=False)
    got = _run(runner, arrays, golden)
    failure = _too_noisy(expected, got, "the reference")
    ties = _only_ties(path, placed, inputs, arrays, got) if failure else ""
    failure = "" if ties else failure
    words = f"{_words(runner, arrays)} as float without optimisation{ties}; engine build not tested on a device"
    result = _compared("integer reference with unrounded additions", expected, got, validated=words, failure=failure)
    return replace(result, differing_bytes=_differing(golden, got), golden_sqnr_db=_worst(golden, got))


def _only_ties(
    path: Path, placed: Graph, inputs: Sequence[Tensor], arrays: Arrays, got: Arrays, zero_point: int = 0
) -> str:
    """What was seen of a float run of the file, operator by operator, if ties alone led it away; else nothing."""
    steps = follow(path, placed, inputs, arrays, zero_point)
    if not steps.are_ties or _too_noisy(_outputs(steps.outputs), got, "the reference"):
        return ""
    return f", operator by operator: {steps.apart:,} of {steps.compared:,} quantised values are one step beside a tie"


def _compared(reference: str, expected: Arrays, got: Arrays, *, validated: str, failure: str) -> Validation:
    return Validation(reference, _largest(expected, got), _worst(expected, got), validated=validated, failure=failure)


def _run(runner: OnnxRunner, arrays: Arrays, expected: Arrays) -> Arrays:
    """What the file gives; shapes and types other than expected are an error at once."""
    try:
        got = runner.run(*arrays)
    except DataError as error:
        raise ExportMismatch(f"{runner.name} does not run: {error}", fix="Please report this model.") from error
    forms = [[f"{array.dtype}{list(array.shape)}" for array in given] for given in (got, expected)]
    if forms[0] != forms[1]:
        raise ExportMismatch(f"{runner.name} gives {forms[0]}, not {forms[1]}.", fix="Please report this model.")
    return got


def _close(tolerance: float, got: NDArray[Any], expected: NDArray[Any]) -> bool:
    return np.allclose(got, expected, tolerance, tolerance, equal_nan=True)


def _too_noisy(expected: Arrays, got: Arrays, what: str) -> str:
    worst = _worst(expected, got)
    return "" if worst is None or worst >= MIN_SQNR_DB else f"it is {worst:.1f} dB from {what}, under {MIN_SQNR_DB:.0f}"


def is_exact(source: Graph, integer: Graph) -> bool:
    """Whether ONNX Runtime must give the golden's bytes.

    Transposed convolutions, differences, norms and averages but global ones it computes in float, one step off beside a
    tie; so are sums whose scales could not be made exact, and whatever stands behind a float island.
    """
    cells = [cell for cell in patterns.cells(source) if not cell.is_border]
    parts = [edit.arguments(n) for n in integer.nodes if n.target is torch.ops.edgekit.add_s8.default]
    return (
        all(map(_is_exact, cells))
        and not patterns.inner_islands(source)
        and all(numerics.is_exact_addition(part["ratio_a"], part["ratio_b"]) for part in parts)
    )


def _is_exact(cell: patterns.Cell) -> bool:
    body, kind = cell.body, kinds.kind_of(cell.body)
    if kind is kinds.WEIGHTED:
        return body.target not in patterns.TRANSPOSED
    if kind is kinds.REDUCE:
        return body.target is torch.ops.aten.mean.dim and edit.arguments(body)["dim"] == [2, 3]
    return kind in _EXACT or (kind is kinds.JOIN and body.target is torch.ops.aten.add.Tensor)


_EXACT = (
    kinds.MULTIPLY,
    kinds.UNARY,
    kinds.MOVE,
    kinds.MOVE_INPUT,
    kinds.CHOICE,
    kinds.JOINED,
    kinds.EMBEDDING,
    kinds.IDENTITY,
)


def _outputs(result: Any) -> list[NDArray[Any]]:
    return [r.detach().cpu().numpy() for r in ((result,) if isinstance(result, Tensor) else result)]


def _differing(expected: Arrays, got: Arrays) -> int:
    return sum(int((g != e).sum()) for g, e in zip(got, expected, strict=True))


def _differing_bytes(integer: Graph, expected: Arrays, got: Arrays) -> int:
    """Values that differ, but for outputs that the float front gives."""
    quantised = [edit.is_call(node, torch.ops.edgekit.dequantize.default) for node in integer.output_nodes()]
    return _differing(list(compress(expected, quantised)), list(compress(got, quantised)))


def _largest(expected: Arrays, got: Arrays) -> float:
    pairs = [(np.asarray(g, np.float64), np.asarray(e, np.float64)) for g, e in zip(got, expected, strict=True)]
    return max((float(np.abs(g - e).max()) if g.size else 0.0) for g, e in pairs)


def _worst(expected: Arrays, got: Arrays) -> float | None:
    values = [v for v in map(sqnr_db, expected, got) if v is not None]
    return min(values, default=None)


def _words(runner: OnnxRunner, arrays: Arrays) -> str:
    return f"ONNX Runtime {runner.version} on {len(arrays[0])} inputs"


def generated_inputs(graph: Graph, count: int = 64, seed: int = 0) -> tuple[Tensor, ...]:
    """Normal values that fill the range of each quantised input, where no real ones were given.

    Bytes have any value, tokens any that their embedding has; other integers are zeros.
    """
    generator = torch.Generator().manual_seed(seed)
    limits = {
        cell.body.name: float(edit.get_tensor(graph.module, cell.scale)) * numerics.S8_MAX
        for cell in patterns.cells(graph)
        if cell.body.op == "placeholder"
    }
    below = {node.name: rows for node, rows in front.embedded(graph).items()}
    made = []
    for info in graph.inputs:
        example = info.example(count)
        if example.is_floating_point():
            made.append(torch.randn(example.shape, generator=generator) * limits.get(info.name, 2.0) / 2)
        else:
            top = 256 if info.dtype is torch.uint8 else below.get(info.name, 1)
            made.append(torch.randint(top, example.shape, generator=generator, dtype=info.dtype))
    return tuple(made)
