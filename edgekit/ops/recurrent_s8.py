"""What the integer recurrent layers share: the pieces of a step, each the word of its own operator, and the checks.

A layer's weights stand in one int8 [gates * H, H], rows by gate; biases, multipliers and tables in the same order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor

from edgekit.errors import NumericsError
from edgekit.ops import add_s8, checks, linear_s8, lut_s8, mul_s8, numerics, samples

R = TypeVar("R", bound="Ratios")


@dataclass(frozen=True)
class Ratios:
    """The ratios of scales that a layer carries; as data a float32 vector in the order of the fields."""

    def tensor(self) -> Tensor:
        """float32, one value for each field."""
        return torch.tensor(astuple(self), dtype=torch.float32)

    @classmethod
    def of(cls: type[R], values: Tensor) -> R:
        """The names of a vector's values."""
        return cls(*values.tolist())

    @classmethod
    def check(cls, operator: str, values: Tensor, like: Tensor, least: dict[str, float]) -> None:
        """Refuse another dtype or shape, a value that is not normal, or one outside [least[name], 2^20]."""
        checks.tensor(operator, "ratios", values, torch.float32, like)
        checks.size(operator, "ratios", values, (len(fields(cls)),))
        if values.is_meta or isinstance(values, FakeTensor):
            return  # shapes are being traced: there are no values
        for field, value in zip(fields(cls), values.tolist(), strict=True):
            checks.normal(operator, field.name, value)
            if field.name in least and not least[field.name] <= value <= numerics.MAX_RATIO:
                raise NumericsError(f"{operator}: {field.name} is {value:g}, outside [{least[field.name]:g}, 2^20].")


def hidden(h: Tensor, weight: Tensor, bias: Tensor, multiplier: Tensor, gates: int) -> tuple[Tensor, ...]:
    """The recurrent part of every gate, int8 [N, H] each."""
    return linear_s8.reference(h, weight, bias, multiplier).chunk(gates, -1)


def add(a: Tensor, b: Tensor, ratio_a: float, ratio_b: float) -> Tensor:
    """Sum of two int8 tensors."""
    return add_s8.reference(a, b, ratio_a, ratio_b)


def multiply(a: Tensor, b: Tensor, ratio: float) -> Tensor:
    """Product of two int8 tensors."""
    return mul_s8.reference(a, b, ratio)


def gate(part: Tensor, recurrent: Tensor, ratio_part: float, ratio_recurrent: float, table: Tensor) -> Tensor:
    """The function in ``table`` of the sum of a gate's two parts."""
    return lut_s8.reference(add(part, recurrent, ratio_part, ratio_recurrent), table)


def check(operator: str, parts: Sequence[Tensor], h0: Tensor, weight: Tensor, bias: Tensor, multiplier: Tensor) -> None:
    """Refuse parts that are not int8 [T, N, H] alike, or a state, weight, bias or multiplier that does not fit."""
    first, gates = parts[0], len(parts)
    checks.rank(operator, "input part", first, 3)
    steps, batch, units = first.shape
    for part in parts:
        checks.tensor(operator, "input part", part, torch.int8, first)
        checks.size(operator, "input part", part, (steps, batch, units))
    checks.tensor(operator, "h0", h0, torch.int8, first)
    checks.size(operator, "h0", h0, (batch, units))
    checks.tensor(operator, "weight", weight, torch.int8, first)
    checks.size(operator, "weight", weight, (gates * units, units))
    linear_s8.channel_vectors(operator, first, bias, multiplier, gates * units)
    numerics.check_reduction(units)


def check_tables(operator: str, tables: Tensor, count: int, like: Tensor) -> None:
    """Refuse anything but int8 [count, 256]."""
    checks.tensor(operator, "tables", tables, torch.int8, like)
    checks.size(operator, "tables", tables, (count, 256))


def layer(steps: int, batch: int, units: int, gates: int, seed: int = 0) -> tuple[Any, ...]:
    """Input parts, state, weight, bias and multiplier for a case: recurrent parts that spread over int8."""
    parts = [samples.s8(steps, batch, units, seed=seed + gate) for gate in range(gates)]
    multiplier = samples.positive(gates * units, middle=40 / (5461 * max(units, 1) ** 0.5))
    weight, bias = samples.s8(gates * units, units, seed=seed + 8), samples.s32(gates * units)
    return (*parts, samples.s8(batch, units, seed=seed + 9), weight, bias, multiplier)


def case_tables(functions: str) -> Tensor:
    """Tables for a case, one for each letter: s sigmoid, t tanh, m one minus."""
    sums, unit = torch.tensor([0.03]), torch.tensor([1 / 127])
    made = {
        "s": numerics.table(torch.sigmoid, sums, unit),
        "t": numerics.table(torch.tanh, sums, unit),
        "m": numerics.table(lambda z: 1 - z, unit, unit),
    }
    return torch.stack([made[letter] for letter in functions])
