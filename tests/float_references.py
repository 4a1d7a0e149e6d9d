"""The float words of a plan in torch, as docs/plan.md says: products summed from the first to the last, functions and
sums over dimensions in float64."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from edgekit.export.native import float_words

Attributes = dict[str, Any]
EXACT: dict[str, Callable[[Tensor], Tensor]] = {
    name: getattr(torch, name) for name in ("neg", "abs", "sign", "floor", "ceil", "trunc", "round", "relu")
}
WIDE: dict[str, Callable[[Tensor], Tensor]] = {
    "log_sigmoid": functional.logsigmoid,
    "silu": functional.silu,
    "gelu": lambda x: 0.5 * x * torch.erfc(-x * math.sqrt(0.5)),
    "gelu_tanh": lambda x: x * torch.sigmoid(math.sqrt(8 / math.pi) * (x + 0.044715 * x**3)),
    "softplus": functional.softplus,
    "mish": functional.mish,
}


def binary(x: Sequence[Tensor], a: Attributes) -> Tensor:
    name, (left, right) = float_words.BINARY[a["function"]], x
    if left.dtype is torch.bool:
        return (left | right) if name == "max" else (left & right)
    if name == "pow":
        return torch.pow(left.double(), right.double()).float()
    function = {"max": torch.maximum, "min": torch.minimum}.get(name) or getattr(torch, name)
    result: Tensor = function(left, right)
    return result


def compare(x: Sequence[Tensor], a: Attributes) -> Tensor:
    result: Tensor = getattr(torch, float_words.COMPARE[a["function"]])(*x)
    return result


def unary(x: Sequence[Tensor], a: Attributes) -> Tensor:
    name = float_words.UNARY[a["function"]]
    if name == "reciprocal":
        return 1 / x[0]
    if name in EXACT:
        return EXACT[name](x[0])
    function = WIDE.get(name) or getattr(torch, name)
    return function(x[0].double()).float()


def cast(x: Tensor, dtype: torch.dtype) -> Tensor:
    if x.dtype is not torch.float32 or dtype in (torch.float32, torch.bool):
        return x.to(dtype)
    limits = torch.iinfo(dtype)
    whole = x.double().nan_to_num(0.0, math.inf, -math.inf).trunc()
    low, high = whole <= limits.min, whole >= limits.max
    inside = torch.where(low | high, 0.0, whole).to(dtype)
    return torch.where(low, limits.min, torch.where(high, limits.max, inside.long())).to(dtype)


def reduce(x: Tensor, a: Attributes) -> Tensor:
    name = float_words.REDUCE[a["function"]]
    axes = [d for d in range(x.dim()) if a["axes"] >> d & 1]
    rest = [d for d in range(x.dim()) if d not in axes]
    rows = x.permute(*rest, *axes).reshape(*(x.shape[d] for d in rest), -1)
    if name in ("sum", "mean"):
        wide = rows.double() if x.dtype is torch.float32 else rows
        return getattr(wide, name)(-1).to(x.dtype)
    if name.startswith("arg"):
        return getattr(rows, name)(-1)
    return (rows.amax if name == "max" else rows.amin)(-1)


def matmul(x: Sequence[Tensor], a: Attributes) -> Tensor:
    left, right, *bias = x
    total = torch.zeros(())
    for k in range(left.shape[-1]):
        total = total + left[..., :, k, None] * right[..., k, None, :]
    return total + bias[0] if bias else total


def conv(x: Sequence[Tensor], a: Attributes) -> Tensor:
    image, weight, *bias = x
    stride, pad, dilation = (of(a, name) for name in ("stride", "pad", "dilation"))
    wide = functional.pad(image, [p for p in reversed(pad) for _ in range(2)])
    for d, (size, k, s) in enumerate(zip(weight.shape[2:], dilation, stride, strict=True), 2):
        wide = windows(wide, d, size, k, s)
    n, _, *out = wide.shape[:5]
    patches = wide.reshape(n, a["groups"], weight.shape[1], math.prod(out), -1)  # [N, G, C, outputs, taps]
    rows = patches.transpose(3, 4).reshape(n, a["groups"], -1, math.prod(out))
    result = matmul([weight.reshape(a["groups"], weight.shape[0] // a["groups"], -1), rows], a)
    result = result.reshape(n, weight.shape[0], *out)
    return result + bias[0].reshape(-1, 1, 1, 1) if bias else result


def windows(x: Tensor, d: int, size: int, dilation: int, stride: int) -> Tensor:
    """Along dimension d windows of this many taps; the taps become the last dimension."""
    return x.unfold(d, dilation * (size - 1) + 1, stride)[..., ::dilation]


def of(a: Attributes, name: str) -> list[int]:
    """A size for each of the three dimensions."""
    return [a[f"{name}_{axis}"] for axis in ("depth", "height", "width")]


def pool(x: Tensor, a: Attributes, sizes: Sequence[int]) -> Tensor:
    kernel, stride, pad, dilation = (of(a, name) for name in ("kernel", "stride", "pad", "dilation"))
    for ceil_mode in (False, True):
        if a["average"]:
            include, divisor = bool(a["count_include_pad"]), a["divisor"] or None
            y = functional.avg_pool3d(x.double(), kernel, stride, pad, ceil_mode, include, divisor).float()
        else:
            y = functional.max_pool3d(x, kernel, stride, pad, dilation, ceil_mode)
        if tuple(y.shape) == tuple(sizes):
            return y
    raise AssertionError("no way of counting windows gives this size")


def sigmoid(x: Tensor) -> Tensor:
    return torch.sigmoid(x.double()).float()


def tanh(x: Tensor) -> Tensor:
    return torch.tanh(x.double()).float()


def gru(x: Sequence[Tensor], a: Attributes) -> Tensor:
    *gates, h, weight, bias = x
    out = torch.empty_like(gates[0])
    steps = range(len(out))
    for t in reversed(steps) if a["reverse"] else steps:
        hidden = matmul([h, weight, bias], a).chunk(3, 1)
        r, z = (sigmoid(gates[i][t] + hidden[i]) for i in range(2))
        n = tanh(gates[2][t] + r * hidden[2])
        out[t] = h = (1 - z) * n + z * h
    return out


def lstm(x: Sequence[Tensor], a: Attributes) -> tuple[Tensor, Tensor]:
    *gates, h, c, weight, bias = x
    out = torch.empty_like(gates[0])
    steps = range(len(out))
    for t in reversed(steps) if a["reverse"] else steps:
        sums = [gate[t] + part for gate, part in zip(gates, matmul([h, weight, bias], a).chunk(4, 1), strict=True)]
        i, f, g, o = (tanh(s) if k == 2 else sigmoid(s) for k, s in enumerate(sums))
        c = f * c + i * g
        out[t] = h = o * tanh(c)
    return out, c


REFERENCES: dict[str, Callable[[list[Any], Attributes], Tensor | tuple[Tensor, ...]]] = {
    "binary": binary,
    "compare": compare,
    "unary_f32": unary,
    "select": lambda x, a: torch.where(*x),
    "matmul_f32": matmul,
    "conv_f32": conv,
    "gru_f32": gru,
    "lstm_f32": lstm,
}
