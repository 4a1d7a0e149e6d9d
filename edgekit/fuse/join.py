"""Additions and tables that follow a product become part of its call: the same bytes, and fewer walks over memory."""

from __future__ import annotations

import torch
from torch import fx

from edgekit.graph import Graph, edit, notes

aten, s8 = torch.ops.aten, torch.ops.edgekit
PRODUCTS = (s8.conv2d_s8.default, s8.linear_s8.default)
ADD, TABLE, LINE = s8.add_s8.default, s8.lut_s8.default, aten.squeeze.dim
MOVES = (aten.transpose.int, aten.permute.default, aten.reshape.default)


def join(graph: Graph, *, tables: bool = True) -> Graph:
    """A copy of an integer graph in which products add their residual and look their result up.

    A linear layer also adds where its rows change places in front of the addition: they do so in front of the layer
    then. What a product computes by itself is then no longer a value of the graph; the joined call has the name of the
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
        chain = _chain(operand) or _behind_moves(operand)
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


def _behind_moves(operand: fx.Node) -> tuple[fx.Node, ...]:
    """The linear layer whose rows an operand is in another order, once they are in that order in front of it."""
    moves: list[fx.Node] = []
    product = operand
    while edit.is_call(product, *MOVES) and _keeps_rows(product) and len(product.users) == 1:
        moves.insert(0, product)
        product = edit.input_node(product)
    if not moves or not edit.is_call(product, s8.linear_s8.default) or not _chain(product):
        return ()
    parts = edit.arguments(product)
    features, fan_in = parts["weight"].meta["val"].shape
    if parts["residual"] is not None or fan_in > features:  # more bytes would change places than do now
        return ()
    rows = parts["x"]
    for move in moves:
        rest = move.args[1:]
        if move.target is aten.reshape.default:
            rest = ([*edit.arguments(move)["shape"][:-1], fan_in],)
        rows = edit.call_before(move, edit.overload(move), (rows, *rest))
    operand.append(product)
    edit.set_argument(product, "x", rows)
    product.meta["val"] = operand.meta["val"]
    operand.replace_all_uses_with(product)
    for move in reversed(moves):
        move.graph.erase_node(move)
    return (product,)


def _keeps_rows(move: fx.Node) -> bool:
    """Whether the last axis stays what it is."""
    parts, before, after = edit.arguments(move), edit.input_node(move).meta["val"], move.meta["val"]
    rank = before.dim()
    if rank < 2 or after.dim() < 2 or move.kwargs:
        return False
    if move.target is aten.reshape.default:
        sizes = before.shape[-1], after.shape[-1]
        return all(isinstance(size, int) for size in sizes) and sizes[0] == sizes[1]
    if move.target is aten.permute.default:
        return bool(parts["dims"][-1] % rank == rank - 1)
    return rank - 1 not in (parts["dim0"] % rank, parts["dim1"] % rank)


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
