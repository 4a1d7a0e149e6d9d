"""What may follow the requantisation of a product on the same registers: an addition, then a table.

The bytes are those of the operators apart: ``edgekit/ops/add_s8.py`` of the result and the residual, then
``edgekit/ops/lut_s8.py``. What is absent is a constant of the kernel and compiles to nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import triton
import triton.language as tl
from torch import Tensor

from edgekit.kernels.requant import saturate


class Epilogue(NamedTuple):
    """The last arguments of a product, in the order of its schema: see ``edgekit/ops/epilogue.py``."""

    residual: Tensor | None = None
    ratio: float = 1.0
    residual_ratio: float = 1.0
    residual_first: bool = False
    sum_lo: int = -128
    sum_hi: int = 127
    table: Tensor | None = None

    @property
    def empty(self) -> bool:
        """Whether nothing follows."""
        return self.residual is None and self.table is None

    def dense(self) -> Epilogue:
        """The same with its tensors dense."""
        residual, table = (None if one is None else one.contiguous() for one in (self.residual, self.table))
        return self._replace(residual=residual, table=table)

    def arguments(self, out: Tensor) -> dict[str, Tensor | int | float]:
        """Arguments of :func:`finish`; ``out`` stands in for a tensor that is absent, and is not read."""
        return {
            "residual": out if self.residual is None else self.residual,
            "table": out if self.table is None else self.table,
            "ratio": float(self.ratio),
            "residual_ratio": float(self.residual_ratio),
            "sum_lo": float(self.sum_lo),
            "sum_hi": float(self.sum_hi),
        }

    def constants(self) -> Mapping[str, bool]:
        """Constants of :func:`finish`."""
        return {
            "has_residual": self.residual is not None,
            "residual_first": self.residual_first,
            "has_table": self.table is not None,
        }


NOTHING = Epilogue()


@triton.jit
def finish(
    y,  # int8, requantised and in its bounds
    residual,  # pointers to int8, one for each of y
    table,  # pointer to int8 [256]
    mask,
    ratio,  # float, as the three after it
    residual_ratio,
    sum_lo,
    sum_hi,
    has_residual: tl.constexpr,
    residual_first: tl.constexpr,
    has_table: tl.constexpr,
):
    """int8: ``y`` with the residual added and the table applied, as far as there are any."""
    if has_residual:
        product, other = y.to(tl.float32), tl.load(residual, mask=mask, other=0).to(tl.float32)
        if residual_first:
            total = tl.fma(other, tl.zeros_like(other) + residual_ratio, product * ratio)
        else:
            total = tl.fma(product, tl.zeros_like(product) + ratio, other * residual_ratio)
        y = saturate(total, sum_lo, sum_hi)
    if has_table:
        y = tl.load(table + (y.to(tl.int64) + 128))
    return y
