"""A pruned graph computes what the masked one does, and goes on down the road."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from pathlib import Path

import nets
import pytest
import torch
from masking import assert_close, check, check_against_mask, chosen, in_double, indices, members
from nets import captured, graph_of, same
from torch import Tensor, nn
from torch.nn import functional

import edgekit as ek
from edgekit.graph import Graph, edit
from edgekit.graph import save as file
from edgekit.prune import couple
from edgekit.prune.surgery import cut

# The oracles.


@pytest.mark.parametrize(
    ("name", "ratio"),
    [*product(sorted(nets.CONVOLUTIONAL), (0.3, 0.5, 0.9)), *product(sorted(nets.SEQUENTIAL), (0.5,))],
)
def test_pruned_equals_masked(name: str, ratio: float) -> None:
    graph, inputs = graph_of(name), nets.NETS[name].inputs(4)
    check(graph, inputs, ratio)
    if name in nets.CONVOLUTIONAL:
        check_against_mask(graph, ratio, inputs)
    result = ek.prune(graph, ratio)
    assert same(result.graph(*inputs), graph(*inputs)) == (result.report.layers == ())  # the mask can be seen


def test_a_folded_table_of_channels_is_cut_with_them() -> None:
    """What was computed from constants is stored under a path of its own, which has channels like any parameter."""

    def function(self: nn.Module, x: Tensor) -> Tensor:
        factors = torch.arange(8.0).view(8, 1, 1) * 0.1 + 1
        return self.b(torch.relu(self.a(x) * factors + torch.linspace(0, 1, 6)))

    x = torch.randn(4, 3, 6, 6, generator=torch.Generator().manual_seed(0))
    torch.manual_seed(1)
    graph = ek.capture(nets.Written(function, a=nn.Conv2d(3, 8, 3, padding=1), b=nn.Conv2d(8, 4, 3)).eval(), x)
    assert not [n for n in edit.calls(graph.module) if n.target is torch.ops.aten.arange.default]
    report = check_against_mask(graph, 0.5, (x,))
    assert report.macs_after == report.macs_before // 2


# Where a channel of a tensor is zeroed in the eager model: the output of a layer, or the input of one.
HOOKS: dict[str, tuple[tuple[str, str, str], ...]] = {
    "residual": (
        ("stem_norm", "output", "stem.weight"),
        ("branch_norm", "output", "stem.weight"),
        ("wide", "output", "wide.weight"),
    ),
    "depthwise": (
        ("stem_norm", "output", "stem.weight"),
        ("depthwise_norm", "output", "depthwise.weight"),
        ("pointwise", "output", "pointwise.weight"),
        ("doubling", "output", "doubling.weight"),
        ("last", "output", "last.weight"),
    ),
    "perceptron": (("layers.3", "output", "layers.1.weight"), ("layers.5", "output", "layers.4.weight")),
    "flatten": (("convolution", "output", "convolution.weight"), ("hidden", "output", "hidden.weight")),
    "two-inputs": (("convolution", "output", "convolution.weight"), ("features", "output", "features.weight")),
    "squeeze-excite": (
        ("squeeze", "input", "stem.weight"),
        ("last", "input", "stem.weight"),
        ("squeeze", "output", "squeeze.weight"),
        ("head", "input", "last.weight"),
    ),
}


@pytest.mark.parametrize("name", sorted(nets.CONVOLUTIONAL))
def test_pruned_equals_the_eager_model_with_its_channels_zeroed(name: str) -> None:
    model, graph = captured(name)
    coupling, victims = chosen(graph, 0.5)
    for layer, side, path in HOOKS[name]:
        gone = indices(coupling, victims, path)
        assert gone
        zero = zeroing(gone)
        module = model.get_submodule(layer)
        if side == "output":
            module.register_forward_hook(lambda _m, _i, output, zero=zero: zero(output))
        else:
            module.register_forward_pre_hook(lambda _m, inputs, zero=zero: zero(inputs[0]))
    inputs = nets.NETS[name].inputs(4)
    expected = nets.tensors(model.double()(*(x.double() for x in inputs)))
    assert_close(in_double(ek.prune(graph, 0.5).graph, inputs), expected)


def zeroing(gone: list[int]) -> Callable[[Tensor], Tensor]:
    def zero(value: Tensor) -> Tensor:
        value = value.clone()
        value[:, gone] = 0
        return value

    return zero


# What is coupled.


def places(graph: Graph) -> dict[str, set[tuple[str, int]]]:
    return {group.name: set(group.places) for group in couple(graph).groups if not group.frozen}


def test_a_residual_stage_is_one_group() -> None:
    assert places(graph_of("residual")) == {
        "stem.weight": {
            ("stem.weight", 0), ("stem_norm.weight", 0), ("stem_norm.bias", 0), ("stem_norm.running_mean", 0),
            ("stem_norm.running_var", 0), ("branch.weight", 0), ("branch.weight", 1), ("branch.bias", 0),
            ("branch_norm.weight", 0), ("branch_norm.bias", 0), ("branch_norm.running_mean", 0),
            ("branch_norm.running_var", 0), ("wide.weight", 1),
        },
        "wide.weight": {("wide.weight", 0), ("wide.bias", 0), ("head.weight", 1)},
    }  # fmt: skip


def test_a_flat_image_takes_a_channel_as_many_times_as_it_has_pixels() -> None:
    group = next(group for group in couple(graph_of("flatten")).groups if group.name == "convolution.weight")
    for i in range(len(group)):
        wanted = {("convolution.weight", 0): (i,), ("convolution.bias", 0): (i,)}
        wanted[("hidden.weight", 1)] = tuple(range(16 * i, 16 * i + 16))
        assert members(group, i) == wanted


def test_a_doubling_depthwise_convolution_ties_two_outputs_to_each_input() -> None:
    group = next(group for group in couple(graph_of("depthwise")).groups if ("doubling.weight", 0) in group.places)
    assert len(group) == 8
    for i in range(8):
        found = members(group, i)
        assert found[("pointwise.weight", 0)] == (i,)
        assert found[("doubling.weight", 0)] == found[("last.weight", 1)] == (2 * i, 2 * i + 1)
    pruned = ek.prune(graph_of("depthwise"), 0.5).graph
    groups = [edit.arguments(n)["groups"] for n in edit.calls(pruned.module) if "conv2d" in n.name]
    assert groups == [1, 3, 1, 4, 1]


def test_groups_print_what_they_hold() -> None:
    group = couple(graph_of("flatten")).groups[0]
    frozen = next(group for group in couple(graph_of("flatten")).groups if group.frozen)
    assert "\n  convolution.weight dim 0" in str(group) or group.frozen
    assert "fixed" in str(frozen)


# What becomes of it.


@pytest.mark.parametrize("name", ["residual", "depthwise", "flatten", "squeeze-excite"])
def test_a_pruned_graph_trains(name: str) -> None:
    pruned = ek.prune(graph_of(name), 0.5).graph.train()
    inputs = nets.NETS[name].inputs(32)
    classes = nets.tensors(pruned(*inputs))[0].shape[1]
    targets = torch.arange(32) % classes
    optimizer = torch.optim.Adam([p for _, p in pruned.named_parameters()], lr=0.02)
    losses = []
    for _ in range(30):
        optimizer.zero_grad()
        loss = functional.cross_entropy(pruned(*inputs), targets)
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert min(losses[-5:]) < 0.8 * losses[0]


@pytest.mark.parametrize("name", ["depthwise", "flatten"])
def test_a_pruned_graph_goes_on_down_the_road(name: str, tmp_path: Path) -> None:
    net = nets.NETS[name]
    pruned = ek.prune(graph_of(name), 0.5).graph
    inputs = net.inputs(3)
    pruned.save(tmp_path / "p.safetensors")
    assert same(Graph.load(tmp_path / "p.safetensors")(*inputs), pruned(*inputs))
    ek.export_onnx(pruned, tmp_path / "p.onnx")
    got = ek.load(tmp_path / "p.onnx").run(*(x.numpy() for x in inputs))
    expected = nets.tensors(pruned(*inputs))
    # Float sums of at most 150 terms in another order, relative to outputs of size 1.
    assert all(
        float((torch.from_numpy(a) - b).detach().abs().max()) < 150 * 2**-22 for a, b in zip(got, expected, strict=True)
    )
    integer = ek.lower(ek.quantize(pruned, [net.inputs(32)]).graph)
    assert integer(*inputs).shape == expected[0].shape
    again = ek.prune(pruned, 0.5)
    assert again.report.macs_after < again.report.macs_before


def test_cutting_nothing_changes_nothing() -> None:
    _, graph = captured("residual")
    copy = graph.copy()
    cut(copy, couple(copy), [])
    assert file.serialise(copy) == file.serialise(graph)
