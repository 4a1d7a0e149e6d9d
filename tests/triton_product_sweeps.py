"""Two hundred shapes for each Triton kernel of the products: every tail length, strides, groups, masks."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

import torch
from torch import Tensor
from triton_sizes import sizes

from edgekit.ops import attention_s8, conv2d_s8, conv_transpose2d_s8, linear_dynamic, samples
from edgekit.ops.spec import Case


def matmul() -> Iterator[Case]:
    """Matrices alone and in batches that broadcast, a third of each operand transposed."""
    choose = random.Random(6)
    batches: list[tuple[tuple[int, ...], tuple[int, ...]]] = [((), ()), ((2,), ()), ((2, 1), (1, 2)), ((), (2,))]
    for rows, depth, columns in sizes(3, choose):
        a_batch, b_batch = choose.choice(batches)
        a = transposed(choose, a_batch, rows, depth, seed=0)
        b = transposed(choose, b_batch, depth, columns, seed=1)
        bounds = choose.choice([-128, -3]), choose.choice([127, 60])
        yield Case(f"{tuple(a.shape)} @ {tuple(b.shape)}, {a.stride()}, {b.stride()}", (a, b, 0.002, *bounds))


def transposed(choose: random.Random, batch: tuple[int, ...], rows: int, columns: int, seed: int) -> Tensor:
    """A matrix of this size, whose columns lie together one time in three."""
    if choose.randrange(3):
        return samples.s8(*batch, rows, columns, seed=seed)
    return samples.s8(*batch, columns, rows, seed=seed).transpose(-2, -1)


def convolution() -> Iterator[Case]:
    """Windows, strides, paddings and dilations; dense, grouped and depthwise; both memory layouts; or no image."""
    choose = random.Random(7)
    for channels, filters, height in sizes(3, choose):
        depthwise = choose.randrange(3) == 0
        groups = 1 + channels % 7 if depthwise else choose.choice([1, 1, 2, 3])
        each, out = (1, choose.choice([1, 1, 2])) if depthwise else (1 + channels % 37, 1 + filters % 37)
        kernel, dilation = (choose.randint(1, 3), choose.randint(1, 3)), (choose.randint(1, 2), choose.randint(1, 2))
        padding = choose.choice([(0, 0), (choose.randint(0, 2), choose.randint(0, 2))])
        reach = [d * (k - 1) + 1 - 2 * p for d, k, p in zip(dilation, kernel, padding, strict=True)]
        size = [max(1, least) + more for least, more in zip(reach, (height % 5, choose.randrange(5)), strict=True)]
        image = choose.choice([0, 1, 1, 2]), groups * each, size[0], size[1]
        stride, bounds = (choose.randint(1, 2), choose.randint(1, 3)), choose.choice([(-128, 127), (0, 60)])
        case = conv2d_s8.case("", image, groups * out, kernel, stride, padding, dilation, groups, bounds)
        x, layout = case.args[0], choose.choice([torch.channels_last, torch.contiguous_format])
        name = f"{image} to {groups * out} {kernel} {stride} {padding} {dilation} groups {groups} {layout}"
        yield Case(name, (x.contiguous(memory_format=layout), *case.args[1:]))


def transposed_convolution() -> Iterator[Case]:
    """Windows, strides, paddings of both kinds, dilations, groups; both memory layouts."""
    choose = random.Random(10)
    for channels, filters, height in sizes(3, choose):
        groups, each, out = choose.choice([1, 1, 2, 3]), 1 + channels % 37, 1 + filters % 37
        kernel, stride, dilation = ((choose.randint(1, 4), choose.randint(1, 4)) for _ in range(3))
        reach = [d * (k - 1) + 1 for d, k in zip(dilation, kernel, strict=True)]
        padding = tuple(choose.randint(0, (least - 1) // 2) for least in reach)
        more = tuple(choose.randint(0, max(s, d) - 1) for s, d in zip(stride, dilation, strict=True))
        image = choose.choice([0, 1, 1, 2]), groups * each, 1 + height % 5, choose.randint(1, 5)
        geometry = kernel, stride, padding, more, groups, dilation
        case = conv_transpose2d_s8.case("", image, groups * out, *geometry, choose.choice([(-128, 127), (0, 60)]))
        x, layout = case.args[0], choose.choice([torch.channels_last, torch.contiguous_format])
        yield Case(
            f"{image} to {groups * out} {geometry} {layout}", (x.contiguous(memory_format=layout), *case.args[1:])
        )


def attention() -> Iterator[Case]:
    """Queries, keys, depth and values; masks of whole rows, of single keys, and none; at times shared keys."""
    choose = random.Random(8)
    for queries, keys, depth, values in sizes(4, choose):
        keys, batch = keys or 1, choose.choice([(), (2,), (1, 2)])
        mask = choose.choice([None, samples.s8(queries, keys) > 60, samples.s8(queries, 1) > 0, samples.s8(keys) > 0])
        scale = choose.choice([1e-3, 0.05, 3.0])
        case = attention_s8.case("", batch, queries, keys, depth, values, mask, scale)
        q, k, v, *rest = case.args
        k = k[0] if batch and choose.randrange(2) else k
        yield Case(f"{tuple(q.shape)} {tuple(k.shape)} {values} at {scale}, {mask is not None}", (q, k, v, *rest))


def dynamic() -> Iterator[Case]:
    """Rows, fan-in, features; half without a bias."""
    choose = random.Random(9)
    for rows, fan_in, features in sizes(3, choose):
        yield linear_dynamic.case(f"{rows}x{fan_in}x{features}", (rows,), fan_in or 1, features, choose.random() < 0.5)


SWEEPS: dict[str, Callable[[], Iterator[Case]]] = {
    "matmul_s8": matmul,
    "conv2d_s8": convolution,
    "conv_transpose2d_s8": transposed_convolution,
    "attention_s8": attention,
    "linear_dynamic": dynamic,
}
