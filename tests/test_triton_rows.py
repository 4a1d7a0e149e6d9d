"""Triton kernels that are bound by memory: tiles in every direction, rows over many blocks, masks, the ends of int8."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from edgekit.ops import OPS, OpSpec, numerics, recurrent_s8, samples, softmax_s8
from edgekit.ops import avg_pool_s8 as averages
from edgekit.ops import gru_s8 as gru
from edgekit.ops import layer_norm_s8 as layers
from edgekit.ops import lstm_s8 as lstm
from edgekit.ops import sum_s8 as sums
from edgekit.ops.norm import MAX_VALUES
from edgekit.ops.spec import results

triton = pytest.importorskip("triton")
tl = pytest.importorskip("triton.language")

from edgekit.kernels import broadcast, rows  # noqa: E402
from edgekit.kernels.tiles import Config as ProductConfig  # noqa: E402

pytestmark = [
    pytest.mark.usefixtures("poisoned_empty"),
    pytest.mark.filterwarnings("ignore:(divide by zero|invalid value):RuntimeWarning"),  # numpy, of empty softmax rows
]

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
SPECS = {spec.name: spec for spec in OPS}
VALUES = ("add_s8", "mul_s8", "lut_s8", "dequantize")
POOLS = ("avg_pool_s8", "max_pool_s8")
ROWS = ("softmax_s8", "layer_norm_s8", "rms_norm_s8", "l2_norm_s8", "group_norm_s8")
RECURRENT = ("gru_s8", "lstm_s8")
EVERY = torch.arange(-128, 128).to(torch.int8)
PAIRS = EVERY.repeat_interleave(256), EVERY.repeat(256)
TABLE = numerics.softmax_table(torch.tensor([0.05]))


def assert_exact(name: str, *args: Any, config: Any = None) -> None:
    """The kernel, in this configuration, against the reference."""
    spec = SPECS[name]
    there = [arg.to(DEVICE) if isinstance(arg, Tensor) else arg for arg in args]
    got = getattr(import_module(f"edgekit.kernels.{name}"), name)(*there, out=spec.shape(*there), config=config)
    for one, want in zip(results(got), results(spec.reference(*args)), strict=True):
        assert (one.dtype, one.shape) == (want.dtype, want.shape)
        assert torch.equal(one.cpu(), want), f"{int((one.cpu() != want).sum())} of {want.numel()} differ"


def small(spec: OpSpec) -> list[tuple[Any, ...]]:
    """Arguments of the cases that take the interpreter a moment."""
    sized = ((case.args, sum(arg.numel() for arg in case.args if isinstance(arg, Tensor))) for case in spec.cases())
    return [args for args, size in sized if size < 2000]


@pytest.mark.parametrize("ratios", [(1.0, 1.0), (0.5, -0.5), (0.7310585975646973, 1.3), (2.0**-20, 2.0**20)])
def test_every_pair_is_added_exactly(ratios: tuple[float, float]) -> None:
    assert_exact("add_s8", *PAIRS, *ratios, config=broadcast.Config(1, 1 << 16, 4))


@pytest.mark.parametrize("multiplier", [1.0, 0.5, 1 / 127, 2.0**-24])
def test_every_pair_is_multiplied_exactly(multiplier: float) -> None:
    assert_exact("mul_s8", *PAIRS, multiplier, config=broadcast.Config(1, 1 << 16, 4))


@pytest.mark.parametrize("name", [*VALUES, *POOLS])
@pytest.mark.parametrize("tile", [(2, 8), (8, 1)])
def test_many_tiles_in_both_directions(name: str, tile: tuple[int, int]) -> None:
    for args in (args for args in small(SPECS[name]) if SPECS[name].shape(*args).numel() < 70):
        assert_exact(name, *args, config=broadcast.Config(*tile, 1))


@pytest.mark.parametrize("name", ROWS)
@pytest.mark.parametrize("tile", [(1, 8), (4, 16)])
def test_rows_longer_than_a_block(name: str, tile: tuple[int, int]) -> None:
    for args in (args for args in small(SPECS[name]) if args[0].numel() < 150):
        assert_exact(name, *args, config=rows.Config(*tile, 1))


@pytest.mark.parametrize("length", [1, 7, 8, 9, 16, 100])
def test_masks_over_several_blocks(length: int) -> None:
    """Whole rows masked, whole blocks masked, and values that are larger than all that take part."""
    x = samples.s8(6, length)
    mask = samples.s8(6, length, seed=1) > 0
    mask[1], mask[2], mask[3, :8], mask[4, 8:] = False, True, False, False
    x[5].masked_fill_(~mask[5], 127)
    assert_exact("softmax_s8", x, TABLE, 1 / 127, mask, config=rows.Config(4, 8, 1))
    assert not softmax_s8.reference(x, TABLE, 1 / 127, mask)[1].any()


def test_masks_of_more_dimensions_than_a_kernel_walks() -> None:
    """Every second dimension broadcast: nothing can be joined, so the mask is copied."""
    shape = (2, 3, 2, 3, 2, 5)
    mask = samples.s8(2, 1, 2, 1, 2, 5) > -40
    assert len(broadcast.collapse(shape, mask.expand(shape).stride()).sizes) > broadcast.RANK
    assert_exact("softmax_s8", samples.s8(*shape), TABLE, 1 / 127, mask)


def test_operands_of_more_dimensions_than_a_kernel_walks() -> None:
    a, b = samples.s8(2, 1, 3, 1, 2, 1, 2, 1), samples.s8(1, 2, 1, 2, 1, 3, 1, 2)
    assert_exact("add_s8", a, b, 0.5, 0.75)
    assert_exact("mul_s8", a, b, 0.01)
    assert_exact("sum_s8", samples.s8(2, 2, 3, 2, 2, 3, 2, 2, seed=1), [0, 2, 4, 6], False, False, 0.1, 0.9)
    assert_exact("sum_s8", samples.s8(2, 2, 3, 2, 2, 3, 2, 2).transpose(1, 6), [1, 3, 5, 7], True, True, 0.1, 0.1)


def test_layouts_join_what_is_walked_with_one_step() -> None:
    assert broadcast.collapse((2, 3, 4), (12, 4, 1), (12, 4, 1)).sizes == (1, 1, 1, 24)
    gate = broadcast.collapse((2, 5, 4, 3), (60, 12, 3, 1), (5, 1, 0, 0))
    assert (gate.sizes, gate.strides) == ((1, 1, 10, 12), ((0, 0, 12, 1), (0, 0, 1, 0)))
    assert broadcast.collapse((3, 4), (1, 3), (4, 1)).sizes == (1, 1, 3, 4)
    assert broadcast.collapse((), (), ()).sizes == (1, 1, 1, 1)


@pytest.mark.parametrize("tile", [(1, 8), (8, 4), (4, 1)])
def test_sums_in_many_tiles(tile: tuple[int, int]) -> None:
    from edgekit.kernels import sum_s8 as kernels

    x = samples.s8(2, 3, 2, 5)
    for dim in ([], [1], [-1], [0, 2], [1, 2, 3]):
        assert_exact("sum_s8", x, dim, False, True, 0.03, 0.04, config=kernels.Config(*tile, 1))


@pytest.mark.slow
def test_the_longest_sums_of_extremes() -> None:
    """Of -128 the sum is 128 above the least int32."""
    from edgekit.kernels import sum_s8 as kernels

    x = torch.full((sums.MOST - 1,), -128, dtype=torch.int8)
    assert_exact("sum_s8", x, [0], False, False, 2.0**-24, 1.0, config=kernels.Config(1, 1 << 19, 4))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["layer_norm_s8", "rms_norm_s8", "l2_norm_s8", "softmax_s8"])
def test_the_longest_rows_of_extremes(name: str) -> None:
    """The largest variance that int64 must hold, in the widest blocks whose squares int32 holds."""
    x = torch.full((1, MAX_VALUES), -128, dtype=torch.int8)
    x[:, ::2] = 127
    gain, offset = layers.weights(MAX_VALUES)
    rest: dict[str, tuple[Any, ...]] = {
        "layer_norm_s8": (gain, offset, 0.05, 1e-5),
        "rms_norm_s8": (gain, 0.05, 1e-5),
        "l2_norm_s8": (0.05, 1e-6, 1e-12),
        "softmax_s8": (numerics.softmax_table(torch.tensor([1e-3])), 1e-9),
    }
    assert_exact(name, x, *rest[name], config=rows.Config(1, 1 << 16, 4))


@triton.jit  # type: ignore[misc]
def factor_kernel(variance, out, length, scale, eps, block: tl.constexpr):  # type: ignore[no-untyped-def]
    """The factors of ``block`` sets."""
    at = tl.arange(0, block).to(tl.int64)
    tl.store(out + at, rows.factor(tl.load(variance + at), length, scale, eps))


def factors(variance: Tensor, length: int, scale: float, eps: float) -> Tensor:
    """What a kernel should compute, by numpy."""
    n, v = np.float64(length), variance.numpy().astype(np.float64)
    with np.errstate(over="ignore"):
        return torch.from_numpy((np.float64(scale) / np.sqrt(scale * scale * v / (n * n) + eps) / n).astype(np.float32))


@pytest.mark.parametrize("scale", [2.0**-100, 1e-5, 0.05, 3e38])
@pytest.mark.parametrize("length", [1, 7, 1000])
def test_factors_are_those_of_float64(scale: float, length: int) -> None:
    variance = torch.arange(1, 1025) ** 2 * length
    want = factors(variance, length, scale, 1e-5)
    got = torch.empty(1024, device=DEVICE)
    numbers = length, rows.bits(scale), rows.bits(1e-5)
    factor_kernel[(1,)](variance.to(DEVICE), got, *numbers, block=1024, enable_fp_fusion=False)
    assert torch.equal(got.cpu(), want)


def test_an_eps_that_passed_through_float32_would_show() -> None:
    variance, single = torch.arange(1, 1025) ** 2, float(torch.tensor(1e-5))
    assert not torch.equal(factors(variance, 1, 1e-5, 1e-5), factors(variance, 1, 1e-5, single))


def test_float64_scalars_arrive_whole() -> None:
    for value in (0.0, 1e-5, 0.1, 5e-324, 1.7976931348623157e308):
        assert torch.tensor(rows.bits(value)).view(torch.float64).item() == value


@pytest.mark.parametrize("reverse", [False, True])
def test_recurrent_layers_in_many_tiles(reverse: bool) -> None:
    config = ProductConfig(16, 16, 32, 4, 1)
    args = *recurrent_s8.layer(2, 17, 33, 3), recurrent_s8.case_tables("sstm"), gru.RATIOS.tensor(), reverse
    assert_exact("gru_s8", *args, config=config)
    *parts, h0, weight, bias, multiplier = recurrent_s8.layer(2, 17, 33, 4)
    rest = weight, bias, multiplier, recurrent_s8.case_tables("sstst"), lstm.RATIOS.tensor(), reverse
    assert_exact("lstm_s8", *parts, h0, samples.f32(17, 33, spread=2.0), *rest, config=config)


def test_windows_of_more_values_than_a_tile() -> None:
    assert_exact("avg_pool_s8", *averages.case("", (1, 2, 13, 11), (13, 11), (1, 1)).args)
    assert_exact("max_pool_s8", samples.s8(1, 2, 13, 11), (11, 9), (1, 1), (5, 4), (1, 1), False)


def test_groups_whose_channels_are_longer_than_a_block() -> None:
    case = samples.s8(2, 6, 37), 3, *layers.weights(6), 0.05, 1e-5
    assert_exact("group_norm_s8", *case, config=rows.Config(2, 8, 1))


@pytest.mark.parametrize("name", [*VALUES, *POOLS, *ROWS, "sum_s8", *RECURRENT])
def test_plans_need_no_values(name: str) -> None:
    """So they can be made of tensors on the "meta" device, ahead of time."""
    plan: Callable[..., Any] = import_module(f"edgekit.kernels.{name}").plan
    for case in SPECS[name].cases():
        args = [arg.to("meta").contiguous() if isinstance(arg, Tensor) else arg for arg in case.args]
        out = SPECS[name].shape(*args)
        launches = plan(*args, out=out, capability=(8, 7))
        assert bool(launches) == any(one.numel() for one in results(out)), case.name
        for launch in launches:
            assert [*launch.arguments, *launch.constants] == list(launch.kernel.arg_names)


@pytest.mark.parametrize("capability", [(0, 0), (7, 2), (8, 7), (9, 0), (11, 0), (12, 0)])
def test_heuristics_give_tiles_that_int32_and_registers_hold(capability: tuple[int, int]) -> None:
    for count in (1, 3, 64, 1000, 1 << 20):
        for length in (1, 3, 64, 1000, 1 << 20):
            for config in (broadcast.heuristic(count, length, capability), rows.heuristic(count, length, capability)):
                assert all(value & (value - 1) == 0 for value in (config.rows, config.columns, config.warps))
                assert 1 <= config.rows * config.columns <= 2048
                assert config.rows * config.columns <= 32 * 16 * config.warps
