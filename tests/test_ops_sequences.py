"""Softmax, norms and recurrent layers in integers: within half a step of the exact formulas, and equal on every tier.

That every tier gives the bytes of the reference on each operator's own cases is tested in ``test_ops.py``.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from edgekit.errors import NumericsError, UsageError
from edgekit.ops import OPS, dispatch, numerics, samples

pytestmark = pytest.mark.usefixtures("poisoned_empty")

BY_NAME = {spec.name: spec for spec in OPS}
modest = settings(deadline=None, max_examples=60)
scales = st.floats(2.0**-10, 2.0, width=32)
seeds = st.integers(0, 9999)


def call(name: str, *args: Any) -> Tensor:
    """The C++ result, once it is the reference's by the byte."""
    with dispatch.force("ref"):
        got: Tensor = getattr(torch.ops.edgekit, name)(*args)
    np.testing.assert_array_equal(got.numpy(), BY_NAME[name].reference(*args).numpy())
    return got


def assert_half_a_step(got: Tensor, exact: Tensor, slack: float = 1e-4) -> None:
    """``slack`` is what a few float32 roundings of values up to 128 can add: each at most 128 * 2^-24 < 1e-5."""
    assert (got - exact.clamp(-128, 127)).abs().max() <= 0.5 + slack


@modest
@given(st.integers(1, 70), scales, seeds, st.sampled_from([1 / 127, 0.02, 0.001]), st.booleans())
def test_softmax_is_within_half_a_step_of_float64(n: int, scale: float, seed: int, sy: float, masked: bool) -> None:
    """The table errs by half of 2^-23 in each entry, and the sum by as much each, which is at least 1: N * 2^-23."""
    x, sy = samples.s8(3, n, seed=seed), float(np.float32(sy))
    mask = samples.s8(3, n, seed=seed + 1) > -20 if masked else None
    got = call("softmax_s8", x, numerics.softmax_table(torch.tensor([scale])), sy, mask)
    exact = torch.ops.edgekit.masked_softmax(x.double() * scale, mask) / sy
    assert_half_a_step(got, exact, slack=1e-4 + n * 2.0**-23 / sy)
    assert mask is None or not got[~mask].any()


def test_softmax_table_is_exact_at_both_ends() -> None:
    table = numerics.softmax_table(torch.tensor([0.0625]))
    assert (table.dtype, table.shape) == (torch.int32, (256,))
    assert table[[0, 255]].tolist() == [2**23, round(math.exp(-255 / 16) * 2**23)]
    assert numerics.softmax_table(torch.tensor([40.0]))[1:].tolist() == [0] * 255


def test_a_fully_masked_row_is_zero_and_masked_values_are_not_looked_at() -> None:
    table = numerics.softmax_table(torch.tensor([0.1]))
    mask = torch.tensor([[True, True, False], [False, False, False]])
    x = torch.tensor([[3, 3, 127], [1, 2, 3]], dtype=torch.int8)
    assert call("softmax_s8", x, table, 1 / 128, mask).tolist() == [[64, 64, 0], [0, 0, 0]]


@modest
@given(
    st.integers(0, 3),
    st.integers(1, 3),
    st.integers(1, 4),
    st.integers(1, 5),
    st.lists(st.booleans(), max_size=4),
    seeds,
)
def test_softmax_masks_broadcast(a: int, b: int, c: int, d: int, kept: list[bool], seed: int) -> None:
    x = samples.s8(a, b, c, d, seed=seed)
    size = [n if keep else 1 for n, keep in zip(x.shape[4 - len(kept) :], kept, strict=True)]
    mask, table = samples.s8(*size, seed=seed + 1) > 0, numerics.softmax_table(torch.tensor([0.05]))
    got = call("softmax_s8", x, table, 1 / 127, mask)
    assert torch.equal(got, call("softmax_s8", x, table, 1 / 127, mask.expand(x.shape).contiguous()))


