"""Sweeps of the Triton kernels that are bound by memory, and of the recurrent layers: few programs each."""

from __future__ import annotations

import random
from collections.abc import Iterator

import torch
from torch import Tensor
from triton_sizes import sizes

from edgekit.ops import avg_pool_s8, gru_s8, layer_norm_s8, lstm_s8, numerics, recurrent_s8, samples
from edgekit.ops.spec import Case

Shape = tuple[int, int, int]


def boxes(seed: int) -> Iterator[tuple[random.Random, Shape]]:
    """Three dimensions of some four hundred values at most."""
    choose = random.Random(seed)
    for a, b, c in sizes(3, choose):
        yield choose, (a % 4, b % 8, c % 20)


def rows(seed: int) -> Iterator[tuple[random.Random, int, int]]:
    """Up to seven rows, none of them empty."""
    choose = random.Random(seed)
    for a, b in sizes(2, choose):
        yield choose, a % 8, max(b, 1)


def partner(choose: random.Random, shape: Shape) -> Tensor:
    """What broadcasts to ``shape``: any dimension once, or dimensions missing in front; at times transposed."""
    kept = [choose.choice([size, size, 1]) for size in shape][choose.randrange(3) :]
    return samples.s8(*kept[::-1], seed=1).permute(*range(len(kept))[::-1])


def bounds(choose: random.Random) -> tuple[int, int]:
    """Of int8, of a ReLU, of a ReLU6."""
    return choose.choice([-128, 0]), choose.choice([127, 60])


def add() -> Iterator[Case]:
    """Equal shapes and broadcast ones, either operand first, sums and differences."""
    for choose, shape in boxes(6):
        first, second = choose.sample([samples.s8(*shape), partner(choose, shape)], 2)
        ratios = choose.uniform(0.01, 2.0), choose.choice([-1, 1]) * choose.uniform(0.01, 2.0)
        yield Case(f"{tuple(first.shape)} + {tuple(second.shape)}", (first, second, *ratios, *bounds(choose)))


def mul() -> Iterator[Case]:
    """Equal shapes and broadcast ones, either operand first."""
    for choose, shape in boxes(7):
        first, second = choose.sample([samples.s8(*shape), partner(choose, shape)], 2)
        case = first, second, choose.uniform(0.001, 0.02), *bounds(choose)
        yield Case(f"{tuple(first.shape)} * {tuple(second.shape)}", case)


def lut() -> Iterator[Case]:
    """One table, or one along each axis."""
    for choose, shape in boxes(8):
        axis = choose.choice([None, 0, 1, -1])
        table = samples.s8(256) if axis is None else samples.s8(shape[axis], 256)
        yield Case(f"{shape} on {axis}", (samples.s8(*shape), table, axis))


def dequantize() -> Iterator[Case]:
    """int8 and int32, per tensor and along each axis."""
    for choose, shape in boxes(9):
        axis = choose.choice([None, 0, 1, -1])
        x = choose.choice([samples.s8(*shape), samples.s32(*shape, magnitude=1 << 30)])
        scale = samples.positive(1 if axis is None else shape[axis], middle=0.01)
        yield Case(f"{shape} of {x.dtype} on {axis}", (x, scale, axis))


def softmax() -> Iterator[Case]:
    """Masks of every form, among them rows that are masked whole."""
    for choose, count, length in rows(10):
        table = numerics.softmax_table(torch.tensor([choose.choice([0.002, 0.05, 2.0])]))
        shape = choose.choice(
            [(length,), (count, 1), (count, length), (1, count, 1), (2, 1, length), (2, count, length)]
        )
        mask = choose.choice([None, samples.s8(*shape, seed=2) > choose.choice([-60, 0, 100])])
        yield Case(f"{count}x{length} by {shape}", (samples.s8(2, count, length), table, 1 / 127, mask))


def layer_norm() -> Iterator[Case]:
    """Sets of one dimension."""
    for choose, count, length in rows(11):
        case = samples.s8(count, length), *layer_norm_s8.weights(length), choose.uniform(0.001, 0.1), 1e-5
        yield Case(f"{count}x{length}", case)


def rms_norm() -> Iterator[Case]:
    """The same without an offset."""
    for case in layer_norm():
        x, gain, _, scale, eps = case.args
        yield Case(case.name, (x, gain, scale, eps))


def l2_norm() -> Iterator[Case]:
    """Lengths below and above the least one."""
    for choose, count, length in rows(12):
        scales = choose.uniform(0.001, 0.1), choose.uniform(0.001, 0.01)
        yield Case(f"{count}x{length}", (samples.s8(count, length), *scales, choose.choice([1e-12, 2.0])))


