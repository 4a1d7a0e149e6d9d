"""Softmax, norms and recurrent layers in integers: within half a step of the exact formulas, and equal on every tier.

That every tier gives the bytes of the reference on each operator's own cases is tested in ``test_ops.py``.
"""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from edgekit.errors import NumericsError, UsageError
from edgekit.ops import OPS, dispatch, lstm_s8, numerics, recurrent, recurrent_arguments, recurrent_s8, samples
from edgekit.ops.spec import results

pytestmark = pytest.mark.usefixtures("poisoned_empty")

BY_NAME = {spec.name: spec for spec in OPS}
modest = settings(deadline=None, max_examples=60)
scales = st.floats(2.0**-10, 2.0, width=32)
seeds = st.integers(0, 9999)


def call(name: str, *args: Any) -> Any:
    """The C++ result, once it is the reference's by the byte."""
    with dispatch.force("ref"):
        got = getattr(torch.ops.edgekit, name)(*args)
    for one, want in zip(results(got), results(BY_NAME[name].reference(*args)), strict=True):
        np.testing.assert_array_equal(one.numpy(), want.numpy())
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


def trained(kind: str, units: int, steps: int, seed: int, reverse: bool) -> tuple[Any, ...]:
    """A float layer as its word takes it, its run, and min-max scales, of its quantities and of its input parts."""
    torch.manual_seed(seed)
    layer = getattr(torch.nn, kind.upper())(6, units)
    gates = 4 if kind == "lstm" else 3
    x, states = torch.randn(steps, 3, 6), [torch.zeros(3, units) for _ in range(gates - 2)]
    parts = [part.detach() for part in functional.linear(x, layer.weight_ih_l0, layer.bias_ih_l0).chunk(gates, -1)]
    input_scales = [part.abs().max() / 127 for part in parts]
    parts = [torch.ops.edgekit.fake_quantize(part, scale) for part, scale in zip(parts, input_scales, strict=True)]
    weights = [w.detach() for w in layer.weight_hh_l0.chunk(gates)]
    biases = [b.detach() for b in layer.bias_hh_l0.chunk(gates)]
    result = getattr(torch.ops.edgekit, kind)(*parts, *states, *weights, *biases, reverse)
    y = result[0] if kind == "lstm" else result
    found = getattr(recurrent, f"{kind}_quantities")(parts, *states, weights, biases, reverse, y)
    widths = {name: 32767 if name in recurrent.S16_QUANTITIES else 127 for name in found}
    calibrated = torch.stack([value.abs().max() / widths[name] for name, value in found.items()])
    return parts, states, weights, biases, y, calibrated, input_scales


@pytest.mark.parametrize("kind", ["gru", "lstm"])
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("units", [4, 32])
def test_the_integer_layer_is_the_quantised_word(kind: str, reverse: bool, units: int) -> None:
    """One word, two ways: in float with fake_quantize inside, and in integers, from the same scales.

    They differ where a float sum rounds a tie the other way; such a step is carried on by the state.
    """
    parts, states, weights, biases, y, calibrated, input_scales = trained(kind, units, 12, 3, reverse)
    made = getattr(recurrent_arguments, f"{kind}_arguments")(calibrated, input_scales, weights, biases)
    steps = torch.cat([numerics.weight_scale(w, b, calibrated[0]) for w, b in zip(weights, biases, strict=True)])
    rounded = numerics.dequantize(made.weight, steps, 0).chunk(len(parts))
    want = getattr(torch.ops.edgekit, kind)(*parts, *states, *rounded, *biases, reverse, list(calibrated))
    codes = [numerics.quantize(part, scale) for part, scale in zip(parts, input_scales, strict=True)]
    h0 = numerics.quantize(states[0], calibrated[0])
    got = call(f"{kind}_s8", *codes, h0, *states[1:], *made, reverse)
    if kind == "lstm":
        want, (got, cell) = want[0], got
        assert ((cell / calibrated[1]).round() * calibrated[1] == cell).all()
    difference = (got - want / calibrated[0]).abs().round()
    assert (difference <= 1).float().mean() >= 0.99
    assert sqnr(want, got * calibrated[0]) >= 35
    assert sqnr(y, got * calibrated[0]) >= 30  # and INT8 is still the layer


def sqnr(want: Tensor, got: Tensor) -> float:
    noise = (want - got).square().sum()
    return float("inf") if noise == 0 else float(10 * torch.log10(want.square().sum() / noise))


