"""Every operator on every tier: equal to its reference by the byte, and to oracles written by others."""

from __future__ import annotations

import subprocess
import sys
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from edgekit.errors import MissingDependency, NumericsError, UsageError
from edgekit.ops import OPS, OpSpec, add_s8, conv2d_s8, conv_transpose2d_s8, dispatch, linear_s8, numerics, samples
from edgekit.ops.spec import Result, results

pytestmark = pytest.mark.usefixtures("poisoned_empty")

BY_NAME = {spec.name: spec for spec in OPS}
NATIVE = [(spec, tier) for spec in OPS for tier in spec.tiers if tier != "triton"]
modest = settings(deadline=None, max_examples=60)


def call(name: str, *args: Any, tier: str = "ref") -> Tensor:
    with dispatch.force(tier):
        result: Tensor = getattr(torch.ops.edgekit, name)(*args)
    return result


def assert_same(got: Result, want: Result, what: str = "") -> None:
    for one, other in zip(results(got), results(want), strict=True):
        assert (one.dtype, one.shape) == (other.dtype, other.shape), what
        np.testing.assert_array_equal(one.numpy(), other.numpy(), err_msg=what)


def check_tiers(name: str, *args: Any) -> None:
    """Every tier that this machine runs agrees with the reference."""
    want = BY_NAME[name].reference(*args)
    for tier in dispatch.available(BY_NAME[name]):
        if tier != "triton":
            assert_same(call(name, *args, tier=tier), want, f"{name} {tier}")


@pytest.mark.parametrize(("spec", "tier"), NATIVE, ids=lambda value: getattr(value, "name", value))
def test_cases_are_equal_by_the_byte(spec: OpSpec, tier: str) -> None:
    if tier not in dispatch.available(spec):
        pytest.skip(f"this machine does not run {tier}")
    for case in spec.cases():
        assert_same(call(spec.name, *case.args, tier=tier), spec.reference(*case.args), case.name)


@pytest.mark.parametrize("spec", OPS, ids=lambda spec: spec.name)
def test_shape_functions_tell_shape_dtype_and_strides(spec: OpSpec) -> None:
    for case in spec.cases():
        result = call(spec.name, *case.args)
        meta = call(spec.name, *(arg.to("meta") if isinstance(arg, Tensor) else arg for arg in case.args))
        for told, real in zip(results(meta), results(result), strict=True):
            assert (told.shape, told.dtype, told.stride()) == (real.shape, real.dtype, real.stride()), case.name
            assert real.is_contiguous() or real.is_contiguous(memory_format=torch.channels_last), case.name


@pytest.mark.parametrize("spec", OPS, ids=lambda spec: spec.name)
def test_opcheck(spec: OpSpec) -> None:
    small = [case for case in spec.cases() if sum(arg.numel() for arg in case.args if isinstance(arg, Tensor)) < 300]
    for case in small[:4]:
        torch.library.opcheck(getattr(torch.ops.edgekit, spec.name).default, case.args)


def test_opcheck_of_a_gradient() -> None:
    x = samples.f32(4, 5).requires_grad_()
    torch.library.opcheck(torch.ops.edgekit.fake_quantize.default, (x, samples.positive(4, middle=0.02), 0, -127, 127))


