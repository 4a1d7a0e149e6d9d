"""What nodes remember: whose value they hold, at which scale, why in float; kept through every stage and the file."""

from __future__ import annotations

from pathlib import Path

import pytest
import quantised
import torch
from quantised import NETS, build, float_graph, items
from torch import Tensor, fx, nn

import edgekit as ek
from edgekit.errors import GraphFileError
from edgekit.fuse import lowered
from edgekit.graph import Graph, edit, notes, patterns


def values(graph: Graph, x: Tensor) -> dict[str, Tensor]:
    """Every value of a graph by the name that it is known by."""
    found: dict[str, Tensor] = {}

    class Recorder(fx.Interpreter):
        def run_node(self, n: fx.Node) -> object:
            found[notes.value_name(n)] = super().run_node(n)
            return found[notes.value_name(n)]

    with torch.no_grad():
        Recorder(graph.module).run(x)
    return found


@pytest.mark.parametrize("name", ["residual", "preactivation", "perceptron", "tables"])
def test_an_integer_value_is_the_float_value_of_its_name(name: str) -> None:
    """Of the net as captured: batch norm stands alone there, and every clamp."""
    x = items(NETS[name].shape, 16)
    integer = ek.lower(quantised.quantised(name))
    real, steps = values(float_graph(name), x), values(integer, x)
    scales = {notes.value_name(n): scale for n in integer.nodes if (scale := notes.scale(n))}
    assert len(scales) == len(patterns.cells(quantised.quantised(name)))
    for key, scale in scales.items():
        want, got = real[key], steps[key] * scale
        assert float((want - got).square().sum()) < 0.02 * float(want.square().sum()), key


def test_notes_survive_the_file(tmp_path: Path) -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU())
    graph = ek.quantize(ek.capture(build(net), items((3, 6, 6), 2)), [items((3, 6, 6))]).graph
    integer = ek.lower(graph)
    for stage in (graph, integer):
        stage.save(tmp_path / "g.safetensors")
        back = Graph.load(tmp_path / "g.safetensors")
        assert [notes.encode(n) for n in back.nodes] == [notes.encode(n) for n in stage.nodes]
    layer = next(n for n in integer.nodes if n.name == "conv2d")
    cell = next(c for c in patterns.cells(graph) if not c.is_border)
    assert notes.value_name(layer) == "relu"
    assert notes.scale(layer) == float(edit.get_tensor(graph.module, cell.scale))
    assert notes.value_name(cell.body) == "batch_norm"


@pytest.mark.parametrize(
    ("key", "value"), [("scale", 0.0), ("scale", -1.0), ("scale", "1"), ("why_float", 3), ("stands_for", None)]
)
def test_a_note_that_is_none_is_refused(key: str, value: object) -> None:
    with pytest.raises(GraphFileError, match=f"{key}.*of node x"):
        notes.decode(fx.Graph().placeholder("x"), {key: value})


def test_the_reason_of_placement_is_what_lowering_reports() -> None:
    net = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 4))
    graph = ek.capture(build(net), items((4,), 2))
    result = ek.quantize(graph, [items((4,))], ek.QuantConfig(keep_float=("linear_1",)))
    (kept,) = [operator for operator in lowered(result.graph).operators if operator.reason]
    assert {kept.name: kept.reason} == result.report.kept_float
    bare = result.graph.copy()
    for node in bare.nodes:
        node.meta.pop(notes.WHY_FLOAT, None)
    (kept,) = [operator for operator in lowered(bare).operators if operator.reason]
    assert kept.reason != result.report.kept_float["linear_1"]
    assert "not quantised" in kept.reason
