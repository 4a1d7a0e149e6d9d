"""Sets of int8 values that lie in rows: exact sums over rows of any length, and the float64 factor of a norm.

A program takes a tile of whole rows and walks over their columns in blocks, once for each pass; what a pass reads
again comes from the caches. The bounds of ``edgekit/ops/norm.py`` hold: rows have fewer than 2^24 values, so in int64
nothing overflows. Square root and division in float64 are correctly rounded: ``sqrt.rn.f64`` and ``div.rn.f64``.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import triton
import triton.language as tl
from torch import Tensor

from edgekit.kernels.launch import Capability, Launch


@dataclass(frozen=True)
class Config:
    """Launch configuration.

    Attributes:
        rows, columns: of the tile that one program holds at a time.
        warps: warps per program.
    """

    rows: int
    columns: int
    warps: int

    def constants(self) -> dict[str, int]:
        """What a kernel must know when it is compiled."""
        return {"tile_rows": self.rows, "tile_columns": self.columns}


def heuristic(rows: int, length: int, capability: Capability) -> Config:
    """A row at a time where it is long; several where they are short and there are many.

    Args:
        rows, length: of the tensor.
        capability: of the device; (0, 0) for the interpreter, which runs one program at a time.
    """
    columns = min(triton.next_power_of_2(length), 2048)
    many = rows >= 1024 or capability == (0, 0)
    together = max(1, min(triton.next_power_of_2(rows), 1024 // columns, 64)) if many else 1
    return Config(together, columns, 4 if columns * together > 512 else 1)


def launches(
    kernel: Any,
    tensors: Mapping[str, Tensor],
    rows: int,
    length: int,
    values: Mapping[str, int | float],
    config: Config,
    **constants: bool,
) -> tuple[Launch, ...]:
    """Of a kernel whose programs take whole rows: its parameters are tensors, ``rows``, ``length``, values."""
    arguments = {**tensors, "rows": rows, "length": length, **values}
    grid = (triton.cdiv(rows, config.rows),)
    return (Launch(kernel, arguments, {**constants, **config.constants()}, grid, config.warps),)


def bits(value: float) -> int:
    """The float64 ``value`` as an int64, since Triton takes floats as float32."""
    return int(struct.unpack("<q", struct.pack("<d", value))[0])


@triton.jit
def float64(value):
    """The float64 scalar that :func:`bits` took apart."""
    return tl.cast(tl.cast(value, tl.int64), tl.float64, bitcast=True)


@triton.jit
def load(x, row, column, rows, length):
    """Values of a dense int8 [rows, length] as an int32 tile; 0 where there are none."""
    mask = (row < rows)[:, None] & (column < length)[None, :]
    return tl.load(x + row[:, None] * length + column[None, :], mask=mask, other=0).to(tl.int32)


@triton.jit
def store(out, row, column, rows, length, values):
    """Store a tile of a dense [rows, length]."""
    mask = (row < rows)[:, None] & (column < length)[None, :]
    tl.store(out + row[:, None] * length + column[None, :], values, mask=mask)


@triton.jit
def own_rows(tile_rows: tl.constexpr):
    """The rows of this program, int64."""
    return tl.program_id(0).to(tl.int64) * tile_rows + tl.arange(0, tile_rows)


@triton.jit
def sums(x, row, rows, length, tile_rows: tl.constexpr, tile_columns: tl.constexpr):
    """Sum and sum of squares of each row, int64; a block of at most 2^16 columns fits int32."""
    total = tl.zeros((tile_rows,), tl.int64)
    squares = tl.zeros((tile_rows,), tl.int64)
    for start in range(0, length, tile_columns):
        q = load(x, row, start + tl.arange(0, tile_columns).to(tl.int64), rows, length)
        total += tl.sum(q, axis=1).to(tl.int64)
        squares += tl.sum(q * q, axis=1).to(tl.int64)
    return total, squares


@triton.jit
def factor(variance, length, scale, eps):
    """``float32(sx / sqrt(sx*sx*V / (N*N) + eps) / N)`` of int64 V; ``scale`` and ``eps`` as :func:`bits`."""
    n, step = tl.cast(length, tl.float64), float64(scale)
    deviation = tl.sqrt(step * step * variance.to(tl.float64) / (n * n) + float64(eps))
    return (step / deviation / n).to(tl.float32)


@triton.jit
def normalised(q, total, length, multiplier):
    """``float32(N*q - S) * c`` for an int32 tile, with S and c for each row."""
    return (q.to(tl.int64) * length - total[:, None]).to(tl.float32) * multiplier[:, None]
