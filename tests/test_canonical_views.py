"""Views, pieces, casts and arithmetic: one spelling each, equal to the bit in values and gradients."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from rewritten import IMAGE, aten, operators, rewritten
from torch import nn
from torch.nn import functional

import edgekit as ek
from edgekit.graph import edit

SEQUENCE = (3, 6, 8)


@pytest.mark.parametrize(
    ("function", "piece"),
    [
        (lambda _, x: x.split(2, -1)[1], (2, 2, 4)),
        (lambda _, x: x.split(5, 1)[1], (1, 5, 6)),
        (lambda _, x: x.split([1, 5], 1)[0], (1, 0, 1)),
        (lambda _, x: x.chunk(3, 2)[-1], (2, 6, 8)),
        (lambda _, x: torch.tensor_split(x, 3, 2)[1], (2, 3, 6)),
        (lambda _, x: torch.tensor_split(x, (1, 4), 1)[1], (1, 1, 4)),
        (lambda _, x: torch.hsplit(x, 2)[1], (1, 3, 6)),
        (lambda _, x: torch.dsplit(x, 2)[1], (2, 4, 8)),
        (lambda _, x: x.narrow(1, 2, 3), (1, 2, 5)),
        (lambda _, x: x.narrow(-1, -3, 2), (2, 5, 7)),
        (lambda _, x: x[:, 1:-1], (1, 1, 5)),
        (lambda _, x: x[..., ::3], (2, 0, 8, 3)),
    ],
)
def test_pieces_are_slices(function: Callable[..., Any], piece: tuple[int, ...]) -> None:
    graph, _ = rewritten(function, *SEQUENCE)
    (node,) = edit.calls(graph.module)
    assert node.target is aten.slice.Tensor
    assert node.args[1:] == piece


@pytest.mark.parametrize(
    ("function", "place"),
    [
        (lambda _, x: x.unbind(1)[3], (1, 3)),
        (lambda _, x: x.unbind(-1)[-1], (2, 7)),
        (lambda _, x: x[:, -2], (1, 4)),
        (lambda _, x: x.select(-1, 2), (2, 2)),
    ],
)
def test_single_values_are_selects(function: Callable[..., Any], place: tuple[int, int]) -> None:
    graph, _ = rewritten(function, *SEQUENCE)
    (node,) = edit.calls(graph.module)
    assert node.target is aten.select.int
    assert node.args[1:] == place


def test_every_piece_that_is_read_has_its_slice() -> None:
    graph, _ = rewritten(lambda _, x: torch.cat([part * i for i, part in enumerate(x.chunk(4, -1))], -1), *SEQUENCE)
    assert operators(graph).count("slice") == 4
    assert "chunk" not in operators(graph)


def test_a_split_of_the_batch_stays() -> None:
    graph, _ = rewritten(lambda _, x: x.split([1, x.shape[0] - 1])[1] + 1, *SEQUENCE)
    assert "split_with_sizes" in operators(graph)


def test_stacks_are_concatenations_of_reshapes() -> None:
    graph, _ = rewritten(lambda _, x: torch.stack([x, x + 1], -1), *SEQUENCE)
    assert sorted(operators(graph)) == ["add", "cat", "reshape", "reshape"]


@pytest.mark.parametrize(
    ("function", "sizes"),
    [
        (lambda _, x: x.unsqueeze(1), [-1, 1, 6, 8]),
        (lambda _, x: x[:, None, :, None], [-1, 1, 6, 1, 8]),
        (lambda _, x: x.unflatten(-1, (2, -1)), [-1, 6, 2, 4]),
        (lambda _, x: x.view(x.size(0), 6, -1, 4), [-1, 6, 2, 4]),
        (lambda _, x: x.view(x.size(0) * 2, 3, 8), [-1, 3, 8]),
        (lambda _, x: x.flatten(0, 1), [-1, 8]),
        (lambda _, x: (x[:, :1] + 1).squeeze(1).unsqueeze(2), [-1, 8, 1]),
        (lambda _, x: x[0].unsqueeze(1), [6, 1, 8]),
    ],
)
def test_views_are_reshapes_with_numbers(function: Callable[..., Any], sizes: list[int]) -> None:
    graph, _ = rewritten(function, *SEQUENCE)
    calls = list(edit.calls(graph.module))
    assert calls[-1].target is aten.reshape.default
    assert calls[-1].args[1] == sizes
    assert "sym_size" not in operators(graph)


def test_squeezing_to_features_is_flatten() -> None:
    graph, _ = rewritten(lambda _, x: x.mean((2, 3), keepdim=True).squeeze(-1).squeeze(-1), *IMAGE)
    assert operators(graph)[-1] == "flatten"
    assert "squeeze" not in operators(graph)


@pytest.mark.parametrize(
    "function",
    [
        lambda _, x: x.transpose(-1, -2),
        lambda _, x: x.transpose(2, 1),
        lambda _, x: x.mT,
        lambda _, x: x.swapaxes(1, 2),
        lambda _, x: x.swapdims(-1, 1),
        lambda _, x: x.movedim(1, 2),
        lambda _, x: x.moveaxis(-1, 1),
        lambda _, x: x.permute(0, 2, 1),
        lambda _, x: x.permute(0, -1, -2),
    ],
)
def test_two_dimensions_change_places_by_transpose(function: Callable[..., Any]) -> None:
    graph, _ = rewritten(function, *SEQUENCE)
    (node,) = edit.calls(graph.module)
    assert node.target is aten.transpose.int
    assert node.args[1:] == (1, 2)


@pytest.mark.parametrize(
    "function", [lambda _, x: x.permute(2, 0, 1), lambda _, x: x.movedim(-1, 0), lambda _, x: x.movedim((2, 0), (0, 1))]
)
def test_three_dimensions_change_places_by_permute(function: Callable[..., Any]) -> None:
    graph, _ = rewritten(function, *SEQUENCE)
    (node,) = edit.calls(graph.module)
    assert node.target is aten.permute.default
    assert node.args[1:] == ([2, 0, 1],)


@pytest.mark.parametrize(
    "function",
    [
        lambda _, x: x.to(torch.float32),
        lambda _, x: x.float(),
        lambda _, x: x.type_as(x),
        lambda _, x: x.to("cpu", torch.float32),
        lambda _, x: x[:, :],
        lambda _, x: x.permute(0, 1, 2),
        lambda _, x: x.expand(x.shape),
        lambda _, x: x.view(x.shape),
        lambda _, x: x.squeeze(1),
    ],
)
def test_what_changes_nothing_goes(function: Callable[..., Any]) -> None:
    graph, _ = rewritten(lambda self, x: function(self, x) * 3, *SEQUENCE)
    assert operators(graph) == ["mul"]


def test_casts_that_change_the_type_have_one_name() -> None:
    graph, _ = rewritten(lambda _, x: x.to("cpu", torch.float64).float() + x.double(), *SEQUENCE)
    casts = [node.target for node in edit.calls(graph.module) if "to" in operators(graph)]
    assert casts.count(aten.to.dtype) == 3


@pytest.mark.parametrize(
    ("function", "name", "number"),
    [
        (lambda _, x: x / 8, "mul", 0.125),
        (lambda _, x: x.div(-0.5), "mul", -2.0),
        (lambda _, x: x / 3, "div", 3),
        (lambda _, x: x * torch.tensor(1.7), "mul", float(torch.tensor(1.7))),
        (lambda _, x: torch.true_divide(x, 7), "div", 7),
        (lambda _, x: x * x, "pow", 2),
        (lambda _, x: x.square(), "pow", 2),
        (lambda _, x: torch.multiply(x, 5), "mul", 5),
    ],
)
def test_arithmetic_with_numbers(function: Callable[..., Any], name: str, number: float) -> None:
    graph, _ = rewritten(function, *SEQUENCE)
    (node,) = edit.calls(graph.module)
    assert operators(graph) == [name]
    assert node.args[1] == number


def test_a_difference_the_other_way_round_is_a_difference() -> None:
    graph, _ = rewritten(lambda _, x: torch.rsub(x, x * 3), *SEQUENCE)
    assert operators(graph) == ["mul", "sub"]


def test_integer_division_stays_division() -> None:
    model = nn.Sequential()
    model.forward = lambda x: x / 2  # type: ignore[method-assign]
    x = torch.arange(6).reshape(2, 3)
    graph = ek.capture(model, x)
    assert operators(graph) == ["div"]
    assert torch.equal(graph(x), x / 2)


@pytest.mark.parametrize("layer", [nn.Conv1d(6, 5, 3, padding="same"), nn.Conv1d(6, 5, 4, padding="valid", stride=2)])
def test_named_padding_of_sequences_becomes_numbers(layer: nn.Conv1d) -> None:
    graph, _ = rewritten(lambda self, x: self.c(x), *SEQUENCE, c=layer)
    (node,) = edit.calls(graph.module)
    assert node.target is aten.conv1d.default


@pytest.mark.parametrize(("out", "window"), [(2, [3, 3]), ((1, 2), [6, 3]), ((6, 3), [1, 2])])
def test_even_adaptive_pools_are_pools_with_windows(out: Any, window: list[int]) -> None:
    graph, _ = rewritten(lambda _, x: functional.adaptive_avg_pool2d(x, out), *IMAGE, exact=False)
    (node,) = edit.calls(graph.module)
    assert node.target is aten.avg_pool2d.default
    assert node.args[1:] == (window, window)


def test_the_pool_of_all_time_is_a_mean() -> None:
    graph, _ = rewritten(lambda _, x: functional.adaptive_avg_pool1d(x, 1), *SEQUENCE, exact=False)
    (node,) = edit.calls(graph.module)
    assert node.target is aten.mean.dim
    assert node.args[1:] == ([2], True)


def test_uneven_adaptive_pools_stay() -> None:
    graph, _ = rewritten(lambda _, x: functional.adaptive_avg_pool2d(x, 4), *IMAGE)
    assert operators(graph) == ["adaptive_avg_pool2d"]
