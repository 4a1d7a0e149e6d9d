"""What is timed: an operator of edgekit on its tiers, or a kernel of the user's own beside its reference.

A file of the user's own defines, at the level of the module::

    def my_kernel(*inputs): ...      # gives a tensor or a tuple of tensors; named on the command line
    def reference(*inputs): ...      # the same by simple means
    def inputs(shape): ...           # a tuple of arguments, tensors on the device that the kernel runs on

and, where it likes::

    shapes = [(128, 256)]            # timed where no --shapes are given
    def cost(*inputs): ...           # (multiply-accumulates, bytes read and written once each)
    tolerance = (1e-3, 1e-5)         # relative and absolute; see :func:`differs`
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from edgekit import userfile
from edgekit.bench.kernels import shapes
from edgekit.errors import InputError, UsageError, did_you_mean
from edgekit.ops import OPS, OpSpec, dispatch
from edgekit.ops.spec import Case, Cost, results

OWN = "own"  # the tier of a kernel of the user's own
OPERANDS = {torch.int8: "int8", torch.float16: "float16", torch.bfloat16: "float16", torch.float32: "float32"}


@dataclass(frozen=True)
class Subject:
    """One call, and the parties that make it.

    Attributes:
        kernel, case: names.
        device: where all parties run, ``cpu`` or ``cuda``.
        calls: what is timed, by tier.
        want: the results of the reference, on the processor.
        cost: the work of one call; None where it is not known.
        operands: type of what is multiplied.
        tolerance: relative and absolute; None for equal integers and for floats as torch.testing compares them.
        missing: tiers that this machine cannot run, and why.
    """

    kernel: str
    case: str
    device: str
    calls: Mapping[str, Callable[[], Any]]
    want: tuple[Tensor, ...]
    cost: Cost | None
    operands: str = "int8"
    tolerance: tuple[float, float] | None = None
    missing: Mapping[str, str] = field(default_factory=dict)

    def called(self, call: Callable[[], Any]) -> Any:
        """The result of one call; what the user's own code raises becomes an InputError that names the line."""
        if ".py:" not in self.kernel:
            return call()
        return userfile.call(call, f"{self.kernel} fails at {self.case}", InputError, "Mend the kernel.")


def find(name: str) -> OpSpec | None:
    """The operator of that name.

    Raises:
        UsageError: there is none, and the name is no ``FILE.py:FUNCTION`` either.
    """
    specs = {spec.name: spec for spec in OPS}
    if name not in specs and ".py:" not in name:
        close = did_you_mean(name, specs)
        raise UsageError(f"there is no operator {name!r}.{close}", fix="Or name a kernel of your own: my_kernel.py:fn.")
    return specs.get(name)


def subjects(
    name: str, sizes: Sequence[shapes.Sizes] = (), tiers: Sequence[str] = (), base: str | None = None
) -> Iterator[Subject]:
    """What there is to time of a kernel, one after the other.

    Args:
        name: an operator, or ``FILE.py:FUNCTION``.
        sizes: the operator's layer-sized cases, or the file's own ``shapes``, where empty.
        tiers: all that this machine has where empty, but for the slow reference.
        base: a further tier, beside those.

    Raises:
        UsageError: there is no such operator, tier, or way to make it at these sizes.
        MissingDependency: a tier that was asked for does not run here.
        InputError: the user's file, or a function of it, fails.
    """
    spec = find(name)
    if spec is None:
        yield from _own(name, sizes, _with(base, tiers or (OWN,)))
        return
    for tier in _with(base, tiers):
        dispatch.require(spec, tier)
    wanted = _with(base, tiers or spec.tiers)
    cases = [shapes.case(spec, one) for one in sizes] or [case for case in spec.cases() if case.layer]
    for case in cases:
        for device in ("cpu", "cuda"):
            found = [tier for tier in wanted if (device == "cuda") == (tier == dispatch.TRITON)]
            if found:
                yield of_operator(spec, case, found, device)


