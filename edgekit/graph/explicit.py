"""Attention written out, as quantisation wants it: two products of matrices with a softmax in between.

Each gets a scale of its own. The scale of attention stays part of the first product, and truth values part of the
softmax; numbers that are added to the scores, such as a bias for each distance, are an addition in between.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import torch
from torch import Tensor, fx

from edgekit.graph import bias, edit, notes
from edgekit.graph.graph import Graph

aten, own = torch.ops.aten, torch.ops.edgekit
ATTENTION = aten.scaled_dot_product_attention.default


def write_out_attention(graph: Graph, flat_only: bool = False) -> Graph:
    """A copy of ``graph`` with every attention in steps, unless :func:`why_not_written_out` has a reason.

    Args:
        graph: a canonical graph.
        flat_only: those alone that have no dimension of heads, which ONNX has no attention for.
    """
    graph = graph.copy().eval()
    found = [n for n in edit.calls(graph.module) if n.target is ATTENTION and not why_not_written_out(graph, n)]
    found = [n for n in found if not flat_only or len(graph.shape(n)) != 4]
    for node in found:
        notes.take_apart(node, partial(_write_out, graph, node))
    return graph.refresh() if found else graph


def why_not_written_out(graph: Graph, node: fx.Node) -> str:
    """Why an attention stays whole; empty if it does not."""
    mask = edit.arguments(node)["attn_mask"]
    found = None if mask is None else bias.parts(graph, mask)
    return found if isinstance(found, str) else ""


def _write_out(graph: Graph, node: fx.Node) -> None:
    parts = edit.arguments(node)
    query, key, value = parts["query"], parts["key"], parts["value"]
    if parts["enable_gqa"]:
        key, value = (_for_each_query(node, shared, query) for shared in (key, value))
    width = graph.shape(query)[-1]
    scale = 1 / math.sqrt(width) if parts["scale"] is None else float(parts["scale"])
    transposed = _call(node, aten.transpose.int, key, -2, -1)
    scores = _call(node, own.scaled_matmul.default, query, transposed, scale)
    keep, numbers = _mask(graph, node, query, key)
    scores = scores if numbers is None else _call(node, aten.add.Tensor, scores, numbers)
    weights = _call(node, own.masked_softmax.default, scores, keep)
    result = _call(node, aten.matmul.default, weights, value)
    notes.stand_for(result, node)
    node.replace_all_uses_with(result)


def _call(before: fx.Node, target: Any, *args: Any) -> fx.Node:
    return edit.call_before(before, target, args)


def _for_each_query(node: fx.Node, shared: fx.Node, query: fx.Node) -> fx.Node:
    """Keys or values [N, G, T, d] of grouped heads repeated for every query head: [N, H, T, d]."""
    groups, heads = (int(n.meta["val"].shape[-3]) for n in (shared, query))
    if groups == heads:
        return shared
    once = _call(node, aten.unsqueeze.default, shared, 2)
    each = _call(node, aten.expand.default, once, [-1, -1, heads // groups, -1, -1])
    return _call(node, aten.flatten.using_ints, each, 1, 2)


def _mask(graph: Graph, node: fx.Node, query: fx.Node, key: fx.Node) -> tuple[fx.Node | None, fx.Node | None]:
    """Truth values of what takes part, and what is added to the scores."""
    parts = edit.arguments(node)
    found = bias.Parts(None, None) if parts["attn_mask"] is None else bias.parts(graph, parts["attn_mask"])
    assert not isinstance(found, str)
    keep, numbers = (part and part(node) for part in found)
    if parts["is_causal"]:
        causal = _causal(graph, node, query, key)
        keep = causal if keep is None else _call(node, aten.logical_and.default, keep, causal)
    return keep, numbers


def _causal(graph: Graph, node: fx.Node, query: fx.Node, key: fx.Node) -> fx.Node:
    """Bool [L, S]: no query sees a later key; stored where both lengths are fixed."""
    sizes = [n.meta["val"].shape[-2] for n in (query, key)]
    if all(isinstance(size, int) for size in sizes):
        fixed: Tensor = torch.ones(*sizes, dtype=torch.bool).tril()
        return edit.add_tensor(graph.module, f"{node.name}_causal", fixed, node)
    steps = [_call(node, aten.arange.default, _call(node, aten.sym_size.int, n, -2)) for n in (query, key)]
    return _call(node, aten.ge.Tensor, _call(node, aten.unsqueeze.default, steps[0], 1), steps[1])
