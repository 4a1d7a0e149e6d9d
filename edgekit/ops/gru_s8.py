"""One layer of a GRU in one direction over a whole sequence in int8; streaming is a call for one step at a time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from edgekit.ops import numerics, recurrent_s8
from edgekit.ops.recurrent_s8 import add, gate, multiply
from edgekit.ops.spec import Case, Cost, OpSpec

TABLES = 4  # sigmoid of r, sigmoid of z, tanh of n, 1 - z


@dataclass(frozen=True)
class Ratios(recurrent_s8.Ratios):
    """Scale of what goes in over scale of what comes out; of a product, both scales multiplied first.

    Attributes:
        input_r, hidden_r: the two parts of gate r to their sum.
        input_z, hidden_z: the same of z.
        reset: r and the recurrent part of n to their product.
        input_n, reset_n: the input part of n and that product to their sum.
        new: 1 - z and n to their product.
        old: z and h to their product.
        new_h, old_h: these two products to the state.
    """

    input_r: float
    hidden_r: float
    input_z: float
    hidden_z: float
    reset: float
    input_n: float
    reset_n: float
    new: float
    old: float
    new_h: float
    old_h: float


_SUMS = ("input_r", "hidden_r", "input_z", "hidden_z", "input_n", "reset_n", "new_h", "old_h")
_LEAST = dict.fromkeys(_SUMS, 1 / numerics.MAX_RATIO)


def reference(
    r: Tensor,
    z: Tensor,
    n: Tensor,
    h0: Tensor,
    weight: Tensor,
    bias: Tensor,
    multiplier: Tensor,
    tables: Tensor,
    ratios: Tensor,
    reverse: bool,
) -> Tensor:
    """Linear, additions, products and tables of a step, each rounded as the operator of its own.

    Args:
        r, z, n: int8 [T, N, H], the parts of the gates that depend on the input, each at its scale.
        h0: int8 [N, H], the state to begin with, at the scale of the result.
        weight: int8 [3 * H, H], recurrent, rows of r, z, n; H at most 131,071.
        bias: int32 [3 * H].
        multiplier: float32 [3 * H], ``(sh * sw) / s`` to the scale of the gate's recurrent part.
        tables: int8 [4, 256]: sigmoid of r's sum, of z's sum, tanh of n's sum, 1 - z.
        ratios: float32 [11], :class:`Ratios`.
        reverse: go from the last step to the first.

    Returns:
        int8 [T, N, H], the state after each step, in the order of time.
    """
    k, h, y = Ratios.of(ratios), h0, torch.empty_like(r)
    for t in reversed(range(len(r))) if reverse else range(len(r)):
        hidden_r, hidden_z, hidden_n = recurrent_s8.hidden(h, weight, bias, multiplier, 3)
        reset = multiply(gate(r[t], hidden_r, k.input_r, k.hidden_r, tables[0]), hidden_n, k.reset)
        update = gate(z[t], hidden_z, k.input_z, k.hidden_z, tables[1])
        new = multiply(tables[3][update.int() + 128], gate(n[t], reset, k.input_n, k.reset_n, tables[2]), k.new)
        h = y[t] = add(new, multiply(update, h, k.old), k.new_h, k.old_h)
    return y


def shape(
    r: Tensor,
    z: Tensor,
    n: Tensor,
    h0: Tensor,
    weight: Tensor,
    bias: Tensor,
    multiplier: Tensor,
    tables: Tensor,
    ratios: Tensor,
    reverse: bool,  # noqa: ARG001
) -> Tensor:
    """Check the arguments; int8 [T, N, H]."""
    recurrent_s8.check("gru_s8", (r, z, n), h0, weight, bias, multiplier)
    recurrent_s8.check_tables("gru_s8", tables, TABLES, r)
    Ratios.check("gru_s8", ratios, r, _LEAST)
    return torch.empty_like(r, memory_format=torch.contiguous_format)


RATIOS = Ratios(0.7, 0.6, 1.1, 0.4, 1 / 127, 0.8, 0.9, 1 / 127, 1 / 100, 0.55, 0.6)


def cases() -> Iterator[Case]:
    """Tails, one step, one unit, both directions, everything at the end of int8, strides, nothing at all."""
    tables = recurrent_s8.case_tables("sstm")
    for steps, batch, units in ((1, 1, 1), (5, 2, 7), (3, 1, 33), (0, 2, 3), (2, 0, 3), (2, 3, 0)):
        layer = recurrent_s8.layer(steps, batch, units, 3)
        yield Case(f"{steps}x{batch}x{units}", (*layer, tables, RATIOS.tensor(), False))
    yield Case("reverse", (*recurrent_s8.layer(6, 2, 5, 3, seed=1), tables, RATIOS.tensor(), True))
    lowest = [torch.full((2, 1, 3), -128, dtype=torch.int8)] * 3
    yield Case("ends", (*lowest, *recurrent_s8.layer(2, 1, 3, 3)[3:], tables, RATIOS.tensor(), False))
    odd = torch.stack([samples_table(seed) for seed in range(TABLES)])
    yield Case("any tables", (*recurrent_s8.layer(9, 2, 6, 3, seed=2), odd, RATIOS.tensor(), False))
    strided = [part.transpose(0, 1) for part in recurrent_s8.layer(4, 5, 6, 3)[:3]]
    yield Case("strided", (*strided, *recurrent_s8.layer(5, 4, 6, 3)[3:], tables, RATIOS.tensor(), True))
    yield Case("speech 50x1x64", (*recurrent_s8.layer(50, 1, 64, 3), tables, RATIOS.tensor(), False), layer=True)
    yield Case("batch 20x8x128", (*recurrent_s8.layer(20, 8, 128, 3), tables, RATIOS.tensor(), False), layer=True)


def samples_table(seed: int) -> Tensor:
    """A table that is no function anyone would use."""
    return torch.arange(-128, 128).mul(37 + 2 * seed).add(seed).to(torch.int8)


def cost(
    r: Tensor,
    z: Tensor,  # noqa: ARG001
    n: Tensor,  # noqa: ARG001
    h0: Tensor,
    weight: Tensor,
    bias: Tensor,
    multiplier: Tensor,
    tables: Tensor,
    ratios: Tensor,
    reverse: bool,  # noqa: ARG001
) -> Cost:
    """The recurrent product of each step; the weight counts once, though each step reads it."""
    rest = (h0, weight, bias, multiplier, tables, ratios)
    return Cost(macs=3 * r.numel() * r.shape[2], bytes=4 * r.nbytes + sum(one.nbytes for one in rest))


OP = OpSpec(
    name="gru_s8",
    schema="(Tensor r, Tensor z, Tensor n, Tensor h0, Tensor weight, Tensor bias, Tensor multiplier, Tensor tables, "
    "Tensor ratios, bool reverse) -> Tensor",
    reference=reference,
    shape=shape,
    cases=cases,
    cost=cost,
    tiers=("ref", "avx2", "avx512vnni", "neondot", "triton"),
)
