"""The one order of a float sum on the GPU, in float64: the twin of ``edgekit/ops/sums.py``, which says what it is.

A program adds the terms of one chunk of one channel. Where a channel has one chunk only, that is its sum; where it has
more, :func:`join` launches what adds the chunks' sums.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from edgekit.kernels.launch import Launch

LANES = 256
CHUNK = 4096


@triton.jit
def fold(lanes):
    """The sum of 256 lanes as [1]: lane j takes lane j + width / 2, until one is left. A sum of two has one order."""
    for step in tl.static_range(8):
        lanes = tl.sum(tl.reshape(lanes, (2, 128 >> step)), 0)
    return lanes


@triton.jit
def offsets_of(terms, channel, channels, inner, dense: tl.constexpr):
    """Where the int64 ``terms`` of a channel lie in [outer, channels, inner].

    ``dense``: outer is 1, so that they are neighbours, and ``inner`` is how many there are.
    """
    if dense:
        return channel * inner + terms
    else:
        return (terms // inner * channels + channel) * inner + terms % inner


@triton.jit
def join_kernel(
    chunks,  # float64 [channels, count]
    out,  # float32 [channels]
    count,
    lanes: tl.constexpr,
):
    """One program adds the sums of the chunks of one channel."""
    channel = tl.program_id(0).to(tl.int64)
    total = tl.zeros((lanes,), dtype=tl.float64)
    for start in range(0, count, lanes):
        at = start + tl.arange(0, lanes).to(tl.int64)
        total += tl.load(chunks + channel * count + at, mask=at < count, other=0.0)
    tl.store(out + channel + tl.arange(0, 1), fold(total).to(tl.float32))


def chunks_of(length: int) -> int:
    """How many chunks ``length`` terms make."""
    return -(-length // CHUNK)


def buffer_of(out: Tensor, length: int) -> Tensor:
    """Where programs put the sums of chunks: float64 [channels, chunks], or ``out`` where each channel has one."""
    count = chunks_of(length)
    return out if count == 1 else out.new_empty((out.numel(), count), dtype=torch.float64)


def join(chunks: Tensor, out: Tensor) -> tuple[Launch, ...]:
    """The launch that makes ``out`` of :func:`buffer_of`; none where they are one. Without chunks, sums are 0."""
    if chunks is out or not out.numel():
        return ()
    arguments: dict[str, Tensor | int | float] = {"chunks": chunks, "out": out, "count": chunks.shape[1]}
    return (Launch(join_kernel, arguments, {"lanes": LANES}, (out.numel(),), 2),)
