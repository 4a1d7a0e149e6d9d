"""What ``gpu.py`` times: an edgekit kernel, what others offer for the same work, and what the result must be."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from edgekit.bench.kernels import shapes
from edgekit.errors import UsageError
from edgekit.ops import OPS, Case, Cost, OpSpec, dispatch
from edgekit.ops.spec import results

# Rows, fan-in, features: a decoder's layers from few rows to many, and those of a ViT and of 1x1 convolutions.
PRODUCTS = (
    *((32, 4096, 4096), (128, 4096, 4096), (512, 4096, 4096), (2048, 4096, 4096), (4096, 4096, 4096)),
    *((8192, 8192, 8192), (4096, 4096, 16384), (6304, 768, 3072), (6304, 3072, 768), (100352, 64, 256)),
)
# ResNet-50 at batch 32: channels, height and width, filters, kernel, stride.
CONVOLUTIONS = (
    *((3, 224, 64, 7, 2), (64, 56, 64, 1, 1), (64, 56, 64, 3, 1), (64, 56, 256, 1, 1), (256, 56, 64, 1, 1)),
    *((128, 56, 128, 3, 2), (128, 28, 128, 3, 1), (512, 28, 128, 1, 1), (256, 14, 256, 3, 1), (1024, 14, 256, 1, 1)),
    *((256, 14, 1024, 1, 1), (512, 7, 512, 3, 1), (2048, 7, 512, 1, 1), (512, 7, 2048, 1, 1)),
)
BATCH = 32
# Sizes that do not fit into the caches, for what moves bytes; all other operators get those of "".
LARGE = {
    "": (64, 1024, 1024),
    "avg_pool_s8": (64, 256, 64, 64, 2),
    "max_pool_s8": (64, 256, 64, 64, 2),
    "group_norm_s8": (64, 256, 64, 64),
}
Call = Callable[[], Any]


@dataclass(frozen=True)
class Comparison:
    """One row.

    Attributes:
        group: part of the table.
        kernel, case: names.
        own: launches edgekit's kernel.
        peers: what is timed in turn with it.
        check: says how the result differs from the reference, or nothing.
        cost: of the call.
        goal: the peer that the kernel is held against, or ``copy``; empty where there is none.
    """

    group: str
    kernel: str
    case: str
    own: Call
    peers: Mapping[str, Call]
    check: Callable[[], str]
    cost: Cost
    goal: str = ""


def comparisons(only: str | None = None) -> Iterator[tuple[str, Callable[[], Comparison]]]:
    """Operator and what makes each row; it is made when its turn comes, since together they would fill the device."""
    for spec in OPS:
        if dispatch.TRITON not in spec.tiers or only not in (None, spec.name):
            continue
        if spec.name == "linear_s8":
            yield from ((spec.name, partial(product, spec, sizes)) for sizes in PRODUCTS)
        elif spec.name == "conv2d_s8":
            yield from ((spec.name, partial(convolution, spec, sizes)) for sizes in CONVOLUTIONS)
        elif spec.name == "fake_quantize":
            yield spec.name, partial(fake_quantize, spec, LARGE[""])
        elif not any(spec.cost(*case.args).macs for case in spec.cases() if case.layer):
            yield from ((spec.name, partial(moving, spec, case)) for case in large(spec))


def large(spec: OpSpec, sizes: Mapping[str, shapes.Sizes] = LARGE) -> Iterator[Case]:
    """Calls that do not fit into the caches."""
    try:
        yield shapes.case(spec, sizes.get(spec.name, sizes[""]))
    except UsageError:  # it is not made from sizes: its own cases, which do fit
        yield from (case for case in spec.cases() if case.layer)


def _launch(spec: OpSpec, args: tuple[Any, ...], out: Any) -> Call:
    launcher = getattr(import_module(f"edgekit.kernels.{spec.name}"), spec.name)
    return partial(launcher, *args, out=out)


def _on_gpu(args: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(arg.cuda() if isinstance(arg, Tensor) else arg for arg in args)


def _same(own: Call, out: Any, want: tuple[Tensor, ...]) -> str:
    """How many values differ after a call on memory that held something else."""
    for one in results(out):
        one.fill_(77)
    own()
    for got, other in zip(results(out), want, strict=True):
        wrong = int((~((got == other) | (got.isnan() & other.isnan()))).sum())
        if wrong:
            return f"{wrong} of {got.numel()} values differ from the reference"
    return ""


def product(spec: OpSpec, sizes: tuple[int, ...]) -> Comparison:
    """Against the vendor's product into int32, alone and with what has to follow it."""
    case = shapes.case(spec, sizes)
    args = _on_gpu(case.args)
    x, weight, bias, multiplier = args[:4]
    out = spec.shape(*args)
    own = _launch(spec, args, out)

    def separate() -> Tensor:
        sums = torch._int_mm(x, weight.t()).add_(bias)
        return (sums.float() * multiplier).round_().clamp_(-128, 127).to(torch.int8)

    peers = {"torch._int_mm": lambda: torch._int_mm(x, weight.t()), "torch._int_mm + epilogue": separate}
    check = partial(_same, own, out, results(spec.reference(*args)))  # float64 products on the device are exact
    return Comparison("products", spec.name, case.name, own, peers, check, spec.cost(*args), "torch._int_mm")


def convolution(spec: OpSpec, sizes: tuple[int, ...]) -> Comparison:
    """Against cuDNN's convolution of float16 values, everything in channels-last."""
    case = shapes.case(spec, (BATCH, sizes[0], sizes[1], sizes[1], *sizes[2:]))
    last = {"memory_format": torch.channels_last}
    args = tuple(arg.contiguous(**last) if isinstance(arg, Tensor) and arg.dim() == 4 else arg for arg in case.args)
    some = slice(None, None, BATCH - 1)  # the first image and the last: float64 on the processor takes its time
    want = spec.reference(args[0][some], *args[1:])
    args = _on_gpu(args)
    out = torch.empty_like(spec.shape(*args), **last)
    own = _launch(spec, args, out)

    def check() -> str:
        out.fill_(77)
        own()
        wrong = int((out[some].cpu() != want).sum())
        return f"{wrong} of {want.numel()} values differ from the reference" if wrong else ""

    half = tuple(arg.half().contiguous(**last) for arg in args[:2])
    bias, window = args[2].half(), args[4:8]
    peers = {"cuDNN float16": lambda: functional.conv2d(*half, bias, *window)}
    return Comparison("convolutions", spec.name, case.name, own, peers, check, spec.cost(*args), "cuDNN float16")


def fake_quantize(spec: OpSpec, sizes: shapes.Sizes) -> Comparison:
    """Against torch's own, which multiplies by the reciprocal of the scale and so rounds some values otherwise."""
    case = shapes.case(spec, sizes)
    args = _on_gpu(case.args)
    out = spec.shape(*args)
    own, scale = _launch(spec, args, out), float(args[1])
    peers = {"torch": lambda: torch.fake_quantize_per_tensor_affine(args[0], scale, 0, -128, 127)}
    check = partial(_same, own, out, results(spec.reference(*args)))
    return Comparison("memory-bound", spec.name, case.name, own, peers, check, spec.cost(*args), "copy")


def moving(spec: OpSpec, case: Case) -> Comparison:
    """Against a copy of as many bytes."""
    args = _on_gpu(case.args)
    out = spec.shape(*args)
    own = _launch(spec, args, out)
    check = partial(_same, own, out, results(spec.reference(*args)))
    return Comparison("memory-bound", spec.name, case.name, own, {}, check, spec.cost(*args), "copy")
