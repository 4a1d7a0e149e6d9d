"""What this machine can do at most: bytes copied a second, and multiply-accumulates a second by type of operand.

Everything is measured here and now; what cannot be is there with its reason. One core of the processor is measured,
since the kernels of ``edgekit.ops`` run on one: arithmetic by loops of an instruction on registers alone
(``csrc/bind_peak.cc``), copying by the C library through numpy. A GPU is measured whole: arithmetic by large products
of the vendor's library on random values, copying by torch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import cache
from importlib import import_module
from typing import Any

import numpy as np

from edgekit.bench import words
from edgekit.bench.kernels import caches
from edgekit.bench.kernels.stopwatch import CpuStopwatch, CudaStopwatch, Stopwatch, timed

COPY = "copy"
NO_GPU = "no CUDA device"
SQUARE = 8192  # rows of the products that a GPU's arithmetic is measured by
COPIED = 1 << 30  # bytes that a GPU copies


@dataclass(frozen=True)
class Rate:
    """One limit.

    Attributes:
        device: ``cpu``, one core of it, or ``cuda``.
        what: ``copy``, or the type of the operands: ``int8``, ``float16``, ``float32``.
        how: what was run.
        tier: the tier that multiplies with it, of an instruction; empty otherwise.
        per_second: bytes read and written, or multiply-accumulates; None where it was not measured.
        reason: why it was not measured.
    """

    device: str
    what: str
    how: str
    tier: str = ""
    per_second: float | None = None
    reason: str = ""

    def to_json(self) -> dict[str, Any]:
        """The rate as plain JSON values."""
        return asdict(self)

    def __str__(self) -> str:
        unit = "B/s" if self.what == COPY else "MAC/s"
        said = f"not measured: {self.reason}"
        if self.per_second is not None:
            amount = words.size(self.per_second) if self.what == COPY else words.count(self.per_second)
            said = f"{amount.removesuffix('B')}{unit}"
        return f"{self.device:5} {self.what:8} {said:>16}  {self.how}"


def measure(budget_s: float = 0.5) -> tuple[Rate, ...]:
    """Every limit of this machine.

    Args:
        budget_s: seconds for each, at most.
    """
    return (*cpu(budget_s), *cuda(budget_s))


def cpu(budget_s: float = 0.5) -> tuple[Rate, ...]:
    """Limits of one core."""
    size = 2 * (caches.last_level_bytes() or caches.UNKNOWN)
    us = copy_us(CpuStopwatch(evict=lambda: None), 2 * size, budget_s, cold=False)
    copied = Rate("cpu", COPY, f"numpy.copyto of {words.size(size)}, one core", per_second=2e6 * size / us)
    return (copied, *_instructions())


def cuda(budget_s: float = 0.5) -> tuple[Rate, ...]:
    """Limits of the current CUDA device; without one, one line that says so."""
    import torch

    if not torch.cuda.is_available():
        return (Rate("cuda", COPY, "torch", reason=NO_GPU),)
    watch = CudaStopwatch()
    return tuple(_cuda(watch, budget_s))


def best(rates: tuple[Rate, ...], device: str, what: str, tier: str = "") -> float | None:
    """The highest rate of a kind; of a tier's own instruction where it has one. None where nothing was measured."""
    fitting = [r for r in rates if (r.device, r.what) == (device, what) and r.per_second is not None]
    own = [rate for rate in fitting if rate.tier == tier and tier] or fitting
    return max((rate.per_second for rate in own if rate.per_second is not None), default=None)


@cache
def of_device(device: str) -> tuple[Rate, ...]:
    """The limits of ``cpu`` or ``cuda``, measured once in this process."""
    return cuda() if device == "cuda" else cpu()


def copy_us(watch: Stopwatch, size: int, budget_s: float, *, cold: bool) -> float:
    """Microseconds to copy so many bytes, read and written, in one state of the caches.

    Args:
        size: bytes read and bytes written together, as ``Cost.bytes`` counts them.
    """
    half = max(size // 2, 64)
    call: Callable[[], Any]
    if watch.device == "cuda":
        import torch

        source, target = (torch.ones(half, dtype=torch.int8, device="cuda") for _ in range(2))
        call = lambda: target.copy_(source)  # noqa: E731
    else:
        read, write = np.ones(half, np.uint8), np.empty(half, np.uint8)
        call = lambda: np.copyto(write, read)  # noqa: E731
    return timed(watch, call, budget_s, cold=cold).us


def _instructions() -> Iterator[Rate]:
    try:
        native = import_module("edgekit._C")
    except ImportError as error:
        yield Rate("cpu", "int8", "instructions", reason=f"edgekit._C, the C++ kernels, cannot be imported: {error}")
        return
    if not hasattr(native, "instructions"):
        yield Rate("cpu", "int8", "instructions", reason="edgekit._C was built before it could measure this")
        return
    for row in native.instructions():
        how = f"{row['name']} on registers, one core"
        rate = native.instruction_rate(row["name"]) if row["available"] else None
        reason = "" if row["available"] else f"this processor has no {row['isa']}"
        yield Rate("cpu", row["operands"], how, row["isa"], rate, reason)


def _cuda(watch: CudaStopwatch, budget_s: float) -> Iterator[Rate]:
    import torch

    us, how = copy_us(watch, 2 * COPIED, budget_s, cold=False), f"torch's copy of {words.size(COPIED)} on the device"
    yield Rate("cuda", COPY, how, per_second=2e6 * COPIED / us)
    for what, how, product in _products(torch):
        try:
            us = timed(watch, product(), budget_s).us
        except RuntimeError as error:  # a library without this product for this device
            yield Rate("cuda", what, how, reason=str(error).splitlines()[0])
            continue
        yield Rate("cuda", what, how, per_second=1e6 * SQUARE**3 / us)


def _products(torch: Any) -> Iterator[tuple[str, str, Callable[[], Callable[[], Any]]]]:
    """Type of the operands, what is run, and what makes the call."""

    def integers() -> Callable[[], Any]:
        a, b = (torch.randint(-128, 128, (SQUARE, SQUARE), dtype=torch.int8, device="cuda") for _ in range(2))
        return lambda: torch._int_mm(a, b.t())

    def floats(dtype: Any) -> Callable[[], Any]:
        a, b = (torch.randn(SQUARE, SQUARE, dtype=dtype, device="cuda") for _ in range(2))
        return lambda: torch.matmul(a, b.t())

    size, precision = f"{SQUARE}x{SQUARE}x{SQUARE}", torch.get_float32_matmul_precision()
    yield "int8", f"torch._int_mm, {size}, random values", integers
    yield "float16", f"torch.matmul, {size}, random values", lambda: floats(torch.float16)
    yield "float32", f"torch.matmul at precision {precision}, {size}", lambda: floats(torch.float32)
