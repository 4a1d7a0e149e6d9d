"""A call in place becomes functional where nobody can tell, and stays where someone could."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from rewritten import IMAGE, operators, rewritten
from torch import Tensor, nn
from torch.nn import functional


def in_place(name: str) -> bool:
    return name.endswith("_")


# In-place calls.


def later_reader(_: nn.Module, x: Tensor) -> Tensor:
    y = x * 2
    y.relu_()
    y.add_(x).mul_(3)
    return y - x


def residual_in_place(self: nn.Module, x: Tensor) -> Tensor:
    y = self.c(x)
    z = functional.relu(y, inplace=True)
    z += x
    return functional.hardswish(z, inplace=True) + y  # y is z by now


def view_read_by_itself(_: nn.Module, x: Tensor) -> Tensor:
    y = (x * 2).flatten(1)
    y.relu_()
    return y + 1


def masked(_: nn.Module, x: Tensor) -> Tensor:
    y = x * 2
    return y.masked_fill_(x > 0, 0.5)


@pytest.mark.parametrize("function", [later_reader, residual_in_place, view_read_by_itself, masked])
def test_in_place_calls_nobody_can_tell_become_functional(function: Callable[..., Any]) -> None:
    graph, _ = rewritten(function, *IMAGE, c=nn.Conv2d(4, 4, 3, padding=1))
    assert not any(map(in_place, operators(graph)))


def base_read_after_view(_: nn.Module, x: Tensor) -> Tensor:
    y = x * 2
    y.view(x.size(0), -1).relu_()
    return y


def view_read_after_base(_: nn.Module, x: Tensor) -> Tensor:
    y = x * 2
    z = y.view(x.size(0), -1)
    y.relu_()
    return z


def slice_written(_: nn.Module, x: Tensor) -> Tensor:
    y = x * 2
    y[:, 0] = 0
    return y


def copy_then_written(_: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
    y = x * 2
    z = y.clone()
    z[:, 1] = 7
    return y, z


def part_of_a_split(_: nn.Module, x: Tensor) -> Tensor:
    y = x * 2
    first, _second = y.chunk(2, dim=1)
    first.relu_()
    return y


def dropout_gives_its_input_back(self: nn.Module, x: Tensor) -> Tensor:
    y = x * 2
    z = self.d(y)
    z.relu_()
    return y


def narrow_result(_: nn.Module, x: Tensor) -> Tensor:
    y = (x * 2).half()
    y += x  # stays half; x + y would be float
    return y


@pytest.mark.parametrize(
    "function",
    [
        base_read_after_view, view_read_after_base, slice_written, copy_then_written, part_of_a_split,
        dropout_gives_its_input_back, narrow_result,
    ],
)  # fmt: skip
def test_in_place_calls_that_can_be_seen_stay(function: Callable[..., Any]) -> None:
    graph, _ = rewritten(function, *IMAGE, d=nn.Dropout(0.5))
    assert any(map(in_place, operators(graph)))


def test_an_input_written_in_place_is_not_changed() -> None:
    graph, x = rewritten(lambda _, x: x.relu_() + x)
    before = x.clone()
    graph(x)
    assert torch.equal(x, before)


def test_an_operator_without_a_twin_stays() -> None:
    def noise(_: nn.Module, x: Tensor) -> Tensor:
        y = x * 2
        y.bernoulli_(1.0)
        return y

    graph, _ = rewritten(noise)
    assert operators(graph) == ["mul", "bernoulli_"]
