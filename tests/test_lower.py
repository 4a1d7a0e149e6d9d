"""The integer graph: its structure, its numbers recomputed from the definition, and what cannot be lowered.

The file is over 500 lines because each lowering rule has its structure, numbers and refusals side by side.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import quantised
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from quantised import NETS, Written, build, conv, float_graph, items, quantise, tensors
from torch import Tensor, fx, nn
from torch.nn import functional

import edgekit as ek
from edgekit import fuse
from edgekit.errors import NumericsError, OperatorError, UsageError
from edgekit.graph import Graph, edit, patterns
from edgekit.ops import dispatch
from edgekit.sqnr import sqnr_db

FAKE = torch.ops.edgekit.fake_quantize.default
Array = NDArray[Any]


class Recorder(fx.Interpreter):
    """Keeps every value by node; ``replace`` may put another in its place."""

    def __init__(self, graph: Graph, replace: Callable[[fx.Node, Any], Any] = lambda node, value: value) -> None:
        super().__init__(graph.module)
        self.values: dict[str, Any] = {}
        self.replace = replace

    def run_node(self, n: fx.Node) -> Any:
        self.values[n.name] = value = self.replace(n, super().run_node(n))
        return value


def calls(graph: Graph) -> list[fx.Node]:
    return list(edit.calls(graph.module))


def described(graph: Graph) -> list[str]:
    """Every call as ``operator(what it reads)(numbers)``, without stored tensors."""
    lines = []
    for node in calls(graph):
        read = [n.name for n in node.all_input_nodes if n.op != "get_attr"]
        numbers = [arg for arg in node.args if not isinstance(arg, fx.Node)]
        lines.append(f"{node.name} = {edit.operator_name(node).partition('.')[2]}({', '.join(read)}){numbers}")
    return lines


STRUCTURE = {
    "linear": (
        lambda: nn.Sequential(nn.Linear(6, 4), nn.ReLU()),
        (6,),
        ["linear = linear_s8(input_1_s8)[0, 127]"],
    ),
    "convolution": (
        lambda: nn.Sequential(nn.Conv2d(4, 6, (1, 3), (2, 1), (0, 2), 2, 2)),
        (4, 7, 9),
        ["conv2d = conv2d_s8(input_1_s8)[[2, 1], [0, 2], [2, 2], 2, -128, 127]"],
    ),
    "shape": (lambda: nn.Flatten(), (2, 3), ["flatten = flatten(input_1_s8)[1]"]),
    "table": (lambda: nn.Sigmoid(), (5,), ["sigmoid = lut_s8(input_1_s8)[]"]),
    "max pool": (
        lambda: nn.MaxPool2d(3, 2, 1, ceil_mode=True),
        (2, 7, 7),
        ["max_pool2d = max_pool_s8(input_1_s8)[[3, 3], [2, 2], [1, 1], [1, 1], True]"],
    ),
    "average pool": (
        lambda: nn.Sequential(nn.AvgPool2d((2, 3), padding=(1, 0), count_include_pad=False)),
        (2, 6, 6),
        ["avg_pool2d = avg_pool_s8(input_1_s8)[[2, 3], [2, 3], [1, 0], False, False, -128, 127]"],
    ),
    "global pool": (
        lambda: nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.ReLU()),
        (2, 5, 4),
        [
            "adaptive_avg_pool2d = sum_s8(input_1_s8)"
            "[[2, 3], True, True, 0.03229522332549095, 0.004382109735161066, 0, 127]"
        ],
    ),
}


@pytest.mark.parametrize("name", STRUCTURE)
def test_each_rule_writes_one_integer_call(name: str) -> None:
    model, shape, expected = STRUCTURE[name]
    graph = ek.lower(quantise(model(), *shape))
    lines = described(graph)
    assert lines[0].split(" = ")[1].startswith("quantize_s8(")
    assert lines[-1].split(" = ")[1].startswith("dequantize(")
    assert lines[1:-1] == expected


def test_an_addition_keeps_the_order_of_its_operands() -> None:
    for swapped in (False, True):

        def function(layers: nn.ModuleDict, x: Tensor, swapped: bool = swapped) -> Tensor:
            y = layers["a"](x)
            return functional.relu(x + y if swapped else y + x)

        graph = ek.lower(quantise(Written(function, a=conv(3, 3)), 3, 5, 5))
        (node,) = [n for n in calls(graph) if n.target is torch.ops.edgekit.add_s8.default]
        names = [n.name for n in node.all_input_nodes]
        assert names == (["x_s8", "conv2d"] if swapped else ["conv2d", "x_s8"])
        assert node.args[4:] == (0, 127)


@pytest.mark.parametrize("name", NETS)
def test_between_quantise_and_dequantise_every_tensor_is_an_integer(name: str) -> None:
    """On real values: what flows is int8, what is stored beside it int8, int32, or a float32 multiplier or scale."""
    graph = ek.lower(quantised.quantised(name))
    recorder = Recorder(graph)
    recorder.run(items(NETS[name].shape, 3))
    ends = {torch.ops.edgekit.dequantize.default}
    for node in graph.nodes:
        value = recorder.values[node.name]
        if node.op == "call_function" and isinstance(value, Tensor):
            assert value.dtype == (torch.float32 if node.target in ends else torch.int8), node.name
        if node.op == "get_attr":
            role = str(node.target).rpartition(".")[2]
            wanted = {"weight": torch.int8, "bias": torch.int32, "table": torch.int8}.get(role, torch.float32)
            assert value.dtype == wanted, node.target
    for node in calls(graph):
        if node.target in ends:
            assert all(user.op == "output" for user in node.users)


@pytest.mark.parametrize("name", NETS)
def test_torch_and_native_code_give_the_same_bytes(name: str) -> None:
    """On whole nets, on values far outside the calibrated range, on infinities and NaN; for every batch."""
    graph, shape = ek.lower(quantised.quantised(name)), NETS[name].shape
    x = torch.cat([items(shape, 8), items(shape, 4, seed=1, spread=100), items(shape, 4, seed=2, spread=1e-3)])
    x[0].flatten()[:3] = torch.tensor([math.inf, -math.inf, math.nan])
    for batch in (x, x[:1], x[:7], x[:0]):
        with dispatch.force("reference"):
            want = tensors(graph(batch))
        with dispatch.force("ref"):
            got = tensors(graph(batch))
        assert all(a.numpy().tobytes() == b.numpy().tobytes() for a, b in zip(want, got, strict=True))
        assert all(len(a) == len(batch) for a in want)


def f32(value: Any) -> Any:
    return np.float32(value)


def scale_of(value: Tensor) -> Any:
    return f32(float(value.detach().abs().max()) / 127)


def quantized(x: Tensor | Array, scale: Any) -> Array:
    return np.rint(np.clip(np.asarray(x, np.float32) / scale, f32(-128), f32(127))).astype(np.int64)


def rounded(values: Array, lo: int = -128, hi: int = 127) -> Array:
    assert values.dtype == np.float32
    return np.rint(np.clip(values, f32(lo), f32(hi))).astype(np.int64)


def layer_numbers(layer: Any, sx: Any) -> tuple[Array, Array, Array]:
    """Weight and bias as integers, and the weight scale, channel by channel."""
    weight = layer.weight.detach().numpy()
    fan_in = weight[0].size
    room = min(2**30, 2**31 - 1 - fan_in * 16256)
    w, b, s = [], [], []
    for c in range(len(weight)):
        bias = 0.0 if layer.bias is None else float(layer.bias.detach()[c])
        largest = f32(np.abs(weight[c]).max()) / f32(127)
        scale = max(largest, f32(abs(bias)) / (sx * f32(room))) or f32(1)
        s.append(scale)
        w.append(np.clip(np.rint(weight[c] / scale), -127, 127).astype(np.int64))
        b.append(int(np.rint(np.float64(bias) / np.float64(f32(sx * scale)))))
    return np.array(w), np.array(b), np.array(s, np.float32)


def requantized(acc: Array, sx: Any, sw: Array, sy: Any, lo: int = -128, hi: int = 127) -> Array:
    """acc with channels last."""
    multiplier = (sx * sw) / sy
    assert multiplier.dtype == np.float32
    return rounded(acc.astype(np.float32) * multiplier, lo, hi)


def windows(x: Array, kernel: Any, stride: Any, padding: Any, dilation: Any, fill: int = 0) -> Array:
    """[N, C, rows, columns, kh, kw] of [N, C, H, W]."""
    padded = np.pad(x, [(0, 0), (0, 0), *((p, p) for p in padding)], constant_values=fill)
    span = [d * (k - 1) + 1 for k, d in zip(kernel, dilation, strict=True)]
    view = np.lib.stride_tricks.sliding_window_view(padded, span, (2, 3))
    return view[:, :, :: stride[0], :: stride[1], :: dilation[0], :: dilation[1]]


def convolution(x: Array, layer: nn.Conv2d, w: Array, b: Array) -> Array:
    """[N, rows, columns, O] in int64, one group after the other."""
    view = windows(x, layer.kernel_size, layer.stride, layer.padding, layer.dilation)
    parts = zip(np.split(view, layer.groups, 1), np.split(w, layer.groups), strict=True)
    return np.concatenate([np.einsum("ncijkl,ockl->nijo", v, k) for v, k in parts], -1) + b


def bytes_of(graph: Graph, x: Tensor, scale: Any) -> Array:
    """The golden's output as integers; dequantise is undone exactly, since q * s / s rounds back to q."""
    return np.rint(ek.lower(graph)(x).numpy() / scale).astype(np.int64)


