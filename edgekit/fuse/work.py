"""The integer graph under construction: every value as bytes, as floats, or as both where both are read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, fx, nn

import edgekit.ops  # noqa: F401  registers torch.ops.edgekit
from edgekit.graph import Graph, edit, patterns
from edgekit.graph.patterns import Cell
from edgekit.graph.shapes import propagate_shapes
from edgekit.ops import numerics

DEQUANTIZE = torch.ops.edgekit.dequantize.default


@dataclass
class Work:
    """The graph under construction.

    Attributes:
        source: the quantised graph.
        structure: the new nodes.
        root: the new tensors.
        values: by fake_quantize node of the source, the new node with its bytes.
        floats: by node of the source, the new node with its value as it is: floats, indices, masks and sizes.
    """

    source: Graph
    structure: fx.Graph = field(default_factory=fx.Graph)
    root: nn.Module = field(default_factory=nn.Module)
    values: dict[fx.Node, fx.Node] = field(default_factory=dict)
    floats: dict[fx.Node, fx.Node] = field(default_factory=dict)

    def keep(self, node: fx.Node) -> None:
        """Copy a call as it is; a size is that of the bytes where there are any."""
        source = self._either if node.target is torch.ops.aten.sym_size.int else self.plain
        self.floats[node] = self.structure.node_copy(node, source)

    def _either(self, node: fx.Node) -> fx.Node:
        return self.values.get(patterns.bytes_of(node)) or self.plain(node)

    def plain(self, node: fx.Node) -> fx.Node:
        """The new node with the value of ``node`` as it is; bytes are dequantised, once."""
        if node.target is patterns.AS_FLOAT:
            return self.plain(edit.input_node(node))
        node = patterns.bytes_of(node)
        if node not in self.floats:
            if node.op == "get_attr":
                self.floats[node] = self.stored(str(node.target), self.tensor(node))
            elif node in self.values:
                self.floats[node] = self._dequantised(node)
            else:  # the weight of a layer that stays in float
                self.keep(node)
        return self.floats[node]

    def _dequantised(self, node: fx.Node) -> fx.Node:
        name = edit.input_node(node).name
        scale = self.stored(f"{name}_scale", self.scale(node))
        return self.structure.create_node("call_function", DEQUANTIZE, (self.value(node), scale), name=f"{name}_float")

    def value(self, node: fx.Node) -> fx.Node:
        """The new node with the bytes of ``node``; dropout is looked through."""
        return self.values[patterns.bytes_of(node)]

    def scale(self, node: fx.Node) -> Tensor:
        """The scale of a quantised activation."""
        return self.tensor(patterns.scale_node(patterns.bytes_of(node)))

    def tensor(self, node: fx.Node) -> Tensor:
        """A stored tensor of the source."""
        return edit.get_tensor(self.source.module, node).detach()

    def stored(self, name: str, value: Tensor) -> fx.Node:
        """A new tensor under this name, or one like it."""
        path = edit.free_path(self.root, name)
        edit.set_tensor(self.root, path, value.contiguous())
        return self.structure.get_attr(path)

    def call(self, cell: Cell, target: Callable[..., Any], *args: Any) -> fx.Node:
        """The integer call of a cell, named like its float operator."""
        return self.structure.create_node("call_function", target, args, name=cell.body.name)

    def step(self, target: Callable[..., Any], *args: Any) -> fx.Node:
        """A call in front of or behind the one that has the cell's name."""
        return self.structure.create_node("call_function", target, args)

    def bounds(self, cell: Cell) -> tuple[int, int]:
        """Q bounds of the cell's output: those of its clamp, quantised."""
        if cell.clamp is None:
            return numerics.S8_MIN, numerics.S8_MAX
        return numerics.bounds(*patterns.clamp_bounds(cell.clamp), self.scale(cell.end))

    def finish(self) -> Graph:
        """The integer graph, its outputs in float."""
        results = [self._output(node, index) for index, node in enumerate(self.source.output_nodes())]
        self.structure.output(results[0] if len(results) == 1 else tuple(results))
        module = fx.GraphModule(self.root, self.structure).eval()
        graph = Graph(module, self.source.inputs, self.source.output_names, notes=self.source.notes)
        edit.clean(module)
        propagate_shapes(graph)
        return graph

    def _output(self, node: fx.Node, index: int) -> fx.Node:
        if not patterns.is_quantised(node):
            return self.plain(node)
        scale = self.stored(f"output_{index}_scale", self.scale(node))
        return self.structure.call_function(DEQUANTIZE, (self.value(node), scale))
