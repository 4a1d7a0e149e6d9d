"""Where results should lie, decided before anything is written: which are images channels last, what margins they need,
and which go straight into a concatenation.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import fx

from edgekit.export.native import byte_front
from edgekit.export.native.byte_front import ByteFront
from edgekit.export.native.specialise import Fixed
from edgekit.export.native.transposed import margins_of, parts_of
from edgekit.export.native.view import Margins
from edgekit.graph import edit

aten, s8 = torch.ops.aten, torch.ops.edgekit
NOTHING: Margins = (0, 0, 0, 0)

CONVOLUTION, TRANSPOSED = s8.conv2d_s8.default, s8.conv_transpose2d_s8.default
POOLS = (s8.avg_pool_s8.default, s8.max_pool_s8.default)
IMAGES = (CONVOLUTION, TRANSPOSED, *POOLS)
ELEMENTWISE = (
    s8.add_s8.default, s8.mul_s8.default, s8.lut_s8.default, aten.maximum.default, aten.minimum.default,
)  # fmt: skip
WRITES_STEPS = (CONVOLUTION, TRANSPOSED, *POOLS, *ELEMENTWISE, s8.quantize_s8.default, aten.cat.default)
PAD = aten.constant_pad_nd.default


@dataclass(frozen=True)
class Read:
    """What a convolution reads: the tensor that it pads, and by how much in all."""

    source: fx.Node
    pads: Margins


@dataclass(frozen=True)
class Joined:
    """A tensor that is written straight into a concatenation, at an offset along a dimension."""

    into: fx.Node
    dim: int
    offset: int


@dataclass
class Layout:
    """The decisions, by node.

    Attributes:
        last: results that lie channels last where the one who writes them has a choice.
        margins: around images that convolutions pad.
        joined: results that lie inside a concatenation.
        fronts: for a quantise call the preprocessing of bytes that becomes its table.
    """

    fixed: Fixed
    last: set[fx.Node] = field(default_factory=set)
    margins: dict[fx.Node, Margins] = field(default_factory=dict)
    joined: dict[fx.Node, Joined] = field(default_factory=dict)
    fronts: dict[fx.Node, ByteFront] = field(default_factory=dict)

    @cached_property
    def absorbed(self) -> set[fx.Node]:
        """Calls that become part of another one."""
        return {node for front in self.fronts.values() for node in front.calls[:-1]}

    @cached_property
    def live(self) -> set[fx.Node]:
        """The calls made at run time."""
        return set(self.fixed.nodes)

    def users(self, node: fx.Node) -> list[fx.Node]:
        """Those of them that read a node, and the output."""
        return [user for user in node.users if user in self.live or user.op == "output"]


def decide(fixed: Fixed) -> Layout:
    """Make the decisions for a graph at fixed shapes."""
    layout = Layout(fixed, fronts=byte_front.find(fixed))
    for node in reversed(fixed.nodes):
        _wish(layout, node)
    for node in fixed.nodes:
        if _lies_last(layout, node):
            layout.last.add(node)
    for node in fixed.nodes:
        if node.target is aten.cat.default:
            _join(layout, node)
    return layout


def conv_read(fixed: Fixed, node: fx.Node) -> Read:
    """The tensor behind a convolution's input: one that an operator pads with zeros is read where it lies."""
    parts = edit.arguments(node)
    (top, left), x = parts["padding"], parts["x"]
    line = edit.is_call(x, aten.unsqueeze.default) and x.args[1] == 2
    pad = edit.input_node(x) if line else x
    if not (edit.is_call(pad, PAD) and not fixed.is_constant(edit.input_node(pad)) and _pads_images(fixed, pad, line)):
        return Read(x, (top, left, top, left))
    amounts: list[int] = fixed.argument(edit.arguments(pad)["pad"])
    around = (*amounts, 0, 0)[:4]
    return Read(pad, (top + around[2], left + around[0], top + around[3], left + around[1]))


def _pads_images(fixed: Fixed, pad: fx.Node, line: bool) -> bool:
    parts = edit.arguments(pad)
    amounts = fixed.argument(parts["pad"])
    most = 2 if line else 4
    is_zero = not (fixed.argument(parts["value"]) or 0)
    return is_zero and min(amounts) >= 0 and not any(amounts[most:])


