"""A plan is not trusted: what is wrong with one is refused in a sentence, and no byte of it crashes or hangs a run."""

from __future__ import annotations

import random
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from plans import CONV, HEADER, OPERATION, PADS, TENSOR, Plan, View

native = pytest.importorskip("edgekit._C", reason="the extension is not built")
LAYOUT = native.plan_layout()


def constants(plan: Plan, weight: tuple[int, ...], channels: int) -> list[View]:
    values = np.random.default_rng(0).integers(-127, 128, weight).astype(np.int8)
    vectors = np.arange(channels, dtype=np.int32), np.full(channels, 1e-3, np.float32)
    return [plan.constant(one) for one in (values, *vectors)]


def net() -> Plan:
    """A bit of everything: halo, convolution, residual, pools, tables, a gather, a take, softmax, a state."""
    plan = Plan(LAYOUT)
    image, rows = plan.input((1, 3, 6, 6), "float32"), plan.input((2,), "int64")
    probabilities, floats = plan.output((2, 8)), plan.output((2, 8), "float32")
    x = plan.framed((1, 6, 6, 3), (1, 1, 1, 1), scale=0.02)
    plan.add("halo", [], [x], top=1, left=1, bottom=1, right=1)
    plan.add("quantize_s8", [image], [x], channels_last=1, lo=-128, hi=127)
    y = plan.region((1, 6, 6, 8))
    plan.add("conv2d_s8", [x, *constants(plan, (8, 3, 3, 3), 8)], [y], **CONV, **PADS)
    z = plan.spaced((1, 6, 6, 8))
    own = {"ratio": 0.5, "residual_ratio": 0.5, "sum_lo": 0, "sum_hi": 127}
    plan.add("conv2d_s8", [y, *constants(plan, (8, 1, 1, 8), 8), y], [z], **CONV, **own)
    plan.add("lut_s8", [z, plan.constant(np.arange(-128, 128).astype(np.int8))], [z], axis=-1)
    pooled = plan.region((1, 3, 3, 8))
    pool = {"kernel_height": 2, "kernel_width": 2, "stride_height": 2, "stride_width": 2}
    plan.add("max_pool_s8", [z], [pooled], **pool, dilation_height=1, dilation_width=1)
    small = plan.region((1, 1, 1, 8), scale=0.05)
    plan.add("avg_pool_s8", [pooled, plan.constant(np.full(5, 0.25, np.float32))], [small], **pool, lo=-128, hi=127)
    table = plan.region((4, 8))
    index = np.arange(32, dtype=np.int32).reshape(4, 8) % 72
    plan.add("gather", [pooled, plan.constant(index)], [table], value=1)
    taken, mixed = plan.region((2, 8)), plan.region((2, 8), scale=0.1)
    plan.add("take", [table, rows], [taken])
    plan.add("add_s8", [taken, small.of((8,))], [mixed], ratio_a=0.5, ratio_b=0.5, lo=-128, hi=127)
    plan.add("linear_s8", [mixed, *constants(plan, (8, 8), 8)], [taken], lo=-128, hi=127)
    state = plan.region((2, 8), kind=2)
    plan.add("choose_s8", [taken, state], [mixed], least=0)
    plan.add("copy", [mixed], [state])
    plan.add(
        "softmax_s8",
        [mixed, plan.constant(np.arange(256, dtype=np.int32)[::-1] * 1000)],
        [probabilities],
        output_scale=1 / 127,
    )
    plan.add("dequantize", [mixed], [floats])
    return plan


def inputs() -> list[np.ndarray]:
    image = np.random.default_rng(1).normal(size=(1, 3, 6, 6)).astype(np.float32)
    return [image, np.array([3, 0])]


def test_the_net_runs_and_says_what_ran() -> None:
    engine = native.Engine(net().bytes(), isa="ref")
    first = [one.copy() for one in engine.run(inputs())]
    assert first[0].any()
    assert all(row["kernel"] for row in engine.operations())
    assert engine.isa == "ref"
    assert [port["name"] for port in engine.inputs()] == ["x", "x"]
    assert len(engine.profile(inputs())) == len(engine.operations())


def wrong(change: Callable[[Plan], None], match: str) -> None:
    plan = net()
    change(plan)
    with pytest.raises(native.EngineError, match=match):
        native.Engine(plan.bytes())


def attribute(at: int, **changes: object) -> Callable[[Plan], None]:
    return lambda plan: plan.operations[at][3].update(changes)


