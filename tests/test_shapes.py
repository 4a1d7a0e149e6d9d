"""Shapes that are remembered are those that would be computed: after every stage, and after edits of all kinds."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import edgekit as ek
from edgekit.fuse import join
from edgekit.graph import Graph, edit
from edgekit.graph.graph import known_size
from edgekit.graph.shapes import propagate_shapes
from edgekit.models import MODELS, example

aten = torch.ops.aten


def shapes(graph: Graph) -> dict[str, object]:
    """Of every node: sizes, dtype and strides, None for what is open."""

    def told(value: object) -> object:
        if isinstance(value, Tensor):
            return tuple(map(known_size, value.shape)), value.dtype, tuple(map(known_size, value.stride()))
        return tuple(map(told, value)) if isinstance(value, (tuple, list)) else type(value)

    return {node.name: told(node.meta.get("val")) for node in graph.nodes if node.op != "output"}


def assert_as_new(graph: Graph) -> None:
    fresh = graph.copy()
    for node in fresh.nodes:
        node.meta.pop("known", None)
        node.meta.pop("val", None)
    propagate_shapes(fresh)
    assert shapes(graph) == shapes(fresh)


@pytest.mark.parametrize("name", ["resnet8", "mobilenet_v2", "encoder", "gru_classifier", "two_tower"])
def test_after_every_stage(name: str) -> None:
    model, inputs = example(name, seed=0, **MODELS[name].small)
    two = tuple(torch.cat([x, x.flip(-1)]) for x in inputs)
    graph = ek.capture(model.eval(), two)
    pruned = ek.prune(graph, 0.5).graph
    quantised = ek.quantize(pruned, [two], config=ek.QuantConfig(allow_few=True)).graph
    integer = ek.lower(quantised)
    for stage in (graph, pruned, quantised, integer, join(integer)):
        assert_as_new(stage)
        assert_as_new(stage.copy().refresh())


def net() -> Graph:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(64, 5), nn.Softmax(1))
    return ek.capture(model.eval(), torch.randn(2, 3, 6, 6))


def call(graph: Graph, target: object) -> torch.fx.Node:
    return next(node for node in edit.calls(graph.module) if node.target is target)


def test_a_stored_tensor_of_another_size_changes_what_follows() -> None:
    graph = net()
    edit.set_tensor(graph.module, "3.weight", nn.Parameter(torch.randn(7, 64)))
    edit.set_tensor(graph.module, "3.bias", nn.Parameter(torch.randn(7)))
    graph.refresh()
    assert_as_new(graph)
    assert graph.shape(graph.output_nodes()[0]) == (1, 7)


def test_an_argument_an_operator_and_an_input_change_what_follows() -> None:
    graph = net()
    edit.set_argument(call(graph, aten.conv2d.default), "padding", [1, 1])
    edit.set_tensor(graph.module, "3.weight", nn.Parameter(torch.randn(5, 144)))
    graph.refresh()
    assert_as_new(graph)
    assert graph.shape(call(graph, aten.conv2d.default)) == (1, 4, 6, 6)
    call(graph, aten.relu.default).target = aten.isnan.default
    shown = graph.copy()
    shown.module.graph.output_node().args = ((call(shown, aten.isnan.default),),)
    shown.refresh()
    assert_as_new(shown)
    assert call(shown, aten.isnan.default).meta["val"].dtype is torch.bool


def test_the_graph_that_was_copied_keeps_its_shapes() -> None:
    graph = net()
    before, other = shapes(graph), graph.copy()
    edit.set_argument(call(other, aten.conv2d.default), "padding", [1, 1])
    edit.set_tensor(other.module, "3.weight", nn.Parameter(torch.randn(5, 144)))
    other.refresh()
    assert shapes(graph) == before
    assert_as_new(graph)
