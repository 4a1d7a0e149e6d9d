"""Two hundred shapes and more for every Triton kernel: every tail length twice, then random ones, sometimes a zero."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

from edgekit.ops import linear_s8, samples
from edgekit.ops.spec import Case

TAILS = (1, 2, 3, 5, 7, 15, 16, 17, 31, 32, 33, 61, 64, 65, 127, 128, 129)
SHAPES = 200


def sizes(count: int, choose: random.Random) -> Iterator[tuple[int, ...]]:
    """Two hundred times ``count`` sizes."""
    for i in range(SHAPES):
        if i < 2 * len(TAILS):
            yield tuple(TAILS[(i + 5 * j) % len(TAILS)] for j in range(count))
        else:
            yield tuple(choose.choice([0, *TAILS[:-4]]) for _ in range(count))


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


SWEEPS: dict[str, Callable[[], Iterator[Case]]] = {"linear_s8": linear, "quantize_s8": quantize}
