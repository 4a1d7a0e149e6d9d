"""Calls of operators from a few sizes: what ``--shapes`` of the command line means for each of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from edgekit.errors import UsageError
from edgekit.ops import (
    OpSpec,
    avg_pool_s8,
    conv2d_s8,
    conv_transpose2d_s8,
    gru_s8,
    layer_norm_s8,
    linear_s8,
    lstm_s8,
    numerics,
    recurrent_s8,
    samples,
)
from edgekit.ops.spec import Case

Sizes = tuple[int, ...]
Arguments = tuple[Any, ...]


def parse(texts: Sequence[str]) -> list[Sizes]:
    """``128x256x256`` and the like; a text may hold several, with commas between.

    Raises:
        UsageError: a part is no list of positive sizes.
    """
    found = []
    for text in (part for item in texts for part in item.split(",")):
        words = text.strip().lower().split("x")
        if not all(word.isdecimal() and 0 < int(word) < 1 << 31 for word in words):
            raise UsageError(f"{text!r} is no shape.", fix="Write sizes with an x between them: 128x256x256.")
        found.append(tuple(map(int, words)))
    return found


def name(sizes: Sizes) -> str:
    """The sizes as they are written."""
    return "x".join(map(str, sizes))


def case(spec: OpSpec, sizes: Sizes) -> Case:
    """A call of an operator at these sizes.

    Raises:
        UsageError: the operator is not known here, or needs other sizes; says which.
    """
    if spec.name not in _RULES:
        raise UsageError(f"{spec.name} cannot be made from sizes.", fix="Leave --shapes out: its own cases are timed.")
    meaning, fewest, most, build = _RULES[spec.name]
    if not fewest <= len(sizes) <= most:
        raise UsageError(f"{name(sizes)} is no shape of {spec.name}.", fix=f"It takes {meaning}.")
    arguments = build(*sizes)
    spec.shape(*arguments)  # refuses what the operator refuses
    return Case(name(sizes), arguments, layer=True)


def _convolution(n: int, c: int, h: int, w: int, filters: int, kernel: int, stride: int = 1, groups: int = 1) -> Any:
    window = {"stride": (stride, stride), "padding": (kernel // 2, kernel // 2), "groups": groups}
    return conv2d_s8.case("", (n, c, h, w), filters, (kernel, kernel), **window).args  # type: ignore[arg-type]


def _transposed(n: int, c: int, h: int, w: int, filters: int, kernel: int, stride: int = 1) -> Any:
    return conv_transpose2d_s8.case("", (n, c, h, w), filters, (kernel, kernel), (stride, stride)).args


def _matmul(*sizes: int) -> Arguments:
    *batch, m, k, n = sizes
    return samples.s8(*batch, m, k), samples.s8(*batch, k, n, seed=1), 0.002


def _average(n: int, c: int, h: int, w: int, kernel: int, stride: int = 0) -> Arguments:
    return avg_pool_s8.case("", (n, c, h, w), (kernel, kernel), (stride or kernel,) * 2).args


def _largest(n: int, c: int, h: int, w: int, kernel: int, stride: int = 0) -> Arguments:
    return samples.s8(n, c, h, w), (kernel, kernel), (stride or kernel,) * 2, (0, 0), (1, 1), False


def _groups(*sizes: int) -> Arguments:
    channels = sizes[1]
    groups = 32 if channels % 32 == 0 else 1
    return samples.s8(*sizes), groups, *layer_norm_s8.weights(channels), 0.05, 1e-5


def _gru(steps: int, batch: int, units: int) -> Arguments:
    tables = recurrent_s8.case_tables("sstm")
    return *recurrent_s8.layer(steps, batch, units, 3), tables, gru_s8.RATIOS.tensor(), False


def _lstm(steps: int, batch: int, units: int) -> Arguments:
    *parts, weight, bias, multiplier = recurrent_s8.layer(steps, batch, units, 4)
    cell, tables = samples.f32(batch, units, spread=2.0), recurrent_s8.case_tables("sstst")
    return *parts, cell, weight, bias, multiplier, tables, lstm_s8.RATIOS.tensor(), False


def _sigmoid(*sizes: int) -> Arguments:
    return samples.s8(*sizes), numerics.table(torch.sigmoid, torch.tensor([0.05]), torch.tensor([1 / 127]))


_ANY = ("the sizes of x", 1, 8)
_IMAGE = "images x channels x height x width"

# What the sizes mean, how many there are at least and at most, and what makes the arguments of them.
_RULES: dict[str, tuple[str, int, int, Callable[..., Arguments]]] = {
    "quantize_s8": (*_ANY, lambda *x: (samples.f32(*x), torch.tensor([0.02]))),
    "fake_quantize": (*_ANY, lambda *x: (samples.f32(*x), torch.tensor([0.02]))),
    "dequantize": (*_ANY, lambda *x: (samples.s8(*x), torch.tensor([0.02]))),
    "observe": (*_ANY, lambda *x: (samples.f32(*x),)),
    "add_s8": (*_ANY, lambda *x: (samples.s8(*x), samples.s8(*x, seed=1), 0.8, 0.6)),
    "mul_s8": (*_ANY, lambda *x: (samples.s8(*x), samples.s8(*x, seed=1), 0.01)),
    "sum_s8": (*_ANY, lambda *x: (samples.s8(*x), [-1], False, True, 0.02, 0.01)),
    "lut_s8": (*_ANY, _sigmoid),
    "softmax_s8": (*_ANY, lambda *x: (samples.s8(*x), numerics.softmax_table(torch.tensor([0.07])), 1 / 127)),
    "layer_norm_s8": (*_ANY, lambda *x: (samples.s8(*x), *layer_norm_s8.weights(x[-1]), 0.05, 1e-5)),
    "rms_norm_s8": (*_ANY, lambda *x: (samples.s8(*x), layer_norm_s8.weights(x[-1])[0], 0.05, 1e-5)),
    "l2_norm_s8": (*_ANY, lambda *x: (samples.s8(*x), 0.05, 0.004, 1e-12)),
    "group_norm_s8": ("images x channels, then any sizes", 2, 8, _groups),
    "linear_s8": (
        "rows x fan-in x features",
        3,
        3,
        lambda rows, fan_in, features: linear_s8.case("", (rows,), fan_in, features).args,
    ),
    "matmul_s8": ("[batch x] M x K x N", 3, 8, _matmul),
    "conv2d_s8": (f"{_IMAGE} x filters x kernel [x stride [x groups]]", 6, 8, _convolution),
    "conv_transpose2d_s8": (f"{_IMAGE} x filters x kernel [x stride]", 6, 7, _transposed),
    "avg_pool_s8": (f"{_IMAGE} x kernel [x stride]", 5, 6, _average),
    "max_pool_s8": (f"{_IMAGE} x kernel [x stride]", 5, 6, _largest),
    "gru_s8": ("steps x batch x units", 3, 3, _gru),
    "lstm_s8": ("steps x batch x units", 3, 3, _lstm),
}
