"""What scores need data for: gradients of the loss, and how large activations are."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, fx

from edgekit.errors import UsageError
from edgekit.graph import Graph, edit
from edgekit.graph.cost import CONVOLUTIONS
from edgekit.prune.groups import Place

Loss = Callable[[Any, Any], Tensor]
Inputs = Tensor | Sequence[Tensor] | Mapping[str, Tensor]
Batches = Iterable[tuple[Inputs, Any]]

aten = torch.ops.aten


def summed_gradients(graph: Graph, data: Batches, loss: Loss) -> dict[str, Tensor]:
    """For every weight ``w * dL/dw``, summed over the batches of ``data``."""
    return _over_batches(graph, data, loss, lambda weight, gradient: weight * gradient)


def squared_gradients(graph: Graph, data: Batches, loss: Loss) -> dict[str, Tensor]:
    """For every weight ``w**2 * (dL/dw)**2``, summed over the items of ``data``."""
    return _over_batches(graph, _items(data), loss, lambda weight, gradient: (weight * gradient) ** 2)


def _over_batches(
    graph: Graph, data: Batches, loss: Loss, term: Callable[[Tensor, Tensor], Tensor]
) -> dict[str, Tensor]:
    graph = graph.copy().eval()
    sums = {name: torch.zeros_like(p, dtype=torch.float64) for name, p in graph.named_parameters() if p.dim() > 1}
    batches = 0
    for inputs, targets in data:
        graph.module.zero_grad()
        loss(call(graph, inputs), targets).backward()  # type: ignore[no-untyped-call]
        for name, parameter in graph.named_parameters():
            if name in sums and parameter.grad is not None:
                sums[name] += term(parameter.detach().double(), parameter.grad.double())
        batches += 1
    _some(batches)
    return {name: value.cpu() for name, value in sums.items()}


def _some(batches: int) -> None:
    if not batches:
        raise UsageError("there is no data to score channels by.", fix="Pass at least one pair of (inputs, targets).")


def _items(data: Batches) -> Iterator[tuple[Inputs, Any]]:
    """Batches of one item each."""
    for inputs, targets in data:
        whole = [inputs] if isinstance(inputs, Tensor) else inputs
        first = next(iter(whole.values() if isinstance(whole, Mapping) else whole))
        for i in range(len(first)):
            yield _each(inputs, i), _each(targets, i)


def _each(value: Any, item: int) -> Any:
    if isinstance(value, Tensor):
        return value[item : item + 1]
    if isinstance(value, Mapping):
        return {name: _each(one, item) for name, one in value.items()}
    return type(value)(_each(one, item) for one in value) if isinstance(value, (list, tuple)) else value


def call(graph: Graph, inputs: Inputs) -> Any:
    """Run a graph on one tensor, several, or a dict by input name."""
    if isinstance(inputs, Mapping):
        return graph(**inputs)
    return graph(inputs) if isinstance(inputs, Tensor) else graph(*inputs)


def mean_magnitudes(graph: Graph, data: Batches) -> dict[Place, Tensor]:
    """For the input dimension of every dense layer's weight, the mean magnitude of what it meets, by index."""
    graph = graph.copy().eval()
    run = _Magnitudes(graph)
    batches = 0
    with torch.no_grad():
        for inputs, _ in data:
            run.run(*_in_order(graph, inputs))
            batches += 1
    _some(batches)
    return {place: total / batches for place, total in run.totals.items()}


def _in_order(graph: Graph, inputs: Inputs) -> Sequence[Tensor]:
    if isinstance(inputs, Mapping):
        return [inputs[info.name] for info in graph.inputs]
    return [inputs] if isinstance(inputs, Tensor) else inputs


class _Magnitudes(fx.Interpreter):
    def __init__(self, graph: Graph) -> None:
        super().__init__(graph.module)
        self.totals: dict[Place, Tensor] = {}

    def run_node(self, n: fx.Node) -> Any:
        place = _read_by(n)
        if place is not None:
            value = self.env[edit.input_node(n)]
            channels = value.dim() - 1 if n.target is aten.linear.default else 1
            means = value.detach().double().abs().mean([d for d in range(value.dim()) if d != channels]).cpu()
            self.totals[place] = self.totals.get(place, 0) + means
        return super().run_node(n)


def _read_by(node: fx.Node) -> Place | None:
    """The dimension of a stored weight that a dense layer's input meets."""
    if not edit.is_call(node, aten.linear.default, *CONVOLUTIONS):
        return None
    parts = edit.arguments(node)
    if parts.get("groups", 1) != 1 or parts["weight"].op != "get_attr":
        return None
    return str(parts["weight"].target), 1