X = {"image": items((4, 9, 8)), "vector": items((20,))}


def test_numbers_of_a_linear() -> None:
    model, x = build(nn.Sequential(nn.Linear(20, 9), nn.ReLU())), X["vector"]
    sx, sy = scale_of(x), scale_of(model(x))
    w, b, sw = layer_numbers(model[0], sx)
    want = requantized(quantized(x, sx) @ w.T + b, sx, sw, sy, lo=0)
    np.testing.assert_array_equal(bytes_of(quantise(model, 20), x, sy), want)
    assert want.max() == 127
    assert want.min() == 0


@pytest.mark.parametrize(
    "layer",
    [
        lambda: conv(4, 6),
        lambda: conv(4, 6, bias=False, stride=2),
        lambda: conv(4, 8, groups=4),
        lambda: nn.Conv2d(4, 6, (1, 3), (2, 1), (0, 2), (1, 2), groups=2),
    ],
    ids=["3x3", "stride 2 without bias", "depthwise", "uneven"],
)
def test_numbers_of_a_convolution(layer: Callable[[], nn.Conv2d]) -> None:
    """With ReLU6, whose upper bound is quantised too: the calibrated maximum lies below 6, so it never binds."""
    model, x = build(nn.Sequential(layer(), nn.ReLU6())), X["image"]
    sx, sy = scale_of(x), scale_of(model(x))
    w, b, sw = layer_numbers(model[0], sx)
    bound = int(quantized(np.array(6.0), sy))
    want = requantized(convolution(quantized(x, sx), model[0], w, b), sx, sw, sy, 0, bound)
    np.testing.assert_array_equal(bytes_of(quantise(model, 4, 9, 8), x, sy), np.moveaxis(want, 3, 1))