@pytest.mark.parametrize("kind", ["gru", "lstm"])
@pytest.mark.parametrize("reverse", [False, True])
def test_step_by_step_is_the_whole_sequence_by_the_byte(kind: str, reverse: bool) -> None:
    spec, gates = BY_NAME[f"{kind}_s8"], 4 if kind == "lstm" else 3
    args = list(next(case for case in spec.cases() if case.name == "5x2x7").args)
    args[-1] = reverse
    whole = call(spec.name, *args)
    y = whole[0] if kind == "lstm" else whole
    states = args[gates : 2 * gates - 2]
    for t in range(5)[:: -1 if reverse else 1]:
        step = call(spec.name, *(part[t : t + 1] for part in args[:gates]), *states, *args[2 * gates - 2 :])
        one = step[0] if kind == "lstm" else step
        assert torch.equal(one[0], y[t])
        states = [one[0], *step[1:]] if kind == "lstm" else [one[0]]
    assert kind == "gru" or torch.equal(states[1], whole[1])


@modest
@given(
    st.integers(-128 * 32768, 128 * 32768),
    st.integers(-(2**14), 2**14),
    st.floats(2.0**-15, 2.0**20, width=32) | st.floats(2.0**-9, 2.0**-6, width=32),
    st.floats(2.0**-15, 2.0**20, width=32) | st.floats(0.25, 4, width=32),
)
def test_the_cell_is_one_fused_multiply_add(kept: int, written: int, forget: float, write: float) -> None:
    """In fractions, nothing shared with the reference."""
    total = float32(kept * Fraction(forget) + float32(written * Fraction(write)))
    want = round(min(max(total, Fraction(-32768)), Fraction(32767)))
    tensors = torch.tensor(kept, dtype=torch.int32), torch.tensor(written, dtype=torch.int32)
    assert int(lstm_s8.next_cell(*tensors, torch.tensor(forget), torch.tensor(write))) == want


def float32(value: Fraction) -> Fraction:
    """Round once to float32, half to even, in exact arithmetic; for normal numbers."""
    if value == 0:
        return value
    exponent = math.frexp(value)[1] - 24
    unit = Fraction(2) ** exponent
    return round(value / unit) * unit


@settings(deadline=None, max_examples=25)
@given(st.integers(1, 4), st.integers(1, 3), st.integers(1, 9), st.booleans(), seeds, st.sampled_from(["gru", "lstm"]))
def test_recurrent_layers_of_any_size(steps: int, batch: int, units: int, reverse: bool, seed: int, kind: str) -> None:
    spec, gates = BY_NAME[f"{kind}_s8"], 4 if kind == "lstm" else 3
    *parts, h0, weight, bias, multiplier = recurrent_s8.layer(steps, batch, units, gates, seed)
    cell = [samples.f32(batch, units, seed=seed, spread=3.0)] if kind == "lstm" else []
    tables, ratios, _ = next(spec.cases()).args[-3:]
    call(spec.name, *parts, h0, *cell, weight, bias, multiplier, tables, ratios, reverse)


def test_an_int16_cell_comes_back_from_float32_as_it_was() -> None:
    every = torch.arange(-32768, 32768, dtype=torch.int16)
    for scale in samples.positive(40, middle=1e-3).unbind():
        assert torch.equal(numerics.quantize_s16(numerics.dequantize(every, scale), scale), every)


def test_scales_without_a_ratio_are_refused() -> None:
    _, _, weights, biases, _, calibrated, input_scales = trained("lstm", 4, 3, 0, False)
    closed = calibrated.clone()
    closed[recurrent.LSTM_QUANTITIES.index("f")] = 1e-6
    with pytest.raises(NumericsError, match="2\\^-15"):
        recurrent_arguments.lstm_arguments(closed, input_scales, weights, biases)
    with pytest.raises(NumericsError, match="addition"):
        recurrent_arguments.lstm_arguments(calibrated, [scale * 1e9 for scale in input_scales], weights, biases)
    with pytest.raises(NumericsError, match="recurrent"):
        recurrent_arguments.lstm_arguments(calibrated * 0, input_scales, weights, biases)


def replaced(kind: str, **wrong: Any) -> tuple[str, tuple[Any, ...]]:
    """A good call of a layer with one argument replaced by what its function makes of it."""
    spec = BY_NAME[f"{kind}_s8"]
    names = [part.split()[-1] for part in spec.schema.split("->")[0].strip(" ()").split(", ")]
    args = next(case for case in spec.cases() if case.name == "5x2x7").args
    return spec.name, tuple(wrong.get(name, lambda x: x)(arg) for name, arg in zip(names, args, strict=True))


