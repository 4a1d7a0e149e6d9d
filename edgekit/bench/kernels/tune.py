"""Launch configurations that were measured: an explicit command makes a small file, an explicit context uses it.

The candidates are the neighbours of what the kernel's heuristic chooses: each power of two in its ``Config`` halved and
doubled, each other number one less and one more, one field at a time, from the best so far, until none is faster. What
does not compile, does not fit the device or computes something else is out. Nothing is tuned unasked.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields, is_dataclass, replace
from functools import partial
from importlib import import_module
from typing import Any

import torch
from torch import Tensor

from edgekit.bench.kernels import shapes
from edgekit.bench.kernels.run import check, describe
from edgekit.bench.kernels.stopwatch import Stopwatch, stopwatch, timed
from edgekit.bench.kernels.subject import Subject, find, of_operator
from edgekit.bench.kernels.tuned import Entry, Tuned, signature
from edgekit.errors import KernelMismatch, MissingDependency, UnsupportedError, UsageError
from edgekit.ops import OpSpec, dispatch
from edgekit.ops.spec import Case

GAIN = 0.02  # a neighbour has to be so much faster to be gone to
MOST = 64  # candidates of one case

Config = Any  # a frozen dataclass of integers; every kernel file has its own
Time = Callable[[Config], float]


@dataclass(frozen=True)
class Search:
    """What a search found.

    Attributes:
        best: the fastest configuration.
        us: its microseconds.
        first_us: those of the configuration that the search began at.
        tried: how many were timed.
        refused: those that could not be used, and why.
    """

    best: Config
    us: float
    first_us: float
    tried: int
    refused: tuple[tuple[Config, str], ...]


def tune(
    kernel: str, *, sizes: Sequence[str] = (), budget_s: float = 0.2, watch: Callable[[str], Stopwatch] = stopwatch
) -> Tuned:
    """Measure the launch configurations of an operator's Triton kernel on the GPU that is present.

    Args:
        kernel: an operator of :data:`edgekit.ops.OPS`.
        sizes: shapes such as ``128x256x256``; the operator's own layer-sized cases where empty.
        budget_s: seconds for each candidate, at most.
        watch: gives the clock.

    Raises:
        MissingDependency: there is no CUDA device, or no Triton.
        UsageError: the kernel is the user's own, or has no Triton tier.
        UnsupportedError: the kernel file chooses no configuration.
    """
    spec = find(kernel)
    if spec is None:
        raise UsageError(f"{kernel} is a kernel of your own.", fix="Its launches are yours to configure.")
    if not torch.cuda.is_available():
        raise MissingDependency(
            "nothing can be tuned: there is no CUDA device.", fix="Run this on the GPU that the kernels are for."
        )
    dispatch.require(spec, dispatch.TRITON)
    clock = watch("cuda")
    cases = [shapes.case(spec, one) for one in shapes.parse(sizes)] or [case for case in spec.cases() if case.layer]
    return Tuned(describe(), tuple(_tuned(spec, case, clock, budget_s) for case in cases))


def search(first: Config, time: Time, most: int = MOST) -> Search:
    """Go to the fastest neighbour until none is faster.

    Args:
        first: where to begin; it must be usable.
        time: microseconds of a configuration; raises what :data:`UNUSABLE` holds where there are none.
        most: candidates, at most.
    """
    seen: dict[Config, float] = {first: time(first)}
    best, refused = first, dict[Config, str]()
    while True:
        for candidate in neighbours(best):
            if candidate in seen or candidate in refused or len(seen) + len(refused) >= most:
                continue
            try:
                seen[candidate] = time(candidate)
            except unusable() as error:
                refused[candidate] = f"{type(error).__name__}: {error}".splitlines()[0]
        fastest = min(seen, key=lambda config: seen[config])
        if seen[fastest] >= seen[best] * (1 - GAIN):
            return Search(best, seen[best], seen[first], len(seen), tuple(refused.items()))
        best = fastest


def neighbours(config: Config) -> Iterator[Config]:
    """The configurations that differ in one field by one step."""
    for one in fields(config):
        value = getattr(config, one.name)
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            continue
        steps = (value // 2, value * 2) if value & (value - 1) == 0 else (value - 1, value + 1)
        yield from (replace(config, **{one.name: step}) for step in steps if step >= 1)


def unusable() -> tuple[type[Exception], ...]:
    """What a candidate fails with: Triton's refusals, those of compiler and driver, and a wrong result."""
    refusals: list[type[Exception]] = [RuntimeError, KernelMismatch]
    if "triton" in sys.modules:
        refusals.append(import_module("triton.errors").TritonError)
    return tuple(refusals)


def _tuned(spec: OpSpec, case: Case, clock: Stopwatch, budget_s: float) -> Entry:
    args = tuple(arg.cuda() if isinstance(arg, Tensor) else arg for arg in case.args)
    subject = of_operator(spec, case, [dispatch.TRITON], "cuda")
    with chosen(spec.name) as configs:
        dispatch.run(spec, dispatch.TRITON, args)
    if not configs:
        raise UnsupportedError(f"{spec.name} chooses no launch configuration for {case.name}.", fix="Leave it out.")
    found = search(configs[-1], partial(_time, subject, clock, budget_s))
    return Entry(
        kernel=spec.name,
        case=case.name,
        signature=signature(args),
        file=type(found.best).__module__.rpartition(".")[2],
        config=asdict(found.best),
        us=found.us,
        heuristic=asdict(configs[-1]),
        heuristic_us=found.first_us,
        tried=found.tried,
        refused=len(found.refused),
    )


def _time(subject: Subject, clock: Stopwatch, budget_s: float, config: Config) -> float:
    with dispatch.configured(lambda *_: config):
        call = subject.calls[dispatch.TRITON]
        if reason := check(subject, call):
            raise KernelMismatch(f"{subject.kernel} with {config}: {reason}.", fix="Report it with these sizes.")
        return timed(clock, call, budget_s).us


@contextmanager
def chosen(kernel: str) -> Iterator[list[Config]]:
    """The configurations that the heuristics of a kernel file and those it uses choose while this is open, in order."""
    import_module(f"edgekit.kernels.{kernel}")
    files = [module for name, module in list(sys.modules.items()) if name.startswith("edgekit.kernels.")]
    kept = [(module, module.heuristic) for module in files if hasattr(module, "heuristic")]
    found: list[Config] = []
    for module, heuristic in kept:
        setattr(module, "heuristic", partial(_tell, heuristic, found))  # noqa: B010
    try:
        yield found
    finally:
        for module, heuristic in kept:
            setattr(module, "heuristic", heuristic)  # noqa: B010


def _tell(heuristic: Callable[..., Config], found: list[Config], *args: Any, **kwargs: Any) -> Config:
    config = heuristic(*args, **kwargs)
    if is_dataclass(config):
        found.append(config)
    return config
