"""What an operator is: one word that names a meaning, a schema, shapes, test cases, a cost and tiers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

Result = Tensor | tuple[Tensor, ...]


def results(result: Result) -> tuple[Tensor, ...]:
    """What an operator gives, as a tuple: most give one tensor and not a tuple."""
    return result if isinstance(result, tuple) else (result,)


@dataclass(frozen=True)
class Case:
    """One call of an operator, for tests and benchmarks.

    Attributes:
        name: unique among the operator's cases; says what is special about it.
        args: positional arguments in the order of the schema.
        layer: the size of a layer of a real network, worth timing.
    """

    name: str
    args: tuple[Any, ...]
    layer: bool = False


@dataclass(frozen=True)
class Cost:
    """Work of one call.

    Attributes:
        macs: multiply-accumulates (0 for operators that do none).
        bytes: bytes read and written once each.
    """

    macs: int
    bytes: int


@dataclass(frozen=True)
class OpSpec:
    """An operator of the ``edgekit`` namespace.

    Attributes:
        name: the word; it also names ``csrc/cpu/<name>_<tier>.cc`` and ``kernels/<name>.py``.
        schema: arguments and result in torch's schema language, without the name.
        reference: the meaning, in torch; shortest correct code, never optimised.
        shape: same arguments; an uninitialised result, or a tuple of them, of the right shape, dtype and device.
        cases: yields calls with tails, ones, primes, extremes and zero sizes.
        cost: same arguments; the work of one call.
        tiers: implementations beside the reference: ``ref`` is scalar C++, ``triton`` a GPU kernel.
    """

    name: str
    schema: str
    reference: Callable[..., Result]
    shape: Callable[..., Result]
    cases: Callable[[], Iterator[Case]] = field(repr=False)
    cost: Callable[..., Cost] = field(repr=False)
    tiers: tuple[str, ...] = ("ref",)
