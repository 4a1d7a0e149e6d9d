"""The integer Graph, the golden: between the first quantize and the last dequantize every tensor is int8 or int32.

One rule for each kind of operator, a triple (match, check, rewrite): ``rewrite`` reads a cell (operator, fused clamp,
scale) and writes one integer call, named like the float operator. Weights, biases, multipliers and tables are computed
here once and carried as buffers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, fx, nn

from edgekit.errors import NumericsError, OperatorError, UsageError
from edgekit.graph import Graph, edit, front, patterns
from edgekit.graph.graph import propagate_shapes
from edgekit.graph.patterns import Cell
from edgekit.ops import numerics

aten, s8 = torch.ops.aten, torch.ops.edgekit


def lower(graph: Graph) -> Graph:
    """The integer graph of a quantised one. Its inputs and outputs stay float; every tier gives the same bytes.

    Raises:
        UsageError: for a graph without fake_quantize.
        OperatorError: for an operator that stays float; names it and its source line.
        NumericsError: for a scale, ratio or bias outside the range in which INT8 arithmetic is exact; the same.
    """
    found = patterns.cells(graph)
    if not found:
        raise UsageError("the graph is not quantised.", fix="Call ek.quantize first.")
    stays = set(front.front_calls(graph))
    _refuse_islands(graph, found, stays)
    work, ends = _Lowering(graph), {cell.end: cell for cell in found}
    for node in graph.nodes:
        if node.op == "placeholder":
            work.values[node] = work.structure.placeholder(node.name)
        elif node in ends:
            work.cell(ends[node])
        elif node in stays:
            work.keep(node)
        elif _is_size(node):
            work.size(node)
    return work.finish()


@dataclass
class _Lowering:
    """The graph under construction; ``values`` maps nodes of the source to the new nodes with their bytes or sizes."""

    source: Graph
    structure: fx.Graph = field(default_factory=fx.Graph)
    root: nn.Module = field(default_factory=nn.Module)
    values: dict[fx.Node, fx.Node] = field(default_factory=dict)

    def cell(self, cell: Cell) -> None:
        rule = INPUT if cell.is_input else next((rule for rule in RULES if rule.match(cell.body)), None)
        reason = rule.check(self.source, cell) if rule else "no rule knows it"
        if rule is None or reason:
            raise OperatorError(f"{edit.describe(cell.body)} cannot be lowered: {reason}.")
        try:
            new = rule.rewrite(self, cell)
        except NumericsError as error:
            raise error.at(edit.describe(cell.body)) from error
        edit.copy_source(cell.body, new)
        self.values[cell.end] = new

    def size(self, node: fx.Node) -> None:
        """Copy a call that computes a size, such as the batch that a reshape keeps."""
        self.values[node] = self.structure.node_copy(node, self.value)

    def keep(self, node: fx.Node) -> None:
        """Copy a call of the float front, with the constants that it reads."""
        for source in node.all_input_nodes:
            if source.op == "get_attr" and source not in self.values:
                value = edit.get_tensor(self.source.module, source).detach()
                self.values[source] = self.stored(str(source.target), value)
        self.values[node] = self.structure.node_copy(node, lambda source: self.values[source])

    def value(self, node: fx.Node) -> fx.Node:
        """The new node with the bytes of ``node``; dropout is looked through."""
        return self.values[_bytes_of(node)]

    def scale(self, node: fx.Node) -> Tensor:
        """The scale of a quantised activation."""
        return edit.get_tensor(self.source.module, patterns.scale_node(_bytes_of(node)))

    def stored(self, name: str, value: Tensor) -> fx.Node:
        path = edit.free_path(self.root, name)
        edit.set_tensor(self.root, path, value.contiguous())
        return self.structure.get_attr(path)

    def call(self, cell: Cell, target: Callable[..., Any], *args: Any) -> fx.Node:
        return self.structure.create_node("call_function", target, args, name=cell.body.name)

    def bounds(self, cell: Cell) -> tuple[int, int]:
        """Q bounds of the cell's output: those of its clamp, quantised."""
        if cell.clamp is None:
            return numerics.S8_MIN, numerics.S8_MAX
        return numerics.bounds(*patterns.clamp_bounds(cell.clamp), self.scale(cell.end))

    def finish(self) -> Graph:
        results = [self._dequantized(node, index) for index, node in enumerate(self.source.output_nodes())]
        self.structure.output(results[0] if len(results) == 1 else tuple(results))
        module = fx.GraphModule(self.root, self.structure).eval()
        graph = Graph(module, self.source.inputs, self.source.output_names, notes=self.source.notes)
        edit.clean(module)
        propagate_shapes(graph)
        return graph

    def _dequantized(self, node: fx.Node, index: int) -> fx.Node:
        if not edit.is_call(_bytes_of(node), patterns.FAKE_QUANTIZE):
            return self.values[node]  # the float front gives it
        scale = self.stored(f"output_{index}_scale", self.scale(node))
        return self.structure.call_function(s8.dequantize.default, (self.value(node), scale))


