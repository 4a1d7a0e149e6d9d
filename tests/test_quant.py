"""Quantisation: where pairs stand, whose scale they have, what calibration refuses and what has no integer form."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import quantised
import torch
from quantised import Written, build, conv, items, quantise
from torch import Tensor, fx, nn
from torch.nn import functional

import edgekit as ek
from edgekit import quant
from edgekit.errors import (
    CalibrationError,
    EdgekitError,
    NumericsError,
    OperatorError,
    UnsupportedError,
    UsageError,
)
from edgekit.graph import Graph, edit, patterns
from edgekit.graph.canonical import fold_batch_norm

FAKE = torch.ops.edgekit.fake_quantize.default


def written(graph: Graph) -> list[str]:
    """Every call as ``operator(inputs)``; a pair is ``Q[scale]``, and inputs are spelled the same way."""
    words: dict[fx.Node, str] = {}
    lines = []
    for node in graph.nodes:
        if node.op != "call_function":
            words[node] = node.name if node.op == "placeholder" else str(node.target)
            continue
        if node.target is FAKE:
            words[node] = f"Q[{patterns.scale_node(node).target}]({words[edit.input_node(node)]})"
            continue
        operator = edit.operator_name(node).partition(".")[2]
        lines.append(f"{operator}({', '.join(words[n] for n in node.all_input_nodes)})")
        words[node] = node.name
    return [*lines, f"return {', '.join(words[n] for n in graph.output_nodes())}"]


class Residual(nn.Module):
    """Pool, block and head, with names that read well in a golden."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.stem_norm = conv(3, 4, bias=False), nn.BatchNorm2d(4)
        self.branch = conv(4, 4)
        self.dropout = nn.Dropout(0.5)
        self.head = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.max_pool2d(functional.relu6(self.stem_norm(self.stem(x))), 2)
        x = functional.relu(self.branch(x) + x)
        return self.head(self.dropout(functional.adaptive_avg_pool2d(x, 1).flatten(1)))


GOLDEN = """
conv2d(Q[x_scale](x), Q[conv2d_weight_scale](stem.weight), stem.bias)
clamp(Q[relu6_scale](conv2d))
max_pool2d(Q[relu6_scale](relu6))
conv2d(Q[relu6_scale](max_pool2d), Q[conv2d_1_weight_scale](branch.weight), branch.bias)
add(Q[conv2d_1_scale](conv2d_1), Q[relu6_scale](max_pool2d))
relu(Q[relu_scale](add))
mean(Q[relu_scale](relu))
flatten(Q[adaptive_avg_pool2d_scale](adaptive_avg_pool2d))
dropout(Q[adaptive_avg_pool2d_scale](flatten))
linear(dropout, Q[linear_weight_scale](head.weight), head.bias)
return Q[linear_scale](linear)
"""


def test_pairs_of_a_residual_net_stand_where_onnx_runtime_wants_them() -> None:
    """Behind every layer, on both sides of a sum, before a fused clamp with its scale; moved bytes keep theirs."""
    assert written(quantise(Residual(), 3, 8, 8)) == GOLDEN.strip().splitlines()


def test_scales_are_the_largest_float_values_over_127() -> None:
    """Watched on the float graph with batch norm folded, behind the clamp that is fused."""
    model, x = build(Residual()), items((3, 8, 8))
    graph = ek.capture(model, x)
    report = ek.quantize(graph, [x[:40], x[40:]]).report
    values: dict[str, Tensor] = {}

    class Recorder(fx.Interpreter):
        def run_node(self, n: fx.Node) -> Any:
            values[n.name] = super().run_node(n)
            return values[n.name]

    with torch.no_grad():
        Recorder(fold_batch_norm(graph).module).run(x)
    want = {"x", "relu6", "conv2d_1", "relu", "adaptive_avg_pool2d", "linear"}
    assert set(report.scales) == want
    summands = {"relu6", "conv2d_1"}  # theirs are moved a little: see test_additions.py
    for name, scale in report.scales.items():
        # The two batches may be summed in another order than the whole: a few float32 steps.
        near = 1e-2 if name in summands else 1e-5
        assert scale == pytest.approx(float(values[name].abs().max()) / 127, rel=near), name
    assert report.samples == 64
    rest = {"dead": [], "kept_float": {}, "int8_macs": 1.0}
    assert report.to_json() == {"samples": 64, "scales": report.scales} | rest


