"""Each canonical rule: it fires, it leaves alone what it must, and the numbers stay what they were."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import nets
import pytest
import torch
from nets import Written, captured
from rewritten import IMAGE, aten, operators, rewritten
from torch import nn
from torch.nn import functional

from edgekit.graph import edit
from edgekit.graph.canonical import canonicalise

# Views.


@pytest.mark.parametrize(
    "function",
    [
        lambda _, x: x.view(x.size(0), -1),
        lambda _, x: x.reshape(x.shape[0], 4 * 36),
        lambda _, x: x.flatten(1),
        lambda _, x: torch.flatten(x, start_dim=1, end_dim=3),
    ],
)
def test_views_that_keep_the_batch_alone_are_flatten(function: Callable[..., Any]) -> None:
    graph, _ = rewritten(function)
    assert operators(graph) == ["flatten"]


@pytest.mark.parametrize(
    "function",
    [
        lambda _, x: x.view(x.size(0) * 4, -1),
        lambda _, x: x.view(-1, 6),
        lambda _, x: x.view(x.size(0), 4, -1),
        lambda _, x: x.reshape(x.size(0), 2, 2, 36),
    ],
)
def test_other_views_are_reshape(function: Callable[..., Any]) -> None:
    graph, _ = rewritten(function)
    assert operators(graph)[-1] == "reshape"
    assert "flatten" not in operators(graph)
    assert "view" not in operators(graph)


# Bounds.


@pytest.mark.parametrize(
    ("function", "bounds"),
    [
        (lambda _, x: functional.relu6(x), (0.0, 6.0)),
        (lambda _, x: nn.ReLU6(inplace=True)(x * 1), (0.0, 6.0)),
        (lambda _, x: functional.hardtanh(x, -0.5, 2), (-0.5, 2)),
        (lambda _, x: torch.clamp_min(x, 0.25), (0.25, None)),
        (lambda _, x: x.clamp_max(0.5), (None, 0.5)),
        (lambda _, x: x.clamp(0, 1), (0, 1)),
        (lambda _, x: x.clamp(min=0.1), (0.1, None)),
    ],
)
def test_bounds_are_clamp(function: Callable[..., Any], bounds: tuple[float | None, float | None]) -> None:
    graph, _ = rewritten(function)
    (clamp,) = (node for node in edit.calls(graph.module) if node.target is aten.clamp.default)
    parts = edit.arguments(clamp)
    assert (parts["min"], parts["max"]) == bounds
    extreme = torch.tensor([[[[-torch.inf, torch.inf, torch.nan, 0.0, 6.0, -0.0]]]])
    model = Written(function)
    assert torch.equal(graph(extreme).nan_to_num(9.0), model(extreme).nan_to_num(9.0))


def test_bounds_that_are_tensors_stay() -> None:
    graph, _ = rewritten(lambda _, x: torch.clamp_min(x, x.mean()))
    assert "clamp_min" in operators(graph)


# Global pools.


@pytest.mark.parametrize(
    "function",
    [
        lambda _, x: functional.adaptive_avg_pool2d(x, 1),
        lambda _, x: nn.AdaptiveAvgPool2d((1, 1))(x),
        lambda _, x: x.mean((2, 3), keepdim=True),
        lambda _, x: x.mean((-1, -2), keepdim=True),
    ],
)
def test_global_pools_are_one_mean(function: Callable[..., Any]) -> None:
    graph, _ = rewritten(function)
    (mean,) = edit.calls(graph.module)
    assert mean.target is aten.mean.dim
    assert mean.args[1:] == ([2, 3], True)


@pytest.mark.parametrize(
    "function",
    [
        lambda _, x: x.mean((2, 3)),
        lambda _, x: x.mean((2, 3)).flatten(1),
        lambda _, x: x.mean((2, 3)).view(x.size(0), -1),
        lambda _, x: functional.adaptive_avg_pool2d(x, 1).flatten(1),
        lambda _, x: functional.adaptive_avg_pool2d(x, 1).view(x.size(0), 4),
    ],
)
def test_a_global_pool_to_features_is_mean_and_flatten(function: Callable[..., Any]) -> None:
    graph, _ = rewritten(function)
    assert operators(graph) == ["mean", "flatten"]


@pytest.mark.parametrize(
    "function",
    [
        lambda _, x: functional.adaptive_avg_pool2d(x, 4),
        lambda _, x: x.mean((1, 2)),
        lambda _, x: x.mean(2, keepdim=True),
        lambda _, x: x.flatten(2).mean((1, 2)),
        lambda _, x: x.mean((2, 3), dtype=torch.float64),
        lambda _, x: x.mean(),
        lambda _, x: x.mean([]),
    ],
)
def test_other_pools_stay(function: Callable[..., Any]) -> None:
    graph, _ = rewritten(function)
    means = [node for node in edit.calls(graph.module) if node.target is aten.mean.dim]
    assert not any(node.args[1:] == ([2, 3], True) for node in means)


# Padding by name.


@pytest.mark.parametrize(
    ("layer", "padding"),
    [
        (nn.Conv2d(4, 5, 3, padding="same"), [1, 1]),
        (nn.Conv2d(4, 5, (5, 1), padding="same"), [2, 0]),
        (nn.Conv2d(4, 5, 2, padding="same", dilation=2), [1, 1]),
        (nn.Conv2d(4, 4, 3, padding="same", dilation=(1, 2), groups=2), [1, 2]),
        (nn.Conv2d(4, 5, 4, padding="valid", stride=2), [0, 0]),
    ],
)
def test_named_padding_becomes_numbers(layer: nn.Conv2d, padding: list[int]) -> None:
    graph, _ = rewritten(lambda self, x: self.c(x), *IMAGE, c=layer)
    (node,) = edit.calls(graph.module)
    assert node.target is aten.conv2d.default
    parts = edit.arguments(node)
    assert list(parts["padding"]) == padding
    assert parts["groups"] == layer.groups


@pytest.mark.parametrize("kernel", [2, (3, 4)])
@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
def test_same_padding_with_an_even_kernel_stays(kernel: int | tuple[int, int]) -> None:
    graph, _ = rewritten(lambda self, x: self.c(x), *IMAGE, c=nn.Conv2d(4, 5, kernel, padding="same"))
    assert [node.target for node in edit.calls(graph.module)] == [aten.conv2d.padding]


# Identities.


@pytest.mark.parametrize(
    "function",
    [
        lambda _, x: x.clone() + 1,
        lambda _, x: x.contiguous() + 1,
        lambda self, x: self.none(x) + 1,
        lambda _, x: x + torch.tensor(1.0),
    ],
)
def test_identities_go(function: Callable[..., Any]) -> None:
    graph, _ = rewritten(function, *IMAGE, none=nn.Dropout(0.0))
    assert operators(graph) == ["add"]


def test_a_flat_input_needs_no_flatten() -> None:
    graph, _ = rewritten(lambda _, x: x.flatten(1) + 1, 3, 5)
    assert operators(graph) == ["add"]


def test_dropout_stays() -> None:
    graph, _ = rewritten(lambda self, x: self.d(x), *IMAGE, d=nn.Dropout(0.25))
    assert operators(graph) == ["dropout"]


def test_a_copy_that_sets_the_layout_stays_where_the_layout_is_read() -> None:
    graph, _ = rewritten(
        lambda _, x: torch.view_as_real(torch.view_as_complex(x.view(-1, 72, 2).transpose(0, 1).contiguous()) * 2)
    )
    assert "contiguous" in operators(graph)


def test_a_model_that_does_nothing() -> None:
    graph, _ = rewritten(lambda _, x: x.clone())
    assert operators(graph) == []


@pytest.mark.parametrize("name", sorted(nets.NETS))
def test_canonical_form_is_a_fixed_point(name: str) -> None:
    _, graph = captured(name)
    code = graph.module.code
    assert canonicalise(graph).module.code == code
