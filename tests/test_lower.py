"""The integer graph: its structure, its distance from the float and the fake-quantised one, what cannot be lowered."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

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