def group_norm() -> Iterator[Case]:
    """One to five groups of one to seven channels."""
    choose = random.Random(13)
    for items, groups, width, positions in sizes(4, choose):
        groups, channels = groups % 5 + 1, (groups % 5 + 1) * (width % 7 + 1)
        x = samples.s8(items % 3, channels, max(positions % 20, 1))
        case = x, groups, *layer_norm_s8.weights(channels), choose.uniform(0.001, 0.1), 1e-5
        yield Case(f"{tuple(x.shape)} in {groups}", case)


def sums() -> Iterator[Case]:
    """Sums and means over any axes that are not empty."""
    for choose, shape in boxes(14):
        full = [d for d in range(3) if shape[d]]
        dim = choose.sample(full, choose.randrange(len(full) + 1))
        mean = choose.random() < 0.5
        case = dim, choose.random() < 0.5, mean, 0.03, 0.02 if mean else 0.3, *bounds(choose)
        yield Case(f"{shape} over {dim}", (samples.s8(*shape), *case))


def windows(seed: int, dilated: bool) -> Iterator[tuple[random.Random, tuple[int, ...], list[tuple[int, int]]]]:
    """Images with a kernel, stride, padding and dilation of which at least one window fits."""
    choose = random.Random(seed)
    for items, channels, height, width in sizes(4, choose):
        kernel, stride = ((choose.randint(1, 4), choose.randint(1, 4)) for _ in range(2))
        padding = choose.randint(0, kernel[0] // 2), choose.randint(0, kernel[1] // 2)
        dilation = (choose.randint(1, 2), choose.randint(1, 2)) if dilated else (1, 1)
        least = [step * (taps - 1) + 1 for step, taps in zip(dilation, kernel, strict=True)]
        image = items % 3, channels % 3 + 1, max(height % 14, least[0]), max(width % 14, least[1])
        yield choose, image, [kernel, stride, padding, dilation]


def avg_pool() -> Iterator[Case]:
    """Padding counted or not, hanging windows or not, divisors of torch and of the user."""
    for choose, image, (kernel, stride, padding, _) in windows(15, dilated=False):
        modes = choose.random() < 0.5, choose.random() < 0.5, choose.choice([None, 3])
        yield avg_pool_s8.case(f"{kernel} of {image}", image, kernel, stride, padding, *modes)


def max_pool() -> Iterator[Case]:
    """Hanging windows or not."""
    for choose, image, geometry in windows(16, dilated=True):
        yield Case(f"{geometry[0]} of {image}", (samples.s8(*image), *geometry, choose.random() < 0.5))


def layers(seed: int) -> Iterator[tuple[random.Random, int, int, int]]:
    """Steps, batch and units of recurrent layers: one step mostly."""
    choose = random.Random(seed)
    for batch, units in sizes(2, choose):
        yield choose, choose.choice([0, 1, 1, 1, 1, 1, 2, 3]), batch % 18, units % 33


def gru() -> Iterator[Case]:
    """Both directions."""
    tables = recurrent_s8.case_tables("sstm")
    for choose, steps, batch, units in layers(17):
        layer = recurrent_s8.layer(steps, batch, units, 3)
        reverse = choose.random() < 0.5
        yield Case(f"{steps}x{batch}x{units}", (*layer, tables, gru_s8.RATIOS.tensor(), reverse))


def lstm() -> Iterator[Case]:
    """Both directions."""
    tables = recurrent_s8.case_tables("sstst")
    for choose, steps, batch, units in layers(18):
        *parts, h0, weight, bias, multiplier = recurrent_s8.layer(steps, batch, units, 4)
        cell = samples.f32(batch, units, spread=2.0)
        rest = weight, bias, multiplier, tables, lstm_s8.RATIOS.tensor(), choose.random() < 0.5
        yield Case(f"{steps}x{batch}x{units}", (*parts, h0, cell, *rest))


SWEEPS = {
    "add_s8": add,
    "mul_s8": mul,
    "lut_s8": lut,
    "dequantize": dequantize,
    "softmax_s8": softmax,
    "layer_norm_s8": layer_norm,
    "rms_norm_s8": rms_norm,
    "l2_norm_s8": l2_norm,
    "group_norm_s8": group_norm,
    "sum_s8": sums,
    "avg_pool_s8": avg_pool,
    "max_pool_s8": max_pool,
    "gru_s8": gru,
    "lstm_s8": lstm,
}
