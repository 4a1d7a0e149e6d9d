"""Operations of a plan that only move or choose bytes, views that alias, and what is kept between runs."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from plans import STATE, Plan, dense

native = pytest.importorskip("edgekit._C", reason="the extension is not built")
LAYOUT = native.plan_layout()


def some(*size: int, dtype: str = "int8", seed: int = 0) -> np.ndarray:
    values = np.random.default_rng(seed).integers(-128, 128, size)
    return values.astype(dtype) if dtype != "bool" else values > 0


def run(plan: Plan, *inputs: np.ndarray) -> list[np.ndarray]:
    return native.Engine(plan.bytes()).run(list(inputs))


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "int32", "int64", "float32", "bool"])
@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_copy_permutes_any_type(dtype: str, order: tuple[int, ...]) -> None:
    x = some(3, 5, 70, dtype=dtype)
    plan = Plan(LAYOUT)
    port = plan.input(x.shape, dtype)
    turned = x.transpose(order)
    out = plan.output(turned.shape, dtype)
    plan.add("copy", [port.of(turned.shape, [port.step[d] for d in order])], [out])
    assert np.array_equal(run(plan, x)[0], turned)


def test_copy_of_one_value_and_of_none() -> None:
    for size in ((), (0, 3), (1, 1)):
        plan = Plan(LAYOUT)
        plan.add("copy", [plan.input(size)], [plan.output(size)])
        assert np.array_equal(run(plan, some(*size))[0], some(*size))


def test_copies_slice_pad_repeat_and_join() -> None:
    a, b = some(4, 6), some(4, 3, seed=1)
    plan = Plan(LAYOUT)
    first, second = plan.input(a.shape), plan.input(b.shape)
    out = plan.output((2, 4, 12))
    plan.add("fill", [], [out], value=-7)
    joined = out.of((4, 12), (12, 1))
    plan.add("copy", [first], [joined.of((4, 6), (12, 1))])
    plan.add("copy", [second], [joined.of((4, 3), (12, 1), first=6)])
    again = out.of((4, 12), (12, 1), first=48)
    plan.add("copy", [first.of((4, 3), (6, 2))], [again.of((4, 3), (12, 1), first=2)])
    plan.add("copy", [second.of((4, 4), (0, 0), first=5)], [again.of((4, 4), (12, 1), first=8)])
    expected = np.full((2, 4, 12), -7, np.int8)
    expected[0, :, :6], expected[0, :, 6:9] = a, b
    expected[1, :, 2:5], expected[1, :, 8:12] = a[:, ::2], b.reshape(-1)[5]
    assert np.array_equal(run(plan, a, b)[0], expected)


@pytest.mark.parametrize("dtype", ["int8", "float32", "int64"])
def test_gather_and_its_value_for_what_is_left_out(dtype: str) -> None:
    x = some(5, 4, dtype=dtype)
    index = np.array([[19, -1, 0], [3, 3, -1]], np.int32)
    plan = Plan(LAYOUT)
    out = plan.region((4, 5), dtype)
    result = plan.output(index.shape, dtype)
    plan.add("gather", [plan.input(x.shape, dtype), plan.constant(index)], [out.of(index.shape, (10, 2))], value=3)
    plan.add("copy", [out.of(index.shape, (10, 2))], [result])
    byte = np.frombuffer(bytes([3] * np.dtype(dtype).itemsize), dtype)[0]
    assert np.array_equal(run(plan, x)[0], np.where(index < 0, byte, x.reshape(-1)[index]))


@pytest.mark.parametrize("dtype", ["int32", "int64"])
def test_take_and_an_index_outside_the_table(dtype: str) -> None:
    table = some(7, 2, 5)
    plan = Plan(LAYOUT)
    index = plan.input((2, 3), dtype)
    plan.add("take", [plan.constant(table), index], [plan.output((2, 3, 2, 5))])
    engine = native.Engine(plan.bytes())
    rows = np.array([[0, 6, 1], [2, 2, 5]], dtype)
    assert np.array_equal(engine.run([rows])[0], table[rows])
    for wrong in (7, -1, np.iinfo(dtype).max):
        with pytest.raises(native.EngineError, match="outside its table") as caught:
            engine.run([np.full((2, 3), wrong, dtype)])
        assert caught.value.args[0] == 6
    assert np.array_equal(engine.run([rows])[0], table[rows])


@pytest.mark.parametrize("least", [0, 1])
@pytest.mark.parametrize("dims", [(0,), (1,), (2,), (0, 2), (0, 1, 2), (1, 2)])
def test_extremum(dims: tuple[int, ...], least: int) -> None:
    x = some(3, 4, 300)
    for keep in (True, False):
        expected = (x.min if least else x.max)(dims, keepdims=keep)
        plan = Plan(LAYOUT)
        port, view = plan.input(x.shape), plan.spaced(x.shape)
        plan.add("copy", [port], [view])
        plan.add("extremum_s8", [view], [plan.output(np.shape(expected))], axes=sum(1 << d for d in dims), least=least)
        assert np.array_equal(run(plan, x)[0], expected)


@pytest.mark.parametrize("least", [0, 1])
def test_choose_broadcasts_and_works_in_place(least: int) -> None:
    a, b = some(3, 1, 5), some(4, 1, seed=1)
    choose = np.minimum if least else np.maximum
    plan = Plan(LAYOUT)
    first, second = plan.input(a.shape), plan.input(b.shape)
    out, result = plan.spaced((3, 4, 5)), plan.output((3, 4, 5))
    plan.add("choose_s8", [first, second], [out], least=least)
    plan.add("choose_s8", [out, out], [out], least=least)
    plan.add("copy", [out], [result])
    assert np.array_equal(run(plan, a, b)[0], choose(a, b))


@pytest.mark.parametrize("planes", [1, 2, 3, 5])
def test_layouts_change_at_both_ends(planes: int) -> None:
    x = np.random.default_rng(0).normal(size=(2, planes, 5, 300)).astype(np.float32)
    plan = Plan(LAYOUT)
    image = plan.framed((2, 5, 300, planes), (1, 2, 0, 1), scale=0.03)
    plan.add("quantize_s8", [plan.input(x.shape, "float32")], [image], channels_last=1, lo=-128, hi=100)
    plan.add("dequantize", [image], [plan.output(x.shape, "float32")], channels_first=1)
    scale = np.float32(0.03)
    assert np.array_equal(run(plan, x)[0], np.clip(np.round(x / scale), -128, 100).astype(np.float32) * scale)


def test_a_table_for_each_channel_in_any_layout() -> None:
    x, table = some(2, 4, 5, 3), some(3, 256, seed=2)
    plan = Plan(LAYOUT)
    view, result = plan.framed(x.shape, (1, 1, 1, 1)), plan.output(x.shape)
    plan.add("copy", [plan.input(x.shape)], [view])
    plan.add("lut_s8", [view, plan.constant(table)], [view], axis=3)
    plan.add("copy", [view], [result])
    assert np.array_equal(run(plan, x)[0], table[np.arange(3), x.astype(int) + 128])


def test_a_linear_layer_into_rows_with_room_between_and_its_residual() -> None:
    x, weight, added = some(6, 10), some(4, 10, seed=1), some(6, 4, seed=2)
    bias, multiplier = np.arange(4, dtype=np.int32), np.full(4, 2e-3, np.float32)
    for first in (0, 1):
        plan = Plan(LAYOUT)
        out, more, result = plan.spaced((6, 4)), plan.spaced((6, 4)), plan.output((6, 4))
        port, other = plan.input(x.shape), plan.input(added.shape)
        plan.add("copy", [other], [more])
        layer = [plan.constant(one) for one in (weight, bias, multiplier)]
        own = {"lo": -128, "hi": 127, "sum_lo": 0, "sum_hi": 127, "ratio": 0.5, "residual_ratio": 0.75}
        plan.add("linear_s8", [port, *layer, more], [out], residual_first=first, **own)
        plan.add("copy", [out], [result])
        y = np.clip(np.round((x.astype(int) @ weight.T.astype(int) + bias).astype(np.float32) * multiplier), -128, 127)
        expected = np.clip(np.round(y * 0.5 + added * 0.75), 0, 127).astype(np.int8)  # exact: quarters
        assert np.array_equal(run(plan, x, added)[0], expected)


def test_state_stays_is_reset_saved_and_loaded() -> None:
    plan = Plan(LAYOUT)
    x, out = plan.input((4,)), plan.output((4,))
    state = plan.region((4,), kind=STATE)
    plan.add("add_s8", [x, state], [out], ratio_a=1.0, ratio_b=1.0, lo=-128, hi=127)
    plan.add("copy", [out], [state])
    engine = native.Engine(plan.bytes())
    one = np.ones(4, np.int8)
    assert [engine.run([one])[0][0] for _ in range(3)] == [1, 2, 3]
    saved = engine.state_save()
    assert len(saved) == engine.state_bytes
    assert engine.run([one])[0][0] == 4
    engine.state_load(saved)
    assert engine.run([one])[0][0] == 4
    engine.state_reset()
    assert engine.run([one])[0][0] == 1
    with pytest.raises(native.EngineError, match="bytes"):
        engine.state_load(saved[1:])


def test_a_port_seen_in_another_shape() -> None:
    x = some(2, 3, 4)
    plan = Plan(LAYOUT)
    port, out = plan.input(x.shape), plan.output((6, 4))
    plan.add("copy", [port.of((6, 4), dense((6, 4)))], [out])
    assert np.array_equal(run(plan, x)[0], x.reshape(6, 4))
