"""Which tier runs an operator: C++ on the CPU, Triton on CUDA, else the reference, and that never silently.

A tier is one word: ``reference`` (torch), an ISA of ``csrc/kernels.def`` such as ``ref`` (C++), or ``triton``.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from edgekit.errors import MissingDependency, UsageError
from edgekit.ops.spec import OpSpec, Result, results

REFERENCE = "reference"
TRITON = "triton"

Configure = Callable[[OpSpec, tuple[Any, ...]], Any]

_forced: ContextVar[str | None] = ContextVar("edgekit_forced_tier", default=None)
_configure: ContextVar[Configure | None] = ContextVar("edgekit_configure", default=None)
_strict: ContextVar[bool] = ContextVar("edgekit_strict", default=False)
_said: set[str] = set()


def _load_native() -> tuple[ModuleType | None, str]:
    try:
        return import_module("edgekit._C"), ""
    except ImportError as error:  # not built, or built for another Python
        return None, str(error)


_native, _native_error = _load_native()


@contextmanager
def force(tier: str) -> Iterator[None]:
    """Run every operator on this tier; one that is not listed or not available here is an error."""
    token = _forced.set(tier)
    try:
        yield
    finally:
        _forced.reset(token)


@contextmanager
def strict() -> Iterator[None]:
    """Make a fallback to the reference a :class:`~edgekit.errors.MissingDependency` instead of a warning."""
    token = _strict.set(True)
    try:
        yield
    finally:
        _strict.reset(token)


@contextmanager
def configured(configure: Configure) -> Iterator[None]:
    """Ask for the launch configuration of every Triton kernel.

    Args:
        configure: gets the operator and its arguments; gives a ``Config`` of its kernel file, or None for the
            heuristic's.
    """
    token = _configure.set(configure)
    try:
        yield
    finally:
        _configure.reset(token)


@dataclass(frozen=True)
class Tier:
    """One implementation of an operator, and what becomes of it on this machine.

    Attributes:
        name: ``reference``, an ISA, or ``triton``.
        device: of the tensors that it takes: ``cpu``, ``cuda``, or ``any`` for the reference.
        available: whether this machine can run it.
        chosen: whether calls on that device go to it. A kernel that does not take a call leaves it to the ``ref`` tier.
        reason: why it is chosen or not, in a sentence without its end.
    """

    name: str
    device: str
    available: bool
    chosen: bool
    reason: str


def explain(spec: OpSpec) -> tuple[Tier, ...]:
    """Every tier of ``spec``, the reference first: which of them runs here, and why not the others."""
    refusals = {tier: _refusal(spec, tier) for tier in spec.tiers}
    taken = {"cuda" if tier == TRITON else "cpu": tier for tier, refusal in refusals.items() if refusal is None}
    found = []
    for tier, refusal in refusals.items():
        device = "cuda" if tier == TRITON else "cpu"
        if refusal is not None:
            reason = f"{refusal.what} {refusal.why}".strip().rstrip(".")
        else:
            reason = f"what {device} tensors go to" if taken[device] == tier else f"{taken[device]} is preferred"
        found.append(Tier(tier, device, refusal is None, taken.get(device) == tier, reason))
    return (_explain_reference(spec, taken), *found)


def _explain_reference(spec: OpSpec, taken: Mapping[str, str]) -> Tier:
    kinds = [device for device in ("cpu", "cuda") if device not in taken and not (device == "cuda" and _has_gpu(spec))]
    reason = f"there is nothing else for {' and '.join(kinds)} tensors" if kinds else "the meaning, never made fast"
    return Tier(REFERENCE, "any", True, bool(kinds), reason)


def _has_gpu(spec: OpSpec) -> bool:
    """Whether a Triton kernel runs where there is a CUDA device."""
    return _missing_triton(spec) is None


def available(spec: OpSpec) -> tuple[str, ...]:
    """The tiers of ``spec`` that this machine can run, the reference first."""
    return (REFERENCE, *(tier for tier in spec.tiers if _refusal(spec, tier) is None))


def kernel(spec: OpSpec, device: str) -> Callable[..., Result]:
    """The function that torch calls for ``spec`` on ``device``, "cpu" or "cuda"."""

    def call(*args: Any) -> Result:
        forced = _forced.get()
        if forced is not None:
            return run(spec, forced, args)
        refusal = _missing_native(spec) if device == "cpu" else _missing_triton(spec)
        if refusal is not None:
            _fall_back(refusal)
            return _run_reference(spec, args)
        return _run_native(spec, args) if device == "cpu" else _run_triton(spec, args)

    return call


def require(spec: OpSpec, tier: str) -> None:
    """Refuse a tier that the operator does not have, or that this machine cannot run.

    Raises:
        UsageError, MissingDependency: as :func:`run`.
    """
    if tier == REFERENCE:
        return
    if tier not in spec.tiers:
        raise UsageError(f"{spec.name} has no tier {tier}.", fix=f"It has {', '.join((REFERENCE, *spec.tiers))}.")
    refusal = _refusal(spec, tier)
    if refusal is not None:
        raise refusal


def run(spec: OpSpec, tier: str, args: tuple[Any, ...]) -> Result:
    """Run a call on one tier, without torch's dispatcher in between.

    Raises:
        UsageError: the operator has no such tier, or refuses the arguments.
        MissingDependency: this machine cannot run the tier.
    """
    require(spec, tier)
    if tier == REFERENCE:
        return _run_reference(spec, args)
    return _run_triton(spec, args) if tier == TRITON else _run_native(spec, args, isa=tier)


def _run_reference(spec: OpSpec, args: tuple[Any, ...]) -> Result:
    out = spec.shape(*args)  # refuses what every tier refuses
    result = spec.reference(*args)
    laid = tuple(map(_laid_as, results(result), results(out)))
    return laid if isinstance(result, tuple) else laid[0]


def _laid_as(value: Tensor, other: Tensor) -> Tensor:
    """``value`` with its elements where those of ``other`` lie."""
    if value.stride() == other.stride():
        return value
    return torch.empty_strided(value.shape, other.stride(), dtype=value.dtype, device=value.device).copy_(value)


def _run_native(spec: OpSpec, args: tuple[Any, ...], isa: str | None = None) -> Result:
    out = spec.shape(*args)
    views = [arg.detach().contiguous().numpy() if isinstance(arg, Tensor) else arg for arg in args]
    dense = [one if one.is_contiguous() else one.new_empty(one.shape) for one in results(out)]
    into = tuple(one.numpy() for one in dense)
    getattr(_native, spec.name)(*views, out=into if isinstance(out, tuple) else into[0], isa=isa)
    for one, filled in zip(results(out), dense, strict=True):
        if one is not filled:
            one.copy_(filled)
    return out


def _run_triton(spec: OpSpec, args: tuple[Any, ...]) -> Result:
    launcher = getattr(import_module(f"edgekit.kernels.{spec.name}"), spec.name)
    configure = _configure.get()
    config = configure(spec, args) if configure is not None else None
    options = {} if config is None else {"config": config}
    result: Result = launcher(*args, out=spec.shape(*args), **options)
    return result


def _fall_back(refusal: MissingDependency) -> None:
    if _strict.get():
        raise refusal
    if refusal.what not in _said:
        _said.add(refusal.what)
        warnings.warn(f"{refusal} Running the slow torch reference.", RuntimeWarning, stacklevel=4)


def _refusal(spec: OpSpec, tier: str) -> MissingDependency | None:
    if tier == TRITON:
        return _missing_device() or _missing_triton(spec)
    return _missing_native(spec) or _missing_isa(tier)


@cache
def _missing_native(spec: OpSpec) -> MissingDependency | None:
    fix = "Install a C++17 compiler and run `pip install -e .` (or `pip install edgekit`) again."
    if _native is None:
        return MissingDependency("edgekit._C, the C++ kernels, cannot be imported.", f"{_native_error}.", fix)
    if not hasattr(_native, spec.name):
        return MissingDependency(f"edgekit._C was built before {spec.name} was written.", fix=fix)
    return None


@cache
def _missing_isa(isa: str) -> MissingDependency | None:
    if _native is not None and isa in _native.isa_flags():
        return None
    return MissingDependency(f"this processor, or its operating system, does not have {isa}.")


@cache
def _missing_triton(spec: OpSpec) -> MissingDependency | None:
    if TRITON not in spec.tiers:
        return MissingDependency(f"{spec.name} has no Triton kernel.")
    if find_spec("triton") is None:
        return MissingDependency("triton is not installed.", fix="`pip install edgekit[gpu]`.")
    return None


def _missing_device() -> MissingDependency | None:
    if torch.cuda.is_available() or os.environ.get("TRITON_INTERPRET") == "1":  # Triton's own switch
        return None
    return MissingDependency("there is no CUDA device.", fix="Choose another tier.")
