"""What is timed must compute: the outputs are finite, the same before and after, and depend on the input."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekit.bench.statistics import Finding, Level
from edgekit.runtime import Runner, TensorInfo

Arrays = tuple[NDArray[Any], ...]


def default_inputs(infos: Sequence[TensorInfo], batch: int = 1, seed: int = 0) -> Arrays:
    """Inputs made from a seed where none are given: normal values, whole numbers 0 and 1; dynamic sizes are ``batch``.

    Only times may come from them, never a scale or an accuracy.
    """
    generator = np.random.default_rng(seed)
    arrays = []
    for info in infos:
        shape = [batch if size is None else size for size in info.shape]
        floating = np.issubdtype(info.dtype, np.floating)
        values = generator.standard_normal(shape) if floating else generator.integers(0, 2, shape)
        arrays.append(values.astype(info.dtype))
    return tuple(arrays)


def faults(runner: Runner, inputs: Arrays, before: Arrays, after: Arrays) -> tuple[Finding, ...]:
    """What is wrong with the outputs of the timed model.

    Args:
        runner: the model.
        inputs: what was timed.
        before: copies of the outputs for ``inputs`` from before the timed window.
        after: the same from after it.
    """
    if not before:
        return (Finding("invalid", "the model gives no output"),)
    found = []
    if not all(np.isfinite(array).all() for array in before):
        found.append(Finding("invalid", "an output holds NaN or infinite values"))
    if not same(before, after):
        found.append(Finding("invalid", "the outputs before and after timing differ"))
    if _ignores_input(runner, inputs, before):
        discrete = all(not np.issubdtype(array.dtype, np.floating) for array in before)
        level: Level = "warn" if discrete else "invalid"  # a classifier that returns labels may well repeat one
        found.append(Finding(level, "the outputs do not depend on the input: nothing seems to be computed"))
    return tuple(found)


def same(left: Arrays, right: Arrays) -> bool:
    """Whether two sets of outputs are equal by the byte."""
    return len(left) == len(right) and all(
        a.shape == b.shape and a.dtype == b.dtype and a.tobytes() == b.tobytes()
        for a, b in zip(left, right, strict=True)
    )


def copies(outputs: Sequence[NDArray[Any]]) -> Arrays:
    """The outputs in memory of their own: a runner may hand out a buffer that it writes again."""
    return tuple(np.array(array, copy=True) for array in outputs)


def _ignores_input(runner: Runner, inputs: Arrays, outputs: Arrays) -> bool:
    if not any(array.size for array in inputs):
        return False
    others = (
        tuple(np.zeros_like(array) for array in inputs),
        tuple(np.ascontiguousarray(array[..., ::-1]) if array.ndim else array for array in inputs),
        default_inputs([TensorInfo("", array.shape, array.dtype) for array in inputs]),
    )
    changed = [other for other in others if not same(other, inputs)]
    return bool(changed) and all(same(copies(runner.run(*other)), outputs) for other in changed)
