"""One layer of an LSTM in one direction over a whole sequence: states in int8, the cell in int16.

The cell enters and leaves as float32 at its scale, which gives back the int16 exactly: streaming is a call for one step
at a time.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from edgekit.ops import checks, numerics, recurrent_s8, samples
from edgekit.ops.recurrent_s8 import gate, multiply
from edgekit.ops.spec import Case, Cost, OpSpec

TABLES = 5  # sigmoid of i, sigmoid of f, tanh of g, sigmoid of o, tanh of the cell
LEAST_CELL_RATIO = 2.0**-15


@dataclass(frozen=True)
class Ratios(recurrent_s8.Ratios):
    """Scale of what goes in over scale of what comes out; of a product, both scales multiplied first.

    Attributes:
        input_i, hidden_i: the two parts of gate i to their sum; so on for f, g and o.
        forget: f and the cell to the cell, at least 2^-15.
        write: i and g to the cell, at least 2^-15.
        squash: the cell to the 8 bits that its tanh takes.
        output: o and tanh of the cell to the state.
        cell_scale: of the int16 cell.
    """

    input_i: float
    hidden_i: float
    input_f: float
    hidden_f: float
    input_g: float
    hidden_g: float
    input_o: float
    hidden_o: float
    forget: float
    write: float
    squash: float
    output: float
    cell_scale: float


_LEAST = {f"{part}_{gate}": 1 / numerics.MAX_RATIO for gate in "ifgo" for part in ("input", "hidden")}
_LEAST |= {"forget": LEAST_CELL_RATIO, "write": LEAST_CELL_RATIO}


def reference(
    i: Tensor,
    f: Tensor,
    g: Tensor,
    o: Tensor,
    h0: Tensor,
    c0: Tensor,
    weight: Tensor,
    bias: Tensor,
    multiplier: Tensor,
    tables: Tensor,
    ratios: Tensor,
    reverse: bool,
) -> tuple[Tensor, Tensor]:
    """Arguments as of :func:`edgekit.ops.gru_s8.reference`, for gates i f g o.

    Args:
        i, f, g, o: int8 [T, N, H], the parts of the gates that depend on the input, each at its scale.
        h0: int8 [N, H], the state to begin with, at the scale of the result.
        c0: float32 [N, H], the cell to begin with.
        weight, bias, multiplier: [4 * H, H], [4 * H], [4 * H].
        tables: int8 [5, 256]: sigmoid of i's and f's sum, tanh of g's, sigmoid of o's, tanh of the cell.
        ratios: float32 [13], :class:`Ratios`.
        reverse: go from the last step to the first.

    Returns:
        int8 [T, N, H], the state after each step, in the order of time; float32 [N, H], the cell after the last taken.
    """
    k, h, y = Ratios.of(ratios), h0, torch.empty_like(i)
    scale = ratios[-1]
    c = numerics.quantize_s16(c0, scale)
    for t in reversed(range(len(i))) if reverse else range(len(i)):
        hidden = recurrent_s8.hidden(h, weight, bias, multiplier, 4)
        enter = gate(i[t], hidden[0], k.input_i, k.hidden_i, tables[0])
        keep = gate(f[t], hidden[1], k.input_f, k.hidden_f, tables[1])
        value = gate(g[t], hidden[2], k.input_g, k.hidden_g, tables[2])
        leave = gate(o[t], hidden[3], k.input_o, k.hidden_o, tables[3])
        c = next_cell(keep.int() * c.int(), enter.int() * value.int(), ratios[8], ratios[9])
        squashed = numerics.requantize(c, ratios[10])
        h = y[t] = multiply(leave, tables[4][squashed.int() + 128], k.output)
    return y, numerics.dequantize(c, scale)


def next_cell(kept: Tensor, written: Tensor, forget: Tensor, write: Tensor) -> Tensor:
    """``sat16(rne(fma(float32(kept), forget, float32(written) * write)))`` from int32, exact through float64.

    The products are exact in float64 (47 bits); with ratios of at least 2^-15 their last bit is worth at least 2^-38,
    so a sum below 2^15 has at most 53 bits, and a larger one saturates whatever its last bit.
    """
    total = kept.double() * forget.double() + (written.float() * write).double()
    return numerics.saturate(total.float(), numerics.S16_MIN, numerics.S16_MAX, torch.int16)


def shape(
    i: Tensor,
    f: Tensor,
    g: Tensor,
    o: Tensor,
    h0: Tensor,
    c0: Tensor,
    weight: Tensor,
    bias: Tensor,
    multiplier: Tensor,
    tables: Tensor,
    ratios: Tensor,
    reverse: bool,  # noqa: ARG001
) -> tuple[Tensor, Tensor]:
    """Check the arguments; int8 [T, N, H] and float32 [N, H]."""
    recurrent_s8.check("lstm_s8", (i, f, g, o), h0, weight, bias, multiplier)
    checks.tensor("lstm_s8", "c0", c0, torch.float32, i)
    checks.size("lstm_s8", "c0", c0, h0.shape)
    recurrent_s8.check_tables("lstm_s8", tables, TABLES, i)
    Ratios.check("lstm_s8", ratios, i, _LEAST)
    dense = torch.contiguous_format
    return torch.empty_like(i, memory_format=dense), torch.empty_like(c0, memory_format=dense)


RATIOS = Ratios(0.7, 0.6, 1.1, 0.4, 0.8, 0.9, 0.5, 0.5, 1 / 127, 1.3, 1 / 200, 1 / 127, 1e-3)


def cases() -> Iterator[Case]:
    """Tails, one step, one unit, both directions, cells beyond 16 bits, strides, nothing at all."""
    tables = recurrent_s8.case_tables("sstst")
    for steps, batch, units in ((1, 1, 1), (5, 2, 7), (3, 1, 33), (0, 2, 3), (2, 0, 3), (2, 3, 0)):
        yield Case(f"{steps}x{batch}x{units}", (*_layer(steps, batch, units), tables, RATIOS.tensor(), False))
    yield Case("reverse", (*_layer(6, 2, 5, seed=1), tables, RATIOS.tensor(), True))
    *rest, weight, bias, multiplier = _layer(3, 2, 4)
    rest[5] = torch.tensor([[1e9, -1e9, float("nan"), 32.7674]]).expand(2, 4)
    yield Case("cells beyond 16 bits", (*rest, weight, bias, multiplier, tables, RATIOS.tensor(), False))
    grows = Ratios(0.7, 0.6, 1.1, 0.4, 0.8, 0.9, 0.5, 0.5, 1 / 64, 300.0, 1 / 250, 1 / 127, 1e-3)
    yield Case("cells that saturate", (*_layer(9, 2, 6, seed=2), tables, grows.tensor(), False))
    strided = [part.transpose(0, 1) for part in _layer(4, 5, 6)[:4]]
    yield Case("strided", (*strided, *_layer(5, 4, 6)[4:], tables, RATIOS.tensor(), True))
    yield Case("speech 50x1x64", (*_layer(50, 1, 64), tables, RATIOS.tensor(), False), layer=True)
    yield Case("batch 20x8x128", (*_layer(20, 8, 128), tables, RATIOS.tensor(), False), layer=True)


def _layer(steps: int, batch: int, units: int, seed: int = 0) -> tuple[Tensor, ...]:
    *parts, h0, weight, bias, multiplier = recurrent_s8.layer(steps, batch, units, 4, seed)
    return (*parts, h0, samples.f32(batch, units, seed=seed, spread=2.0), weight, bias, multiplier)


def cost(
    i: Tensor,
    f: Tensor,  # noqa: ARG001
    g: Tensor,  # noqa: ARG001
    o: Tensor,  # noqa: ARG001
    h0: Tensor,
    c0: Tensor,
    weight: Tensor,
    bias: Tensor,
    multiplier: Tensor,
    tables: Tensor,
    ratios: Tensor,
    reverse: bool,  # noqa: ARG001
) -> Cost:
    """The recurrent product of each step; the weight counts once, though each step reads it."""
    rest = (h0, c0, c0, weight, bias, multiplier, tables, ratios)
    return Cost(macs=4 * i.numel() * i.shape[2], bytes=5 * i.nbytes + sum(one.nbytes for one in rest))


OP = OpSpec(
    name="lstm_s8",
    schema="(Tensor i, Tensor f, Tensor g, Tensor o, Tensor h0, Tensor c0, Tensor weight, Tensor bias, "
    "Tensor multiplier, Tensor tables, Tensor ratios, bool reverse) -> (Tensor, Tensor)",
    reference=reference,
    shape=shape,
    cases=cases,
    cost=cost,
    tiers=("ref", "avx2", "avx512vnni", "neondot", "triton"),
)
