"""The float words of the engine against what docs/plan.md says of them, every function, type and tail; and refusals."""

from __future__ import annotations

import itertools
from typing import Any

import float_references as references
import numpy as np
import pytest
import torch
from plans import Plan, View, dense
from torch import Tensor

from edgekit.export.native import float_words

native = pytest.importorskip("edgekit._C", reason="the extension is not built")
LAYOUT = native.plan_layout()
NAN, INF = float("nan"), float("inf")
EXTREMES = torch.tensor(
    [0.0, -0.0, 1.0, -1.0, 0.5, -0.5, 1.5, 2.5, -2.5, 1e-45, -1e-45, 1e-38, 3.4e38, -3.4e38, INF, -INF, NAN, 87.0,
     -87.0, 90.0, -104.0, 8388608.5, 16777216.0, 0.99999994, 20.5, 3.1415927, 2147483648.0, -2147483648.0, 9.3e18,
     -9.4e18]
)  # fmt: skip


def reals(*size: int, seed: int = 0) -> Tensor:
    return torch.randn(size, generator=torch.Generator().manual_seed(seed))


def name_of(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def run(kind: str, inputs: list[Tensor], outputs: list[Tensor], constants: int = 0, **attributes: int) -> list[Tensor]:
    """The word on these inputs, the last of them constants; outputs say sizes and types. All threads agree."""
    plan = Plan(LAYOUT)
    ports = [plan.input(x.shape, name_of(x.dtype)) for x in inputs[: len(inputs) - constants]]
    stored = [plan.constant(x.numpy()) for x in inputs[len(inputs) - constants :]]
    plan.add(kind, [*ports, *stored], [plan.output(y.shape, name_of(y.dtype)) for y in outputs], **attributes)
    given = [x.numpy() for x in inputs[: len(inputs) - constants]]
    got = [native.Engine(plan.bytes(), None, threads).run(given) for threads in (1, 3)]
    assert [y.tobytes() for y in got[0]] == [y.tobytes() for y in got[1]]
    return [torch.from_numpy(np.asarray(y)) for y in got[0]]


def check(kind: str, inputs: list[Tensor], constants: int = 0, **attributes: int) -> None:
    """To the bit, whatever NaN's own bits are."""
    want = references.REFERENCES[kind](inputs, attributes)
    want = [want] if isinstance(want, Tensor) else list(want)
    for mine, theirs in zip(run(kind, inputs, want, constants, **attributes), want, strict=True):
        assert same(mine, theirs), attributes


def same(a: Tensor, b: Tensor) -> bool:
    return a.dtype is b.dtype and np.array_equal(a.numpy(), b.numpy(), equal_nan=a.is_floating_point())


SHAPES = [((5, 7, 33), (33,)), ((5, 1, 33), (7, 1)), ((300,), ()), ((), ()), ((2, 3, 5), (2, 3, 5)), ((0, 3), (3,))]


@pytest.mark.parametrize("shapes", SHAPES)
@pytest.mark.parametrize("name", float_words.BINARY)
def test_pairs_of_floats(name: str, shapes: Any) -> None:
    check("binary", [reals(*shapes[0]), reals(*shapes[1], seed=1)], function=float_words.BINARY.index(name))


@pytest.mark.parametrize("name", [n for n in float_words.BINARY if n != "pow"])
def test_pairs_at_the_extremes(name: str) -> None:
    a, b = (x.reshape(-1).contiguous() for x in torch.meshgrid(EXTREMES, EXTREMES, indexing="ij"))
    check("binary", [a, b], function=float_words.BINARY.index(name))


@pytest.mark.parametrize("dtype", [torch.int64, torch.int32])
@pytest.mark.parametrize("name", ["add", "sub", "mul", "max", "min"])
def test_pairs_of_integers_wrap(name: str, dtype: torch.dtype) -> None:
    ends = torch.tensor([0, 1, -1, 7, torch.iinfo(dtype).max, torch.iinfo(dtype).min], dtype=dtype)
    check("binary", [ends.reshape(-1, 1).contiguous(), ends], function=float_words.BINARY.index(name))


@pytest.mark.parametrize("name", ["max", "min"])
def test_or_and_and(name: str) -> None:
    truths = torch.tensor([True, False])
    check("binary", [truths.reshape(2, 1), truths], function=float_words.BINARY.index(name))


@pytest.mark.parametrize("dtype", [torch.int8, torch.uint8, torch.int16, torch.int32, torch.int64, torch.bool])
@pytest.mark.parametrize("name", float_words.COMPARE)
def test_comparisons(name: str, dtype: torch.dtype) -> None:
    values = reals(3, 70).mul(2).to(torch.int32).clamp(0, 4).to(dtype)
    check("compare", [values, values.flip(1).contiguous()], function=float_words.COMPARE.index(name))
    check("compare", [EXTREMES.reshape(-1, 1).contiguous(), EXTREMES], function=float_words.COMPARE.index(name))


@pytest.mark.parametrize("name", float_words.UNARY)
def test_functions(name: str) -> None:
    values = EXTREMES if name != "sign" else EXTREMES[~EXTREMES.isnan()]
    x = torch.cat([values, reals(1000) * 3, torch.rand(300, generator=torch.Generator().manual_seed(3))])
    number = float_words.UNARY.index(name)
    want = references.unary([x], {"function": number})
    (got,) = run("unary_f32", [x], [want], function=number)
    if name in references.EXACT or name == "reciprocal":
        assert same(got, want)
    near = torch.nextafter(want, torch.full_like(want, -INF)), torch.nextafter(want, torch.full_like(want, INF))
    assert bool(((got == want) | (got == near[0]) | (got == near[1]) | (got.isnan() & want.isnan())).all())
    assert float((got != want)[~want.isnan()].float().mean()) < 1e-2, "libraries differ in the last bit of float64"


@pytest.mark.parametrize("dtype", [torch.float32, torch.int64, torch.uint8, torch.int16, torch.bool, torch.int8])
def test_choices(dtype: torch.dtype) -> None:
    a, b = (reals(4, 1, 50, seed=s).mul(9).to(torch.int32).clamp(0).to(dtype) for s in (0, 1))
    check("select", [reals(3, 1) > 0, a, b])


TYPES = [torch.int8, torch.uint8, torch.int16, torch.int32, torch.int64, torch.float32, torch.bool]


@pytest.mark.parametrize(("source", "to"), list(itertools.product(TYPES, TYPES)))
def test_casts(source: torch.dtype, to: torch.dtype) -> None:
    x = reals(2, 90).mul(200).to(source) if source is not torch.bool else reals(2, 90) > 0
    if source is torch.float32:
        x = torch.cat([x.reshape(-1), EXTREMES, -EXTREMES])
    (got,) = run("cast", [x], [x.to(to)])
    assert same(got, references.cast(x, to))


@pytest.mark.parametrize("axes", [0b1, 0b10, 0b100, 0b101, 0b111, 0])
@pytest.mark.parametrize("name", float_words.REDUCE)
def test_reductions(name: str, axes: int) -> None:
    number = float_words.REDUCE.index(name)
    for x in (reals(5, 3, 140), reals(5, 3, 140).mul(9).to(torch.int64), reals(300, 1, 3).mul(9).to(torch.int32),
              reals(2, 3, 4) > 0):  # fmt: skip
        unknown = name == "mean" and x.dtype is not torch.float32
        if unknown or (name == "sum" and x.dtype is torch.bool) or (name.startswith("arg") and x.dtype is torch.bool):
            continue
        want = references.reduce(x, {"axes": axes, "function": number})
        (got,) = run("reduce", [x], [want], axes=axes, function=number)
        assert same(got, want)


def test_extremes_of_what_is_no_number() -> None:
    x = torch.tensor([[1.0, NAN, INF, NAN], [-INF, -INF, -INF, -INF]])
    for name in ("max", "min", "argmax", "argmin"):
        number = float_words.REDUCE.index(name)
        want = references.reduce(x, {"axes": 2, "function": number})
        assert same(run("reduce", [x], [want], axes=2, function=number)[0], want)


@pytest.mark.parametrize("columns", [1, 15, 16, 17, 40])
@pytest.mark.parametrize("rows", [1, 2, 5, 6, 7, 97])
def test_products(rows: int, columns: int) -> None:
    a, b, bias = reals(rows, 19), reals(19, columns, seed=1), reals(columns, seed=2)
    check("matmul_f32", [a, b])
    check("matmul_f32", [a, b, bias], 2)


def test_products_broadcast() -> None:
    for left, right in (((2, 1, 3, 4), (5, 4, 6)), ((4, 6), (2, 3, 6, 20)), ((2, 3, 1, 6), (6, 1)), ((1, 1), (1, 1))):
        check("matmul_f32", [reals(*left), reals(*right, seed=1)])


CONVOLUTIONS = [
    # sizes of x, weight, stride, padding, dilation, groups
    ((1, 3, 1, 9, 11), (7, 3, 1, 3, 3), (1, 1, 1), (0, 1, 1), (1, 1, 1), 1),
    ((2, 4, 1, 8, 8), (4, 1, 1, 3, 3), (1, 2, 2), (0, 1, 1), (1, 1, 1), 4),
    ((1, 6, 1, 1, 30), (4, 3, 1, 1, 5), (1, 1, 3), (0, 0, 4), (1, 1, 2), 2),
    ((1, 5, 1, 4, 9), (3, 5, 1, 1, 1), (1, 1, 1), (0, 0, 0), (1, 1, 1), 1),
    ((1, 2, 4, 5, 6), (3, 2, 2, 3, 2), (2, 1, 2), (1, 1, 0), (1, 2, 1), 1),
    ((1, 1, 1, 1, 1), (1, 1, 1, 1, 1), (1, 1, 1), (0, 3, 3), (1, 1, 1), 1),
]


def geometry(**values: tuple[int, ...]) -> dict[str, int]:
    return {
        f"{name}_{axis}": value
        for name, sizes in values.items()
        for axis, value in zip(("depth", "height", "width"), sizes, strict=True)
    }


@pytest.mark.parametrize("case", CONVOLUTIONS)
@pytest.mark.parametrize("biased", [False, True])
def test_convolutions(case: tuple[Any, ...], biased: bool) -> None:
    x, weight, stride, pad, dilation, groups = case
    operands = [reals(*x), reals(*weight, seed=1)] + ([reals(weight[0], seed=2)] if biased else [])
    check("conv_f32", operands, groups=groups, **geometry(stride=stride, pad=pad, dilation=dilation))


POOLS = [
    # size of x, kernel, stride, padding, ceil_mode
    ((1, 5, 1, 9, 7), (1, 3, 2), (1, 2, 2), (0, 1, 1), False),
    ((2, 3, 1, 10, 10), (1, 3, 3), (1, 2, 2), (0, 0, 0), True),
    ((1, 2, 5, 6, 7), (2, 3, 3), (2, 2, 3), (1, 1, 1), True),
]


@pytest.mark.parametrize("case", POOLS)
def test_pools(case: tuple[Any, ...]) -> None:
    size, kernel, stride, pad, ceil_mode = case
    x = reals(*size)
    x[0, 0, 0, 0, 0] = NAN
    numbers = geometry(kernel=kernel, stride=stride, pad=pad, dilation=(1, 1, 1))
    shape = torch.nn.functional.max_pool3d(x, kernel, stride, pad, 1, ceil_mode).shape
    for more in ({}, {"average": 1}, {"average": 1, "count_include_pad": 1}, {"average": 1, "divisor": 5}):
        attributes = {"average": 0, "count_include_pad": 0, "divisor": 0} | numbers | more
        want = references.pool(x, attributes, shape)
        assert same(run("pool_f32", [x], [want], **attributes)[0], want)


@pytest.mark.parametrize("reverse", [0, 1])
@pytest.mark.parametrize(("steps", "batch", "units"), [(1, 1, 1), (5, 3, 7), (3, 1, 16), (4, 4, 33)])
def test_recurrent_layers(steps: int, batch: int, units: int, reverse: int) -> None:
    gates = [reals(steps, batch, units, seed=s) for s in range(4)]
    state, cell = (reals(batch, units, seed=s) for s in (5, 6))
    check("gru_f32", [*gates[:3], state, reals(units, 3 * units, seed=7), reals(3 * units)], 2, reverse=reverse)
    check("lstm_f32", [*gates, state, cell, reals(units, 4 * units, seed=7), reals(4 * units)], 2, reverse=reverse)


def test_any_steps_and_in_place() -> None:
    x = reals(6, 40)
    plan = Plan(LAYOUT)
    port, out = plan.input(x.shape, "float32"), plan.output((40, 6), "float32")
    turned = port.of((40, 6), (1, 40))
    plan.add("binary", [turned, plan.constant(np.float32(2))], [out], function=float_words.BINARY.index("mul"))
    plan.add("unary_f32", [out], [out], function=float_words.UNARY.index("exp"))
    plan.add("binary", [out, turned], [out], function=0)
    (got,) = native.Engine(plan.bytes()).run([x.numpy()])
    assert same(torch.from_numpy(got), torch.exp((x.t() * 2).double()).float() + x.t())


def refused(kind: str, inputs: list[View], output: View, plan: Plan, words: str, **attributes: int) -> None:
    plan.add(kind, inputs, [output], **attributes)
    with pytest.raises(native.EngineError, match=words):
        native.Engine(plan.bytes())


@pytest.mark.parametrize(
    ("kind", "inputs", "output", "attributes", "words"),
    [
        ("binary", ["float32", "float32"], "float32", {"function": 7}, "function is not known"),
        ("binary", ["float32", "int64"], "float32", {}, "different types"),
        ("binary", ["int64", "int64"], "int64", {"function": 3}, "no such function of s64"),
        ("binary", ["bool", "bool"], "bool", {"function": 0}, "no such function of boolean"),
        ("binary", ["int8", "int8"], "int8", {"function": 0}, "no such function of s8"),
        ("compare", ["float32", "float32"], "uint8", {}, "boolean"),
        ("unary_f32", ["int32"], "float32", {}, "s32 and not f32"),
        ("unary_f32", ["float32"], "float32", {"function": 99}, "function is not known"),
        ("select", ["uint8", "float32", "float32"], "float32", {}, "boolean"),
        ("select", ["bool", "float32", "int32"], "float32", {}, "different types"),
        ("reduce", ["float32"], "float32", {"axes": 8}, "lacks"),
        ("reduce", ["float32"], "float32", {"axes": 1, "function": 4}, "s64"),
        ("reduce", ["bool"], "bool", {"axes": 0, "function": 0}, "no such reduction"),
        ("reduce", ["int64"], "int64", {"axes": 0, "function": 1}, "no such reduction"),
        ("matmul_f32", ["float32", "float32"], "float32", {}, "do not fit"),
        ("conv_f32", ["float32", "float32"], "float32", {}, "five dimensions"),
        ("pool_f32", ["float32"], "float32", {}, "five dimensions"),
        ("gru_f32", ["float32"] * 6, "float32", {}, "do"),
    ],
)
def test_what_does_not_fit_is_refused(
    kind: str, inputs: list[str], output: str, attributes: dict[str, int], words: str
) -> None:
    plan, size = Plan(LAYOUT), (2, 3, 4)
    refused(kind, [plan.input(size, t) for t in inputs], plan.output(size, output), plan, words, **attributes)


def test_sizes_that_do_not_fit_are_refused() -> None:
    for kind, size in (("cast", (2, 4)), ("unary_f32", (2, 4)), ("binary", (2, 4))):
        plan = Plan(LAYOUT)
        operands = [plan.input((2, 3), "float32") for _ in range(2 if kind == "binary" else 1)]
        refused(kind, operands, plan.output(size, "float32"), plan, "different sizes|do not broadcast")
    plan = Plan(LAYOUT)
    five, out = plan.input((1, 2, 1, 4, 4), "float32"), plan.output((1, 2, 1, 4, 4), "float32")
    ones = geometry(kernel=(1, 3, 3), stride=(1, 1, 1), pad=(0, 2, 1), dilation=(1, 1, 1))
    refused("pool_f32", [five], out, plan, "over half the kernel", **ones)
    plan = Plan(LAYOUT)
    five, out = plan.input((1, 2, 1, 4, 4), "float32"), plan.output((1, 3, 1, 4, 4), "float32")
    weight = plan.constant(np.zeros((3, 2, 1, 3, 3), np.float32))
    ones = geometry(stride=(1, 1, 1), pad=(0, 0, 1), dilation=(1, 1, 1))
    refused("conv_f32", [five, weight], out, plan, "does not have the sizes", groups=1, **ones)
    assert dense((2, 3)) == (3, 1)
