"""Kernels with a fault, for the checks that should find it."""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def wide(x, out):
    """One warp keeps 256 values alive in each thread, one more than it has registers."""
    place = tl.arange(0, 8192).to(tl.int64)
    values = tl.load(x + place)
    tl.store(out + place, values * tl.sum(values))


@triton.jit
def greedy(x, out, depth):
    """A product with so many tiles in flight that shared memory cannot hold them."""
    rows, columns = tl.arange(0, 128).to(tl.int64), tl.arange(0, 128).to(tl.int64)
    total = tl.zeros((128, 128), dtype=tl.int32)
    for start in range(0, depth, 128):
        a = tl.load(x + rows[:, None] * depth + start + columns[None, :]).to(tl.int8)
        b = tl.load(x + columns[None, :] * depth + start + rows[:, None]).to(tl.int8)
        total = tl.dot(a, b, total, out_dtype=tl.int32)
    tl.store(out + rows[:, None] * 128 + columns[None, :], total)
