"""The sizes that sweeps of Triton kernels go through: every tail length twice, then random ones, sometimes a zero."""

from __future__ import annotations

import random
from collections.abc import Iterator

TAILS = (1, 2, 3, 5, 7, 15, 16, 17, 31, 32, 33, 61, 64, 65, 127, 128, 129)
SHAPES = 200


def sizes(count: int, choose: random.Random) -> Iterator[tuple[int, ...]]:
    """Two hundred times ``count`` sizes."""
    for i in range(SHAPES):
        if i < 2 * len(TAILS):
            yield tuple(TAILS[(i + 5 * j) % len(TAILS)] for j in range(count))
        else:
            yield tuple(choose.choice([0, *TAILS[:-4]]) for _ in range(count))
