"""Threads change nothing, contexts do not disturb each other, and a run allocates nothing."""

from __future__ import annotations

import ctypes
import gc
import os
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from plans import CONV, PADS, Plan, View

native = pytest.importorskip("edgekit._C", reason="the extension is not built")
LAYOUT = native.plan_layout()
SIZE, CHANNELS = 24, 32


def constants(plan: Plan, seed: int, *weight: int) -> list[View]:
    values = np.random.default_rng(seed).integers(-127, 128, weight).astype(np.int8)
    return [
        plan.constant(values),
        plan.constant(np.arange(weight[0], dtype=np.int32)),
        plan.constant(np.full(weight[0], 0.03 / np.prod(weight[1:]) ** 0.5, np.float32)),
    ]


def net() -> Plan:
    """Large enough that threads share its operations; two branches beside each other; serial ones between."""
    plan = Plan(LAYOUT)
    image, result = plan.input((1, 3, SIZE, SIZE), "float32"), plan.output((1, 10), "float32")
    x = plan.framed((1, SIZE, SIZE, 3), (1, 1, 1, 1), scale=0.02)
    plan.add("halo", [], [x], top=1, left=1, bottom=1, right=1)
    plan.add("quantize_s8", [image], [x], channels_last=1, lo=-128, hi=127)
    y = plan.framed((1, SIZE, SIZE, CHANNELS), (1, 1, 1, 1))
    plan.add("halo", [], [y], top=1, left=1, bottom=1, right=1)
    plan.add("conv2d_s8", [x, *constants(plan, 0, CHANNELS, 3, 3, 3)], [y], **CONV, **PADS)
    joined = plan.region((1, SIZE, SIZE, 2 * CHANNELS))
    left = joined.of((1, SIZE, SIZE, CHANNELS), joined.step)
    right = joined.of((1, SIZE, SIZE, CHANNELS), joined.step, first=CHANNELS)
    plan.add("conv2d_s8", [y, *constants(plan, 1, CHANNELS, 3, 3, CHANNELS)], [left], **CONV, **PADS)
    plan.add("conv2d_s8", [y, *constants(plan, 2, CHANNELS, 1, 1, CHANNELS)], [right], flags=1, **CONV)
    both = plan.region((1, SIZE, SIZE, CHANNELS))
    plan.add("add_s8", [left, right], [both], ratio_a=0.7, ratio_b=0.6, lo=0, hi=127)
    mean = plan.region((1, CHANNELS))
    seen = both.of((1, CHANNELS, SIZE, SIZE), (SIZE * SIZE * CHANNELS, 1, SIZE * CHANNELS, CHANNELS))
    plan.add("sum_s8", [seen], [mean], axes=12, multiplier=1 / SIZE**2, lo=-128, hi=127)
    logits = plan.region((1, 10), scale=0.1)
    plan.add("linear_s8", [mean, *constants(plan, 3, 10, CHANNELS)], [logits], lo=-128, hi=127)
    plan.add("dequantize", [logits], [result])
    return plan


def image(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(1, 3, SIZE, SIZE)).astype(np.float32)


def test_any_number_of_threads_gives_the_same_bytes() -> None:
    content = net().bytes()
    expected = [native.Engine(content, isa="ref").run([image(seed)])[0] for seed in range(4)]
    assert len({one.tobytes() for one in expected}) == 4
    for threads in range(1, 9):
        engine = native.Engine(content, threads=threads)
        assert engine.threads == threads
        for _ in range(20 if threads <= 4 else 2):
            for seed in range(4):
                assert engine.run([image(seed)])[0].tobytes() == expected[seed].tobytes(), threads


def test_threads_that_slept_wake_up() -> None:
    engine = native.Engine(net().bytes(), threads=3)
    expected = engine.run([image()])[0].tobytes()
    for _ in range(3):
        time.sleep(0.05)
        assert engine.run([image()])[0].tobytes() == expected


def test_a_profile_gives_the_same_result_and_a_time_for_each_operation() -> None:
    engine = native.Engine(net().bytes(), threads=2)
    seconds = engine.profile([image()])
    assert len(seconds) == len(engine.operations())
    assert all(second > 0 for second in seconds)


