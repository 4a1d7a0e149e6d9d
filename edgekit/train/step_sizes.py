"""Learned step sizes (LSQ; Esser et al. 2020, arXiv:1902.08153): the scales of a fake-quantised graph as parameters.

The gradient of a step size adds up one term for each of N elements, so it is divided by ``sqrt(N * hi)``, as in section
2.2 of the paper: N counts the weights that share the step, or the features of one item. A batch is a mean already.

A scale stays as calibrated where another was fitted to it: on both sides of an addition, behind a softmax, and inside
recurrent layers, whose ratios are exact in every kernel.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, fx, nn

from edgekit.graph import Graph, edit, kinds, patterns

FLOOR = 2.0**-10  # of the calibrated scale: a step of the optimiser that is too long must not turn signs around
_FITTED = (kinds.JOIN, kinds.SOFTMAX, kinds.MASKED_SOFTMAX)


def paths(graph: Graph) -> dict[str, fx.Node]:
    """The scales that may be learned, by path, each with the first fake_quantize that has it."""
    fakes = [node for node in edit.calls(graph.module) if node.target is patterns.FAKE_QUANTIZE]
    fixed = set(_fixed(graph))
    found: dict[str, fx.Node] = {}
    for fake in fakes:
        path = str(patterns.scale_node(fake).target)
        if path not in fixed:
            found.setdefault(path, fake)
    return found


def learn(graph: Graph) -> list[nn.Parameter]:
    """Make parameters of the scales that may be learned, in place."""
    learned = []
    for path, fake in paths(graph).items():
        value = edit.get_by_path(graph.module, path).detach()
        parameter = nn.Parameter(value.clone())
        tied = value.numel() > 1 and bool((value == value.flatten()[0]).all())  # one scale for all channels
        divisor = _divisor(graph, fake, 1 if tied else value.numel())
        parameter.register_hook(_divided(divisor, tied))  # type: ignore[no-untyped-call]
        edit.set_tensor(graph.module, path, parameter)
        learned.append(parameter)
    return learned


def keep_positive(optimizer: torch.optim.Optimizer, scales: Sequence[nn.Parameter]) -> None:
    """Hold every scale at :data:`FLOOR` of what it is now, or above, after each step of the optimiser."""
    least = [scale.detach() * FLOOR for scale in scales]

    def hold(*_: Any) -> None:
        with torch.no_grad():
            for scale, floor in zip(scales, least, strict=True):
                scale.copy_(torch.where(scale < floor, floor, scale))  # NaN stays and is found

    if scales:
        optimizer.register_step_post_hook(hold)


def settle(graph: Graph) -> Graph:
    """Make buffers of learned scales again, in place; returns the graph."""
    for path in paths(graph):
        value = edit.get_by_path(graph.module, path)
        if isinstance(value, nn.Parameter):
            edit.set_tensor(graph.module, path, value.detach().clone())
    return graph


def _fixed(graph: Graph) -> Iterator[str]:
    """Paths of scales that others were fitted to, or that something else than a fake_quantize reads."""
    for node in graph.module.graph.nodes:
        if node.op == "get_attr" and any(user.target is not patterns.FAKE_QUANTIZE for user in node.users):
            yield str(node.target)
    for cell in patterns.cells(graph):
        if kinds.kind_of(cell.body) in _FITTED:
            yield str(cell.scale.target)
            for operand in map(patterns.bytes_of, kinds.operands(cell.body)):
                if operand.target is patterns.FAKE_QUANTIZE:
                    yield str(patterns.scale_node(operand).target)


def _divisor(graph: Graph, fake: fx.Node, steps: int) -> float:
    """``sqrt(N * hi)`` of a scale that ``steps`` of a weight's share, or that one activation has."""
    source, hi = edit.input_node(fake), int(edit.arguments(fake)["hi"])
    shape = graph.shape(fake)
    count = math.prod(shape) / steps if source.op == "get_attr" else math.prod(shape[1:])
    return math.sqrt(max(count, 1) * hi)


def _divided(divisor: float, tied: bool) -> Callable[[Tensor], Tensor]:
    """What the gradient of a scale goes through; where channels are tied, they share their sum."""

    def hook(gradient: Tensor) -> Tensor:
        whole = gradient.sum().expand_as(gradient) if tied else gradient
        return whole / divisor

    return hook
