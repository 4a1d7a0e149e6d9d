"""Values of a file have the names that they have in the graph."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
import quantised
from onnx import helper

import edgekit as ek
from edgekit.graph import Graph, notes, patterns
from edgekit.models import MODELS, example, example_inputs

onnx = pytest.importorskip("onnx")
names = pytest.importorskip("edgekit.export.names")

NETS = ("residual", "tables", "preactivation", "encoder")


def quantised_net(name: str) -> Graph:
    if name in quantised.NETS:
        return quantised.quantised(name)
    sizes = dict(MODELS[name].small)
    model, inputs = example(name, seed=0, **sizes)
    return ek.quantize(ek.capture(model.eval(), inputs), [tuple(example_inputs(name, 40, seed=1, **sizes))]).graph


@pytest.mark.parametrize("name", NETS)
def test_every_quantised_tensor_is_found_in_the_file_by_its_name(name: str, tmp_path: Path) -> None:
    graph = quantised_net(name)
    cells = patterns.cells(graph)
    outputs = graph.output_nodes()
    inner = [c for c in cells if c.body.op == "call_function" and not _rows(c) and c.end not in outputs]
    ends = {notes.value_name(cell.end) for cell in inner}
    ek.export_onnx(graph, tmp_path / "m.onnx")
    model = onnx.load(tmp_path / "m.onnx")
    made = Counter(output for node in model.graph.node for output in node.output)
    assert max(made.values()) == 1
    pairs = {node.output[0] for node in model.graph.node if node.op_type == "DequantizeLinear"}
    assert ends <= pairs
    clips = [node for node in model.graph.node if node.op_type == "Clip"]
    assert len(clips) == len([cell for cell in cells if cell.clamp is not None])


def _rows(cell: patterns.Cell) -> bool:
    """Rows of a table come as bytes: the pair behind them stands in the file under the name of their use."""
    return patterns.edit.operator_name(cell.body) == "aten.embedding"


def value(op: str, inputs: list[str], output: str, tag: str = "") -> object:
    node = helper.make_node(op, inputs, [output])
    if tag:
        node.metadata_props.add(key="pkg.torch.onnx.stack_trace", value=tag)
    return node


def test_the_last_value_of_a_call_gets_its_name_and_what_had_it_another() -> None:
    body = helper.make_graph([value("Neg", ["v"], "inside")], "body", [], [])
    loop = helper.make_node("If", ["x"], ["z"], then_branch=body, else_branch=body)
    nodes = [
        value("Abs", ["x"], "u", "linear"),
        value("Abs", ["u"], "v", "linear"),
        value("Abs", ["v"], "linear", "relu"),
        value("Abs", ["linear"], "relu"),
        loop,
        value("Abs", ["relu"], "y", "last"),
    ]
    ends = [helper.make_tensor_value_info(n, 1, [1]) for n in ("x", "y")]
    model = helper.make_model(helper.make_graph(nodes, "g", ends[:1], ends[1:]))
    names.restore(model)
    assert [list(n.output) for n in model.graph.node] == [["u"], ["linear"], ["relu"], ["relu__1"], ["z"], ["y"]]
    assert [list(n.input) for n in model.graph.node] == [["x"], ["u"], ["linear"], ["relu"], ["x"], ["relu__1"]]
    assert model.graph.node[4].attribute[0].g.node[0].input == ["linear"]