def test_input_is_left_as_it_was_and_a_module_will_do() -> None:
    x = items((3, 8, 8))
    graph = ek.capture(build(Residual()), x)
    before = {name: value.clone() for name, value in graph.named_parameters()}
    lines = written(graph)
    first = ek.quantize(graph, [x]).graph
    assert written(graph) == lines
    assert all(torch.equal(before[name], value) for name, value in graph.named_parameters())
    second = ek.quantize(build(Residual()), [x], example_inputs=x).graph
    assert torch.equal(first(x), second(x))


def weight_scale(graph: Graph, layer: str) -> Tensor:
    node = next(n for n in graph.nodes if n.name == layer)
    return edit.get_tensor(graph.module, patterns.scale_node(edit.arguments(node)["weight"]))


def test_weights_have_one_scale_a_channel_or_one() -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(6, 4, bias=False))
    weight = build(net)[1].weight.detach()
    each = weight.abs().amax(1) / 127
    assert torch.equal(weight_scale(quantise(net, 6), "linear"), each)
    assert torch.equal(weight_scale(quantise(net, 6, per_channel=False), "linear"), each.max().expand(4))


def test_dead_channels_keep_their_bias() -> None:
    model = build(nn.Sequential(conv(2, 4)))
    with torch.no_grad():
        model[0].weight[1:] = 0
        model[0].bias.copy_(torch.tensor([0.1, 1.5, -0.7, 0.0]))
    x = items((2, 5, 5))
    graph = ek.quantize(ek.capture(model, x), [x]).graph
    got, want = ek.lower(graph)(x), model(x).detach()
    step = float(want.abs().max()) / 127
    assert float((got - want)[:, 1:].abs().max()) <= 0.5 * step * 1.001  # only the rounding of the output is left
    assert torch.equal(got[:, 3], torch.zeros_like(got[:, 3]))


@pytest.mark.parametrize("weak", [1e-30, 1e-35, 1e-36, 3e-37, 1e-38, 1e-42])
def test_channels_that_weight_decay_left_behind_are_as_good_as_dead(weak: float) -> None:
    """Their scale times the input's over the output's is no normal number; the other channels must not suffer."""
    model = build(nn.Sequential(conv(2, 3), nn.ReLU(), conv(3, 2, 1)))
    with torch.no_grad():
        model[0].weight[1] *= weak
        model[0].bias[1] = weak
    x = items((2, 5, 5))
    integer = ek.lower(ek.quantize(ek.capture(model, x), [x]).graph)
    noise = quantised_noise(model(x), integer(x))
    assert noise > 30


def quantised_noise(want: Tensor, got: Tensor) -> float:
    want = want.detach()
    return float(10 * torch.log10(want.double().square().sum() / (want - got).double().square().sum()))


def test_a_dead_tensor_is_reported_and_stays_zero() -> None:
    model = build(nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2)))
    with torch.no_grad():
        model[0].bias.fill_(-100)
    x = items((4,))
    result = ek.quantize(ek.capture(model, x), [x])
    assert result.report.dead == ("relu",)
    assert result.report.scales["relu"] == 1
    bias = model[2].bias.detach().expand(64, 2)
    assert float((ek.lower(result.graph)(x) - bias).abs().max()) <= float(bias.abs().max()) / 254 * 1.001


def operators(graph: Graph) -> list[str]:
    return [edit.operator_name(n) for n in ek.lower(graph).nodes if n.op == "call_function"]


def test_a_relu_that_is_not_the_only_reader_becomes_a_table() -> None:
    def function(layers: nn.ModuleDict, x: Tensor) -> Tensor:
        y = layers["a"](x)
        return functional.relu(y) + y

    graph = quantise(Written(function, a=conv(3, 3)), 3, 6, 6)
    assert operators(graph).count("edgekit.lut_s8") == 1
    assert written(graph)[1:] == [
        "relu(Q[conv2d_scale](conv2d))",
        "add(Q[relu_scale](relu), Q[conv2d_scale](conv2d))",
        "return Q[add_scale](add)",
    ]


def test_an_inner_tensor_that_is_also_an_output_is_not_fused_away() -> None:
    def function(layers: nn.ModuleDict, x: Tensor) -> tuple[Tensor, Tensor]:
        y = layers["a"](x)
        return y, functional.relu(y)

    x = items((3, 6, 6))
    graph = quantise(Written(function, a=conv(3, 3)), 3, 6, 6)
    inner, outer = ek.lower(graph)(x)
    assert float(inner.min()) < 0
    assert float(outer.min()) == 0