def _wish(layout: Layout, node: fx.Node) -> None:
    """What a call would like of the tensors that it reads."""
    if node.target is CONVOLUTION:
        read = conv_read(layout.fixed, node)
        source = edit.input_node(read.source) if read.source.target is PAD else read.source
        residual = edit.arguments(node)["residual"]
        layout.last.update((source, edit.operand(node, 0), *([] if residual is None else [residual])))
        if any(read.pads):
            _widen(layout, source, read.pads)
    elif node.target in IMAGES:
        layout.last.add(edit.input_node(node))
        margins = margins_of(parts_of(layout.fixed, node)) if node.target is TRANSPOSED else NOTHING
        if any(margins):
            _widen(layout, edit.input_node(node), margins)
    elif node in layout.last and layout.fixed.sizes(node):
        for source in node.all_input_nodes:
            if not layout.fixed.is_constant(source) and _is_same_image(layout.fixed, source, node):
                layout.last.add(source)
    if node in layout.margins and _is_line_view(layout.fixed, node):
        _widen(layout, edit.input_node(node), layout.margins[node])


def _widen(layout: Layout, node: fx.Node, pads: Margins) -> None:
    before = layout.margins.get(node, NOTHING)
    layout.margins[node] = tuple(max(a, b) for a, b in zip(before, pads, strict=True))  # type: ignore[assignment]


def _is_line_view(fixed: Fixed, node: fx.Node) -> bool:
    """Whether a call makes a row of a line or the reverse: [N, C, L] and [N, C, 1, L]."""
    there = node.target in (aten.unsqueeze.default, aten.squeeze.dim) and node.args[1] == 2
    return bool(there) and {len(fixed.sizes(node)), len(fixed.sizes(edit.input_node(node)))} == {3, 4}


def _is_same_image(fixed: Fixed, source: fx.Node, node: fx.Node) -> bool:
    if not hasattr(fixed.values[source], "shape"):
        return False
    sizes, new = fixed.sizes(source), fixed.sizes(node)
    if node.target in ELEMENTWISE or node.target is aten.cat.default:
        return len(sizes) == len(new)
    return _is_line_view(fixed, node) or (len(sizes) == len(new) > 2 and sizes[1] == new[1] and _moves(node))


def _moves(node: fx.Node) -> bool:
    return isinstance(node.target, torch._ops.OpOverload) and node.target.namespace == "aten"


def _lies_last(layout: Layout, node: fx.Node) -> bool:
    fixed = layout.fixed
    if not isinstance(fixed.values[node], torch.Tensor) or len(fixed.sizes(node)) not in (3, 4):
        return False
    if node.target in IMAGES or (node.target is s8.quantize_s8.default and node in layout.last):
        return True
    sources = [s for s in node.all_input_nodes if not fixed.is_constant(s) and _is_same_image(fixed, s, node)]
    if node.target in ELEMENTWISE:
        sources = [s for s in sources if fixed.sizes(s) == fixed.sizes(node)]
    elif not _moves(node):
        return False
    return any(s in layout.last for s in sources)


def _join(layout: Layout, node: fx.Node) -> None:
    parts = edit.arguments(node)
    tensors: list[Any] = parts["tensors"]
    dim, offset = layout.fixed.argument(parts["dim"]) % len(layout.fixed.sizes(node)), 0
    for tensor in tensors:
        if _may_join(layout, tensor, node, tensors, dim):
            layout.joined[tensor] = Joined(node, dim, offset)
            if tensor in layout.margins:
                _widen(layout, node, layout.margins[tensor])
        offset += layout.fixed.sizes(tensor)[dim]


def _may_join(layout: Layout, tensor: Any, into: fx.Node, tensors: list[Any], dim: int) -> bool:
    fixed = layout.fixed
    writes = not fixed.is_constant(tensor) and tensor.target in WRITES_STEPS and tensor not in layout.joined
    alike = writes and tensors.count(tensor) == 1 and (tensor in layout.last) == (into in layout.last)
    bytes_only = alike and fixed.values[tensor].dtype is torch.int8
    return bytes_only and (dim == 1 or tensor not in layout.margins)
