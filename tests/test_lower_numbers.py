"""Lowered operators against their formulas written down once more in numpy, from float weights to output bytes."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from quantised import Written, build, conv, items, quantise
from test_lower import assert_close, calls
from torch import Tensor, nn
from torch.nn import functional

import edgekit as ek
from edgekit.graph import Graph

FAKE = torch.ops.edgekit.fake_quantize.default
Array = NDArray[Any]


def f32(value: Any) -> Any:
    return np.float32(value)


def scale_of(value: Tensor) -> Any:
    return f32(float(value.detach().abs().max()) / 127)


def quantized(x: Tensor | Array, scale: Any) -> Array:
    return np.rint(np.clip(np.asarray(x, np.float32) / scale, f32(-128), f32(127))).astype(np.int64)


def rounded(values: Array, lo: int = -128, hi: int = 127) -> Array:
    assert values.dtype == np.float32
    return np.rint(np.clip(values, f32(lo), f32(hi))).astype(np.int64)


def layer_numbers(layer: Any, sx: Any) -> tuple[Array, Array, Array]:
    """Weight and bias as integers, and the weight scale, channel by channel."""
    weight = layer.weight.detach().numpy()
    fan_in = weight[0].size
    room = min(2**30, 2**31 - 1 - fan_in * 16256)
    w, b, s = [], [], []
    for c in range(len(weight)):
        bias = 0.0 if layer.bias is None else float(layer.bias.detach()[c])
        largest = f32(np.abs(weight[c]).max()) / f32(127)
        scale = max(largest, f32(abs(bias)) / (sx * f32(room))) or f32(1)
        s.append(scale)
        w.append(np.clip(np.rint(weight[c] / scale), -127, 127).astype(np.int64))
        b.append(int(np.rint(np.float64(bias) / np.float64(f32(sx * scale)))))
    return np.array(w), np.array(b), np.array(s, np.float32)


def requantized(acc: Array, sx: Any, sw: Array, sy: Any, lo: int = -128, hi: int = 127) -> Array:
    """acc with channels last."""
    multiplier = (sx * sw) / sy
    assert multiplier.dtype == np.float32
    return rounded(acc.astype(np.float32) * multiplier, lo, hi)


def windows(x: Array, kernel: Any, stride: Any, padding: Any, dilation: Any, fill: int = 0) -> Array:
    """[N, C, rows, columns, kh, kw] of [N, C, H, W]."""
    padded = np.pad(x, [(0, 0), (0, 0), *((p, p) for p in padding)], constant_values=fill)
    span = [d * (k - 1) + 1 for k, d in zip(kernel, dilation, strict=True)]
    view = np.lib.stride_tricks.sliding_window_view(padded, span, (2, 3))
    return view[:, :, :: stride[0], :: stride[1], :: dilation[0], :: dilation[1]]


def convolution(x: Array, layer: nn.Conv2d, w: Array, b: Array) -> Array:
    """[N, rows, columns, O] in int64, one group after the other."""
    view = windows(x, layer.kernel_size, layer.stride, layer.padding, layer.dilation)
    parts = zip(np.split(view, layer.groups, 1), np.split(w, layer.groups), strict=True)
    return np.concatenate([np.einsum("ncijkl,ockl->nijo", v, k) for v, k in parts], -1) + b


def bytes_of(graph: Graph, x: Tensor, scale: Any) -> Array:
    """The golden's output as integers; dequantise is undone exactly, since q * s / s rounds back to q."""
    return np.rint(ek.lower(graph)(x).numpy() / scale).astype(np.int64)


X = {"image": items((4, 9, 8)), "vector": items((20,))}


def test_numbers_of_a_linear() -> None:
    model, x = build(nn.Sequential(nn.Linear(20, 9), nn.ReLU())), X["vector"]
    sx, sy = scale_of(x), scale_of(model(x))
    w, b, sw = layer_numbers(model[0], sx)
    want = requantized(quantized(x, sx) @ w.T + b, sx, sw, sy, lo=0)
    np.testing.assert_array_equal(bytes_of(quantise(model, 20), x, sy), want)
    assert want.max() == 127
    assert want.min() == 0


