"""Capture of one function, checked against it: what the tests of rewriting share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import nets
import torch
from nets import Written, same
from torch import Tensor, nn

import edgekit as ek
from edgekit.graph import Graph, edit

aten = torch.ops.aten
IMAGE = (3, 4, 6, 6)


def rewritten(
    function: Callable[..., Any], *shape: int, exact: bool = True, **layers: nn.Module
) -> tuple[Graph, Tensor]:
    """The graph of a function, checked against it in outputs and, where it has one, in the gradient of its input.

    Not ``exact``: the rule computes the same sums and products in another order. Inputs are of size 1, sums of a few
    dozen terms, so that 1e-5 is some hundred roundings and far less than what a wrong rewriting would change.
    """
    agree = same if exact else close
    model, x = Written(function, **layers).eval(), torch.randn(shape or IMAGE)
    graph = ek.capture(model, x)
    for batch in {2, x.shape[0]}:
        piece = torch.randn(batch, *x.shape[1:])
        assert agree(graph(piece.clone()), model(piece.clone()))
    try:
        expected = gradient(model, x)
    except RuntimeError:  # the model itself writes over what its gradient needs
        return graph, x
    assert agree(gradient(graph, x), expected)
    return graph, x


def close(a: Any, b: Any) -> bool:
    """Whether two outputs agree but for the order of their sums."""
    pairs = zip(nets.tensors(a), nets.tensors(b), strict=True)
    return all(x.shape == y.shape and torch.allclose(x, y, rtol=1e-5, atol=1e-5, equal_nan=True) for x, y in pairs)


def gradient(subject: Callable[[Tensor], Any], x: Tensor) -> Tensor:
    leaf = x.clone().requires_grad_()
    total = sum(y.square().sum() for y in nets.tensors(subject(leaf * 1)))
    return torch.autograd.grad(total, leaf)[0]


def operators(graph: Graph) -> list[str]:
    return [edit.operator_name(node).removeprefix("aten.") for node in edit.calls(graph.module)]