def _with(base: str | None, tiers: Sequence[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys((*tiers, *([base] if base else ()))))


def of_operator(spec: OpSpec, case: Case, tiers: Sequence[str], device: str) -> Subject:
    """One case of an operator on tiers of one device."""
    refusals = {tier.name: tier.reason for tier in dispatch.explain(spec) if not tier.available}
    if device == "cuda" and not torch.cuda.is_available():  # Triton's interpreter says nothing about time
        refusals[dispatch.TRITON] = "there is no CUDA device"
    args = tuple(
        arg.to(device) if isinstance(arg, Tensor) and dispatch.TRITON not in refusals else arg for arg in case.args
    )
    return Subject(
        kernel=spec.name,
        case=case.name,
        device=device,
        calls={tier: partial(dispatch.run, spec, tier, args) for tier in tiers if tier not in refusals},
        want=tuple(one.cpu() for one in results(spec.reference(*case.args))),
        cost=spec.cost(*case.args),
        missing={tier: refusals[tier] for tier in tiers if tier in refusals},
    )


def differs(got: Any, want: tuple[Tensor, ...], tolerance: tuple[float, float] | None = None) -> str:
    """How results differ from those of the reference; empty where they do not.

    Args:
        got: a tensor or a tuple of tensors.
        want: of the reference, on the processor.
        tolerance: relative and absolute; where None, integers must be equal, and floats as near as
            ``torch.testing.assert_close`` wants them for their type.
    """
    found = tuple(got) if isinstance(got, (tuple, list)) else (got,)
    if not all(isinstance(one, Tensor) for one in found) or len(found) != len(want):
        return f"{len(found)} results, of which the reference gives {len(want)} tensors"
    relative, absolute = tolerance or (None, None)
    for one, other in zip(found, want, strict=True):
        try:
            torch.testing.assert_close(one.detach().cpu(), other, rtol=relative, atol=absolute, equal_nan=True)
        except AssertionError as error:
            return " ".join(str(error).split())
    return ""


@contextmanager
def poisoned_memory() -> Iterator[None]:
    """Fill what torch leaves uninitialised, so that a result that nobody wrote shows."""
    before, warn_only = (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
    )
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before, warn_only=warn_only)


def _own(name: str, sizes: Sequence[shapes.Sizes], tiers: Sequence[str]) -> Iterator[Subject]:
    file, _, function = name.rpartition(":")
    module = userfile.load(Path(file), InputError)
    kernel, reference, make = (userfile.member(module, part, InputError) for part in (function, "reference", "inputs"))
    unknown = sorted(set(tiers) - {OWN, dispatch.REFERENCE})
    if unknown:
        raise UsageError(f"{name} has no tier {unknown[0]}.", fix=f"It has {OWN} and {dispatch.REFERENCE}.")
    chosen = sizes or [tuple(one) for one in getattr(module, "shapes", ())]
    if not chosen:
        raise UsageError(f"no shape is given for {name}.", fix="Give --shapes, or write shapes = [(128, 256)] there.")
    for one in chosen:
        args = _called(module, "inputs", make, one)
        if not isinstance(args, tuple) or not any(isinstance(arg, Tensor) for arg in args):
            raise InputError(f"{file}: inputs({one}) gives no tuple with a tensor in it.", fix="Return a tuple.")
        yield _own_subject(module, name, shapes.name(one), {OWN: kernel, dispatch.REFERENCE: reference}, args, tiers)


def _own_subject(
    module: ModuleType,
    name: str,
    case: str,
    functions: Mapping[str, Callable[..., Any]],
    args: tuple[Any, ...],
    tiers: Sequence[str],
) -> Subject:
    copies = tuple(arg.clone() if isinstance(arg, Tensor) else arg for arg in args)
    got = _called(module, "reference", functions[dispatch.REFERENCE], *copies)
    want = tuple(one.detach().cpu().clone() for one in (got if isinstance(got, (tuple, list)) else (got,)))
    tensors = [arg for arg in args if isinstance(arg, Tensor)]
    cost = _called(module, "cost", module.cost, *args) if hasattr(module, "cost") else None
    return Subject(
        kernel=name,
        case=case,
        device=tensors[0].device.type,
        calls={tier: partial(functions[tier], *args) for tier in tiers},
        want=want,
        cost=None if cost is None else Cost(*map(int, (cost.macs, cost.bytes) if isinstance(cost, Cost) else cost)),
        operands=OPERANDS.get(tensors[0].dtype, ""),
        tolerance=getattr(module, "tolerance", None),
    )


def _called(module: ModuleType, name: str, function: Callable[..., Any], *args: Any) -> Any:
    what = f"{module.__file__}: {name} fails"
    return userfile.call(function, what, InputError, "Its docstring says what the file must define.", *args)