@pytest.mark.parametrize(
    "layer",
    [
        lambda: conv(4, 6),
        lambda: conv(4, 6, bias=False, stride=2),
        lambda: conv(4, 8, groups=4),
        lambda: nn.Conv2d(4, 6, (1, 3), (2, 1), (0, 2), (1, 2), groups=2),
    ],
    ids=["3x3", "stride 2 without bias", "depthwise", "uneven"],
)
def test_numbers_of_a_convolution(layer: Callable[[], nn.Conv2d]) -> None:
    """With ReLU6, whose upper bound is quantised too: the calibrated maximum lies below 6, so it never binds."""
    model, x = build(nn.Sequential(layer(), nn.ReLU6())), X["image"]
    sx, sy = scale_of(x), scale_of(model(x))
    w, b, sw = layer_numbers(model[0], sx)
    bound = int(quantized(np.array(6.0), sy))
    want = requantized(convolution(quantized(x, sx), model[0], w, b), sx, sw, sy, 0, bound)
    np.testing.assert_array_equal(bytes_of(quantise(model, 4, 9, 8), x, sy), np.moveaxis(want, 3, 1))


def test_numbers_of_an_addition() -> None:
    """The convolution is rounded to its own scale first; then one rounded product and one fused multiply-add."""

    def function(layers: nn.ModuleDict, x: Tensor) -> Tensor:
        return layers["a"](x) + x

    model, x = build(Written(function, a=conv(4, 4))), X["image"]
    layer, graph = model.layers["a"], quantise(model, 4, 9, 8)
    sx, sc = (graph.module.state_dict()[name].numpy() for name in ("x_scale", "conv2d_scale"))
    sy = scale_of(model(x))
    assert (sx, sc) == pytest.approx((scale_of(x), scale_of(layer(x))), rel=1e-2)  # moved: see test_additions.py
    q = quantized(x, sx)
    w, b, sw = layer_numbers(layer, sx)
    a = np.moveaxis(requantized(convolution(q, layer, w, b), sx, sw, sc), 3, 1)
    second = f32(q) * (sx / sy)
    # 8 and 24 bits times 8 and 24 bits: exact in 64 bits of mantissa, so the conversion is the only rounding.
    total = a.astype(np.longdouble) * np.longdouble(sc / sy) + second.astype(np.longdouble)
    np.testing.assert_array_equal(bytes_of(graph, x, sy), rounded(total.astype(np.float32)))


def test_numbers_of_average_pools() -> None:
    x = X["image"]
    for include in (True, False):
        model = nn.AvgPool2d(3, 2, 1, count_include_pad=include)
        sx, sy = scale_of(x), scale_of(model(x))
        view = windows(quantized(x, sx), (3, 3), (2, 2), (1, 1), (1, 1)).sum((4, 5))
        ones = windows(np.ones((1, 1, 9, 8), np.int64), (3, 3), (2, 2), (1, 1), (1, 1)).sum((4, 5))
        n = np.full_like(ones, 9) if include else ones
        want = rounded(view.astype(np.float32) * (sx / (f32(n) * sy)))
        np.testing.assert_array_equal(bytes_of(quantise(nn.Sequential(model), 4, 9, 8), x, sy), want)


def test_numbers_of_a_global_pool_and_a_maximum() -> None:
    x = X["image"]
    sx, sy = scale_of(x), scale_of(x.mean((2, 3)))
    sums = quantized(x, sx).sum((2, 3))
    want = rounded(sums.astype(np.float32) * (sx / (f32(72) * sy)))
    model = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
    np.testing.assert_array_equal(bytes_of(quantise(model, 4, 9, 8), x, sy), want)
    largest = windows(quantized(x, sx), (3, 3), (2, 2), (1, 1), (1, 1), fill=-128).max((4, 5))
    np.testing.assert_array_equal(bytes_of(quantise(nn.MaxPool2d(3, 2, 1), 4, 9, 8), x, sx), largest)


