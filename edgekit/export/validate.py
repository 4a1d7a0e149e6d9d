"""Does a file compute what its graph computes? Every export runs the file on inputs and measures the difference."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from edgekit import device
from edgekit.export.reference import TensorRTReference
from edgekit.fuse import lower
from edgekit.graph import Graph, edit, patterns
from edgekit.ops import numerics
from edgekit.runtime import OnnxRunner, optimized_operators
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
        integer_convolutions: ``"9 of 9"``, how many convolutions ONNX Runtime runs in integers, where that is the target.
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


def sqnr_db(reference: Any, other: Any) -> float | None:
    """Signal to quantisation noise, ``10 log10(sum r^2 / sum (r - o)^2)``, in dB; None where nothing differs."""
    signal = np.asarray(reference, np.float64)
    noise = float(np.square(signal - np.asarray(other, np.float64)).sum())
    if not noise:
        return None
    return 10 * math.log10(max(float(np.square(signal).sum()), np.finfo(np.float64).tiny) / noise)


def validate(
    path: Path, source: Graph, placed: Graph, target: OnnxTarget, inputs: Sequence[Tensor], tolerance: float
) -> Validation:
    """Run ``path`` and compare: a float file with its graph, an ONNX Runtime file with the golden, a TensorRT file with its reference."""
    arrays = [x.detach().cpu().numpy() for x in inputs]
    if not patterns.cells(source.module):
        return _float(path, source, inputs, arrays, tolerance)
    golden = _outputs(lower(source)(*inputs))
    if target.activation == "uint8":
        return _onnxruntime(path, source, golden, arrays)
    return _tensorrt(path, placed, golden, inputs, arrays)


def _float(path: Path, source: Graph, inputs: Sequence[Tensor], arrays: Arrays, tolerance: float) -> Validation:
    with torch.no_grad():
        expected = _outputs(source.copy().eval()(*inputs))
    runner = OnnxRunner(path)
    got = runner.run(*arrays)
    beyond = max(float((np.abs(g - e) - tolerance * (1 + np.abs(e))).max()) for g, e in zip(got, expected, strict=True))
    failure = f"differs from its graph by more than {tolerance} * (1 + |value|)" if not beyond <= 0 else ""
    return Validation(
        "graph", _largest(got, expected), _worst(expected, got), validated=_words(runner, arrays), failure=failure
    )


def _onnxruntime(path: Path, source: Graph, golden: Arrays, arrays: Arrays) -> Validation:
    runner = OnnxRunner(path)
    got = runner.run(*arrays)
    differing = sum(int((g != e).sum()) for g, e in zip(got, golden, strict=True))
    worst, exact = _worst(golden, got), device.has_vnni() and not _inexact_pools(source)
    failure = ""
    if exact and differing:
        failure = f"{differing} values differ from the golden, where none may"
    elif worst is not None and worst < MIN_SQNR_DB:
        failure = f"{worst:.1f} dB from the golden, under {MIN_SQNR_DB:.0f}"
    convolutions = sum(node.target is torch.ops.aten.conv2d.default for node in source.nodes)
    operators = optimized_operators(path)
    if operators["QLinearConv"] < convolutions:
        failure = (
            failure or f"ONNX Runtime runs only {operators['QLinearConv']} of {convolutions} convolutions in integers"
        )
    return Validation(
        "golden",
        _largest(got, golden),
        worst,
        differing,
        worst,
        f"{operators['QLinearConv']} of {convolutions}",
        _words(runner, arrays),
        failure,
    )


def _tensorrt(path: Path, placed: Graph, golden: Arrays, inputs: Sequence[Tensor], arrays: Arrays) -> Validation:
    with torch.no_grad():
        expected = _outputs(TensorRTReference(placed).run(*inputs))
    runner = OnnxRunner(path, optimise=False)
    got = runner.run(*arrays)
    worst = _worst(expected, got)
    failure = (
        f"{worst:.1f} dB from the reference, under {MIN_SQNR_DB:.0f}"
        if worst is not None and worst < MIN_SQNR_DB
        else ""
    )
    differing = sum(int((g != e).sum()) for g, e in zip(got, golden, strict=True))
    words = f"{_words(runner, arrays)} as float without optimisation; engine build not tested on a device"
    return Validation(
        "integer reference with unrounded additions",
        _largest(got, expected),
        worst,
        differing,
        _worst(golden, got),
        None,
        words,
        failure,
    )


def _inexact_pools(graph: Graph) -> bool:
    """Average pools other than 3x3 and global, where ONNX Runtime may be one step off on exact ties."""
    windows = [edit.arguments(n)["kernel_size"] for n in graph.nodes if n.target is torch.ops.aten.avg_pool2d.default]
    return any([*window] not in ([3], [3, 3]) for window in windows)


def _outputs(result: Any) -> list[NDArray[Any]]:
    return [r.detach().cpu().numpy() for r in ((result,) if isinstance(result, Tensor) else result)]


def _largest(got: Arrays, expected: Arrays) -> float:
    return max((float(np.abs(g - e).max()) if g.size else 0.0) for g, e in zip(got, expected, strict=True))


def _worst(expected: Arrays, got: Arrays) -> float | None:
    values = [v for v in (sqnr_db(e, g) for e, g in zip(expected, got, strict=True)) if v is not None]
    return min(values, default=None)


def _words(runner: OnnxRunner, arrays: Arrays) -> str:
    return f"ONNX Runtime {runner.version} on {len(arrays[0])} inputs"


def generated_inputs(graph: Graph, count: int = 64, seed: int = 0) -> tuple[Tensor, ...]:
    """Normal values that fill the range of each quantised input, where no real inputs were given; integers are zeros."""
    generator = torch.Generator().manual_seed(seed)
    limits = {
        cell.body.name: float(edit.get_tensor(graph.module, cell.scale)) * numerics.S8_MAX
        for cell in patterns.cells(graph.module)
    }
    made = []
    for info in graph.inputs:
        example = info.example(count)
        made.append(
            torch.randn(example.shape, generator=generator) * limits.get(info.name, 2.0) / 2
            if example.is_floating_point()
            else example
        )
    return tuple(made)
