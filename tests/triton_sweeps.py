"""Two hundred shapes and more for every Triton kernel: every tail length twice, then random ones, sometimes a zero."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

from torch import Tensor
from triton_memory_sweeps import SWEEPS as MEMORY_SWEEPS
from triton_product_sweeps import SWEEPS as PRODUCT_SWEEPS
from triton_sizes import sizes

from edgekit.ops import fake_quantize_backward as gradients
from edgekit.ops import linear_s8, samples
from edgekit.ops.spec import Case


def linear() -> Iterator[Case]:
    """Rows, fan-in, features; some with the bounds of a ReLU."""
    choose = random.Random(3)
    for rows, fan_in, features in sizes(3, choose):
        bounds = choose.choice([-128, 0]), choose.choice([127, 60])
        yield linear_s8.case(f"{rows}x{fan_in}x{features}", (rows,), fan_in, features, *bounds)


def quantize() -> Iterator[Case]:
    """Three dimensions, per tensor and along each axis."""
    choose = random.Random(3)
    for a, b, c in sizes(3, choose):
        x, axis = samples.f32(a % 20, b % 20, c % 20, spread=3), choose.choice([None, 0, 1, -1])
        scale = samples.positive(1 if axis is None else x.shape[axis], middle=0.03)
        yield Case(f"{tuple(x.shape)} on {axis}", (x, scale, axis))


def few_channels() -> Iterator[tuple[Tensor, int]]:
    """Three dimensions and an axis of two channels at most, each of which is a program of its own."""
    choose = random.Random(3)
    for shape in sizes(3, choose):
        axis, small = choose.choice([0, 1, -1]), [size % 20 for size in shape]
        small[axis] %= 3
        yield samples.f32(*small, spread=3), axis


def fake_quantize_backward() -> Iterator[Case]:
    """Per tensor and along each axis, a third without the gradient of the scale."""
    choose = random.Random(4)
    for x, axis in few_channels():
        along = choose.choice([None, axis])
        scale = samples.positive(1 if along is None else x.shape[axis], middle=0.03)
        bounds = choose.choice([-128, -127, 0]), choose.choice([127, 60]), choose.randrange(3) > 0
        yield gradients.case(f"{tuple(x.shape)} on {along}", x, scale, along, *bounds)


def observe() -> Iterator[Case]:
    """Lengths up to several programs, at ranges from the least to the largest."""
    choose = random.Random(5)
    for a, b in sizes(2, choose):
        yield Case(f"{a}x{b}", (samples.f32(a, b % 20, spread=2.0 ** choose.randrange(-140, 124)),))


def group_scores() -> Iterator[Case]:
    """Three dimensions, a few channels along each axis."""
    for x, axis in few_channels():
        yield Case(f"{tuple(x.shape)} on {axis}", (x, axis))


SWEEPS: dict[str, Callable[[], Iterator[Case]]] = {
    **MEMORY_SWEEPS,
    **PRODUCT_SWEEPS,
    "linear_s8": linear,
    "quantize_s8": quantize,
    "fake_quantize": quantize,
    "fake_quantize_backward": fake_quantize_backward,
    "observe": observe,
    "group_scores": group_scores,
}