@modest
@given(st.integers(1, 3), st.integers(1, 90), scales, seeds, st.sampled_from([1e-5, 1e-3, 1.0]))
def test_layer_norm_is_torch_layer_norm(rows: int, n: int, scale: float, seed: int, eps: float) -> None:
    x, gain, offset = samples.s8(rows, n, seed=seed), samples.f32(n, seed=seed, spread=20), samples.f32(n, spread=5)
    got = call("layer_norm_s8", x, gain, offset, scale, eps)
    exact = functional.layer_norm(x.double() * scale, (n,), gain.double(), offset.double(), eps)
    assert_half_a_step(got, exact)


@modest
@given(st.integers(1, 3), st.integers(1, 90), scales, seeds, st.sampled_from([1e-5, 1e-3, 1.0]))
def test_rms_norm_is_torch_rms_norm(rows: int, n: int, scale: float, seed: int, eps: float) -> None:
    x, gain = samples.s8(rows, n, seed=seed), samples.f32(n, seed=seed, spread=20)
    got = call("rms_norm_s8", x, gain, scale, eps)
    assert_half_a_step(got, functional.rms_norm(x.double() * scale, (n,), gain.double(), eps))


@modest
@given(st.integers(1, 3), st.integers(1, 90), scales, seeds, st.sampled_from([1e-12, 1.0, 30.0]))
def test_l2_norm_is_torch_normalize(rows: int, n: int, scale: float, seed: int, eps: float) -> None:
    x, sy = samples.s8(rows, n, seed=seed), float(np.float32(1 / 127))
    got = call("l2_norm_s8", x, scale, sy, eps)
    assert_half_a_step(got, functional.normalize(x.double() * scale, dim=-1, eps=eps) / sy)


