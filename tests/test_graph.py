"""A graph knows its shapes, its cost and where each call stands in the user's code, also after an edit."""

from __future__ import annotations

import textwrap
from pathlib import Path

import nets
import pytest
import torch
from nets import Written, captured, same
from torch import nn
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

import edgekit as ek
from edgekit.graph import Graph, cost, edit
from edgekit.graph.graph import known_size

aten = torch.ops.aten


def shapes(graph: Graph) -> dict[str, tuple[int | None, ...]]:
    values = {node.name: node.meta.get("val") for node in graph.nodes}
    tensors = {name: value for name, value in values.items() if isinstance(value, torch.Tensor)}
    return {name: tuple(map(known_size, value.shape)) for name, value in tensors.items()}


def real_shapes(graph: Graph, batch: int, *inputs: torch.Tensor) -> dict[str, tuple[int, ...]]:
    found = {}

    class Recorder(torch.fx.Interpreter):
        def run_node(self, n: torch.fx.Node) -> object:
            value = super().run_node(n)
            if isinstance(value, torch.Tensor):
                found[n.name] = tuple(value.shape)
            return value

    Recorder(graph.module).run(*inputs)
    return found


@pytest.mark.parametrize("name", sorted(nets.NETS))
def test_shapes_are_those_of_a_run(name: str) -> None:
    """13 is no size of any of the nets: where it shows in a run, the shape must be dynamic, and only there."""
    _, graph = captured(name)
    real = real_shapes(graph, 13, *nets.NETS[name].inputs(13))
    known = shapes(graph)
    assert known.keys() == real.keys()
    for node, shape in known.items():
        assert len(shape) == len(real[node])
        for size, actual in zip(shape, real[node], strict=True):
            assert size == actual if size is not None else actual % 13 == 0, node
    at_one = real_shapes(graph, 1, *nets.NETS[name].inputs(1))
    assert all(graph.shape(node) == at_one[node.name] for node in graph.nodes if node.name in at_one)


def test_refresh_after_an_edit_recomputes_shapes_and_keeps_names_and_lines() -> None:
    _, graph = captured("residual")
    before = {node.name: edit.source_line(node) for node in edit.calls(graph.module)}
    for name in ("wide.weight", "wide.bias", "head.weight"):
        old = edit.get_by_path(graph.module, name)
        edit.set_tensor(graph.module, name, nn.Parameter(old[:, :7] if name == "head.weight" else old[:7]))
    assert graph.refresh() is graph
    assert {node.name: edit.source_line(node) for node in edit.calls(graph.module)} == before
    (convolution,) = (node for node in edit.calls(graph.module) if "wide.weight" in _reads(node))
    assert graph.shape(convolution) == (1, 7, 2, 2)
    assert graph(*nets.NETS["residual"].inputs(5)).shape == (5, 5)


def _reads(node: torch.fx.Node) -> list[str]:
    return [str(source.target) for source in node.all_input_nodes if source.op == "get_attr"]


def test_refresh_drops_what_is_dead() -> None:
    _, graph = captured("residual")
    linear = next(node for node in edit.calls(graph.module) if node.target is aten.linear.default)
    graph.module.graph.output_node().args = (edit.input_node(linear),)
    graph.refresh()
    assert "head.weight" not in dict(graph.named_parameters())
    assert linear not in set(graph.nodes)
    assert graph.outputs[0].shape == (None, 12)


def test_refresh_finds_an_edit_that_does_not_fit() -> None:
    _, graph = captured("residual")
    edit.set_tensor(graph.module, "head.weight", nn.Parameter(torch.zeros(5, 11)))
    with pytest.raises(RuntimeError):
        graph.refresh()


def test_replacing_a_tensor_keeps_the_order_of_parameters() -> None:
    _, graph = captured("residual")
    names = [name for name, _ in graph.named_parameters()]
    edit.set_tensor(graph.module, "stem.weight", nn.Parameter(torch.zeros(8, 3, 3, 3)))
    assert [name for name, _ in graph.named_parameters()] == names