def first(value: float) -> Any:
    return lambda ratios: torch.cat([torch.tensor([value]), ratios[1:]])


WRONG_LAYERS = [
    *(replaced(kind, weight=lambda x: x[:-1]) for kind in ("gru", "lstm")),
    *(replaced(kind, bias=lambda x: x.long()) for kind in ("gru", "lstm")),
    *(replaced(kind, multiplier=lambda x: x[1:]) for kind in ("gru", "lstm")),
    *(replaced(kind, tables=lambda x: x[1:]) for kind in ("gru", "lstm")),
    *(replaced(kind, ratios=lambda x: x[1:]) for kind in ("gru", "lstm")),
    *(replaced(kind, ratios=first(2.0**21)) for kind in ("gru", "lstm")),
    *(replaced(kind, ratios=first(float("nan"))) for kind in ("gru", "lstm")),
    *(replaced(kind, h0=lambda x: x[:1]) for kind in ("gru", "lstm")),
    replaced("gru", z=lambda x: x[:-1]),
    replaced("gru", r=lambda x: x[0]),
    replaced("gru", n=lambda x: x.short()),
    replaced("lstm", c0=lambda x: x.double()),
    replaced("lstm", c0=lambda x: x[:, :1]),
    replaced("lstm", ratios=lambda x: torch.cat([x[:8], x[8:9] * 1e-3, x[9:]])),
    replaced("lstm", ratios=lambda x: torch.cat([x[:12], x[12:] * 0])),
]


@pytest.mark.parametrize(("name", "args"), WRONG_LAYERS)
def test_wrong_layers_are_refused_by_every_tier_and_by_the_binding(name: str, args: tuple[Any, ...]) -> None:
    for tier in ("reference", "ref"):
        with dispatch.force(tier), pytest.raises((UsageError, NumericsError), match=name):
            getattr(torch.ops.edgekit, name)(*args)
    arrays = [arg.contiguous().numpy() if isinstance(arg, Tensor) else arg for arg in args]
    outs = [one.numpy() for one in results(BY_NAME[name].shape(*replaced(name[:-3])[1]))]
    with pytest.raises(ValueError, match=r"\w"):
        getattr(pytest.importorskip("edgekit._C"), name)(*arrays, out=tuple(outs) if len(outs) > 1 else outs[0])


@pytest.mark.parametrize("kind", ["gru", "lstm"])
def test_time_and_batch_stay_symbols_in_export(kind: str) -> None:
    args = next(case for case in BY_NAME[f"{kind}_s8"].cases() if case.name == "5x2x7").args
    gates, states = (4, 2) if kind == "lstm" else (3, 1)

    class Net(torch.nn.Module):
        def forward(self, *moving: Tensor) -> Any:
            return getattr(torch.ops.edgekit, f"{kind}_s8")(*moving, *args[gates + states :])

    steps, batch = torch.export.Dim("steps", min=1, max=999), torch.export.Dim("batch", min=1, max=99)
    dynamic = ({0: steps, 1: batch},) * gates + ({0: batch},) * states
    program = torch.export.export(Net(), args[: gates + states], dynamic_shapes=(dynamic,))
    longer = [torch.cat([part, part]) for part in args[:gates]] + list(args[gates : gates + states])
    for one, other in zip(results(program.module()(*longer)), results(Net()(*longer)), strict=True):
        assert torch.equal(one, other)


def test_the_length_of_a_masked_sequence_stays_a_symbol_in_export() -> None:
    table = numerics.softmax_table(torch.tensor([0.1]))

    class Net(torch.nn.Module):
        def forward(self, x: Tensor, mask: Tensor) -> Any:
            return torch.ops.edgekit.softmax_s8(x, table, 1 / 127, mask)

    length = torch.export.Dim("length", min=2, max=999)
    x, mask = samples.s8(2, 5, 5), torch.ones(5, 5, dtype=torch.bool).tril()
    dynamic = ({1: length, 2: length}, {0: length, 1: length})
    program = torch.export.export(Net(), (x, mask), dynamic_shapes=dynamic)
    x, mask = samples.s8(2, 9, 9), torch.ones(9, 9, dtype=torch.bool).tril()
    assert torch.equal(program.module()(x, mask), Net()(x, mask))