def test_the_batch_stays_a_symbol_in_export() -> None:
    class Net(torch.nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            q = torch.ops.edgekit.quantize_s8(x, torch.tensor([0.1]))
            y = torch.ops.edgekit.conv2d_s8(q, *layer[1:])
            y = torch.ops.edgekit.add_s8(y, y, 0.5, 0.5)
            y = torch.ops.edgekit.max_pool_s8(y, [2, 2], [2, 2], [0, 0], [1, 1], False)
            return torch.ops.edgekit.linear_s8(y.flatten(1), weight, bias, multiplier)

    layer = conv2d_s8.case("", (1, 3, 8, 8), 4, padding=(1, 1)).args
    weight, bias, multiplier = samples.s8(5, 64), samples.s32(5), samples.positive(5, middle=1e-3)
    batch = torch.export.Dim("batch", min=1, max=64)
    exported = torch.export.export(Net(), (samples.f32(2, 3, 8, 8),), dynamic_shapes=({0: batch},))
    x = samples.f32(7, 3, 8, 8)
    assert_same(exported.module()(x), Net()(x))


def test_a_length_without_a_bound_stays_a_symbol_in_export() -> None:
    """Limits of what int32 holds are checked when the length is known, and do not bound what may be exported."""

    class Net(torch.nn.Module):
        def forward(self, x: Tensor, gain: Tensor) -> Tensor:
            scores = torch.ops.edgekit.matmul_s8(x, x.transpose(1, 2), 2.0**-9)
            y = torch.ops.edgekit.matmul_s8(scores, x, 2.0**-9)
            y = torch.ops.edgekit.add_s8(torch.ops.edgekit.mul_s8(y, gain, 2.0**-6), x, 0.5, 0.5)
            ones = torch.ones(8)
            y = torch.ops.edgekit.group_norm_s8(y.transpose(1, 2), 2, ones * 40, ones, 0.1, 1e-5).transpose(1, 2)
            return torch.ops.edgekit.sum_s8(y, [1], False, True, 0.1, 0.05)

    batch, length, gain = torch.export.Dim("batch"), torch.export.Dim("length"), samples.s8(8, seed=1)
    exported = torch.export.export(Net(), (samples.s8(2, 9, 8), gain), dynamic_shapes=({0: batch, 1: length}, None))
    x = samples.s8(3, 31, 8)
    assert_same(exported.module()(x, gain), Net()(x, gain))


@modest
@given(st.integers(0, 9), st.integers(0, 70), st.integers(0, 40), st.integers(-128, 127), st.integers(0, 255))
def test_linear(rows: int, fan_in: int, features: int, lo: int, span: int) -> None:
    case = linear_s8.case("", (rows,), fan_in, features, lo, min(lo + span, 127))
    check_tiers("linear_s8", *case.args)


@st.composite
def convolutions(draw: st.DrawFn) -> tuple[Any, ...]:
    groups = draw(st.sampled_from([1, 1, 2, 3, 5]))
    kernel = draw(st.tuples(st.integers(1, 4), st.integers(1, 4)))
    stride = draw(st.tuples(st.integers(1, 3), st.integers(1, 3)))
    dilation = draw(st.tuples(st.integers(1, 3), st.integers(1, 3)))
    padding = draw(st.tuples(st.integers(0, 4), st.integers(0, 4)))
    least = [max(1, d * (k - 1) + 1 - 2 * p) for k, d, p in zip(kernel, dilation, padding, strict=True)]
    image = (draw(st.integers(0, 2)), groups * draw(st.integers(1, 4)), *(n + draw(st.integers(0, 7)) for n in least))
    filters = groups * draw(st.integers(1, 4))
    bounds = draw(st.sampled_from([(-128, 127), (0, 127), (0, 90)]))
    return conv2d_s8.case("", image, filters, kernel, stride, padding, dilation, groups, bounds).args


@settings(deadline=None, max_examples=150)
@given(convolutions(), st.booleans())
def test_conv2d(args: tuple[Any, ...], channels_last: bool) -> None:
    x = args[0].contiguous(memory_format=torch.channels_last) if channels_last else args[0]
    check_tiers("conv2d_s8", x, *args[1:])


@modest
@given(convolutions(), st.sampled_from([-128, 127]), st.sampled_from([-128, 127]))
def test_conv2d_of_extremes(args: tuple[Any, ...], x: int, weight: int) -> None:
    check_tiers("conv2d_s8", torch.full_like(args[0], x), torch.full_like(args[1], weight), *args[2:])


@modest
@given(convolutions())
def test_conv2d_is_torch_convolution_of_integers(args: tuple[Any, ...]) -> None:
    """With a unit multiplier and small values nothing is rounded: torch's own integer convolution is the answer."""
    x, weight = args[0] // 64, args[1] // 64
    exact = functional.conv2d(x.long(), weight.long(), args[2].long() // 512, *args[4:8])
    got = call("conv2d_s8", x, weight, args[2] // 512, torch.ones(len(weight)), *args[4:8])
    assert_same(got, exact.clamp(-128, 127).to(torch.int8))


@st.composite
def pools(draw: st.DrawFn) -> tuple[Tensor, list[int], list[int], list[int], bool]:
    kernel = [draw(st.integers(1, 5)) for _ in range(2)]
    stride = [draw(st.integers(1, 6)) for _ in range(2)]
    padding = [draw(st.integers(0, k // 2)) for k in kernel]
    size = [max(1, k - 2 * p) + draw(st.integers(0, 9)) for k, p in zip(kernel, padding, strict=True)]
    x = samples.s8(draw(st.integers(0, 2)), draw(st.integers(1, 3)), *size, seed=draw(st.integers(0, 99)))
    return x, kernel, stride, padding, draw(st.booleans())


@modest
@given(pools(), st.integers(1, 3), st.integers(1, 3))
def test_max_pool_is_torch_max_pool_of_integers(pool: Any, rows: int, columns: int) -> None:
    x, kernel, stride, padding, ceil_mode = pool
    x = functional.pad(x, [0, (columns - 1) * (kernel[1] - 1), 0, (rows - 1) * (kernel[0] - 1)], value=-9)
    args = (kernel, stride, padding, [rows, columns], ceil_mode)
    check_tiers("max_pool_s8", x, *args)
    want = functional.max_pool2d(x.float(), *args).clamp(min=-128).to(torch.int8)
    assert_same(call("max_pool_s8", x, *args), want)


@settings(deadline=None, max_examples=120)
@given(pools(), st.booleans(), st.sampled_from([None, 1, 3, 7]))
def test_avg_pool(pool: Any, count_include_pad: bool, divisor: int | None) -> None:
    """Also against torch's own average of doubles, which differs by half a step and one rounding at most."""
    x, kernel, stride, padding, ceil_mode = pool
    sx, sy = torch.tensor([0.03]), torch.tensor([0.02])
    multiplier = numerics.pool_multipliers(sx, sy, kernel[0] * kernel[1], divisor)
    check_tiers("avg_pool_s8", x, multiplier, kernel, stride, padding, ceil_mode, count_include_pad)
    mean = functional.avg_pool2d(x.double(), kernel, stride, padding, ceil_mode, count_include_pad, divisor)
    want = (mean * (sx.double() / sy.double())).clamp(-128, 127)
    got = call("avg_pool_s8", x, multiplier, kernel, stride, padding, ceil_mode, count_include_pad)
    assert got.shape == want.shape
    assert ((got - want).abs() <= 0.5 + 1e-4).all()  # float32 rounds |v| <= 160 three times: 3 * 160 * 2^-24 < 1e-4


def float32(value: Fraction) -> Fraction:
    """Round once to float32, half to even, in exact arithmetic; for normal numbers."""
    if value == 0:
        return value
    exponent = 0
    while abs(value) * Fraction(2) ** -exponent >= 2:
        exponent += 1
    while abs(value) * Fraction(2) ** -exponent < 1:
        exponent -= 1
    unit = Fraction(2) ** (exponent - 23)
    return round(value / unit) * unit


@st.composite
def pairs(draw: st.DrawFn) -> tuple[Tensor, Tensor]:
    """Two tensors that broadcast."""
    full = draw(st.lists(st.integers(0, 4), max_size=5))
    shapes = [[draw(st.sampled_from([1, size])) for size in full][draw(st.integers(0, len(full))) :] for _ in range(2)]
    return samples.s8(*shapes[0]), samples.s8(*shapes[1], seed=1)


@modest
@given(pairs(), st.integers(-128, 127), st.integers(0, 255))
def test_sums_and_products_broadcast_as_torch_does(pair: tuple[Tensor, Tensor], lo: int, span: int) -> None:
    a, b = pair
    check_tiers("add_s8", a, b, 0.75, -0.5, lo, min(lo + span, 127))
    check_tiers("mul_s8", a, b, 0.01, lo, min(lo + span, 127))
    exact = (a.long() * b.long()).clamp(-128, 127).to(torch.int8)
    assert_same(call("mul_s8", a, b, 1.0), exact)


@modest
@given(st.lists(st.integers(1, 3), max_size=3), st.integers(0, 9), st.integers(0, 40), st.integers(0, 9), st.data())
def test_matmul_is_torch_matmul_of_integers(batch: list[int], m: int, k: int, n: int, data: st.DataObject) -> None:
    other = [data.draw(st.sampled_from([1, size])) for size in batch]
    a, b = samples.s8(*batch, m, k) // 32, samples.s8(*other, k, n, seed=1) // 32
    check_tiers("matmul_s8", a, b, 0.01)
    assert_same(call("matmul_s8", a, b, 1.0), torch.matmul(a.long(), b.long()).clamp(-128, 127).to(torch.int8))


@modest
@given(st.lists(st.integers(1, 5), min_size=1, max_size=5), st.data(), st.booleans(), st.booleans())
def test_sums_over_axes(shape: list[int], data: st.DataObject, keepdim: bool, mean: bool) -> None:
    """Also against torch's own sums: a mean of doubles is half a step away at most."""
    dim = data.draw(st.lists(st.integers(0, len(shape) - 1), unique=True, min_size=1))
    x = samples.s8(*shape)
    check_tiers("sum_s8", x, dim, keepdim, mean, 0.03, 0.2)
    total = x.long().sum(dim, keepdim)
    assert_same(call("sum_s8", x, dim, keepdim, False, 1.0, 1.0), total.clamp(-128, 127).to(torch.int8))
    average = x.double().mean(dim, keepdim)
    assert ((call("sum_s8", x, dim, keepdim, True, 1.0, 1.0) - average).abs() <= 0.5 + 1e-4).all()


def test_a_sum_of_2_to_the_24_values_is_refused() -> None:
    for tier in ("reference", "ref"):
        with pytest.raises(NumericsError, match="16777216"):
            call("sum_s8", torch.zeros(2**24, dtype=torch.int8), [0], False, True, 1.0, 1.0, tier=tier)


@modest
@given(st.data(), st.sampled_from([1, 2, 3]))
def test_transposed_convolution_is_torchs_of_integers(data: st.DataObject, groups: int) -> None:
    def two(least: int, most: int) -> tuple[int, int]:
        return data.draw(st.integers(least, most)), data.draw(st.integers(least, most))

    kernel, stride, dilation = two(1, 3), two(1, 3), two(1, 2)
    more = [data.draw(st.integers(0, max(s, d) - 1)) for s, d in zip(stride, dilation, strict=True)]
    padding = [data.draw(st.integers(0, d * (k - 1) // 2)) for k, d in zip(kernel, dilation, strict=True)]
    image = (2, 2 * groups, *two(1, 5))
    args = conv_transpose2d_s8.case("", image, 3 * groups, kernel, stride, padding, more, groups, dilation).args
    check_tiers("conv_transpose2d_s8", *args)
    x, weight, bias = args[0] // 32, args[1] // 32, args[2] // 512
    exact = functional.conv_transpose2d(x.double(), weight.double(), bias.double(), *args[4:9])
    got = call("conv_transpose2d_s8", x, weight, bias, torch.ones(len(bias)), *args[4:9])
    assert_same(got, exact.clamp(-128, 127).to(torch.int8))


ratios = (
    st.floats(2.0**-20, 2.0**20, width=32) | st.floats(0.25, 4, width=32) | st.sampled_from([0.5, 1.0, 0.75, 1 / 8])
)


@settings(deadline=None, max_examples=300)
@given(st.integers(-128, 127), st.integers(-128, 127), ratios, ratios, st.booleans())
def test_add_is_one_product_and_one_fused_multiply_add(
    a: int, b: int, ratio_a: float, ratio_b: float, minus: bool
) -> None:
    """In fractions: the meaning of fma, with nothing shared with the reference."""
    ra, rb = (float(np.float32(ratio)) for ratio in (ratio_a, -ratio_b if minus else ratio_b))
    total = float32(a * Fraction(ra) + float32(b * Fraction(rb)))
    want = round(min(max(total, Fraction(-128)), Fraction(127)))
    tensors = torch.tensor([a], dtype=torch.int8), torch.tensor([b], dtype=torch.int8)
    for tier in ("reference", "ref"):
        assert int(call("add_s8", *tensors, ra, rb, tier=tier)) == want, tier


def test_two_rounded_products_would_be_wrong() -> None:
    """Values on which the fused rounding shows: a kernel that forgets it is caught."""
    a, b = next(add_s8.cases()).args[:2]
    differing = 0
    for x in torch.linspace(0.5, 1.5, 60):
        two_roundings = numerics.saturate(a.float() * x + b.float() * (2 - x), -128, 127)
        differing += int((two_roundings != call("add_s8", a, b, float(x), float(2 - x))).sum())
    assert differing > 0


@modest
@given(st.lists(st.integers(0, 6), max_size=4), st.integers(0, 99), st.data())
def test_pointwise_operators(shape: list[int], seed: int, data: st.DataObject) -> None:
    axis = data.draw(st.sampled_from([None, *range(-len(shape), len(shape))]))
    scale = samples.positive(1 if axis is None else shape[axis], seed=seed, middle=0.05)
    x = samples.f32(*shape, seed=seed, spread=4)
    x = x.transpose(0, -1) if axis is None and shape else x
    q = samples.s8(*x.shape)
    for name in ("quantize_s8", "fake_quantize"):
        check_tiers(name, x, scale, axis, -100, 100)
    check_tiers("dequantize", q, scale, axis)
    check_tiers("dequantize", q.to(torch.int32) * 9_999_991, scale, axis)
    check_tiers("lut_s8", q, samples.s8(256, seed=seed))


def test_fake_quantize_is_quantize_then_dequantize_with_a_straight_through_gradient() -> None:
    scale = torch.tensor([0.1])
    x = torch.tensor(
        [-1e9, -12.86, -12.84, -0.04, 0.0, 3.3, 12.74, 12.76, float("inf"), float("nan")], requires_grad=True
    )
    y = torch.ops.edgekit.fake_quantize(x, scale)
    assert_same(y.detach(), call("dequantize", call("quantize_s8", x.detach(), scale), scale))
    y.backward(torch.arange(1.0, 11.0))
    assert x.grad is not None
    assert x.grad.tolist() == [0, 0, 3, 4, 5, 6, 7, 0, 0, 0]


@pytest.mark.parametrize("x", [-128, 127])
def test_the_longest_reduction_is_exact_and_a_longer_one_is_refused(x: int) -> None:
    row = torch.full((1, 131_072), x, dtype=torch.int8)
    rest = torch.zeros(1, dtype=torch.int32), torch.tensor([2.0**-24])
    for tier in ("reference", "ref"):
        exact = round(float(np.float32(131_071 * x * x)) * 2.0**-24)
        assert int(call("linear_s8", row[:, 1:], row[:, 1:], *rest, tier=tier)) == min(exact, 127)
        with pytest.raises(NumericsError, match="131072"):
            call("linear_s8", row, row, *rest, tier=tier)
    image = row.view(1, 2, 256, 256)
    with pytest.raises(NumericsError, match="131072"):
        call("conv2d_s8", image, image, *rest, [1, 1], [0, 0], [1, 1], 1)


I8, F1 = torch.zeros(1, 2, 3, 3, dtype=torch.int8), torch.ones(1)
W, B, M = torch.zeros(4, 2, 2, 2, dtype=torch.int8), torch.zeros(4, dtype=torch.int32), torch.ones(4)
ONE, NONE = [1, 1], [0, 0]
WRONG: list[tuple[str, tuple[Any, ...]]] = [
    ("quantize_s8", (F1.double(), F1)),
    ("quantize_s8", (F1, F1.double())),
    ("quantize_s8", (F1, torch.ones(2))),
    ("quantize_s8", (F1, F1, 1)),
    ("quantize_s8", (torch.ones(3, 2), torch.ones(3), 1)),
    ("quantize_s8", (F1, F1, None, -129, 0)),
    ("quantize_s8", (F1, F1, None, 5, 4)),
    ("dequantize", (I8.short(), F1)),
    ("dequantize", (I8, F1, -5)),
    ("fake_quantize", (I8, F1)),
    ("linear_s8", (I8, W[0, 0], B[:2], M[:2])),
    ("linear_s8", (torch.zeros((), dtype=torch.int8), W[0, 0], B[:2], M[:2])),
    ("linear_s8", (I8[..., :2], W[0, 0], B, M[:2])),
    ("linear_s8", (I8[..., :2], W[0, 0], B[:2].long(), M[:2])),
    ("linear_s8", (I8[..., :2], W[0, 0], B[:2], M)),
    ("conv2d_s8", (I8[0], W, B, M, ONE, NONE, ONE, 1)),
    ("conv2d_s8", (I8, W, B, M, ONE, NONE, ONE, 2)),
    ("conv2d_s8", (I8, W, B, M, ONE, NONE, ONE, 0)),
    ("conv2d_s8", (I8, W, B, M, NONE, NONE, ONE, 1)),
    ("conv2d_s8", (I8, W, B, M, ONE, [-1, 0], ONE, 1)),
    ("conv2d_s8", (I8, W, B, M, ONE, NONE, [3, 1], 1)),
    ("conv2d_s8", (I8, W, B, M, ONE, NONE, [2**40, 1], 1)),
    ("conv2d_s8", (I8, W[:0], B[:0], M[:0], ONE, NONE, ONE, 1)),
    ("add_s8", (I8, I8[:, :, :2], 1.0, 1.0)),
    ("add_s8", (I8, I8.int(), 1.0, 1.0)),
    ("add_s8", (I8, I8, 1.0, float("nan"))),
    ("add_s8", (I8, I8, 2.0**21, 1.0)),
    ("mul_s8", (I8, I8[:, :, :2], 1.0)),
    ("mul_s8", (I8, I8.int(), 1.0)),
    ("mul_s8", (I8, I8, 0.0)),
    ("mul_s8", (I8, I8, float("nan"))),
    ("matmul_s8", (I8, I8[:, :, :2], 1.0)),
    ("matmul_s8", (I8[0, 0, 0], I8, 1.0)),
    ("matmul_s8", (I8, I8, float("inf"))),
    ("sum_s8", (I8, [4], False, True, 1.0, 1.0)),
    ("sum_s8", (I8, [1, -3], False, True, 1.0, 1.0)),
    ("sum_s8", (I8[:, :0], [1], False, True, 1.0, 1.0)),
    ("sum_s8", (I8, [1], False, True, 1.0, 1.0, 5, 4)),
    ("lut_s8", (I8, torch.zeros(3, 256, dtype=torch.int8), 1)),
    ("lut_s8", (I8, torch.zeros(2, 256, dtype=torch.int8), 4)),
    ("conv_transpose2d_s8", (I8, W, B, M, ONE, NONE, NONE, 1, ONE)),
    ("conv_transpose2d_s8", (I8, W[:2], B[:2], M[:2], ONE, NONE, ONE, 1, ONE)),
    ("conv_transpose2d_s8", (I8, W[:2], B[:2], M[:2], ONE, [9, 9], NONE, 1, ONE)),
    ("lut_s8", (I8, torch.zeros(255, dtype=torch.int8))),
    ("lut_s8", (F1, torch.zeros(256, dtype=torch.int8))),
    ("avg_pool_s8", (I8, M, [2, 2], ONE, NONE, False, True)),
    ("avg_pool_s8", (I8, torch.ones(5), [2, 2], ONE, [2, 0], False, True)),
    ("avg_pool_s8", (I8, torch.ones(17), [4, 4], ONE, NONE, False, True)),
    ("avg_pool_s8", (I8, torch.ones(5), [2, 2], ONE, NONE, False, True, 1, 0)),
    ("max_pool_s8", (I8, [2, 2], NONE, NONE, ONE, False)),
    ("max_pool_s8", (I8[:, :0], [2, 2], ONE, NONE, ONE, False)),
    ("max_pool_s8", (I8, [2, 2], ONE, [2, 2], ONE, False)),
]


@pytest.mark.parametrize(("name", "args"), WRONG)
def test_wrong_arguments_are_typed_errors_on_every_tier(name: str, args: tuple[Any, ...]) -> None:
    for tier in ("reference", "ref"):
        with pytest.raises((UsageError, NumericsError), match=name):
            call(name, *args, tier=tier)


@pytest.mark.parametrize(("name", "args"), WRONG)
def test_the_binding_itself_refuses_them_too(name: str, args: tuple[Any, ...]) -> None:
    """What stands between Python and raw memory does not lean on the checks above it."""
    native = pytest.importorskip("edgekit._C")
    arrays = [arg.contiguous().numpy() if isinstance(arg, Tensor) else arg for arg in args]
    for shape in ((1,), (1, 4, 2, 2), (1, 2, 2, 2), tuple(args[0].shape)):
        for dtype in (np.int8, np.float32):
            with pytest.raises(ValueError, match=r"\w"):
                getattr(native, name)(*arrays, out=np.zeros(shape, dtype))


@pytest.mark.parametrize("spec", OPS, ids=lambda spec: spec.name)
def test_the_binding_refuses_an_output_that_does_not_fit(spec: OpSpec) -> None:
    native = pytest.importorskip("edgekit._C")
    args = next(case for case in spec.cases() if results(spec.shape(*case.args))[-1].numel() > 1).args
    shaped = spec.shape(*args)
    good = [one.numpy() for one in results(shaped)]
    arrays = [arg.contiguous().numpy() if isinstance(arg, Tensor) else arg for arg in args]
    for i, one in enumerate(good):
        for wrong in misfits(one):
            out = (*good[:i], wrong, *good[i + 1 :])
            with pytest.raises(ValueError, match="out"):
                getattr(native, spec.name)(*arrays, out=out if isinstance(shaped, tuple) else wrong)
    with pytest.raises(ValueError, match="isa"):
        getattr(native, spec.name)(*arrays, out=tuple(good) if isinstance(shaped, tuple) else good[0], isa="z80")


def misfits(good: np.ndarray) -> tuple[np.ndarray, ...]:
    """Arrays that are almost this output: rank, size, read-only, strided, swapped or unsigned, another type."""
    frozen = good.copy()
    frozen.setflags(write=False)
    strided = np.zeros((*good.shape[:-1], 2 * good.shape[-1]), good.dtype)[..., ::2]
    swapped = np.zeros(good.shape, ">f4" if good.dtype == np.float32 else "u1")
    return good[None], good.ravel()[:-1], frozen, strided, swapped, np.zeros(good.shape, np.int16)


def test_a_tier_that_is_not_there_is_an_error_not_a_fallback() -> None:
    q = samples.s8(4)
    with pytest.raises(UsageError, match="It has reference, ref"):
        call("lut_s8", q, samples.s8(256), tier="avx9000")
    assert dispatch.available(BY_NAME["lut_s8"])[:2] == ("reference", "ref")


def test_strict_makes_a_fallback_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    missing = MissingDependency("edgekit._C cannot be imported.")
    monkeypatch.setattr(dispatch, "_missing_native", lambda spec: missing)
    monkeypatch.setattr(dispatch, "_said", set())
    with pytest.warns(RuntimeWarning, match=r"_C cannot be imported.*reference"):
        torch.ops.edgekit.lut_s8(samples.s8(4), samples.s8(256))
    with dispatch.strict(), pytest.raises(MissingDependency, match="_C cannot be imported"):
        torch.ops.edgekit.lut_s8(samples.s8(4), samples.s8(256))


WITHOUT_NATIVE = """
import sys, warnings
sys.modules["edgekit._C"] = None
import torch
with warnings.catch_warnings(record=True) as said:
    warnings.simplefilter("always")
    import edgekit.ops
    x = torch.ops.edgekit.quantize_s8(torch.tensor([0.25, -1.0]), torch.tensor([0.1]))
    y = torch.ops.edgekit.dequantize(x, torch.tensor([0.1]))
    torch.ops.edgekit.quantize_s8(y, torch.tensor([0.1]))
messages = [str(w.message) for w in said if "edgekit" in str(w.message)]
assert x.tolist() == [2, -10], x
assert len(messages) == 1 and "compiler" in messages[0] and "slow" in messages[0], messages
"""


def test_without_the_extension_it_warns_once_and_works() -> None:
    done = subprocess.run([sys.executable, "-c", WITHOUT_NATIVE], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
