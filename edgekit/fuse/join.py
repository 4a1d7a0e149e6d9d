"""Additions and tables that follow a product become part of its call: the same bytes, and fewer walks over memory."""

from __future__ import annotations

import torch
from torch import fx

from edgekit.graph import Graph, edit, notes

aten, s8 = torch.ops.aten, torch.ops.edgekit
PRODUCTS = (s8.conv2d_s8.default, s8.linear_s8.default)
ADD, TABLE, LINE = s8.add_s8.default, s8.lut_s8.default, aten.squeeze.dim


def join(graph: Graph, *, tables: bool = True) -> Graph:
    """A copy of an integer graph in which products add their residual and look their result up.

    What a product computes by itself is then no longer a value of the graph; the joined call has the name of the
    addition or table.

    Args:
        graph: of :func:`edgekit.lower`.
        tables: whether tables are joined, too.
    """
    joined = graph.copy()
    for node in joined.nodes:
        if node.target is ADD:
            _add(node)
        elif node.target is TABLE and tables:
            _look_up(node)
    return joined.refresh()


def _add(node: fx.Node) -> None:
    """Of two products the later one adds, so that the other operand is there."""
    parts, order = edit.arguments(node), list(node.graph.nodes)
    a, b = parts["a"], parts["b"]
    if a is b or not a.meta["val"].shape == b.meta["val"].shape == node.meta["val"].shape:
        return
    for operand in sorted((a, b), key=order.index, reverse=True):
        chain = _chain(operand)
        if chain and edit.arguments(chain[0])["residual"] is None:
            first, other = operand is b, a if operand is b else b
            ratios = parts["ratio_a"], parts["ratio_b"]
            if len(chain) > 1:
                other = edit.call_before(node, aten.unsqueeze.default, (other, 2))
            _take(node, chain, residual=other, ratio=ratios[first], residual_ratio=ratios[not first],
                  residual_first=first, sum_lo=parts["lo"], sum_hi=parts["hi"])  # fmt: skip
            return


def _look_up(node: fx.Node) -> None:
    parts = edit.arguments(node)
    chain = _chain(parts["x"])
    if chain and parts["axis"] is None:
        _take(node, chain, table=parts["table"])


def _chain(operand: fx.Node) -> tuple[fx.Node, ...]:
    """From a product to what an addition or a table reads: itself, or a line of its image of one row; else nothing."""
    is_line = operand.target is LINE and operand.args[1] == 2
    chain = (edit.input_node(operand), operand) if is_line else (operand,)
    is_product = edit.is_call(chain[0], *PRODUCTS) and edit.arguments(chain[0])["table"] is None
    return chain if is_product and all(len(node.users) == 1 for node in chain) else ()


def _take(node: fx.Node, chain: tuple[fx.Node, ...], **arguments: object) -> None:
    """Let the product do what ``node`` does, in its place and under its name."""
    for one in chain:
        node.prepend(one)
        edit.copy_source(node, one)
    chain[-1].meta.update(notes.encode(node))
    notes.stand_for(chain[-1], node)
    for name, value in arguments.items():
        edit.set_argument(chain[0], name, value)
    node.replace_all_uses_with(chain[-1])
    node.graph.erase_node(node)
    chain[-1].name = node.name
    if len(chain) > 1:
        chain[0].name = f"{node.name}_row"
