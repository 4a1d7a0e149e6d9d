"""Attention and the layer that quantises its own rows: every tier by the byte, and the meaning against oracles."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from edgekit.errors import EdgekitError
from edgekit.ops import OPS, attention_s8, dispatch, linear_dynamic, numerics, samples

pytestmark = pytest.mark.usefixtures("poisoned_empty")

modest = settings(deadline=None, max_examples=60)
I8, F32 = samples.s8(2, 3, 4), samples.f32(2, 3, 4)
TABLE = numerics.softmax_table(torch.tensor([0.05]))


def check_tiers(name: str, *args: Any) -> None:
    (spec,) = [spec for spec in OPS if spec.name == name]
    want = spec.reference(*args)
    assert isinstance(want, torch.Tensor)
    for tier in dispatch.available(spec):
        if tier != "triton":
            with dispatch.force(tier):
                got = getattr(torch.ops.edgekit, name)(*args)
            assert (got.dtype, got.shape) == (want.dtype, want.shape), tier
            assert torch.equal(got, want), tier


@modest
@given(st.data())
def test_attention(data: st.DataObject) -> None:
    """Batches that broadcast either way, masks of any part of the scores."""
    queries, keys, depth, values = (data.draw(st.integers(1, 9)) for _ in range(4))
    outer, inner = data.draw(st.integers(1, 3)), data.draw(st.integers(1, 3))
    batch = st.sampled_from([(), (inner,), (1, inner), (outer, 1), (outer, inner)])
    q = samples.s8(*data.draw(batch), queries, depth)
    k = samples.s8(*data.draw(batch), keys, depth, seed=1)
    v = samples.s8(*data.draw(batch), keys, values, seed=2)
    scores = torch.broadcast_shapes(q.shape[:-2], k.shape[:-2]) + (queries, keys)
    kept = [size if data.draw(st.booleans()) else 1 for size in scores][data.draw(st.integers(0, len(scores))) :]
    mask = data.draw(st.sampled_from([None, samples.s8(*kept, seed=3) > 0]))
    check_tiers("attention_s8", q, k, v, 0.004, TABLE, 1 / 127, 0.02, mask)


def test_attention_is_that_of_torch_to_a_few_steps() -> None:
    """Scores in steps of 0.05 err by 0.025: weights by 2.5 %, so results of 100 steps by 3, and half for rounding."""
    q, k, v = (samples.s8(2, 9, 16, seed=seed) for seed in range(3))
    input_scale, score_scale = 0.02, 0.05
    scale = torch.tensor([input_scale])
    ratio = numerics.product_multiplier(scale, scale, torch.tensor([score_scale]), 0.25)
    got = attention_s8.reference(q, k, v, ratio, TABLE, 1 / 127, 1 / 127)
    want = functional.scaled_dot_product_attention(*(x.double() * input_scale for x in (q, k, v))) / input_scale
    assert float((got - want).abs().max()) <= 128 * 0.026 + 9 * 128 * 0.5 / 127 + 0.5


@modest
@given(st.integers(0, 9), st.integers(1, 70), st.integers(0, 40), st.booleans())
def test_linear_dynamic(rows: int, fan_in: int, features: int, biased: bool) -> None:
    check_tiers("linear_dynamic", *linear_dynamic.case("", (rows,), fan_in, features, biased).args)


def test_linear_dynamic_is_the_float_layer_to_half_a_step() -> None:
    """Each value errs by half a step of its row's scale, so a sum by that times the magnitudes of its weights."""
    x, weight, scale, bias = linear_dynamic.case("", (31,), 50, 20).args
    got = linear_dynamic.reference(x, weight, scale, bias).double()
    real = weight.double() * scale.double()[:, None]
    bound = x.double().abs().amax(1, keepdim=True) / 254 * real.abs().sum(1)
    error = (got - (x.double() @ real.t() + bias.double())).abs()
    assert bool((error <= bound * (1 + 1e-5) + 1e-5).all())
    assert float((error / bound).max()) > 0.01  # it is quantised at all


def test_scaling_a_row_by_a_power_of_two_scales_its_result() -> None:
    x, weight, scale, _ = linear_dynamic.case("", (7,), 33, 5).args
    assert torch.equal(
        linear_dynamic.reference(x * 1024, weight, scale), linear_dynamic.reference(x, weight, scale) * 1024
    )


@pytest.mark.parametrize(
    ("name", "args"),
    [
        ("attention_s8", (I8[0, 0], I8, I8, 1.0, TABLE, 1.0, 1.0)),
        ("attention_s8", (F32, I8, I8, 1.0, TABLE, 1.0, 1.0)),
        ("attention_s8", (I8, I8[..., :3], I8, 1.0, TABLE, 1.0, 1.0)),
        ("attention_s8", (I8, I8, I8[:, :2], 1.0, TABLE, 1.0, 1.0)),
        ("attention_s8", (I8, I8[:, :0], I8[:, :0], 1.0, TABLE, 1.0, 1.0)),
        ("attention_s8", (I8, I8, I8, 0.0, TABLE, 1.0, 1.0)),
        ("attention_s8", (I8, I8, I8, 1.0, TABLE[:9], 1.0, 1.0)),
        ("attention_s8", (I8, I8, I8, 1.0, TABLE, float("inf"), 1.0)),
        ("attention_s8", (I8, I8, I8, 1.0, TABLE, 1.0, float("nan"))),
        ("attention_s8", (I8, I8, I8, 1.0, TABLE, 1.0, 1.0, torch.ones(2, 2, dtype=torch.bool))),
        ("attention_s8", (I8, I8, I8, 1.0, TABLE, 1.0, 1.0, torch.ones(5, 2, 3, 3, dtype=torch.bool))),
        ("attention_s8", (I8, I8, I8, 1.0, TABLE, 1.0, 1.0, torch.ones(3, 3))),
        ("linear_dynamic", (I8, I8[0], torch.ones(3))),
        ("linear_dynamic", (F32, I8, torch.ones(3))),
        ("linear_dynamic", (F32, I8[0, :, :3], torch.ones(3))),
        ("linear_dynamic", (F32[..., :0], I8[0, :, :0], torch.ones(3))),
        ("linear_dynamic", (F32, I8[0], torch.ones(2))),
        ("linear_dynamic", (F32, I8[0], torch.ones(3), torch.ones(3, dtype=torch.int32))),
    ],
)
def test_wrong_calls_are_refused(name: str, args: tuple[Any, ...]) -> None:
    (spec,) = [spec for spec in OPS if spec.name == name]
    for tier in dispatch.available(spec):
        with dispatch.force(tier), pytest.raises(EdgekitError, match=name):
            getattr(torch.ops.edgekit, name)(*args)