def test_numbers_of_an_addition() -> None:
    """The convolution is rounded to its own scale first; then one rounded product and one fused multiply-add."""

    def function(layers: nn.ModuleDict, x: Tensor) -> Tensor:
        return layers["a"](x) + x

    model, x = build(Written(function, a=conv(4, 4))), X["image"]
    layer, graph = model.layers["a"], quantise(model, 4, 9, 8)
    sx, sc = (graph.module.state_dict()[name].numpy() for name in ("x_scale", "conv2d_scale"))
    sy = scale_of(model(x))
    assert (sx, sc) == pytest.approx((scale_of(x), scale_of(layer(x))), rel=1e-2)  # moved: see test_additions.py
    q = quantized(x, sx)
    w, b, sw = layer_numbers(layer, sx)
    a = np.moveaxis(requantized(convolution(q, layer, w, b), sx, sw, sc), 3, 1)
    second = f32(q) * (sx / sy)
    # 8 and 24 bits times 8 and 24 bits: exact in 64 bits of mantissa, so the conversion is the only rounding.
    total = a.astype(np.longdouble) * np.longdouble(sc / sy) + second.astype(np.longdouble)
    np.testing.assert_array_equal(bytes_of(graph, x, sy), rounded(total.astype(np.float32)))


def test_numbers_of_average_pools() -> None:
    x = X["image"]
    for include in (True, False):
        model = nn.AvgPool2d(3, 2, 1, count_include_pad=include)
        sx, sy = scale_of(x), scale_of(model(x))
        view = windows(quantized(x, sx), (3, 3), (2, 2), (1, 1), (1, 1)).sum((4, 5))
        ones = windows(np.ones((1, 1, 9, 8), np.int64), (3, 3), (2, 2), (1, 1), (1, 1)).sum((4, 5))
        n = np.full_like(ones, 9) if include else ones
        want = rounded(view.astype(np.float32) * (sx / (f32(n) * sy)))
        np.testing.assert_array_equal(bytes_of(quantise(nn.Sequential(model), 4, 9, 8), x, sy), want)


