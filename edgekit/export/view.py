"""An ONNX graph by name: who makes a value, who reads it, what is stored, and what stands behind a quantiser."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

# What may stand between a DequantizeLinear and the layer that reads it.
_MOVES = (
    "Reshape",
    "Transpose",
    "Unsqueeze",
    "Squeeze",
    "Identity",
)


class FileView:
    """A graph by name: a model's, or the body of a loop, which sees what is stored outside."""

    def __init__(self, graph: onnx.GraphProto, outside: FileView | None = None) -> None:
        self.nodes = list(graph.node)
        self.outputs = {value.name for value in graph.output}
        self.constants: dict[str, NDArray[Any]] = {} if outside is None else dict(outside.constants)
        self.constants |= {t.name: numpy_helper.to_array(t) for t in graph.initializer}
        self.constants |= {
            n.output[0]: numpy_helper.to_array(n.attribute[0].t)
            for n in self.nodes
            if n.op_type == "Constant" and n.attribute[0].HasField("t")
        }
        self.producer = {name: node for node in self.nodes for name in node.output}
        self.users: dict[str, list[onnx.NodeProto]] = {}
        for node in self.nodes:
            for name in node.input:
                self.users.setdefault(name, []).append(node)
        self.quantised = behind_quantisers(self.nodes)

    def with_bodies(self) -> Iterator[FileView]:
        """The graph and every one inside of it."""
        yield self
        for node in self.nodes:
            for attribute in node.attribute:
                if attribute.HasField("g"):
                    yield from FileView(attribute.g, self).with_bodies()

    def kind_behind(self, name: str) -> str:
        """The operator that makes a value, or nothing."""
        return self.producer[name].op_type if name in self.producer else ""

    def moved_from(self, name: str) -> str:
        """The value that a chain of operators which move values begins with."""
        while self.kind_behind(name) in _MOVES:
            name = self.producer[name].input[0]
        return name

    def readers(self, name: str) -> int:
        """How many nodes and graph outputs read a value."""
        return len(self.users.get(name, [])) + (name in self.outputs)


def behind_quantisers(nodes: Iterable[onnx.NodeProto]) -> set[str]:
    """The values that a DequantizeLinear gives or has a part in; the others are the float front's."""
    found = set[str]()
    for node in nodes:
        if node.op_type == "DequantizeLinear" or not found.isdisjoint(node.input):
            found.update(node.output)
    return found