def _is_size(node: fx.Node) -> bool:
    return node.op == "call_function" and not isinstance(node.meta.get("val"), Tensor)


def _bytes_of(node: fx.Node) -> fx.Node:
    while node.target in patterns.TRAINING_ONLY:
        node = edit.input_node(node)
    return node


def _refuse_islands(graph: Graph, found: list[Cell], stays: set[fx.Node]) -> None:
    """Every call must be part of a cell, of the front, a weight's fake_quantize, or the identity in inference."""
    known = {node for cell in found for node in (cell.body, cell.inner, cell.clamp, cell.end)} | stays
    for node in edit.calls(graph.module):
        weight = node.target is patterns.FAKE_QUANTIZE and patterns.is_weight(node)
        if node not in known and not weight and not _is_size(node) and node.target not in patterns.TRAINING_ONLY:
            raise OperatorError(
                f"{edit.describe(node)} is not quantised and would stay float.",
                fix="Call ek.quantize on the whole graph.",
            )
    for node in graph.output_nodes():
        if not edit.is_call(_bytes_of(node), patterns.FAKE_QUANTIZE) and node not in stays:
            raise OperatorError(f"the output {edit.describe(node)} is not quantised.")


def _always(_: Graph, __: Cell) -> str:
    return ""


def _lower_input(work: _Lowering, cell: Cell) -> fx.Node:
    scale = work.stored(f"{cell.body.name}_scale", work.scale(cell.end))
    return work.structure.create_node(
        "call_function", s8.quantize_s8.default, (work.values[cell.body], scale), name=f"{cell.body.name}_s8"
    )


@dataclass(frozen=True)
class IntegerLayer:
    """A convolution or linear in integers: int8 weight, int32 bias [C], float32 weight scale [C], and input scale."""

    weight: Tensor
    bias: Tensor
    weight_scale: Tensor
    input_scale: Tensor


def integer_layer(graph: Graph, cell: Cell) -> IntegerLayer:
    """Weight and bias of a weighted cell as its integer operator has them; export writes the same numbers."""
    parts = edit.arguments(cell.body)
    fake = edit.arguments(parts["weight"])
    weight, weight_scale = (edit.get_tensor(graph.module, fake[name]).detach() for name in ("x", "scale"))
    input_scale = edit.get_tensor(graph.module, patterns.scale_node(_bytes_of(edit.input_node(cell.body))))
    q = numerics.quantize(weight, weight_scale, fake["axis"], fake["lo"], fake["hi"])
    bias = torch.zeros(len(weight_scale), dtype=torch.int32)
    if parts["bias"] is not None:
        real = edit.get_tensor(graph.module, parts["bias"]).detach()
        _check_sums(q, real, input_scale * weight_scale)
        bias = numerics.quantize_bias(real, input_scale, weight_scale)
    return IntegerLayer(q, bias, weight_scale, input_scale)


def _check_sums(q: Tensor, bias: Tensor, step: Tensor) -> None:
    """A bias that was trained after its scale was chosen may have outgrown int32; every input must leave it room."""
    numerics.check_scale(step, "the scale of the bias")
    largest = (bias.double() / step.double()).abs().round() - numerics.S8_MIN * q.double().abs().flatten(1).sum(1)
    if not bool((largest < 2.0**31).all()):
        raise NumericsError(
            "the bias does not fit int32 beside the sum of products.",
            "It changed since the scales were chosen.",
            "Quantise the model again.",
        )


def _stored_layer(work: _Lowering, cell: Cell) -> tuple[fx.Node, ...]:
    layer = integer_layer(work.source, cell)
    multiplier = numerics.multiplier(layer.input_scale, layer.weight_scale, work.scale(cell.end))
    name = cell.body.name
    return (
        work.value(edit.input_node(cell.body)),
        work.stored(f"{name}.weight", layer.weight),
        work.stored(f"{name}.bias", layer.bias),
        work.stored(f"{name}.multiplier", multiplier),
    )


def _lower_linear(work: _Lowering, cell: Cell) -> fx.Node:
    return work.call(cell, s8.linear_s8.default, *_stored_layer(work, cell), *work.bounds(cell))