def test_runs_at_the_same_time() -> None:
    content = net().bytes()
    engines = [native.Engine(content, threads=1 + number % 2) for number in range(4)]
    expected = [engines[0].run([image(seed)])[0].tobytes() for seed in range(4)]
    with ThreadPoolExecutor(4) as pool:
        rounds = [pool.submit(lambda n=n: engines[n % 4].run([image(n // 4 % 4)])[0].tobytes()) for n in range(160)]
        assert [one.result() for one in rounds] == [expected[n // 4 % 4] for n in range(160)]


COUNTER = """
#include <stddef.h>
extern void *__libc_malloc(size_t), *__libc_calloc(size_t, size_t), *__libc_realloc(void *, size_t);
extern void *__libc_memalign(size_t, size_t);
static long count;
long allocations(void) { return __atomic_load_n(&count, __ATOMIC_SEQ_CST); }
static void one(void) { __atomic_add_fetch(&count, 1, __ATOMIC_SEQ_CST); }
void *malloc(size_t n) { one(); return __libc_malloc(n); }
void *calloc(size_t n, size_t m) { one(); return __libc_calloc(n, m); }
void *realloc(void *p, size_t n) { one(); return __libc_realloc(p, n); }
void *aligned_alloc(size_t a, size_t n) { one(); return __libc_memalign(a, n); }
void *memalign(size_t a, size_t n) { one(); return __libc_memalign(a, n); }
"""


def test_a_run_allocates_nothing(tmp_path: Path) -> None:
    """Counted under a library that stands before malloc: a whole net allocates as often as one that only copies.

    What the binding itself takes for a call of one input and one output is the same in both.
    """
    compiler = shutil.which("cc")
    if compiler is None or not sys.platform.startswith("linux"):
        pytest.skip("needs a C compiler and glibc")
    source, library = tmp_path / "counter.c", tmp_path / "counter.so"
    source.write_text(COUNTER)
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, source], check=True)
    folder = Path(__file__).parent
    environment = {**os.environ, "PYTHONPATH": f"{folder}:{folder.parent}", "LD_PRELOAD": str(library)}
    code = "import test_engine_threads as t; t.compare_allocations()"
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]


def test_a_binding_keeps_what_it_needs() -> None:
    y = np.zeros((1, 10), np.float32)
    run = native.Engine(net().bytes()).bind([image(1)], [y])
    gc.collect()
    run()
    np.testing.assert_array_equal(y, native.Engine(net().bytes()).run([image(1)])[0])


def test_bound_arrays_are_read_and_written_at_each_call() -> None:
    engine = native.Engine(net().bytes())
    x, y = image(1), np.zeros((1, 10), np.float32)
    run = engine.bind([x], [y])
    for seed in (1, 2):
        x[...] = image(seed)
        run()
        np.testing.assert_array_equal(y, engine.run([image(seed)])[0])


@pytest.mark.parametrize(
    ("inputs", "outputs", "why"),
    [
        ([], [np.zeros((1, 10), np.float32)], "1 inputs and 1 outputs"),
        ([image().astype(np.float64)], [np.zeros((1, 10), np.float32)], "wrong dtype"),
        ([image()[:, :2]], [np.zeros((1, 10), np.float32)], "wrong shape"),
        ([image()], [np.zeros((1, 20), np.float32)[:, ::2]], "not contiguous"),
        ([image()], [np.broadcast_to(np.float32(0), (1, 10))], "not contiguous|read-only"),
        ([image()], [np.zeros(10, np.float32)], "wrong shape"),
    ],
)
def test_arrays_that_do_not_fit_are_not_bound(inputs: list[np.ndarray], outputs: list[np.ndarray], why: str) -> None:
    with pytest.raises(native.EngineError, match=why):
        native.Engine(net().bytes()).bind(inputs, outputs)


def compare_allocations() -> None:
    copy = Plan(LAYOUT)
    port = copy.input((1, 3, SIZE, SIZE), "float32")
    copy.add("copy", [port.of((1, 10))], [copy.output((1, 10), "float32")])
    count = ctypes.CDLL(None).allocations
    count.restype = ctypes.c_long
    inputs, outputs = [image()], [np.zeros((1, 10), np.float32)]
    taken = []
    for plan in (copy, net()):
        for threads in (1, 3):
            engine = native.Engine(plan.bytes(), threads=threads)
            run = engine.bind(inputs, outputs)
            run()
            before = count()
            for _ in range(200):
                run()
            taken.append(count() - before)
    assert max(taken) - min(taken) < 100, taken  # less than one in two runs: nothing that a run takes each time
