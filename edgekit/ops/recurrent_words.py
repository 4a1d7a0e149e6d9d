"""The float words of recurrent layers: ``gru`` and ``lstm``, one layer in one direction over a whole sequence."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor
from torch.fx.experimental.proxy_tensor import get_proxy_mode

from edgekit.errors import UsageError
from edgekit.ops import numerics, recurrent


def gru(
    r: Tensor,
    z: Tensor,
    n: Tensor,
    h0: Tensor,
    wr: Tensor,
    wz: Tensor,
    wn: Tensor,
    br: Tensor,
    bz: Tensor,
    bn: Tensor,
    reverse: bool,
    scales: Sequence[Tensor] | None = None,
) -> Tensor:
    """One layer of a GRU in one direction over a whole sequence, as ``torch.nn.GRU``.

    Args:
        r, z, n: float32 [T, N, H], the parts of the gates that depend on the input, ``W x + b``.
        h0: [N, H], the state to begin with.
        wr, wz, wn, br, bz, bn: recurrent weights [H, H] and biases [H].
        reverse: go from the last step to the first.
        scales: float32 scalars in the order of :data:`edgekit.ops.recurrent.GRU_QUANTITIES`; with them each quantity is
            fake-quantised exactly where ``gru_s8`` rounds it.

    Returns:
        float32 [T, N, H], the state after each step, in the order of time.
    """
    if _only_shapes(r):
        return torch.empty_like(r, memory_format=torch.contiguous_format)
    at = _quantiser(recurrent.GRU_QUANTITIES, scales)
    h, results = at("h", h0), list(r.unbind())
    for t in recurrent.order(len(r), reverse):
        h = results[t] = recurrent.gru_step((r[t], z[t], n[t]), h, (wr, wz, wn), (br, bz, bn), at)
    return torch.stack(results)


def lstm(
    i: Tensor,
    f: Tensor,
    g: Tensor,
    o: Tensor,
    h0: Tensor,
    c0: Tensor,
    wi: Tensor,
    wf: Tensor,
    wg: Tensor,
    wo: Tensor,
    bi: Tensor,
    bf: Tensor,
    bg: Tensor,
    bo: Tensor,
    reverse: bool,
    scales: Sequence[Tensor] | None = None,
) -> tuple[Tensor, Tensor]:
    """One layer of an LSTM in one direction over a whole sequence, as ``torch.nn.LSTM``.

    Arguments as of :func:`gru`, gates i f g o, with ``c0`` [N, H], the cell to begin with, and ``scales`` in the order
    of :data:`edgekit.ops.recurrent.LSTM_QUANTITIES`. The cell has 16 bits.

    Returns:
        float32 [T, N, H], the state after each step, and [N, H], the cell after the last one taken.
    """
    if _only_shapes(i):
        return torch.empty_like(i, memory_format=torch.contiguous_format), torch.empty_like(c0)
    at = _quantiser(recurrent.LSTM_QUANTITIES, scales)
    h, c, results = at("h", h0), at("c", c0), list(i.unbind())
    weights, biases = (wi, wf, wg, wo), (bi, bf, bg, bo)
    for t in recurrent.order(len(i), reverse):
        h, c = recurrent.lstm_step((i[t], f[t], g[t], o[t]), h, c, weights, biases, at)
        results[t] = h
    return torch.stack(results), c.clone()


def _only_shapes(x: Tensor) -> bool:
    """Whether nothing but the shape of a result is wanted, which needs no walk through time and no number of steps.

    A composite that a tracer takes apart is walked through: it would be recorded as uninitialised memory.
    """
    return x.is_meta or (isinstance(x, FakeTensor) and get_proxy_mode() is None)


def _quantiser(names: tuple[str, ...], scales: Sequence[Tensor] | None) -> recurrent.At:
    if scales is None:
        return recurrent.unseen
    if len(scales) != len(names):
        raise UsageError(f"there must be {len(names)} scales, not {len(scales)}.")
    by_name = dict(zip(names, scales, strict=True))

    def at(name: str, value: Tensor) -> Tensor:
        if name in recurrent.S16_QUANTITIES:
            return fake_quantize_s16(value, by_name[name])
        result: Tensor = torch.ops.edgekit.fake_quantize(value, by_name[name])
        return result

    return at


def fake_quantize_s16(x: Tensor, scale: Tensor) -> Tensor:
    """The values that 16 bits can hold, with a straight-through gradient within their bounds."""
    inside = x.clamp(numerics.S16_MIN * scale, numerics.S16_MAX * scale)
    rounded = numerics.dequantize(numerics.quantize_s16(x.detach(), scale), scale)
    return rounded + (inside - inside.detach())  # + 0: the value stays what was rounded