def test_numbers_of_a_global_pool_and_a_maximum() -> None:
    x = X["image"]
    sx, sy = scale_of(x), scale_of(x.mean((2, 3)))
    sums = quantized(x, sx).sum((2, 3))
    want = rounded(sums.astype(np.float32) * (sx / (f32(72) * sy)))
    model = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
    np.testing.assert_array_equal(bytes_of(quantise(model, 4, 9, 8), x, sy), want)
    largest = windows(quantized(x, sx), (3, 3), (2, 2), (1, 1), (1, 1), fill=-128).max((4, 5))
    np.testing.assert_array_equal(bytes_of(quantise(nn.MaxPool2d(3, 2, 1), 4, 9, 8), x, sx), largest)


FUNCTIONS: dict[str, tuple[nn.Module, Callable[[float], float]]] = {
    "sigmoid": (nn.Sigmoid(), lambda v: 1 / (1 + math.exp(-v))),
    "tanh": (nn.Tanh(), math.tanh),
    "gelu": (nn.GELU(), lambda v: v * 0.5 * math.erfc(-v / math.sqrt(2))),
    "gelu, tanh": (
        nn.GELU(approximate="tanh"),
        lambda v: v * 0.5 * (1 + math.tanh(math.sqrt(2 / math.pi) * (v + 0.044715 * v**3))),
    ),
    "silu": (nn.SiLU(), lambda v: v / (1 + math.exp(-v))),
    "hardswish": (nn.Hardswish(), lambda v: v * min(max(v + 3, 0), 6) / 6),
    "hardsigmoid": (nn.Hardsigmoid(), lambda v: min(max(v + 3, 0), 6) / 6),
    "elu": (nn.ELU(0.7), lambda v: v if v > 0 else 0.7 * math.expm1(v)),
    "leaky": (nn.LeakyReLU(0.2), lambda v: v if v > 0 else float(f32(0.2)) * v),
    "relu": (nn.ReLU(), lambda v: max(v, 0)),
    "clamp": (nn.Hardtanh(-0.5, 1.25), lambda v: min(max(v, -0.5), 1.25)),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_numbers_of_a_table(name: str) -> None:
    """Against Python's math on all 256 values: equal but where the true value lies on a rounding edge."""
    module, function = FUNCTIONS[name]
    x = torch.linspace(-3.77, 3.6, 64).reshape(64, 1)
    sx, sy = scale_of(x), scale_of(module(x))
    graph = ek.lower(ek.quantize(ek.capture(module, x), [x]).graph)
    every = torch.arange(-128, 128).float().reshape(-1, 1) * float(sx)
    got = np.rint(graph(every).numpy().ravel() / sy)
    q = quantized(every, sx).ravel()
    steps = np.array([function(float(f32(v) * sx)) for v in q]) / float(sy)
    want = np.rint(np.clip(steps, -128, 127))
    edge = np.abs(np.abs(steps - np.floor(steps)) - 0.5) < 1e-4  # float32 of the value and of the quotient: 128 * 2^-23
    np.testing.assert_array_equal(got[~edge], want[~edge])
    assert (np.abs(got - want) <= 1).all()
    assert edge.sum() < 8


CLAMPS = [(0.1, 0.5), (-0.6, -0.1), (None, 0.2), (-0.3, None), (0.5, 0.1), (0.0, 6.0), (-100.0, 100.0)]


@pytest.mark.parametrize(("low", "high"), CLAMPS)
@pytest.mark.parametrize("kind", ["convolution", "addition", "pool"])
def test_bounds_of_a_fused_clamp_are_quantised(low: float | None, high: float | None, kind: str) -> None:
    """Also above or below zero, one-sided, and upside down, where torch gives the upper bound."""

    def function(layers: nn.ModuleDict, x: Tensor) -> Tensor:
        body = {
            "convolution": lambda: layers["a"](x),
            "addition": lambda: layers["a"](x) + x,
            "pool": lambda: functional.avg_pool2d(x, 3, 1, 1),
        }
        return torch.clamp(body[kind](), low, high)

    model, x = build(Written(function, a=conv(4, 4))), X["image"]
    graph = ek.quantize(ek.capture(model, x), [x]).graph
    integer = ek.lower(graph)
    assert not [n for n in calls(integer) if n.target is torch.ops.edgekit.lut_s8.default], "the clamp is not fused"
    scale = scale_of(model(x))
    bounds = [v for v in (low, high) if v is not None]
    got, step = integer(x), float(scale)
    if low is not None:
        assert float(got.min()) >= min(bounds) - step / 2 * 1.001
    if high is not None:
        assert float(got.max()) <= high + step / 2 * 1.001
    assert_close(graph(x).detach(), got)


def assert_close(want: Tensor, got: Tensor) -> None:
    noise = sqnr_db(want, got)
    assert noise is None or noise >= 40


def with_rounded_biases(graph: Graph) -> Graph:
    """Every bias as the integer graph has it: ``int32 * sx * sw``."""
    graph = graph.copy()
    integer = ek.lower(graph)
    for cell in patterns.cells(graph):
        if cell.body.target in patterns.WEIGHTED and edit.arguments(cell.body)["bias"] is not None:
            parts = edit.arguments(cell.body)
            q = edit.get_by_path(integer.module, f"{cell.body.name}.bias").double()
            source = edit.input_node(cell.body)
            while source.target is not FAKE:
                source = edit.input_node(source)
            scales = [edit.get_tensor(graph.module, patterns.scale_node(n)) for n in (source, parts["weight"])]
            edit.get_tensor(graph.module, parts["bias"]).data = (q * (scales[0] * scales[1]).double()).float()
    return graph


@pytest.mark.parametrize("name", NETS)
def test_the_fake_quantised_graph_is_40_db_close(name: str) -> None:
    graph, x = quantised.quantised(name), items(NETS[name].shape, 100, seed=5, spread=1.5)
    with torch.no_grad():
        floats = tensors(with_rounded_biases(graph)(x))
    for want, got in zip(floats, tensors(ek.lower(graph)(x)), strict=True):
        print(f"{name}: {sqnr_db(want, got)} dB, largest difference {float((want - got).abs().max())}")
        assert_close(want, got)


@pytest.mark.parametrize("name", NETS)
def test_one_operator_on_equal_inputs_is_one_step_off_at_most(name: str) -> None:
    """The golden's values are put in place of each pair's, so that differences do not add up."""
    graph = with_rounded_biases(quantised.quantised(name))
    integer = ek.lower(quantised.quantised(name))
    x = items(NETS[name].shape, 50, seed=6, spread=1.2)
    golden = Recorder(integer)
    golden.run(x)
    cells = {cell.end: cell for cell in patterns.cells(graph)}
    compared = 0

    def replace(node: fx.Node, value: Any) -> Any:
        nonlocal compared
        if node not in cells or cells[node].body.op == "placeholder":
            return value
        scale = edit.get_tensor(graph.module, cells[node].scale)
        exact = golden.values[cells[node].body.name].float() * scale
        steps = (value - exact) / scale
        assert float(steps.abs().max()) <= 1.001, node.name
        assert float((steps.abs() > 0.5).float().mean()) < 0.02, node.name
        compared += 1
        return exact

    with torch.no_grad():
        Recorder(graph, replace).run(x)
    assert compared == sum(cell.body.op != "placeholder" for cell in cells.values())


def test_a_quantised_graph_trains_and_lowers_again() -> None:
    """Gradients flow through the pairs, the loss falls, and the golden follows the trained weights."""
    graph, x = quantised.quantised("residual"), items((3, 8, 8), 32)
    before, target = ek.lower(graph)(x), torch.randint(0, 5, (32,))
    graph.train()
    optimizer = torch.optim.Adam([p for _, p in graph.named_parameters()], 0.01)
    losses = []
    for _ in range(30):
        optimizer.zero_grad()
        loss = functional.cross_entropy(graph(x), target)
        loss.backward()
        assert all(p.grad is not None and bool(p.grad.any()) for _, p in graph.named_parameters())
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.7 * losses[0]
    graph.eval()
    after = ek.lower(graph)(x)
    assert not torch.equal(before, after)
    assert float(functional.cross_entropy(after, target)) < 0.8 * losses[0]
    with torch.no_grad():
        assert_close(with_rounded_biases(graph)(x), after)


def test_weights_that_grew_saturate_at_127() -> None:
    """Symmetric: -128 is no weight, in the golden as in the fake-quantised graph."""
    graph = quantise(nn.Sequential(nn.Linear(6, 4)), 6)
    with torch.no_grad():
        edit.get_by_path(graph.module, "0.weight").mul_(3)
    integer = ek.lower(graph).module.state_dict()["linear.weight"]
    assert (int(integer.min()), int(integer.max())) == (-127, 127)


def test_a_float_graph_is_refused() -> None:
    with pytest.raises(UsageError, match=r"not quantised.*ek\.quantize"):
        ek.lower(float_graph("perceptron"))


def test_an_integer_graph_is_refused() -> None:
    with pytest.raises(UsageError, match="not quantised"):
        ek.lower(ek.lower(quantised.quantised("perceptron")))


def end_of(graph: Graph, name: str) -> fx.Node:
    """The pair behind the operator ``name``."""
    return next(cell.end for cell in patterns.cells(graph) if cell.body.name == name)


def test_a_float_island_is_computed_in_float_between_a_dequantise_and_a_quantise() -> None:
    graph = quantised.quantised("perceptron")
    pair = end_of(graph, "linear_1")
    scale = patterns.scale_node(pair)
    island = edit.call_after(pair, torch.ops.aten.cumsum.default, (pair, 1), "island")
    again = edit.call_after(island, FAKE, (island, scale), "island_q")
    edit.replace_uses(pair, again, keep=lambda user: user is island)
    graph.refresh()
    lowered_graph = fuse.lowered(graph)
    (kept,) = [operator for operator in lowered_graph.operators if operator.reason]
    assert (kept.name, kept.operator, kept.reason) == ("island", "aten.cumsum", "aten.cumsum has no integer form")
    order = [n.target for n in calls(lowered_graph.graph)]
    at = order.index(torch.ops.aten.cumsum.default)
    assert order[at - 1] is torch.ops.edgekit.dequantize.default
    assert order[at + 1] is torch.ops.edgekit.quantize_s8.default
    x = items(NETS["perceptron"].shape)
    with torch.no_grad():
        assert_close(with_rounded_biases(graph)(x), lowered_graph.graph(x))


def test_an_output_that_is_not_quantised_stays_float() -> None:
    """The pair behind the last layer is gone: that layer is computed in float, with the weights of its pair."""
    graph = quantised.quantised("perceptron")
    pair = end_of(graph, "linear_2")
    pair.replace_all_uses_with(edit.input_node(pair))
    integer, x = ek.lower(graph.refresh()), items(NETS["perceptron"].shape)
    assert [n.target for n in calls(integer)][-1] is torch.ops.aten.linear.default
    with torch.no_grad():
        assert_close(with_rounded_biases(graph)(x), integer(x))


def test_the_report_says_what_fused() -> None:
    found = {operator.name: operator for operator in fuse.lowered(quantised.quantised("residual")).operators}
    assert found["conv2d"].fused == ("requantise", "aten.relu", "bias")
    assert all(not operator.reason for operator in found.values())
    assert fuse.lowered(quantised.quantised("residual")).int8_macs == 1.0


def test_moved_bytes_cannot_change_their_scale() -> None:
    graph = quantise(nn.Sequential(nn.Sigmoid(), nn.Flatten()), 2, 3)
    pair = end_of(graph, "flatten")
    other = edit.add_tensor(graph.module, "other", torch.tensor(0.5), pair)
    edit.set_argument(pair, "scale", other)
    with pytest.raises(OperatorError, match=r"flatten .*another scale"):
        ek.lower(graph.refresh())


def set_tensor(graph: Graph, name: str, value: float) -> None:
    edit.get_by_path(graph.module, name).data.fill_(value)


@pytest.mark.parametrize(
    ("tensor", "value", "expected"),
    [
        ("layers.a.bias", 1e9, r"conv2d \(aten\.conv2d\) at .*bias does not fit int32"),
        ("layers.a.bias", float("nan"), "bias does not fit int32"),
        ("conv2d_scale", 3e38, r"conv2d \(aten\.conv2d\) at .*multiplier"),
        ("conv2d_scale", 1e-45, r"multiplier"),
        ("x_scale", 1e-37, "scale of the bias"),
        ("add_scale", 1e-9, r"add \(aten\.add\) at .*ratio.*2\^20"),
        ("add_scale", 1e9, r"add \(aten\.add\) at .*ratio"),
        ("x_scale", float("nan"), "nan"),
    ],
)
def test_numbers_out_of_range_name_the_layer(tensor: str, value: float, expected: str) -> None:
    def function(layers: nn.ModuleDict, x: Tensor) -> Tensor:
        return layers["a"](x) + x

    graph = quantise(Written(function, a=conv(2, 2)), 2, 4, 4)
    set_tensor(graph, tensor, value)
    with pytest.raises(NumericsError, match=expected):
        ek.lower(graph)


def test_branches_of_very_different_size_cannot_be_added() -> None:
    class Far(nn.Module):
        def forward(self, a: Tensor, b: Tensor) -> Tensor:
            return a + b

    a, b = items((4,)), items((4,), seed=1) * 2.0**-22
    graph = ek.quantize(ek.capture(Far(), (a, b)), [(a, b)]).graph
    with pytest.raises(NumericsError, match=r"add .*ratio.*negligible or dead"):
        ek.lower(graph)


@settings(deadline=None, max_examples=12)
@given(st.integers(-30, 30), st.integers(-30, 30), st.floats(0, 1e4), st.booleans())
def test_scales_of_any_size_give_the_same_relative_noise(x_power: int, w_power: int, bias: float, relu: bool) -> None:
    """Scaling inputs and weights by powers of two changes no byte, however large the bias is beside the weights."""
    results = []
    for factor_x, factor_w in ((1.0, 1.0), (2.0**x_power, 2.0**w_power)):
        model = build(nn.Sequential(nn.Linear(6, 4), nn.ReLU() if relu else nn.Identity()))
        with torch.no_grad():
            model[0].weight *= factor_w
            model[0].bias.copy_(torch.tensor([bias, -bias, 1.0, 0.0]) * factor_x * factor_w)
        x = items((6,)) * factor_x
        graph = ek.quantize(ek.capture(model, x), [x]).graph
        assert not graph.module.training
        results.append(ek.lower(graph)(x) / (factor_x * factor_w))
    assert torch.equal(*results)


def test_lowering_keeps_names_lines_and_the_source_graph() -> None:
    graph = quantised.quantised("residual")
    before = str(graph.module.graph)
    integer = ek.lower(graph)
    assert str(graph.module.graph) == before
    assert [info.name for info in integer.inputs] == [info.name for info in graph.inputs]
    assert integer.output_names == graph.output_names
    layers = [n for n in calls(integer) if n.target is torch.ops.edgekit.conv2d_s8.default]
    assert len(layers) == NETS["residual"].convolutions
    assert all("quantised.py" in edit.source_line(n) for n in layers[1:])  # the first stands in torch's Sequential


def test_the_batch_that_a_reshape_keeps_stays_dynamic() -> None:
    integer = ek.lower(quantised.quantised("reshaped"))
    for batch in (1, 3, 7):
        assert integer(items((10,), batch)).shape == (batch, 4, 2, 4)