def test_a_parameter_can_become_a_buffer_and_back() -> None:
    module = nn.Module()
    edit.set_tensor(module, "a.b", nn.Parameter(torch.ones(2)))
    edit.set_tensor(module, "a.b", torch.zeros(2))
    assert [name for name, _ in module.named_buffers()] == ["a.b"]
    assert not list(module.named_parameters())
    edit.set_tensor(module, "a.b", nn.Parameter(torch.ones(3)))
    assert [name for name, _ in module.named_parameters()] == ["a.b"]
    assert not list(module.named_buffers())


def test_arguments_by_name_with_defaults() -> None:
    graph = ek.capture(Written(lambda _, x: functional.max_pool2d(x, 2)), torch.randn(2, 3, 6, 6))
    (pool,) = edit.calls(graph.module)
    parts = edit.arguments(pool)
    assert list(parts) == ["self", "kernel_size", "stride", "padding", "dilation", "ceil_mode"]
    assert list(parts["padding"]) == [0, 0]
    edit.set_argument(pool, "padding", [1, 1])
    edit.set_argument(pool, "ceil_mode", True)
    assert list(edit.arguments(pool)["padding"]) == [1, 1]
    assert edit.arguments(pool)["ceil_mode"] is True
    x = torch.randn(2, 3, 7, 7)
    expected = functional.max_pool2d(x, 2, padding=1, ceil_mode=True)
    graph.inputs = (ek.graph.TensorInfo("x", (None, 3, 7, 7), torch.float32),)
    assert same(graph.refresh()(x), expected)


# Cost.


def test_macs_and_parameters_counted_by_hand() -> None:
    """Output values times fan-in: stem 12*12*8*27, branch 6*6*8*72, wide 2*2*12*72, head 5*12."""
    _, graph = captured("residual")
    layers = {layer.name: layer for layer in cost.layer_costs(graph)}
    counted = [layer.macs for layer in layers.values() if layer.macs]
    assert counted == [12 * 12 * 8 * 27, 6 * 6 * 8 * 72, 2 * 2 * 12 * 72, 5 * 12]
    assert cost.total_macs(graph) == sum(counted)
    norms = 2 * 8 + 2 * 8
    assert cost.total_parameters(graph) == 8 * 27 + (8 * 72 + 8) + (12 * 72 + 12) + (5 * 12 + 5) + norms


@pytest.mark.parametrize("name", sorted(nets.NETS))
def test_parameters_are_those_of_the_model(name: str) -> None:
    model, graph = captured(name)
    assert cost.total_parameters(graph) == sum(parameter.numel() for parameter in model.parameters())


MORE = {
    "grouped": (nn.Conv2d(6, 9, 3, 2, groups=3, dilation=2), (6, 9, 9)),
    "same, even kernel": (nn.Conv2d(6, 4, 4, padding="same"), (6, 8, 8)),
    "conv1d": (nn.Conv1d(6, 4, 3, padding=1), (6, 8)),
    "conv3d": (nn.Conv3d(2, 4, 3), (2, 5, 5, 5)),
    "transposed": (nn.ConvTranspose2d(6, 4, 3, stride=2), (6, 5, 5)),
    "linear on rows": (nn.Linear(6, 5), (7, 6)),
    "products": (Written(lambda _, x: torch.bmm(x, x.transpose(1, 2)) @ x), (7, 6)),
    "attention": (
        Written(lambda _, x: functional.scaled_dot_product_attention(x, x[:, :, :3], x[:, :, :3])),
        (2, 5, 4),
    ),
    "encoder": (nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), (6, 8)),
    "encoder with weights": (nets.Attention(need_weights=True), (6, 8)),
    "no products": (nn.Sequential(nn.BatchNorm2d(3), nn.ReLU(), nn.MaxPool2d(2)), (3, 6, 6)),
}


