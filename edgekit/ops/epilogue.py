"""What may be part of a product's call: an addition to its result, then a table. The bytes are those of calls apart."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from edgekit.ops import add_s8, checks, lut_s8, samples
from edgekit.ops.numerics import S8_MAX, S8_MIN
from edgekit.ops.spec import Case

SCHEMA = (
    "Tensor? residual=None, float ratio=1.0, float residual_ratio=1.0, bool residual_first=False, "
    f"int sum_lo={S8_MIN}, int sum_hi={S8_MAX}, Tensor? table=None"
)


class Epilogue(NamedTuple):
    """The last arguments of a product, in the order of its schema.

    Attributes:
        residual: int8 of the shape of the result, added to it by ``add_s8``; or None.
        ratio, residual_ratio: scale of the product, and of the residual, by the scale of the sum.
        residual_first: whether the residual is the first operand of the addition: one of the two is rounded alone.
        sum_lo, sum_hi: bounds of the sum.
        table: int8 [256], applied last, entry 0 for -128; or None.
    """

    residual: Tensor | None = None
    ratio: float = 1.0
    residual_ratio: float = 1.0
    residual_first: bool = False
    sum_lo: int = S8_MIN
    sum_hi: int = S8_MAX
    table: Tensor | None = None

    def check(self, operator: str, y: Tensor) -> Tensor:
        """Refuse what does not fit the result ``y``, which is handed back."""
        if self.residual is not None:
            checks.tensor(operator, "residual", self.residual, torch.int8, y)
            checks.size(operator, "residual", self.residual, y.shape)
            add_s8.check_ratios(operator, ratio=self.ratio, residual_ratio=self.residual_ratio)
            checks.bounds(operator, self.sum_lo, self.sum_hi)
        if self.table is not None:
            checks.tensor(operator, "table", self.table, torch.int8, y)
            checks.size(operator, "table", self.table, (256,))
        return y

    def of(self, y: Tensor) -> Tensor:
        """The meaning: what becomes of the result ``y``."""
        if self.residual is not None:
            pair = ((y, self.ratio), (self.residual, self.residual_ratio))
            (a, ratio_a), (b, ratio_b) = reversed(pair) if self.residual_first else pair
            y = add_s8.reference(a, b, ratio_a, ratio_b, self.sum_lo, self.sum_hi)
        return y if self.table is None else lut_s8.reference(y, self.table)

    @property
    def bytes(self) -> int:
        """That are read for it."""
        return sum(one.nbytes for one in (self.residual, self.table) if one is not None)


def cases(product: Case, result: tuple[int, ...]) -> Iterator[Case]:
    """A call that names everything before its epilogue, followed by each kind of one.

    Args:
        product: the call.
        result: its shape.
    """
    residual, table = samples.s8(*result, seed=5), samples.s8(256, seed=6)
    added = Epilogue(residual, 1.2109375, 0.37, sum_lo=-100, sum_hi=99)
    for name, after in {
        "residual": added,
        "residual first": added._replace(residual_first=True),
        "difference": added._replace(residual_ratio=-0.37),
        "table": Epilogue(table=table),
        "residual and table": added._replace(table=table),
    }.items():
        yield Case(f"{product.name}, {name}", (*product.args, *after))