@modest
@given(st.integers(1, 3), st.integers(1, 3), st.lists(st.integers(1, 5), max_size=2), scales, seeds)
def test_group_norm_is_torch_group_norm(groups: int, each: int, positions: list[int], scale: float, seed: int) -> None:
    channels = groups * each
    x = samples.s8(2, channels, *positions, seed=seed)
    gain, offset = samples.f32(channels, seed=seed, spread=20), samples.f32(channels, spread=5)
    got = call("group_norm_s8", x, groups, gain, offset, scale, 1e-5)
    # torch's own refuses a set of one value; layer norm over the set is the definition
    sets = functional.layer_norm((x.double() * scale).view(2, groups, -1), (x[0].numel() // groups,), eps=1e-5)
    size = (1, -1, *[1] * len(positions))
    assert_half_a_step(got, sets.view(x.shape) * gain.double().view(size) + offset.double().view(size))
    if x[0].numel() // groups > 1:
        assert_half_a_step(got, functional.group_norm(x.double() * scale, groups, gain.double(), offset.double(), 1e-5))


def test_instance_norm_is_group_norm_with_a_group_for_each_channel() -> None:
    x, gain, offset = samples.s8(2, 3, 4, 5), samples.f32(3, spread=20), samples.f32(3, spread=5, seed=1)
    exact = functional.instance_norm(x.double() * 0.1, weight=gain.double(), bias=offset.double(), eps=1e-5)
    assert_half_a_step(call("group_norm_s8", x, 3, gain, offset, 0.1, 1e-5), exact)


def test_the_longest_sums_are_exact() -> None:
    """One value differs from 2^24 - 2 others at the end of int8: N*Q is 2^62, and their difference is what counts."""
    n = 2**24 - 1
    x = torch.full((1, n), -128, dtype=torch.int8)
    x[0, -1] = 127
    variance = (n - 1) / n * 255.0**2 / n  # of one value 255 away from the others
    gain = torch.full((n,), 127 / (255 / math.sqrt(variance)))
    got = call("layer_norm_s8", x, gain, torch.zeros(n), 1.0, 0.0)
    assert (int(got[0, -1]), int(got[0, 0])) == (127, 0)
    assert not call("rms_norm_s8", x, torch.full((n,), -40.0), 1.0, 0.0)[0, :2].sub(40).any()


S8, ROW, F3, TABLE = samples.s8(2, 3), torch.ones(3), 0.1, torch.zeros(256, dtype=torch.int32)
WRONG: list[tuple[str, tuple[Any, ...]]] = [
    ("softmax_s8", (S8.float(), TABLE, F3)),
    ("softmax_s8", (S8[:, :0], TABLE, F3)),
    ("softmax_s8", (S8[0, 0], TABLE, F3)),
    ("softmax_s8", (S8, TABLE[1:], F3)),
    ("softmax_s8", (S8, TABLE.long(), F3)),
    ("softmax_s8", (S8, TABLE, 0.0)),
    ("softmax_s8", (S8, TABLE, float("nan"))),
    ("softmax_s8", (S8, TABLE, F3, S8)),
    ("softmax_s8", (S8, TABLE, F3, S8[:, :2] > 0)),
    ("softmax_s8", (S8, TABLE, F3, S8[None] > 0)),
    ("layer_norm_s8", (S8, ROW[1:], ROW[1:], F3, 0.0)),
    ("layer_norm_s8", (S8, torch.ones(()), torch.ones(()), F3, 0.0)),
    ("layer_norm_s8", (S8, torch.ones(1, 2, 3), torch.ones(1, 2, 3), F3, 0.0)),
    ("layer_norm_s8", (S8, ROW, ROW[:2], F3, 0.0)),
    ("layer_norm_s8", (S8, ROW, ROW.double(), F3, 0.0)),
    ("layer_norm_s8", (S8, ROW, ROW, F3, -1e-5)),
    ("layer_norm_s8", (S8, ROW, ROW, F3, float("nan"))),
    ("layer_norm_s8", (S8, ROW, ROW, 0.0, 1e-5)),
    ("layer_norm_s8", (S8[:, :0], ROW[:0], ROW[:0], F3, 0.0)),
    ("rms_norm_s8", (S8, ROW[1:], F3, 0.0)),
    ("rms_norm_s8", (S8, ROW.double(), F3, 0.0)),
    ("rms_norm_s8", (S8, ROW, float("inf"), 0.0)),
    ("l2_norm_s8", (S8, F3, -1.0, 0.0)),
    ("l2_norm_s8", (S8, F3, F3, float("inf"))),
    ("l2_norm_s8", (S8[0, 0], F3, F3, 0.0)),
    ("group_norm_s8", (S8, 2, ROW, ROW, F3, 0.0)),
    ("group_norm_s8", (S8, 0, ROW, ROW, F3, 0.0)),
    ("group_norm_s8", (S8[0], 1, ROW, ROW, F3, 0.0)),
    ("group_norm_s8", (S8, 1, ROW[:2], ROW[:2], F3, 0.0)),
    ("group_norm_s8", (S8[..., None][..., :0], 1, ROW, ROW, F3, 0.0)),
]


@pytest.mark.parametrize(("name", "args"), WRONG)
def test_wrong_arguments_are_typed_errors_on_every_tier(name: str, args: tuple[Any, ...]) -> None:
    for tier in ("reference", "ref"):
        with dispatch.force(tier), pytest.raises((UsageError, NumericsError), match=name):
            getattr(torch.ops.edgekit, name)(*args)


@pytest.mark.parametrize(("name", "args"), WRONG)
def test_the_binding_itself_refuses_them_too(name: str, args: tuple[Any, ...]) -> None:
    native = pytest.importorskip("edgekit._C")
    arrays = [arg.contiguous().numpy() if isinstance(arg, Tensor) else arg for arg in args]
    with pytest.raises(ValueError, match=r"\w"):
        getattr(native, name)(*arrays, out=np.zeros(tuple(args[0].shape), np.int8))
