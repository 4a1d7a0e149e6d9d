"""Float words that aten lacks: one call each in a graph, made of torch's own operators, so gradients come with them.

They are ``torch.ops.edgekit.<name>`` like the integer operators. Each stays one node through ``torch.export`` and
the ONNX exporter, and runs on every device and dtype that its parts run on.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor
from torch.fx.experimental.proxy_tensor import get_proxy_mode

from edgekit.errors import UsageError
from edgekit.ops import numerics, recurrent


def masked_softmax(x: Tensor, mask: Tensor | None) -> Tensor:
    """Softmax over the last dimension of what takes part; a row without any gives 0 where torch would give NaN.

    Args:
        x: float, any shape.
        mask: bool, broadcasts to ``x``; True takes part. None: everything does.
    """
    if mask is None:
        return torch.softmax(x, -1)
    if mask.dtype != torch.bool:
        raise UsageError(f"masked_softmax: mask must be torch.bool, not {mask.dtype}.")
    lowest = torch.finfo(x.dtype).min  # finite, so that the gradient of a row without any is 0 and not NaN
    return torch.softmax(torch.where(mask, x, lowest), -1) * mask


def l2_norm(x: Tensor, eps: float) -> Tensor:
    """``x / max(||x||_2, eps)`` over the last dimension, as ``torch.nn.functional.normalize``."""
    length: Tensor = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
    return x / length.clamp_min(eps)


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
    scales: Tensor | None = None,
) -> Tensor:
    """One layer of a GRU in one direction over a whole sequence, as ``torch.nn.GRU``.

    Args:
        r, z, n: float32 [T, N, H], the parts of the gates that depend on the input, ``W x + b``.
        h0: [N, H], the state to begin with.
        wr, wz, wn, br, bz, bn: recurrent weights [H, H] and biases [H].
        reverse: go from the last step to the first.
        scales: float32, in the order of :data:`edgekit.ops.recurrent.GRU_QUANTITIES`; with it each quantity is
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
    scales: Tensor | None = None,
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


def _quantiser(names: tuple[str, ...], scales: Tensor | None) -> recurrent.At:
    if scales is None:
        return recurrent.unseen
    if scales.shape != (len(names),):
        raise UsageError(f"scales must have shape ({len(names)},), not {tuple(scales.shape)}.")
    by_name = dict(zip(names, scales.unbind(), strict=True))

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


WORDS: dict[str, tuple[str, Callable[..., Any]]] = {
    "masked_softmax": ("(Tensor x, Tensor? mask) -> Tensor", masked_softmax),
    "l2_norm": ("(Tensor x, float eps) -> Tensor", l2_norm),
    "gru": (
        "(Tensor r, Tensor z, Tensor n, Tensor h0, Tensor wr, Tensor wz, Tensor wn, Tensor br, Tensor bz, Tensor bn, "
        "bool reverse, Tensor? scales=None) -> Tensor",
        gru,
    ),
    "lstm": (
        "(Tensor i, Tensor f, Tensor g, Tensor o, Tensor h0, Tensor c0, Tensor wi, Tensor wf, Tensor wg, Tensor wo, "
        "Tensor bi, Tensor bf, Tensor bg, Tensor bo, bool reverse, Tensor? scales=None) -> (Tensor, Tensor)",
        lstm,
    ),
}


def register(library: Any) -> None:
    """Define every word in a ``torch.library.Library``."""
    for name, (schema, function) in WORDS.items():
        library.define(name + schema, tags=(torch.Tag.pt2_compliant_tag,))
        library.impl(name, function, "CompositeImplicitAutograd")
