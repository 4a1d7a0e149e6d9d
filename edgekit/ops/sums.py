"""The one order of a float sum: in float64, dealt into 256 lanes, so that every tier and thread gives the same bits.

The terms of a sum are cut into chunks of 4096. Within a chunk, term i is added to lane ``i % 256``, in order and from 0
on; then lane j takes lane ``j + width / 2`` for widths 256, 128, ..., 2, and lane 0 is the chunk's sum. The sums of the
chunks are added the same way, as one long chunk. So vectors add neighbours, and programs of a GPU take a chunk each.

A term passes at most 16 + 8 additions in its chunk and ``n / 2^20 + 1 + 8`` behind it: to the exact sum of n terms the
error is at most ``(33 + n / 2^20) * 2^-53 * sum |term|``, before the one rounding to float32.
``csrc/sums.h`` and ``kernels/sums.py`` are its twins.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

LANES = 256
CHUNK = 4096


def ordered(terms: Tensor) -> Tensor:
    """The sum of each row of float64 ``terms`` [C, n], as float64 [C]."""
    length = terms.shape[1]
    chunks = functional.pad(terms, (0, -length % CHUNK)).reshape(len(terms), -(-length // CHUNK), CHUNK)
    return _through_lanes(_through_lanes(chunks))


def _through_lanes(terms: Tensor) -> Tensor:
    """Float64 [..., n] to [...]; lanes that get nothing hold 0, which changes no sum."""
    length, lanes = terms.shape[-1], terms.new_zeros(*terms.shape[:-1], LANES)
    for start in range(0, length, LANES):
        part = terms[..., start : start + LANES]
        lanes = lanes + functional.pad(part, (0, LANES - part.shape[-1]))
    for width in (128, 64, 32, 16, 8, 4, 2, 1):
        lanes = lanes[..., :width] + lanes[..., width:]
    return lanes[..., 0]


def by_channel(x: Tensor, axis: int | None) -> Tensor:
    """``x`` as [C, n], the channels along ``axis``, one of them where it is None; each in the order of its indices."""
    rows = x.reshape(1, *x.shape) if axis is None else x.movedim(axis, 0)
    return rows.reshape(len(rows), rows[:1].numel())
