"""Rounding against oracles written by others: ONNX Runtime, exact fractions, numpy's rint, and the same rule in C++."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import onnxruntime
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper
from torch import Tensor

from edgekit.errors import NumericsError
from edgekit.ops import dispatch, numerics, samples

TINY = torch.finfo(torch.float32).tiny
SCALES = [1.0, 0.1, 1 / 3, 0.05, 2.0**-20, 7.3e-12, TINY, 1e38]
floats = st.floats(width=32, allow_nan=False)
scales = st.floats(min_value=float(TINY), max_value=2.0**100, width=32)


def exact_round(value: Fraction, lo: int = -128, hi: int = 127) -> int:
    """Clamp, then Python's exact round half to even."""
    return round(min(max(value, Fraction(lo)), Fraction(hi)))


def onnx_quantize(x: Tensor, scale: Tensor) -> np.ndarray:
    node = helper.make_node("QuantizeLinear", ["x", "scale", "zero"], ["y"])
    arguments = ("x", TensorProto.FLOAT, [None]), ("scale", TensorProto.FLOAT, []), ("zero", TensorProto.INT8, [])
    inputs = [helper.make_tensor_value_info(*argument) for argument in arguments]
    output = helper.make_tensor_value_info("y", TensorProto.INT8, [None])
    graph = helper.make_graph([node], "q", inputs, [output])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"x": x.numpy(), "scale": scale.numpy(), "zero": np.zeros((), np.int8)})[0]


@pytest.mark.parametrize("scale", SCALES)
def test_quantize_is_onnx_quantize_linear(scale: float) -> None:
    step = torch.tensor(scale)
    values = samples.specials(scale)
    values = torch.cat([values[torch.isfinite(values)], samples.f32(5000, spread=60) * step])
    np.testing.assert_array_equal(numerics.quantize(values, step).numpy(), onnx_quantize(values, step))


@settings(deadline=None, max_examples=200)
@given(floats, scales)
def test_quantize_rounds_the_float32_quotient_half_to_even(x: float, scale: float) -> None:
    with np.errstate(over="ignore"):
        quotient = float(np.float32(x) / np.float32(scale))
    want = (127 if quotient > 0 else -128) if math.isinf(quotient) else exact_round(Fraction(quotient))
    assert int(numerics.quantize(torch.tensor([x]), torch.tensor(scale))) == want


def test_a_reciprocal_would_be_wrong() -> None:
    """Ties that a multiplication by 1 / s moves: what the true division is for."""
    scale = torch.tensor(1 / 3)
    values = samples.specials(float(scale))
    values = values[torch.isfinite(values)]
    wrong = numerics.saturate(values * (1 / scale), -128, 127)
    assert not torch.equal(wrong, numerics.quantize(values, scale))


def test_nan_is_zero_and_infinities_saturate() -> None:
    x = torch.tensor([float("nan"), float("inf"), -float("inf")])
    assert numerics.quantize(x, torch.tensor(0.1)).tolist() == [0, 127, -128]
    assert numerics.quantize(x, torch.tensor(0.1), lo=3, hi=5).tolist() == [3, 5, 3]


def edge_grid() -> tuple[Tensor, Tensor]:
    """Accumulators around every tie and both ends of int32, each with multipliers that make ties and overflow."""
    near = torch.arange(-600, 601)
    powers = 2 ** torch.arange(8, 31)
    ends = torch.tensor([-(2**31), -(2**31) + 1, 2**31 - 1, 2**24 + 1, 2**25 + 2, 2**25 + 6])
    acc = torch.cat([near, powers, powers - 1, powers + 1, -powers, ends]).to(torch.int32)
    simple = torch.tensor([1.0, 0.5, 0.25, 1 / 3, 1.5, 2.0**-24, TINY, 3e38])
    multiplier = torch.cat([simple, samples.positive(40, middle=0.1)])
    return acc.repeat_interleave(len(multiplier)), multiplier.repeat(len(acc))


def test_requantize_is_exact_on_the_edge_grid() -> None:
    acc, multiplier = edge_grid()
    with np.errstate(over="ignore"):
        products = (acc.numpy().astype(np.float32) * multiplier.numpy()).astype(np.float64)
    want = np.rint(np.clip(products, -128, 127)).astype(np.int8)
    np.testing.assert_array_equal(numerics.requantize(acc, multiplier).numpy(), want)