REFUSED = {
    "a stride of 0": (attribute(2, stride_height=0), "must be 1 to"),
    "padding that the size denies": (attribute(2, pad_top=0), "does not have the sizes"),
    "groups that do not divide": (attribute(2, groups=2), "do not fit"),
    "bounds": (attribute(2, lo=5, hi=4), "bounds"),
    "a ratio of 0": (attribute(3, ratio=0.0), "ratio"),
    "a NaN ratio": (attribute(9, ratio_a=float("nan")), "ratio"),
    "a halo that leaves its region": (attribute(0, bottom=2), "leaves the region"),
    "an axis": (attribute(4, axis=4), "axis"),
    "a window": (attribute(5, stride_height=3), "windows"),
    "an output scale": (attribute(13, output_scale=0.0), "scale"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_with_a_sentence(name: str) -> None:
    wrong(*REFUSED[name])


def view(change: Callable[[View], None], at: int = 0, output: bool = True) -> Callable[[Plan], None]:
    return lambda plan: change(plan.operations[at][2 if output else 1][0])


def test_tensors_that_leave_their_memory_are_refused() -> None:
    def later(one: View) -> None:
        one.first += 300

    def further(one: View) -> None:
        one.region += 1 << 20

    def huge(one: View) -> None:
        one.size = (1, 6, 6, 1 << 62)

    wrong(view(later), "leaves its region")
    wrong(view(further), "outside its storage")
    wrong(view(huge), "too large|leaves its region")


def test_writes_that_harm_are_refused() -> None:
    def over_itself(plan: Plan) -> None:
        one = plan.operations[3][2][0]
        one.step = (0, 0, 8, 1)

    def over_its_input(plan: Plan) -> None:
        plan.operations[2] = (
            *plan.operations[2][:2],
            [plan.operations[0][2][0].of((1, 6, 6, 8), (0, 8, 1, 1))],
            *plan.operations[2][3:],
        )

    def constant(plan: Plan) -> None:
        plan.operations[7][2][0] = plan.constant(np.zeros((4, 8), np.int8))

    def beside(plan: Plan) -> None:
        plan.operations[3] = (*plan.operations[3][:4], 1)

    wrong(over_itself, "lie on each other")
    wrong(over_its_input, "lie on each other|over what it reads")
    wrong(constant, "only ever read")
    wrong(beside, "concurrent")


def test_an_index_outside_and_an_output_that_nobody_writes() -> None:
    def outside(plan: Plan) -> None:
        plan.operations[7][1][1] = plan.constant(np.full((4, 8), 72, np.int32))

    wrong(outside, "index")
    wrong(lambda plan: plan.operations.pop(), "nothing writes")


def test_another_major_and_an_unknown_operation_are_unsupported() -> None:
    plan = bytearray(net().bytes())
    plan[8] = 9
    with pytest.raises(native.EngineError, match="format 9") as caught:
        native.Engine(bytes(plan))
    assert caught.value.args[0] == 3
    plan = bytearray(net().bytes())
    first = HEADER.unpack_from(plan)[8]
    struct.pack_into("<I", plan, first, 99)
    with pytest.raises(native.EngineError, match="newer library") as caught:
        native.Engine(bytes(plan))
    assert caught.value.args[0] == 3


def test_every_cut_is_refused() -> None:
    plan = net().bytes()
    for length in [*range(HEADER.size + 2), *range(HEADER.size, len(plan), 97)]:
        with pytest.raises(native.EngineError):
            native.Engine(plan[:length])


def mutated(plan: bytes, number: int) -> bytes:
    """Some fields of the tables set to what hurts; constants are left alone, since any of their bytes is legal."""
    chance = random.Random(number)
    content = bytearray(plan)
    spans = HEADER.unpack_from(content)[6:18]
    tables = HEADER.size, spans[10]
    for _ in range(chance.choice((1, 1, 1, 2, 5))):
        at = chance.randrange(tables[0] if chance.random() < 0.9 else 0, tables[1])
        if chance.random() < 0.5:
            content[at] = chance.randrange(256)
        else:
            width = chance.choice((4, 8))
            at -= at % width
            value = chance.choice(
                (0, 1, 2, 3, 7, 64, 255, 256, 1 << 20, 1 << 31, (1 << 32) - 1, 1 << 62, (1 << 63) - 1)
            )
            content[at : at + width] = (value % (1 << (8 * width))).to_bytes(width, "little")
    return bytes(content)


def test_corrupted_plans_are_refused_or_harmless() -> None:
    """In a process of its own: a crash has to be seen as one. Arenas beyond a few megabytes are not run."""
    code = "import test_engine_plan_broken as t; t.survive(4000)"
    folder = Path(__file__).parent
    path = f"{folder}:{folder.parent}"
    done = subprocess.run(
        [sys.executable, "-c", code], env={"PYTHONPATH": path}, capture_output=True, text=True, timeout=280
    )
    assert done.returncode == 0, done.stderr[-2000:]


def survive(count: int) -> None:
    plan, ran = net().bytes(), 0
    for number in range(count):
        content = mutated(plan, number)
        arena, state = HEADER.unpack_from(content)[4:6] if len(content) >= HEADER.size else (0, 0)
        if arena > 1 << 24 or state > 1 << 24:
            continue
        try:
            engine = native.Engine(content, threads=1 + number % 2)
            ports = [
                np.zeros(port["shape"], port["dtype"]) for port in engine.inputs() if np.prod(port["shape"]) < 1 << 20
            ]
            engine.run(ports)
            ran += 1
        except native.EngineError as error:
            if not error.args[1]:
                raise
    assert ran > count // 50, ran
    assert TENSOR.size == LAYOUT["tensor"]
    assert OPERATION.size == LAYOUT["operation"]