def _lower_convolution(work: _Lowering, cell: Cell) -> fx.Node:
    parts = edit.arguments(cell.body)
    geometry = ([*parts["stride"]], [*parts["padding"]], [*parts["dilation"]], parts["groups"])
    return work.call(cell, s8.conv2d_s8.default, *_stored_layer(work, cell), *geometry, *work.bounds(cell))


def _lower_add(work: _Lowering, cell: Cell) -> fx.Node:
    operands, scale = [edit.operand(cell.body, index) for index in (0, 1)], work.scale(cell.end)
    ratios = [numerics.add_ratio(work.scale(operand), scale) for operand in operands]
    values = [work.value(operand) for operand in operands]
    return work.call(cell, s8.add_s8.default, *values, *ratios, *work.bounds(cell))


def pool_geometry(graph: Graph, body: fx.Node) -> tuple[list[int], list[int], list[int], bool, bool, int | None]:
    """kernel, stride, padding, ceil_mode, count_include_pad, divisor_override; a mean is one window over the image."""
    parts = edit.arguments(body)
    if body.target is aten.mean.dim:
        size = list(graph.shape(edit.input_node(body))[2:])
        return size, size, [0, 0], False, True, None
    kernel = _pair(parts["kernel_size"])
    stride = _pair(parts["stride"]) if parts["stride"] else kernel
    return (
        kernel,
        stride,
        _pair(parts["padding"]),
        parts["ceil_mode"],
        parts["count_include_pad"],
        parts["divisor_override"],
    )


def _pair(value: Any) -> list[int]:
    values = [value] if isinstance(value, int) else list(value)
    return values * 2 if len(values) == 1 else values


def _lower_average(work: _Lowering, cell: Cell) -> fx.Node:
    kernel, stride, padding, ceil_mode, include_pad, divisor = pool_geometry(work.source, cell.body)
    source = edit.input_node(cell.body)
    table = numerics.pool_multipliers(work.scale(source), work.scale(cell.end), kernel[0] * kernel[1], divisor)
    multiplier = work.stored(f"{cell.body.name}.multiplier", table)
    geometry = (kernel, stride, padding, ceil_mode, include_pad)
    return work.call(cell, s8.avg_pool_s8.default, work.value(source), multiplier, *geometry, *work.bounds(cell))


def _lower_max_pool(work: _Lowering, cell: Cell) -> fx.Node:
    parts = edit.arguments(cell.body)
    kernel = _pair(parts["kernel_size"])
    stride = _pair(parts["stride"]) if parts["stride"] else kernel
    geometry = (kernel, stride, _pair(parts["padding"]), _pair(parts["dilation"]), parts["ceil_mode"])
    return work.call(cell, s8.max_pool_s8.default, work.value(edit.input_node(cell.body)), *geometry)


def _lower_shape(work: _Lowering, cell: Cell) -> fx.Node:
    sizes = fx.map_arg(cell.body.args[1:], work.value)
    return work.call(cell, edit.overload(cell.body), work.value(edit.input_node(cell.body)), *sizes)


def _same_scale(_: Graph, cell: Cell) -> str:
    before = patterns.scale_node(_bytes_of(edit.input_node(cell.body)))
    same = before.target == cell.scale.target
    return "" if same else "it moves bytes, but its output has another scale than its input"


def _lower_unary(work: _Lowering, cell: Cell) -> fx.Node:
    source = edit.input_node(cell.body)
    table = numerics.table(lambda x: patterns.apply_unary(cell.body, x), work.scale(source), work.scale(cell.end))
    return work.call(cell, s8.lut_s8.default, work.value(source), work.stored(f"{cell.body.name}.table", table))


@dataclass(frozen=True)
class Rule:
    """Which cells, why one of them cannot be lowered (or an empty string), and its integer operator."""

    name: str
    match: Callable[[fx.Node], bool]
    check: Callable[[Graph, Cell], str]
    rewrite: Callable[[_Lowering, Cell], fx.Node]


INPUT = Rule("input", lambda _: False, _always, _lower_input)
RULES = (
    Rule("linear", lambda body: body.target is aten.linear.default, _always, _lower_linear),
    Rule("convolution", lambda body: body.target is aten.conv2d.default, _always, _lower_convolution),
    Rule("addition", lambda body: body.target is aten.add.Tensor, _always, _lower_add),
    Rule("average", lambda body: body.target in patterns.POOLS, _always, _lower_average),
    Rule("max pool", lambda body: body.target is aten.max_pool2d.default, _same_scale, _lower_max_pool),
    Rule("shape", lambda body: body.target in patterns.CARRIES, _same_scale, _lower_shape),
    Rule("table", lambda body: body.target in patterns.UNARY, _always, _lower_unary),
)