@pytest.mark.parametrize("bounds", [(-128, 127), (0, 127), (0, 96), (-7, -7)])
def test_requantize_in_cpp_is_the_same_on_the_edge_grid(bounds: tuple[int, int]) -> None:
    """A linear layer without inputs is nothing but its bias, requantised."""
    acc, multiplier = edge_grid()
    empty = torch.zeros(1, 0, dtype=torch.int8), torch.zeros(len(acc), 0, dtype=torch.int8)
    with dispatch.force("ref"):
        got = torch.ops.edgekit.linear_s8(*empty, acc, multiplier, *bounds)
    assert torch.equal(got[0], numerics.requantize(acc, multiplier, *bounds))


def test_the_longest_reduction_fits_int32_and_no_longer_one_does() -> None:
    assert numerics.MAX_REDUCTION * 128 * 128 <= 2**31 - 1 < (numerics.MAX_REDUCTION + 1) * 128 * 128
    assert numerics.check_reduction(numerics.MAX_REDUCTION) == 131_071
    with pytest.raises(NumericsError, match="131072"):
        numerics.check_reduction(131_072)


@settings(deadline=None, max_examples=100)
@given(st.integers(1, 131_071), st.floats(-1e6, 1e6, width=32), st.floats(2.0**-20, 1024, width=32), st.booleans())
def test_a_weight_scale_leaves_room_for_the_bias(fan_in: int, bias: float, input_scale: float, dead: bool) -> None:
    weight = torch.zeros(1, fan_in) if dead else torch.full((1, fan_in), 0.01)
    sx, b = torch.tensor(input_scale), torch.tensor([bias])
    scale = numerics.weight_scale(weight, b, sx)
    steps = int(numerics.quantize_bias(b, sx, scale))
    products = fan_in * 128 * int(numerics.quantize(weight, scale, 0, -127, 127).abs().max())
    # Four float32 roundings make the scale, each by 2^-24 of at most 2^30 steps: what the formula can miss int32 by.
    assert abs(steps) + products <= 2**31 - 1 + 4 * 2**6
    assert abs(steps * float(sx * scale) - bias) <= float(sx * scale) / 2 + abs(bias) * 2.0**-20


@pytest.mark.parametrize("value", [0.0, -1.0, float("nan"), float("inf"), 1e-45])
def test_a_scale_that_is_no_normal_positive_number_is_refused(value: float) -> None:
    with pytest.raises(NumericsError, match="step of x"):
        numerics.check_scale(torch.tensor([1.0, value]), "step of x")


def test_ratios_of_an_addition_are_bounded() -> None:
    assert numerics.add_ratio(torch.tensor(2.0**20), torch.tensor(1.0)) == 2.0**20
    with pytest.raises(NumericsError, match="ratio"):
        numerics.add_ratio(torch.tensor(2.0**20 + 1), torch.tensor(1.0))


def test_bounds_are_quantised_clamps() -> None:
    scale = torch.tensor([0.05])
    assert numerics.bounds(0.0, 6.0, scale) == (0, 120)
    assert numerics.bounds(0.0, math.inf, scale) == (0, 127)
    assert numerics.bounds(-math.inf, math.inf, scale) == (-128, 127)


def test_a_table_is_quantise_of_f_of_dequantise() -> None:
    table = numerics.table(torch.tanh, torch.tensor([0.04]), torch.tensor([1 / 127]))
    real = np.arange(-128, 128).astype(np.float32) * np.float32(0.04)
    answers = np.tanh(real.astype(np.float64)).astype(np.float32)
    want = np.rint(np.clip(answers / np.float32(1 / 127), -128, 127)).astype(np.int8)
    np.testing.assert_array_equal(table.numpy(), want)


@settings(deadline=None, max_examples=100)
@given(*[st.floats(2.0**-20, 2.0**10, width=32)] * 4)
def test_the_multiplier_of_a_product_is_rounded_after_every_step(
    sa: float, sb: float, sy: float, factor: float
) -> None:
    a, b, y = (torch.tensor([value]) for value in (sa, sb, sy))
    assert numerics.product_multiplier(a, b, y) == float(np.float32(sa) * np.float32(sb) / np.float32(sy))
    steps = np.float32(sa) * np.float32(sb) * np.float32(factor) / np.float32(sy)
    assert numerics.product_multiplier(a, b, y, factor) == float(steps)


def test_a_product_whose_multiplier_is_no_normal_number_is_refused() -> None:
    small = torch.tensor([2.0**-70])
    with pytest.raises(NumericsError, match="multiplier of a product"):
        numerics.product_multiplier(small, small, torch.tensor([1.0]))
