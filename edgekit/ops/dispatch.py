"""Which tier runs an operator: C++ on the CPU, Triton on CUDA, else the reference, and that never silently.

A tier is one word: ``reference`` (torch), an ISA of ``csrc/kernels.def`` such as ``ref`` (C++), or ``triton``.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from edgekit.errors import MissingDependency, UsageError
from edgekit.ops.spec import OpSpec, Result

REFERENCE = "reference"
TRITON = "triton"

_forced: ContextVar[str | None] = ContextVar("edgekit_forced_tier", default=None)
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


def available(spec: OpSpec) -> tuple[str, ...]:
    """The tiers of ``spec`` that this machine can run, the reference first."""
    return (REFERENCE, *(tier for tier in spec.tiers if _refusal(spec, tier) is None))


def kernel(spec: OpSpec, device: str) -> Callable[..., Result]:
    """The function that torch calls for ``spec`` on ``device``, "cpu" or "cuda"."""

    def call(*args: Any) -> Result:
        forced = _forced.get()
        if forced is not None:
            return _run_forced(spec, forced, args)
        refusal = _missing_native(spec) if device == "cpu" else _missing_triton(spec)
        if refusal is not None:
            _fall_back(refusal)
            return _run_reference(spec, args)
        return _run_native(spec, args) if device == "cpu" else _run_triton(spec, args)

    return call


def _run_forced(spec: OpSpec, tier: str, args: tuple[Any, ...]) -> Result:
    if tier == REFERENCE:
        return _run_reference(spec, args)
    if tier not in spec.tiers:
        raise UsageError(f"{spec.name} has no tier {tier}.", fix=f"It has {', '.join((REFERENCE, *spec.tiers))}.")
    refusal = _refusal(spec, tier)
    if refusal is not None:
        raise refusal
    return _run_triton(spec, args) if tier == TRITON else _run_native(spec, args, isa=tier)


def _run_reference(spec: OpSpec, args: tuple[Any, ...]) -> Result:
    spec.shape(*args)  # refuses what every tier refuses
    result = spec.reference(*args)
    return tuple(one.contiguous() for one in result) if isinstance(result, tuple) else result.contiguous()


def _run_native(spec: OpSpec, args: tuple[Any, ...], isa: str | None = None) -> Result:
    out = spec.shape(*args)
    views = [arg.detach().contiguous().numpy() if isinstance(arg, Tensor) else arg for arg in args]
    into = tuple(one.numpy() for one in out) if isinstance(out, tuple) else out.numpy()
    getattr(_native, spec.name)(*views, out=into, isa=isa)
    return out


def _run_triton(spec: OpSpec, args: tuple[Any, ...]) -> Result:
    launcher = getattr(import_module(f"edgekit.kernels.{spec.name}"), spec.name)
    result: Result = launcher(*args, out=spec.shape(*args))
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
