"""One layer of an LSTM in one direction over a whole sequence, int8 with an int16 cell: one launch for each time step.

Linear, additions, products and tables of a step follow on the same registers, each rounded as the operator of its own.
Between steps the cell is float32 at its scale, which gives the int16 back exactly.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from edgekit.kernels.launch import Capability, Launch, capability_of, run
from edgekit.kernels.lut_s8 import look_up
from edgekit.kernels.mul_s8 import multiply
from edgekit.kernels.recurrent import constants, function, grid, heuristic, hidden, own_tile, ratio, table_of
from edgekit.kernels.requant import requantize, saturate
from edgekit.kernels.tiles import Config

__all__ = ["Config", "heuristic", "lstm_s8", "plan"]


@triton.jit
def round_cell(values, scale):
    """``sat16(rne(values / scale))`` as int32."""
    return saturate(tl.div_rn(values, scale), -32768.0, 32767.0, tl.int16).to(tl.int32)


@triton.jit
def next_cell(kept, written, forget, write):
    """``sat16(rne(fma(float32(kept), forget, float32(written) * write)))`` of int32 tiles, as int32."""
    total = tl.fma(kept.to(tl.float32), forget, written.to(tl.float32) * write)
    return saturate(total, -32768.0, 32767.0, tl.int16).to(tl.int32)


@triton.jit
def lstm_step(
    i,  # int8 [batch, units], as f, g, o, before and out
    f,
    g,
    o,
    before,
    cell_before,  # float32 [batch, units], as cell
    weight,  # int8 [4 * units, units]
    bias,  # int32 [4 * units]
    multiplier,  # float32 [4 * units]
    tables,  # int8 [5, 256]
    ratios,  # float32 [13]
    out,
    cell,
    batch,
    units,
    tile_rows: tl.constexpr,
    tile_columns: tl.constexpr,
    tile_depth: tl.constexpr,
    even_depth: tl.constexpr,
):
    """One program computes one tile of the next state and the next cell."""
    row, unit, mask = own_tile(batch, units, tile_rows, tile_columns)
    at = row[:, None] * units + unit[None, :]
    hidden_i = hidden(
        before, weight, bias, multiplier, 0, row, unit, batch, units, tile_rows, tile_columns, tile_depth, even_depth
    )
    enter = function(tl.load(i + at, mask=mask, other=0), hidden_i, ratios, 0, tables, mask)
    hidden_f = hidden(
        before, weight, bias, multiplier, 1, row, unit, batch, units, tile_rows, tile_columns, tile_depth, even_depth
    )
    keep = function(tl.load(f + at, mask=mask, other=0), hidden_f, ratios, 2, table_of(tables, 1), mask)
    hidden_g = hidden(
        before, weight, bias, multiplier, 2, row, unit, batch, units, tile_rows, tile_columns, tile_depth, even_depth
    )
    value = function(tl.load(g + at, mask=mask, other=0), hidden_g, ratios, 4, table_of(tables, 2), mask)
    hidden_o = hidden(
        before, weight, bias, multiplier, 3, row, unit, batch, units, tile_rows, tile_columns, tile_depth, even_depth
    )
    leave = function(tl.load(o + at, mask=mask, other=0), hidden_o, ratios, 6, table_of(tables, 3), mask)
    scale = ratio(ratios, 12)
    kept = keep.to(tl.int32) * round_cell(tl.load(cell_before + at, mask=mask, other=0.0), scale)
    c = next_cell(kept, enter.to(tl.int32) * value.to(tl.int32), ratio(ratios, 8), ratio(ratios, 9))
    squashed = look_up(table_of(tables, 4), requantize(c, ratio(ratios, 10), -128.0, 127.0), mask)
    tl.store(out + at, multiply(leave, squashed, ratio(ratios, 11), -128.0, 127.0), mask=mask)
    tl.store(cell + at, c.to(tl.float32) * scale, mask=mask)


@triton.jit
def lstm_cell(
    cell_before,  # float32 [batch, units], as cell
    ratios,  # float32 [13]
    cell,
    batch,
    units,
    tile_rows: tl.constexpr,
    tile_columns: tl.constexpr,
):
    """The cell that enters, rounded to int16: what leaves a sequence of no step."""
    row, unit, mask = own_tile(batch, units, tile_rows, tile_columns)
    at = row[:, None] * units + unit[None, :]
    scale = ratio(ratios, 12)
    c = round_cell(tl.load(cell_before + at, mask=mask, other=0.0), scale)
    tl.store(cell + at, c.to(tl.float32) * scale, mask=mask)


def plan(
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
    *,
    out: tuple[Tensor, Tensor],
    config: Config | None = None,
    capability: Capability = (0, 0),
) -> tuple[Launch, ...]:
    """The launches of one call, one for each step; arguments as of :func:`lstm_s8`, all of them dense.

    Args:
        capability: of the device that will run it, for the heuristic.
    """
    (steps, batch, units), (y, cell) = i.shape, out
    if not cell.numel():
        return ()
    config = config or heuristic(batch, units, capability)
    size = {"batch": batch, "units": units}
    if not steps:
        tile = {"tile_rows": config.rows, "tile_columns": config.columns}
        cells = {"cell_before": c0, "ratios": ratios, "cell": cell}
        return (Launch(lstm_cell, {**cells, **size}, tile, grid(config, batch, units), config.warps),)
    layer = {"weight": weight, "bias": bias, "multiplier": multiplier, "tables": tables, "ratios": ratios}
    order = range(steps)[::-1] if reverse else range(steps)
    spare = torch.empty_like(cell)  # a step writes the one of two cells that it does not read, the last step the result
    written = [cell if last % 2 == 0 else spare for last in range(steps)][::-1]
    return tuple(
        Launch(
            lstm_step,
            {
                "i": i[step],
                "f": f[step],
                "g": g[step],
                "o": o[step],
                "before": before,
                "cell_before": cell_before,
                **layer,
                "out": y[step],
                "cell": cell_after,
                **size,
            },
            constants(config, units),
            grid(config, batch, units),
            config.warps,
            config.stages,
        )
        for step, before, cell_before, cell_after in zip(
            order, [h0, *(y[step] for step in order[:-1])], [c0, *written[:-1]], written, strict=True
        )
    )


def lstm_s8(
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
    *,
    out: tuple[Tensor, Tensor] | None = None,
    config: Config | None = None,
) -> tuple[Tensor, Tensor]:
    """Launch the kernel; arguments as of ``torch.ops.edgekit.lstm_s8``.

    Args:
        i, f, g, o: int8 [T, N, H], the parts of the gates that depend on the input, each at its scale.
        h0: int8 [N, H], the state to begin with, at the scale of the result.
        c0: float32 [N, H], the cell to begin with.
        weight: int8 [4 * H, H], recurrent, rows of i, f, g, o; H at most 131,071.
        bias: int32 [4 * H].
        multiplier: float32 [4 * H].
        tables: int8 [5, 256]: sigmoid of i's and f's sum, tanh of g's, sigmoid of o's, tanh of the cell.
        ratios: float32 [13].
        reverse: go from the last step to the first.
        out: int8 [T, N, H] and float32 [N, H], dense; allocated where they are not given.
        config: launch configuration; the heuristic's where it is not given.
    """
    i, f, g, o, h0, c0, weight, bias, multiplier, tables, ratios = (
        tensor.contiguous() for tensor in (i, f, g, o, h0, c0, weight, bias, multiplier, tables, ratios)
    )
    out = (torch.empty_like(i), torch.empty_like(c0)) if out is None else out
    layer = weight, bias, multiplier, tables, ratios
    run(plan(i, f, g, o, h0, c0, *layer, reverse, out=out, config=config, capability=capability_of(i)))
    return out
