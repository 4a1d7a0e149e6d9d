"""What pruning must not touch or does not understand stays whole, and the report says why."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import nets
import pytest
import torch
from masking import check, check_against_mask, chosen, masked, widths
from nets import Written, captured, graph_of
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.parametrizations import weight_norm

import edgekit as ek
from edgekit.errors import UsageError
from edgekit.graph import edit
from edgekit.graph import save as file
from edgekit.models import example

# What stays.


@pytest.mark.parametrize("name", sorted(nets.NETS))
@pytest.mark.parametrize("scope", ["local", "global"])
def test_no_layer_is_emptied_and_the_outputs_stay(name: str, scope: str) -> None:
    net, graph = nets.NETS[name], graph_of(name)
    before = file.serialise(graph)
    result = ek.prune(graph, 0.99, scope=scope)
    assert file.serialise(graph) == before  # the input is not edited
    assert all(parameter.numel() for _, parameter in result.graph.named_parameters())
    assert result.graph.outputs == graph.outputs
    assert result.graph.inputs == graph.inputs
    for batch in (1, 5):
        got, wanted = (nets.tensors(g(*net.inputs(batch))) for g in (result.graph, graph))
        assert [y.shape for y in got] == [y.shape for y in wanted]


def test_names_lines_and_modes_stay() -> None:
    _, graph = captured("residual")
    pruned = ek.prune(graph.train(), 0.5).graph
    assert pruned.module.training
    lines = [(node.name, edit.source_line(node)) for node in edit.calls(graph.module)]
    assert [(node.name, edit.source_line(node)) for node in edit.calls(pruned.module)] == lines
    assert list(widths(pruned)) == list(widths(graph))


def test_excluded_layers_keep_their_width() -> None:
    graph = graph_of("residual")
    convolutions = [node for node in edit.calls(graph.module) if "conv2d" in node.name]
    result = ek.prune(graph, 0.5, exclude=[convolutions[-1].name])
    assert widths(result.graph)["wide.weight"] == 12
    assert widths(result.graph)["stem.weight"] == 4
    assert ("wide.weight", "excluded by the user") in result.report.not_pruned
    everything = ek.prune(graph, 0.5, exclude=["conv*", "linear*"])
    assert everything.report.layers == ()
    assert everything.report.macs_after == everything.report.macs_before
    assert widths(ek.prune(graph, 0.5, exclude=convolutions[-1].name).graph)["wide.weight"] == 12  # a lone text


def turned(y: Tensor) -> Tensor:
    a, b = torch.chunk(y, 2, 1)
    return torch.cat([a * 0.6 - b * 0.8, a * 0.8 + b * 0.6], 1)


# Between residual blocks: what is added, and whether the channels of the first layer, 8, are what additions join.
BETWEEN: dict[str, tuple[Callable[..., Any], bool]] = {
    "a block": (lambda s, x: s.c(y := s.a(x)) + y, True),
    "a block taken away": (lambda s, x: (y := s.a(x)) - s.c(y), True),
    "two layers side by side": (lambda s, x: s.a(x) + s.b(x), True),
    "behind a split": (lambda s, x: s.c(torch.cat(torch.chunk(y := s.a(x), 2, 3), 3)) + y, True),
    "an input that was padded": (lambda s, x: (y := s.a(functional.pad(x, (1, 1)))) + s.c(y), True),
    "a bias of the model's own": (lambda s, x: s.a(x) + s.b.bias.view(1, 8, 1, 1), False),
    "a layer of the model's own weights": (lambda s, x: s.a(x) + s.b(s.b.weight)[:, :, :1, :1].mean(0, True), False),
    "the two parts of a rotation": (lambda s, x: (y := s.a(x)) * y.cos() + y.roll(1, 2) * y.sin(), False),
    "the two halves of a rotation": (lambda s, x: turned(s.a(x)), False),
    "two halves of one layer": (lambda s, x: torch.cat([sum(torch.chunk(s.a(x), 2, 1))] * 2, 1), False),
    "one channel for all": (lambda s, x: (y := s.a(x)) + y.mean(1, True), False),
    "a product": (lambda s, x: s.a(x) * s.b(x), False),
}


@pytest.mark.parametrize("case", sorted(BETWEEN))
def test_what_additions_join_stays_if_asked(case: str) -> None:
    function, stays = BETWEEN[case]
    layers = {"a": nn.Conv2d(4, 8, 1), "b": nn.Conv2d(4, 8, 1), "c": nn.Conv2d(8, 8, 1), "d": nn.Conv2d(8, 8, 1)}
    model = Written(lambda s, x: s.e(s.d(function(s, x))), **layers, e=nn.Conv2d(8, 3, 1))
    graph = ek.capture(model.eval(), torch.randn(2, 4, 6, 6))
    kept = ek.prune(graph, 0.5, keep_residual=True)
    assert widths(ek.prune(graph, 0.5).graph)["a.weight"] == 4
    assert widths(kept.graph)["a.weight"] == (8 if stays else 4)
    assert widths(kept.graph)["d.weight"] == 4  # what lies inside goes
    assert any("adds results" in reason for _, reason in kept.report.not_pruned) == stays


def test_inverted_residuals_shrink_as_one() -> None:
    """Half of the products halves every layer inside a block, so that depthwise ones gain as much as the others."""
    model, (x,) = example("mobilenet_v2", seed=0, size=32)
    report = ek.prune(model, target_macs=0.6, keep_residual=True, example_inputs=torch.cat([x, x])).report
    inside = {width.name: width.after / width.before for width in report.layers if ".branch.0.0." in width.name}
    assert len(inside) == 16
    assert max(inside.values()) - min(inside.values()) < 0.02
    whole = [name for name, reason in report.not_pruned if "adds results" in reason]
    assert len(whole) == 5  # the stages of more than one block


def test_a_target_that_only_the_channels_between_reach_is_refused() -> None:
    with pytest.raises(UsageError, match="keep_residual"):
        ek.prune(graph_of("residual"), target_macs=0.2, keep_residual=True)


def test_an_output_of_its_own_stays() -> None:
    model = Written(lambda s, x: (s.b(y := torch.relu(s.a(x))), y), a=nn.Conv2d(3, 6, 3), b=nn.Conv2d(6, 4, 3))
    result = ek.prune(model, 0.5, example_inputs=torch.randn(2, 3, 8, 8))
    assert result.report.layers == ()
    assert dict(result.report.not_pruned) == {"a.weight": "model output output_1", "b.weight": "model output output_0"}


TWO = {"a": (4, 6, 3), "b": (6, 4, 1)}  # inputs, outputs and kernel of two convolutions


def two(**others: nn.Module) -> dict[str, nn.Module]:
    return {name: nn.Conv2d(*sizes) for name, sizes in TWO.items()} | others


UNKNOWN: dict[str, tuple[Callable[..., Any], dict[str, nn.Module], set[str]]] = {
    "roll over channels": (lambda s, x: s.b(torch.roll(s.a(x), 1, dims=1)).mean((2, 3)), two(), {"a.weight"}),
    "sorted channels": (lambda s, x: s.b(torch.sort(s.a(x), 1).values), two(), {"a.weight"}),
    "channels counted up": (lambda s, x: s.b(torch.cumsum(s.a(x), 1)), two(), {"a.weight"}),
    "the place of the largest": (
        lambda s, x: s.b(s.a(x)) + s.a(x).argmax(1, keepdim=True), two(), {"a.weight"},
    ),
    "the image itself is added": (
        lambda s, x: s.b(s.a(x) + x), {"a": nn.Conv2d(4, 4, 1), "b": nn.Conv2d(4, 5, 1)}, {"a.weight"},
    ),
    "a branch in the graph": (
        lambda s, x: s.b(torch.cond(x.sum() > 0, lambda y: y * 2, lambda y: y - 1, (s.a(x),))), two(), {"a.weight"},
    ),
}  # fmt: skip

# What once stayed and is cut now, each with what is left of a.weight.
KNOWN: dict[str, tuple[Callable[..., Any], dict[str, nn.Module]]] = {
    "softmax over channels": (lambda s, x: s.b(torch.softmax(s.a(x), 1)), two()),
    "mean over channels": (lambda s, x: s.b(s.a(x)) * s.a(x).mean(1, keepdim=True), two()),
    "mean over everything": (lambda s, x: s.b(y := s.a(x)) + y.mean((0, 1, 2, 3)), two()),
    "its size is read": (lambda s, x: s.b(y := s.a(x)) * y.shape[1], two()),
    "a constant of fixed width": (lambda s, x: s.b(s.a(x) + torch.ones(x.size(0), 6, 1, 1)), two()),
    "a computed weight": (lambda s, x: s.b(torch.relu(s.a(x))), two(a=weight_norm(nn.Conv2d(4, 6, 3)))),
    "a computed bias": (lambda s, x: s.b(functional.conv2d(x, s.a.weight, torch.exp(s.a.bias))), two()),
}


def test_a_reshape_in_two_ways_leaves_what_both_allow() -> None:
    """24 seen as 4 times 6 and as 3 times 8: every other one may go."""
    model = Written(
        lambda s, x: s.c((y := s.b(x)).view(-1, 4, 6).sum(1)) + s.d(y.view(-1, 3, 8).sum(1)),
        b=nn.Linear(5, 24), c=nn.Linear(6, 3), d=nn.Linear(8, 3),
    )  # fmt: skip
    pruned = check(ek.capture(model.eval(), x := torch.randn(2, 5)), (x,), 0.5)
    parameters = dict(pruned.named_parameters())
    assert [tuple(parameters[f"{name}.weight"].shape) for name in "bcd"] == [(12, 5), (3, 3), (3, 4)]


def test_a_channel_that_is_written_into_stays() -> None:
    graph = ek.capture(Written(lambda s, x: s.b(written(s.a(x))), **two()).eval(), x := torch.randn(2, 4, 6, 6))
    report = check_against_mask(graph, 0.5, (x,))
    assert [(w.name, w.before, w.after) for w in report.layers] == [("a.weight", 6, 4)]
    assert any("takes it" in reason for name, reason in report.not_pruned if name == "a.weight")


def written(y: Tensor) -> Tensor:
    y[:, 2] = 1
    return y


@pytest.mark.parametrize("case", sorted(UNKNOWN))
def test_what_pruning_does_not_know_stays_whole_with_a_reason(case: str) -> None:
    function, layers, kept = UNKNOWN[case]
    graph = ek.capture(Written(function, **layers).eval(), torch.randn(2, 4, 6, 6))
    result = ek.prune(graph, 0.5)
    assert not {width.name for width in result.report.layers} & kept
    assert kept <= {name for name, _ in result.report.not_pruned}
    assert all(widths(result.graph)[name] == widths(graph)[name] for name in kept)


@pytest.mark.parametrize("case", sorted(KNOWN))
def test_what_pruning_follows_is_cut(case: str) -> None:
    function, layers = KNOWN[case]
    graph = ek.capture(Written(function, **layers).eval(), x := torch.randn(2, 4, 6, 6))
    pruned = check(graph, (x,), 0.5)
    assert widths(pruned)["a.bias"] == 3


def test_what_stands_behind_attention_is_still_pruned() -> None:
    result = ek.prune(graph_of("attention"), 0.5)
    assert ("hidden.weight", 16, 8) in [(w.name, w.before, w.after) for w in result.report.layers]


def test_shared_weights_are_cut_once_for_all() -> None:
    shared = nn.Conv2d(6, 6, 3, padding=1)
    model = Written(
        lambda s, x: s.b(torch.relu(s.shared(torch.relu(s.shared(torch.relu(s.a(x))))))),
        a=nn.Conv2d(3, 6, 3), shared=shared, b=nn.Conv2d(6, 4, 1),
    ).eval()  # fmt: skip
    graph = ek.capture(model, x := torch.randn(2, 3, 8, 8))
    check_against_mask(graph, 0.5, (x,))
    pruned = ek.prune(graph, 0.5).graph
    assert edit.get_by_path(pruned.module, "shared.weight").shape == (3, 3, 3, 3)


def test_tied_weights_under_two_names_are_cut_together_and_stay_tied() -> None:
    model = Written(
        lambda s, x: s.c(torch.relu(s.b(torch.relu(s.a(torch.relu(s.first(x))))))),
        first=nn.Linear(3, 6), a=nn.Linear(6, 6), b=nn.Linear(6, 6), c=nn.Linear(6, 2),
    ).eval()  # fmt: skip
    graph = ek.capture(model, x := torch.randn(4, 3))
    edit.set_tensor(graph.module, "b.weight", edit.get_by_path(graph.module, "a.weight"))
    check_against_mask(graph, 0.5, (x,))
    pruned = ek.prune(graph, 0.5).graph
    assert edit.get_by_path(pruned.module, "a.weight") is edit.get_by_path(pruned.module, "b.weight")


def test_frozen_parameters_stay_frozen() -> None:
    _, graph = captured("residual")
    edit.get_by_path(graph.module, "stem.weight").requires_grad_(False)
    pruned = dict(ek.prune(graph, 0.5).graph.named_parameters())
    assert not pruned["stem.weight"].requires_grad
    assert pruned["wide.weight"].requires_grad


def test_a_quantised_graph_is_cut_with_its_scales() -> None:
    graph = ek.quantize(graph_of("residual"), [nets.NETS["residual"].inputs(32)]).graph
    pruned = ek.prune(graph, 0.5).graph
    coupling, victims = chosen(graph, 0.5)
    inputs = nets.NETS["residual"].inputs(4)
    # The mask keeps each weight's scale; what differs is the order of float sums in front of a rounding to int8.
    step = max(float(edit.get_tensor(pruned.module, n)) for n in pruned.nodes if str(n.target).endswith("linear_scale"))
    for a, b in zip(
        nets.tensors(pruned(*inputs)), nets.tensors(masked(graph, coupling, victims)(*inputs)), strict=True
    ):
        assert float((a - b).detach().abs().max()) <= step