FUNCTIONS: dict[str, tuple[nn.Module, Callable[[float], float]]] = {
    "sigmoid": (nn.Sigmoid(), lambda v: 1 / (1 + math.exp(-v))),
    "tanh": (nn.Tanh(), math.tanh),
    "gelu": (nn.GELU(), lambda v: v * 0.5 * math.erfc(-v / math.sqrt(2))),
    "gelu, tanh": (
        nn.GELU(approximate="tanh"),
        lambda v: v * 0.5 * (1 + math.tanh(math.sqrt(2 / math.pi) * (v + 0.044715 * v**3))),
    ),
    "silu": (nn.SiLU(), lambda v: v / (1 + math.exp(-v))),
    "hardswish": (nn.Hardswish(), lambda v: v * min(max(v + 3, 0), 6) / 6),
    "hardsigmoid": (nn.Hardsigmoid(), lambda v: min(max(v + 3, 0), 6) / 6),
    "elu": (nn.ELU(0.7), lambda v: v if v > 0 else 0.7 * math.expm1(v)),
    "leaky": (nn.LeakyReLU(0.2), lambda v: v if v > 0 else float(f32(0.2)) * v),
    "relu": (nn.ReLU(), lambda v: max(v, 0)),
    "clamp": (nn.Hardtanh(-0.5, 1.25), lambda v: min(max(v, -0.5), 1.25)),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_numbers_of_a_table(name: str) -> None:
    """Against Python's math on all 256 values: equal but where the true value lies on a rounding edge."""
    module, function = FUNCTIONS[name]
    x = torch.linspace(-3.77, 3.6, 64).reshape(64, 1)
    sx, sy = scale_of(x), scale_of(module(x))
    graph = ek.lower(ek.quantize(ek.capture(module, x), [x]).graph)
    every = torch.arange(-128, 128).float().reshape(-1, 1) * float(sx)
    got = np.rint(graph(every).numpy().ravel() / sy)
    q = quantized(every, sx).ravel()
    steps = np.array([function(float(f32(v) * sx)) for v in q]) / float(sy)
    want = np.rint(np.clip(steps, -128, 127))
    edge = np.abs(np.abs(steps - np.floor(steps)) - 0.5) < 1e-4  # float32 of the value and of the quotient: 128 * 2^-23
    np.testing.assert_array_equal(got[~edge], want[~edge])
    assert (np.abs(got - want) <= 1).all()
    assert edge.sum() < 8


CLAMPS = [(0.1, 0.5), (-0.6, -0.1), (None, 0.2), (-0.3, None), (0.5, 0.1), (0.0, 6.0), (-100.0, 100.0)]


@pytest.mark.parametrize(("low", "high"), CLAMPS)
@pytest.mark.parametrize("kind", ["convolution", "addition", "pool"])
def test_bounds_of_a_fused_clamp_are_quantised(low: float | None, high: float | None, kind: str) -> None:
    """Also above or below zero, one-sided, and upside down, where torch gives the upper bound."""

    def function(layers: nn.ModuleDict, x: Tensor) -> Tensor:
        body = {
            "convolution": lambda: layers["a"](x),
            "addition": lambda: layers["a"](x) + x,
            "pool": lambda: functional.avg_pool2d(x, 3, 1, 1),
        }
        return torch.clamp(body[kind](), low, high)

    model, x = build(Written(function, a=conv(4, 4))), X["image"]
    graph = ek.quantize(ek.capture(model, x), [x]).graph
    integer = ek.lower(graph)
    assert not [n for n in calls(integer) if n.target is torch.ops.edgekit.lut_s8.default], "the clamp is not fused"
    scale = scale_of(model(x))
    bounds = [v for v in (low, high) if v is not None]
    got, step = integer(x), float(scale)
    if low is not None:
        assert float(got.min()) >= min(bounds) - step / 2 * 1.001
    if high is not None:
        assert float(got.max()) <= high + step / 2 * 1.001
    assert_close(graph(x).detach(), got)