def test_one_weight_in_two_layers_has_a_scale_in_each() -> None:
    def function(layers: nn.ModuleDict, x: Tensor) -> Tensor:
        return layers["a"](functional.relu(layers["a"](x)))

    model = Written(function, a=conv(4, 4))
    graph = quantise(model, 4, 5, 5)
    assert {"conv2d_weight_scale", "conv2d_1_weight_scale"} <= set(graph.module.state_dict())
    x = items((4, 5, 5))
    assert quantised_noise(build(model)(x), ek.lower(graph)(x)) > 30


def refused(forward: Callable[..., Any], **layers: nn.Module) -> nn.Module:
    return Written(forward, **layers)


REFUSED: dict[str, tuple[nn.Module, tuple[int, ...], str]] = {
    "interpolation": (
        refused(lambda m, x: functional.interpolate(m["a"](x), scale_factor=2, mode="bilinear"), a=conv(3, 3)),
        (3, 4, 4),
        r"upsample_bilinear2d.*values between others",
    ),
    "quotient": (
        refused(lambda m, x: m["a"](x) / (m["a"](x).abs() + 1), a=nn.Linear(4, 4)),
        (4,),
        r"div.*quotients of small values",
    ),
    "running sum": (refused(lambda m, x: m["a"](x).cumsum(1), a=nn.Linear(4, 4)), (4,), r"cumsum.*no integer form"),
    "batch norm first": (nn.Sequential(nn.BatchNorm2d(3), conv(3, 2)), (3, 5, 5), r"batch_norm.*normalises an input"),
    "batch norm of the batch": (
        nn.Sequential(conv(3, 3), nn.ReLU(), nn.BatchNorm2d(3, track_running_stats=False)),
        (3, 5, 5),
        r"batch_norm.*no running statistics",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_under_strict_what_has_no_integer_form_is_named_with_its_line(name: str) -> None:
    model, shape, expected = REFUSED[name]
    graph, config = ek.capture(build(model), items(shape, 2)), ek.QuantConfig(strict=True)
    for refuse in (lambda: quant.check(graph, config), lambda: ek.quantize(graph, [items(shape)], config)):
        with pytest.raises(OperatorError, match=expected) as caught:
            refuse()
        assert ".py:" in caught.value.what, "the source line is missing"
        assert caught.value.fix


@pytest.mark.filterwarnings("ignore:.*stays in float")
@pytest.mark.parametrize("name", REFUSED)
def test_otherwise_it_is_a_float_island_and_the_graph_runs_whole(name: str) -> None:
    """The float model is near, and the reason stands in the report."""
    model, shape, expected = REFUSED[name]
    graph, x = ek.capture(build(model), items(shape, 2)), items(shape)
    result = ek.quantize(graph, [x])
    (reason,) = [f"{node} : {why}" for node, why in result.report.kept_float.items() if "no layer is next" not in why]
    assert re.search(expected.split(".*")[0].strip(), reason)
    assert re.search(expected.split(".*")[1], reason)
    integer = ek.lower(result.graph)
    names = {edit.operator_name(node).partition(".")[2] for node in edit.calls(integer.module)}
    assert names & {"linear_s8", "conv2d_s8"}
    assert quantised_noise(graph(x), integer(x)) > 25


def test_layers_are_kept_in_float_by_name_or_by_module() -> None:
    model = nn.Sequential(nn.Linear(6, 8), nn.Sequential(nn.Linear(8, 8), nn.ReLU()), nn.Linear(8, 3))
    graph, x = ek.capture(build(model), items((6,), 2)), items((6,))
    for name in ("linear_1", "1"):
        result = ek.quantize(graph, [x], ek.QuantConfig(keep_float=(name,)))
        assert result.report.kept_float["linear_1"] == "it was asked to stay in float"
        assert 0 < result.report.int8_macs < 1  # type: ignore[operator]
        integer = ek.lower(result.graph)
        names = [edit.operator_name(node) for node in edit.calls(integer.module)]
        assert names.count("edgekit.linear_s8") == 2
        assert names.count("aten.linear") == 1
        kept = edit.get_by_path(integer.module, "1.0.weight")
        assert torch.equal(kept, model[1][0].weight)  # type: ignore[index]


def test_an_operator_that_could_be_integer_stays_in_float_when_asked() -> None:
    """It reads int8 values on both sides; the graph says that it is no integer operator all the same."""

    def function(layers: nn.ModuleDict, x: Tensor) -> Tensor:
        return layers["b"](layers["a"](x) + x)

    graph, x = ek.capture(build(Written(function, a=nn.Linear(4, 4), b=nn.Linear(4, 4))), items((4,), 2)), items((4,))
    result = ek.quantize(graph, [x], ek.QuantConfig(keep_float=("add",)))
    names = [edit.operator_name(node) for node in edit.calls(ek.lower(result.graph).module)]
    assert "aten.add" in names
    assert "edgekit.add_s8" not in names


def test_integers_are_not_activations() -> None:
    """Flattened bytes have no scale that could be carried on."""

    class Bytes(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.flatten(1)

    for dtype in (torch.uint8, torch.int64):
        graph = ek.capture(Bytes(), torch.zeros(2, 3, 4, dtype=dtype))
        with pytest.raises(UnsupportedError, match="nothing to quantise"):
            quant.check(graph)


def test_nothing_to_quantise_is_said() -> None:
    graph = ek.capture(nn.Identity(), items((4,), 2))
    with pytest.raises(UnsupportedError, match="nothing to quantise"):
        ek.quantize(graph, [items((4,))])


@pytest.mark.parametrize(("fan_in", "fits"), [(131_071, True), (131_072, False)])
def test_the_longest_sum_that_int32_holds(fan_in: int, fits: bool) -> None:
    graph = ek.capture(nn.Linear(fan_in, 1), torch.zeros(2, fan_in))
    if fits:
        quant.check(graph)
        return
    with pytest.raises(NumericsError, match=r"linear \(aten\.linear\).*131072.*131071"):
        quant.check(graph)


def test_weights_that_are_not_finite_are_named() -> None:
    for value in (float("nan"), float("inf")):
        model = build(nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4)))
        with torch.no_grad():
            model[2].weight[1, 2] = value
        with pytest.raises(CalibrationError, match=r"linear_1 .*NaN or infinite"):
            ek.quantize(ek.capture(model, items((4,), 2)), [items((4,))])


class Pair(nn.Module):
    """Two inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.image, self.state = nn.Linear(4, 3), nn.Linear(2, 3)

    def forward(self, image: Tensor, state: Tensor) -> Tensor:
        return functional.relu(self.image(image) + self.state(state))


@pytest.fixture(scope="module")
def single() -> Graph:
    return ek.capture(build(nn.Sequential(nn.Linear(4, 3), nn.ReLU())), items((4,), 2))


@pytest.fixture(scope="module")
def pair() -> Graph:
    return ek.capture(build(Pair()), (items((4,), 2), items((2,), 2)))


def spoiled(value: float, row: int) -> Tensor:
    x = items((4,), 8)
    x[row, 1] = value
    return x


Case = tuple[str, Callable[[], Any], str]
BAD_ITEMS: list[Case] = [
    ("3 items", lambda: [items((4,), 1)] * 3, "3 samples; at least 32"),
    ("31 samples", lambda: [items((4,), 31)], "31 samples"),
    ("no items", list, "empty"),
    ("NaN", lambda: [items((4,), 30), spoiled(float("nan"), 5)], "sample 35: input input holds NaN"),
    ("infinite", lambda: [spoiled(-float("inf"), 0)], "sample 0: .*infinite"),
    ("shape", lambda: [items((4,)), items((5,))], r"sample 64: .*\[64, 5\].*\['N', 4\]"),
    ("rank", lambda: [items((4, 1))], r"\[64, 4, 1\]"),
    ("no batch", lambda: [torch.zeros(4)], r"float32 \[4\]"),
    ("dtype", lambda: [items((4,)).double()], "float64"),
    ("numpy's default dtype", lambda: [np.zeros((64, 4))], "float64"),
    ("labels", lambda: [(items((4,)), torch.zeros(64, dtype=torch.int64))], "got 2 inputs.*labels"),
    ("another name", lambda: [{"image": items((4,))}], "got the inputs .'image'."),
    ("a path", lambda: ["digits.npz"], "sample 0 holds no tensor"),
    ("nothing", lambda: [None], "sample 0 holds no tensor"),
    ("objects", lambda: [np.array([object()])], "sample 0 holds no tensor"),
]


@pytest.mark.parametrize(("calibration", "expected"), [c[1:] for c in BAD_ITEMS], ids=[c[0] for c in BAD_ITEMS])
def test_calibration_items_that_cannot_be_used(
    single: Graph, calibration: Callable[[], list[Any]], expected: str
) -> None:
    with pytest.raises(CalibrationError, match=expected) as caught:
        ek.quantize(single, calibration())
    assert caught.value.exit_code == 3


def test_items_may_be_tensors_arrays_tuples_lists_or_dicts(single: Graph, pair: Graph) -> None:
    x, name = items((4,)), single.inputs[0].name
    results = [ek.quantize(single, [form]).graph(x) for form in (x, x.numpy(), (x,), [x.numpy()], {name: x})]
    assert all(torch.equal(result, results[0]) for result in results)
    one_by_one: Iterator[Tensor] = iter(x.split(1))
    assert ek.quantize(single, one_by_one).report.samples == 64
    y = items((2,), seed=1)
    forms = [(x, y), [x, y.numpy()], {"state": y, "image": x}]
    results = [ek.quantize(pair, [form]).graph(x, y) for form in forms]
    assert all(torch.equal(result, results[0]) for result in results)


def test_two_inputs_need_one_batch(pair: Graph) -> None:
    with pytest.raises(CalibrationError, match=r"sample 64: .*batches of \[32, 64\]"):
        ek.quantize(pair, [(items((4,)), items((2,))), (items((4,)), items((2,), 32))])
    bad = items((2,), 3)
    bad[0, 0] = float("nan")
    with pytest.raises(CalibrationError, match="sample 64: input state holds NaN"):
        ek.quantize(pair, [(items((4,)), items((2,))), (items((4,), 3), bad)])


def test_few_samples_may_be_allowed_but_none_never(single: Graph) -> None:
    few = ek.QuantConfig(allow_few=True)
    assert ek.quantize(single, [items((4,), 3)], few).report.samples == 3
    with pytest.raises(CalibrationError, match="never makes them up"):
        ek.quantize(single, [], few)
    with pytest.raises(CalibrationError, match="never makes them up"):
        ek.quantize(single, [items((4,), 0)], few)


def test_refusals_leave_the_graph_alone(single: Graph) -> None:
    before = written(single)
    with pytest.raises(EdgekitError):
        ek.quantize(single, [])
    assert written(single) == before


def test_more_tensors_than_quantised_ones_never_appear() -> None:
    """Every float that flows between two operators has gone through a pair."""
    for name in quantised.NETS:
        graph = quantised.quantised(name)
        for node in edit.calls(graph.module):
            if node.target is FAKE or not isinstance(node.meta["val"], Tensor):
                continue
            carriers = [n for n in node.all_input_nodes if isinstance(n.meta.get("val"), Tensor) and n.op != "get_attr"]
            assert all(n.target is FAKE or n.target in patterns.TRAINING_ONLY for n in carriers), (name, node.name)


def attending() -> tuple[ek.Graph, Tensor]:
    """Attention that is written out, behind and in front of a linear."""

    class Attending(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.last = nn.Linear(8, 8), nn.Linear(8, 3)

        def forward(self, x: Tensor) -> Tensor:
            y = self.first(x)
            return self.last(functional.scaled_dot_product_attention(y, y, y))

    x = items((5, 8))
    return ek.capture(Attending().eval(), x[:2]), x


@pytest.mark.parametrize(
    "name", ["scaled_dot_product_attention", "masked_softmax_default", "matmul_default", "linear_1", "last"]
)
def test_what_stays_in_float_may_be_meant_by_any_of_its_names(name: str) -> None:
    graph, x = attending()
    kept = ek.quantize(graph, [x], ek.QuantConfig(keep_float=(name,))).report.kept_float
    whole = {"scaled_matmul_default", "masked_softmax_default", "matmul_default"}
    parts = {"scaled_dot_product_attention": whole, "last": {"linear_1"}}.get(name, {name})
    assert parts <= kept.keys()
    assert ("linear" in kept) is False


def test_a_name_that_nothing_has_cannot_stay_in_float() -> None:
    graph, x = attending()
    for call in (lambda c: ek.quantize(graph, [x], c), lambda c: ek.explain(graph, c)):
        with pytest.raises(UsageError, match=r"'linaer_1'.*Did you mean 'linear_1'"):
            call(ek.QuantConfig(keep_float=("linear", "linaer_1")))
