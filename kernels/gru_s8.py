"""One layer of a GRU in one direction over a whole sequence in int8: one launch for each time step.

Linear, additions, products and tables of a step follow on the same registers, each rounded as the operator of its own.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from edgekit.kernels.add_s8 import add
from edgekit.kernels.launch import Capability, Launch, capability_of, run
from edgekit.kernels.lut_s8 import look_up
from edgekit.kernels.mul_s8 import multiply
from edgekit.kernels.recurrent import constants, function, grid, heuristic, hidden, own_tile, ratio, table_of
from edgekit.kernels.tiles import Config

__all__ = ["Config", "gru_s8", "heuristic", "plan"]


@triton.jit
def gru_step(
    r,  # int8 [batch, units], as z, n, before and out
    z,
    n,
    before,
    weight,  # int8 [3 * units, units]
    bias,  # int32 [3 * units]
    multiplier,  # float32 [3 * units]
    tables,  # int8 [4, 256]
    ratios,  # float32 [11]
    out,
    batch,
    units,
    tile_rows: tl.constexpr,
    tile_columns: tl.constexpr,
    tile_depth: tl.constexpr,
    even_depth: tl.constexpr,
):
    """One program computes one tile of the next state."""
    row, unit, mask = own_tile(batch, units, tile_rows, tile_columns)
    at = row[:, None] * units + unit[None, :]
    hidden_r = hidden(
        before, weight, bias, multiplier, 0, row, unit, batch, units, tile_rows, tile_columns, tile_depth, even_depth
    )
    gate_r = function(tl.load(r + at, mask=mask, other=0), hidden_r, ratios, 0, tables, mask)
    hidden_z = hidden(
        before, weight, bias, multiplier, 1, row, unit, batch, units, tile_rows, tile_columns, tile_depth, even_depth
    )
    update = function(tl.load(z + at, mask=mask, other=0), hidden_z, ratios, 2, table_of(tables, 1), mask)
    hidden_n = hidden(
        before, weight, bias, multiplier, 2, row, unit, batch, units, tile_rows, tile_columns, tile_depth, even_depth
    )
    reset = multiply(gate_r, hidden_n, ratio(ratios, 4), -128.0, 127.0)
    candidate = function(tl.load(n + at, mask=mask, other=0), reset, ratios, 5, table_of(tables, 2), mask)
    new = multiply(look_up(table_of(tables, 3), update, mask), candidate, ratio(ratios, 7), -128.0, 127.0)
    old = multiply(update, tl.load(before + at, mask=mask, other=0), ratio(ratios, 8), -128.0, 127.0)
    tl.store(out + at, add(new, old, ratio(ratios, 9), ratio(ratios, 10), -128.0, 127.0), mask=mask)


def plan(
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
    *,
    out: Tensor,
    config: Config | None = None,
    capability: Capability = (0, 0),
) -> tuple[Launch, ...]:
    """The launches of one call, one for each step; arguments as of :func:`gru_s8`, all of them dense.

    Args:
        capability: of the device that will run it, for the heuristic.
    """
    steps, batch, units = r.shape
    if not out.numel():
        return ()
    config = config or heuristic(batch, units, capability)
    layer = {"weight": weight, "bias": bias, "multiplier": multiplier, "tables": tables, "ratios": ratios}
    order = range(steps)[::-1] if reverse else range(steps)
    return tuple(
        Launch(
            gru_step,
            {
                "r": r[step],
                "z": z[step],
                "n": n[step],
                "before": before,
                **layer,
                "out": out[step],
                "batch": batch,
                "units": units,
            },
            constants(config, units),
            grid(config, batch, units),
            config.warps,
            config.stages,
        )
        for step, before in zip(order, [h0, *(out[step] for step in order[:-1])], strict=True)
    )


def gru_s8(
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
    *,
    out: Tensor | None = None,
    config: Config | None = None,
) -> Tensor:
    """Launch the kernel; arguments as of ``torch.ops.edgekit.gru_s8``.

    Args:
        r, z, n: int8 [T, N, H], the parts of the gates that depend on the input, each at its scale.
        h0: int8 [N, H], the state to begin with, at the scale of the result.
        weight: int8 [3 * H, H], recurrent, rows of r, z, n; H at most 131,071.
        bias: int32 [3 * H].
        multiplier: float32 [3 * H].
        tables: int8 [4, 256]: sigmoid of r's sum, of z's sum, tanh of n's sum, 1 - z.
        ratios: float32 [11].
        reverse: go from the last step to the first.
        out: int8 [T, N, H], dense; allocated where it is not given.
        config: launch configuration; the heuristic's where it is not given.
    """
    r, z, n, h0, weight, bias, multiplier, tables, ratios = (
        tensor.contiguous() for tensor in (r, z, n, h0, weight, bias, multiplier, tables, ratios)
    )
    out = torch.empty_like(r) if out is None else out
    layer = weight, bias, multiplier, tables, ratios
    run(plan(r, z, n, h0, *layer, reverse, out=out, config=config, capability=capability_of(r)))
    return out
