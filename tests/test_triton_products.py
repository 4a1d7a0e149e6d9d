"""Triton kernels of the products beyond their operators: what follows a product, split reductions, every configuration.

Interpreted where there is no GPU.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from edgekit.ops import attention_s8, conv2d_s8, epilogue, linear_dynamic, linear_s8, matmul_s8, samples
from edgekit.ops.epilogue import Epilogue

pytest.importorskip("triton")
pytestmark = pytest.mark.usefixtures("poisoned_empty")

from edgekit.kernels import attention_s8 as attention_kernels  # noqa: E402  # after the skip: it imports triton
from edgekit.kernels import conv2d_s8 as conv_kernels  # noqa: E402
from edgekit.kernels import depthwise, tiles  # noqa: E402
from edgekit.kernels import linear_dynamic as dynamic_kernels  # noqa: E402
from edgekit.kernels import linear_s8 as linear_kernels  # noqa: E402
from edgekit.kernels import matmul_s8 as matmul_kernels  # noqa: E402
from edgekit.kernels.launch import run  # noqa: E402
from edgekit.kernels.tiles import Config  # noqa: E402

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
CAPABILITIES = ((7, 2), (7, 5), (8, 0), (8, 6), (8, 7), (8, 9), (9, 0), (10, 0), (11, 0), (12, 0))
SMALL = Config(16, 16, 32, 4, 1, group=2)


def there(*args: Any) -> list[Any]:
    """Arguments on the device."""
    return [arg.to(DEVICE) if isinstance(arg, Tensor) else arg for arg in args]


def assert_same(got: Tensor, want: Tensor) -> None:
    assert (got.dtype, got.shape) == (want.dtype, want.shape)
    assert torch.equal(got.cpu(), want), f"{int((got.cpu() != want).sum())} of {want.numel()} differ"


@pytest.mark.parametrize("splits", [1, 3])
def test_what_follows_a_linear_layer(splits: int) -> None:
    for each in epilogue.cases(linear_s8.case("", (19,), 133, 35, -90, 90), (19, 35)):
        got = linear_kernels.linear_s8(*there(*each.args), config=replace(SMALL, splits=splits))
        assert_same(got, linear_s8.reference(*each.args))


@pytest.mark.parametrize("groups", [1, 6])
def test_what_follows_a_convolution(groups: int) -> None:
    """A residual is read by strides of its own."""
    product = conv2d_s8.case("", (2, 6, 5, 4), 12, padding=(1, 1), groups=groups, bounds=(-90, 90))
    for each in epilogue.cases(product, (2, 12, 5, 4)):
        *args, residual = each.args[: len(product.args) + 1]
        if residual is not None:
            residual = residual.contiguous(memory_format=torch.channels_last)
        got = conv_kernels.conv2d_s8(*there(*args, residual, *each.args[len(product.args) + 1 :]))
        assert_same(got, conv2d_s8.reference(*each.args))


def test_the_order_of_an_addition_shows() -> None:
    """The product of one side is rounded before the sum, that of the other is not; it tips some ties."""
    values = torch.arange(-128, 128).to(torch.int8)
    y, residual = values.repeat_interleave(256), values.repeat(256)
    first = Epilogue(residual, ratio=0.1, residual_ratio=0.7, residual_first=True)
    assert not torch.equal(first.of(y), first._replace(residual_first=False).of(y))


@pytest.mark.parametrize("fan_in", [1, 31, 32, 96, 127, 128, 129, 300])
@pytest.mark.parametrize("splits", [2, 3, 64])
def test_a_split_reduction(fan_in: int, splits: int) -> None:
    """Parts that are even, that hang over, and more parts than there are steps."""
    args = linear_s8.case("", (5,), fan_in, 21).args
    config = replace(SMALL, splits=splits)
    assert_same(linear_kernels.linear_s8(*there(*args), config=config), linear_s8.reference(*args))


def test_parts_of_extremes_add_up() -> None:
    """Each part, and the sum of all, at the ends of int32, and a bias that wraps it."""
    x, weight, _, multiplier = linear_s8.worst(-128, -128, fan_in=4096).args
    args = x, weight, torch.tensor([2**31 - 1, -(2**31), 7], dtype=torch.int32), multiplier
    config = Config(16, 16, 512, 4, 1, splits=5)
    assert_same(linear_kernels.linear_s8(*there(*args), config=config), linear_s8.reference(*args))


def test_a_few_rows_are_split_and_many_are_not() -> None:
    assert linear_kernels.heuristic(1, 4096, 1024, (9, 0)).splits > 1
    assert linear_kernels.heuristic(4096, 4096, 4096, (9, 0)).splits == 1
    assert linear_kernels.heuristic(1, 64, 1024, (9, 0)).splits == 1


@pytest.mark.parametrize("tile", tiles._TILES, ids=str)
@pytest.mark.parametrize("depth", [32, 64, 128])
def test_every_tile_of_the_heuristic(tile: tuple[int, int, int], depth: int) -> None:
    """A whole tile and tails beside it, even and uneven depths; configurations of layers end in one of these."""
    rows, columns, warps = tile
    config = Config(rows, columns, depth, warps, tiles.stages(rows + columns, depth, (8, 7)), group=1)
    for fan_in in (depth, depth + 1):
        args = linear_s8.case("", (rows + 1,), fan_in, columns + 1).args
        assert_same(linear_kernels.linear_s8(*there(*args), config=config), linear_s8.reference(*args))


@pytest.mark.parametrize("capability", CAPABILITIES, ids=str)
def test_configurations_fit_the_device(capability: tuple[int, int]) -> None:
    """Shared memory holds the loads in flight: 99 KiB a block on the smallest devices, 160 at least on the others."""
    room = 1024 * (99 if capability in ((8, 6), (8, 9), (12, 0)) else 227 if capability == (9, 0) else 160)
    for rows in (1, 16, 49, 3136, 1 << 20):
        for columns in (1, 64, 1000, 1 << 14):
            for depth in (1, 27, 64, 576, 1 << 14):
                config = linear_kernels.heuristic(rows, depth, columns, capability)
                assert config.stages * (config.rows + config.columns) * config.depth <= room
                assert (config.rows, config.columns, config.warps) in tiles._TILES
                assert config.columns <= 128 or capability == (9, 0), "sums of 256 columns spill without wgmma"
                assert config.stages == 1 or capability >= (8, 0)


@pytest.mark.parametrize("group", [1, 2, 8])
@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (3, 2), (5, 3)])
def test_tiles_are_walked_once_each(group: int, rows: int, columns: int) -> None:
    args = linear_s8.case("", (rows * 16,), 8, columns * 16).args
    config = replace(SMALL, group=group)
    assert_same(linear_kernels.linear_s8(*there(*args), config=config), linear_s8.reference(*args))


@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format], ids=str)
@pytest.mark.parametrize(("channels", "kernel"), [(3, 7), (32, 3), (40, 3), (64, 1), (96, 2)])
def test_steps_of_a_convolution(layout: torch.memory_format, channels: int, kernel: int) -> None:
    """Steps over several taps, over some channels of one tap, even and not; the result lies as the input does."""
    args = conv2d_s8.case("", (1, channels, 6, 5), 5, (kernel, kernel), padding=(1, 1)).args
    want = conv2d_s8.reference(*args)
    x = args[0].contiguous(memory_format=layout)
    for config in (SMALL, Config(32, 16, 64, 4, 1)):
        got = conv_kernels.conv2d_s8(*there(x, *args[1:]), config=config)
        assert_same(got, want)
        assert got.is_contiguous(memory_format=layout)


def test_both_kernels_of_a_depthwise_layer_agree() -> None:
    args = conv2d_s8.case("", (2, 3, 5, 4), 6, (3, 2), (2, 1), (1, 1), groups=3).args
    want = conv2d_s8.reference(*args)
    for config in (None, SMALL, depthwise.Config(16, 4, 4), depthwise.Config(64, 1, 4)):
        assert_same(conv_kernels.conv2d_s8(*there(*args), config=config), want)


def test_a_plan_reads_the_weight_as_it_lies() -> None:
    """Ahead of time nobody copies it: both layouts of a weight are read where they are."""
    args = there(*conv2d_s8.case("", (1, 5, 6, 5), 4, (2, 3)).args)
    for layout in (torch.channels_last, torch.contiguous_format):
        out = torch.empty(1, 4, 5, 3, dtype=torch.int8, device=DEVICE)
        run(conv_kernels.plan(args[0], args[1].contiguous(memory_format=layout), *args[2:], out=out))
        assert_same(out, conv2d_s8.reference(*(arg.cpu() if isinstance(arg, Tensor) else arg for arg in args)))


def test_images_of_any_strides() -> None:
    args = conv2d_s8.case("", (2, 6, 9, 8), 4, padding=(1, 1)).args
    x = args[0].permute(2, 0, 3, 1).contiguous().permute(1, 3, 0, 2)  # rows outermost
    out = torch.empty(4, 2, 9, 8, dtype=torch.int8, device=DEVICE).transpose(0, 1)
    assert_same(conv_kernels.conv2d_s8(*there(x, *args[1:]), out=out), conv2d_s8.reference(*args))


def test_more_batch_dimensions_than_a_kernel_walks() -> None:
    a, b = samples.s8(2, 1, 2, 1, 2, 1, 3, 4), samples.s8(1, 2, 1, 2, 1, 2, 4, 3, seed=1)
    got = matmul_kernels.matmul_s8(*there(a, b), 0.01)
    assert_same(got, matmul_s8.reference(a, b, 0.01))


@pytest.mark.parametrize("keys", [31, 32, 33, 70])
@pytest.mark.parametrize("masked", [False, True])
def test_attention_in_one_step_and_in_several(keys: int, masked: bool) -> None:
    mask = samples.s8(19, keys) > 0 if masked else None
    args = attention_s8.case("", (2,), 19, keys, 33, 17, mask).args
    want = attention_s8.reference(*args)
    for config in (None, attention_kernels.Config(16, 32, 16, 4, 1), attention_kernels.Config(32, 64, 32, 4, 1)):
        assert_same(attention_kernels.attention_s8(*there(*args), config=config), want)


def test_a_head_too_deep_for_one_program() -> None:
    args = attention_s8.case("", (2, 3), 4, 5, 300, 7, torch.ones(4, 5, dtype=torch.bool).tril()).args
    assert_same(attention_kernels.attention_s8(*there(*args)), attention_s8.reference(*args))


def test_weights_beyond_int32_in_their_sum() -> None:
    """Two entries of 2^30 are more than an int32 sum holds."""
    q, k, v, ratio, _, scale, multiplier, _ = attention_s8.case("", (), 3, 9, 8, 4).args
    table = torch.full((256,), 2**30, dtype=torch.int32)
    args = q, k, v, ratio, table, scale, multiplier
    assert_same(attention_kernels.attention_s8(*there(*args)), attention_s8.reference(*args))


@pytest.mark.parametrize("fan_in", [1, 32, 33, 4097])
def test_rows_quantised_in_one_pass_and_in_several(fan_in: int) -> None:
    args = linear_dynamic.case("", (3,), fan_in, 5).args
    assert_same(dynamic_kernels.linear_dynamic(*there(*args)), linear_dynamic.reference(*args))


def test_a_plan_needs_no_device() -> None:
    """Descriptions of tensors without memory, workspaces included, are those of a real call."""

    def meta(args: tuple[object, ...]) -> list[object]:
        return [arg.to("meta") if isinstance(arg, Tensor) else arg for arg in args]

    args = linear_s8.case("", (4,), 4096, 24).args
    out = torch.empty(4, 24, dtype=torch.int8, device="meta")
    launches = linear_kernels.plan(*meta(args), out=out, capability=(9, 0))
    first, second = launches
    parts = first.arguments["parts"]
    assert isinstance(parts, Tensor)
    assert parts is second.arguments["parts"]
    assert (parts.dtype, parts.shape) == (torch.int32, (second.constants["splits"], 4, 24))
    image = conv2d_s8.case("", (1, 8, 6, 6), 4).args
    small = torch.empty(1, 4, 4, 4, dtype=torch.int8, device="meta")
    assert len(conv_kernels.plan(*meta(image), out=small, capability=(8, 7))) == 1
    assert (
        len(dynamic_kernels.plan(*meta(linear_dynamic.case("", (4,), 8, 3).args), out=torch.empty(4, 3, device="meta")))
        == 2
    )
