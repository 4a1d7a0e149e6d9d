"""For each channel of a weight ``sum |w|`` and ``sum w * w``, in one pass through memory.

The sums have the one order of ``kernels/sums.py``: a program takes a chunk of one channel, 256 neighbours at a time.
"""

from __future__ import annotations

from dataclasses import dataclass

import triton
import triton.language as tl
from torch import Tensor

from edgekit.kernels import sums
from edgekit.kernels.launch import Capability, Launch, capability_of, run
from edgekit.kernels.sums import fold, offsets_of


@dataclass(frozen=True)
class Config:
    """Launch configuration.

    Attributes:
        warps: warps per program; a program takes 256 neighbours at a time.
    """

    warps: int


def heuristic(length: int, capability: Capability) -> Config:  # noqa: ARG001
    """Four neighbours to a thread, a load of 16 bytes; two where a channel has less than a chunk and programs end soon.

    Args:
        length: elements of a channel.
        capability: of the device; (8, 7) for Orin.
    """
    return Config(2 if length >= sums.CHUNK else 4)


@triton.jit
def group_scores_kernel(
    weight,  # float32 [outer, channels, inner]
    magnitudes,  # float64 [channels, chunks], or float32 [channels] for one chunk
    squares,  # as magnitudes
    length,  # elements of a channel
    channels,
    inner,
    chunks,  # of a channel
    dense: tl.constexpr,
    chunk: tl.constexpr,
    lanes: tl.constexpr,
):
    """One program takes one chunk of one channel."""
    program = tl.program_id(0).to(tl.int64)
    channel, first = program // chunks, program % chunks * chunk
    magnitude = tl.zeros((lanes,), dtype=tl.float64)
    square = tl.zeros((lanes,), dtype=tl.float64)
    for start in range(0, tl.minimum(length - first, chunk), lanes):
        terms = first + start + tl.arange(0, lanes)
        offsets = offsets_of(terms, channel, channels, inner, dense)
        values = tl.load(weight + offsets, mask=terms < length, other=0.0).to(tl.float64)
        magnitude += tl.abs(values)
        square += values * values
    at = program + tl.arange(0, 1)
    tl.store(magnitudes + at, fold(magnitude))
    tl.store(squares + at, fold(square))


def plan(
    weight: Tensor,
    axis: int,
    *,
    out: tuple[Tensor, Tensor],
    config: Config | None = None,
    capability: Capability = (0, 0),
) -> tuple[Launch, ...]:
    """The launches of one call; arguments as of :func:`group_scores`, all of them dense.

    Args:
        capability: of the device that will run it, for the heuristic.
    """
    channels = weight.shape[axis]
    if not channels:
        return ()
    length = weight.numel() // channels
    magnitudes, squares = (sums.buffer_of(one, length) for one in out)
    joined = sums.join(magnitudes, out[0]) + sums.join(squares, out[1])
    if not length:
        return joined
    config, chunks, inner = config or heuristic(length, capability), sums.chunks_of(length), weight.stride(axis)
    passed = Launch(
        group_scores_kernel,
        {
            "weight": weight,
            "magnitudes": magnitudes,
            "squares": squares,
            "length": length,
            "channels": channels,
            "inner": inner,
            "chunks": chunks,
        },
        {"dense": inner == length, "chunk": sums.CHUNK, "lanes": sums.LANES},
        (channels * chunks,),
        config.warps,
    )
    return (passed, *joined)


def group_scores(
    weight: Tensor,
    axis: int,
    *,
    out: tuple[Tensor, Tensor] | None = None,
    config: Config | None = None,
) -> tuple[Tensor, Tensor]:
    """Launch the kernels; arguments as of ``torch.ops.edgekit.group_scores``.

    Args:
        weight: float32, any shape with one dimension at least.
        axis: the dimension of the channels.
        out: float32, [C] each: sums of magnitudes, sums of squares; allocated where it is not given.
        config: launch configuration; the heuristic's where it is not given.
    """
    weight, channels = weight.contiguous(), weight.shape[axis]
    out = (weight.new_empty(channels), weight.new_empty(channels)) if out is None else out
    run(plan(weight, axis, out=out, config=config, capability=capability_of(weight)))
    return out