@pytest.mark.parametrize("name", [*sorted(nets.CONVOLUTIONAL), "tied", *MORE])
@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
def test_macs_are_half_of_the_flops_that_torch_counts(name: str) -> None:
    """FlopCounterMode counts a multiplication and an addition as two, and recurrent layers not at all."""
    if name in MORE:
        model, shape = MORE[name]
        inputs: tuple[torch.Tensor, ...] = (torch.randn(1, *shape),)
        graph = ek.capture(model, torch.randn(2, *shape))
        model = model.eval()
    else:
        (model, graph), inputs = captured(name), nets.NETS[name].inputs(1)
    # It does not know the fused attention of the CPU, nor, without gradients, that of a whole encoder layer.
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        model(*inputs)
    assert cost.total_macs(graph) * 2 == counter.get_total_flops()


@pytest.mark.parametrize(
    ("kind", "gates", "batch_first"), [(nn.RNN, 1, True), (nn.GRU, 3, True), (nn.GRU, 3, False), (nn.LSTM, 4, True)]
)
def test_macs_of_recurrent_layers_by_hand(kind: type[nn.RNNBase], gates: int, batch_first: bool) -> None:
    """Per step: gates * hidden rows, against the input and against the state, in both directions."""
    layer = kind(5, 6, 1, batch_first=batch_first, bidirectional=True)
    model = Written(lambda s, x: s.r(x if batch_first else x.transpose(0, 1))[0], r=layer)
    graph = ek.capture(model, torch.randn(2, 7, 5))
    assert cost.total_macs(graph) == 7 * 2 * gates * 6 * (5 + 6)


def test_quantised_and_integer_graphs_cost_what_the_float_graph_does() -> None:
    _, graph = captured("residual")
    quantised = ek.quantize(graph, [nets.NETS["residual"].inputs(32)]).graph
    integer = ek.lower(quantised)
    assert cost.total_macs(quantised) == cost.total_macs(integer) == cost.total_macs(graph)
    folded = cost.total_parameters(graph) - 4 * 8 + 8  # two norms go, the stem gets a bias
    assert cost.total_parameters(quantised) == cost.total_parameters(integer) == folded


# What a person reads.


class Printed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(2, 3, 3)
        self.linear = nn.Linear(12, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.convolution(x))
        return self.linear(x.flatten(1))


def test_the_printed_table() -> None:
    graph = ek.capture(Printed(), torch.randn(2, 2, 4, 4))
    first = Printed.forward.__code__.co_firstlineno + 1
    assert str(graph) == textwrap.dedent(f"""\
        node     operator      shape             MACs  parameters  inputs   source
        x        placeholder   float32[Nx2x4x4]
        conv2d   aten.conv2d   float32[Nx3x2x2]  216   57          x        test_graph.py:{first}
        relu     aten.relu     float32[Nx3x2x2]                    conv2d   test_graph.py:{first}
        flatten  aten.flatten  float32[Nx12]                       relu     test_graph.py:{first + 1}
        linear   aten.linear   float32[Nx4]      48    52          flatten  test_graph.py:{first + 1}
        264 MACs, 109 parameters; returns output = linear""")


@pytest.mark.parametrize("name", sorted(nets.NETS))
def test_every_call_points_into_the_users_file(name: str) -> None:
    _, graph = captured(name)
    lines = Path(nets.__file__).read_text().splitlines()
    for node in edit.calls(graph.module):
        if edit.operator_name(node) == "aten.sym_size":
            continue  # the exporter's own
        file, number, text = edit.source_line(node).split(":", 2)
        assert Path(file) == Path(nets.__file__), node.name
        assert lines[int(number) - 1].strip() == text.strip()
        assert edit.describe(node) == f"{node.name} ({edit.operator_name(node)}) at {file}:{number}:{text}"


def test_a_node_made_by_an_edit_keeps_the_line() -> None:
    _, graph = captured("residual")
    relu = next(node for node in edit.calls(graph.module) if node.target is aten.relu.default)
    assert edit.source_line(edit.call_after(relu, aten.relu.default, (relu,))) == edit.source_line(relu) != ""
    assert edit.source_line(next(graph.nodes)) == ""
