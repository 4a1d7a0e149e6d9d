"""Sums of products: an index that is summed over goes on both sides, every other one is an index of the result."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import fx

from edgekit.graph import edit
from edgekit.graph.cost import CONVOLUTIONS, TRANSPOSED
from edgekit.prune.analysis import Analysis, Dim, Dims, count
from edgekit.prune.rules.pointwise import broadcast

aten, own = torch.ops.aten, torch.ops.edgekit


def _convolution(state: Analysis, node: fx.Node) -> Dims:
    parts = edit.arguments(node)
    weight, kernel = state.dims[parts["weight"]][:2], state.dims[parts["weight"]][2:]
    return _convolve(state, node, weight[0], weight[1], kernel)


def _transposed(state: Analysis, node: fx.Node) -> Dims:
    parts = edit.arguments(node)
    weight, kernel = state.dims[parts["weight"]][:2], state.dims[parts["weight"]][2:]
    return _convolve(state, node, weight[1], weight[0], kernel)


def _convolve(state: Analysis, node: fx.Node, outputs: Dim, inputs: Dim, kernel: Dims) -> Dims:
    """One dimension of the weight is of all channels, the other of those of one group: which is which differs."""
    parts = edit.arguments(node)
    source = state.dims[parts["input"]]
    for dim in (*kernel, *source[2:]):
        state.fix(dim)
    if len(source) != 2 + len(kernel):
        state.refuse(node, f"{edit.describe(node)} has no batch", (*source, outputs, inputs))
        return (None,) * len(source)
    batch, channels, *rest = source
    if parts["groups"] == 1:
        state.tie(channels, inputs, "model input")
    else:
        outputs = _grouped(state, node, channels, outputs, inputs)
    if parts["bias"] is not None:
        state.tie(state.dims[parts["bias"]][0], outputs, "its bias is computed")
    return (batch, outputs, *(None for _ in rest))


def _grouped(state: Analysis, node: fx.Node, channels: Dim, outputs: Dim, inputs: Dim) -> Dim:
    """Whole groups go, or the same channels of every group. Returns all channels of the result."""
    parts = edit.arguments(node)
    groups, transposed = parts["groups"], node.target in TRANSPOSED
    all_in, all_out = state.sizes(parts["input"])[1], state.sizes(node)[1]
    assert isinstance(all_in, int)
    assert isinstance(all_out, int)
    group, into = state.factor(channels, (groups, all_in // groups))
    if transposed:  # its weight has all inputs, and the outputs of one group
        state.tie(channels, inputs)
        outputs = state.flatten((group, outputs), (groups, all_out // groups))
    else:
        state.tie(into, inputs)
        own_group, _ = state.factor(outputs, (groups, all_out // groups))
        state.tie(group, own_group)
    if group is not None:
        state.edit(node, "groups", count(group))
    return outputs


def _linear(state: Analysis, node: fx.Node) -> Dims:
    parts = edit.arguments(node)
    source, weight = state.dims[parts["input"]], state.dims[parts["weight"]]
    if len(weight) == 1:  # a vector
        state.tie(source[-1], weight[0], "model input")
        return source[:-1]
    state.tie(source[-1], weight[1], "model input")
    if parts["bias"] is not None:
        state.tie(state.dims[parts["bias"]][-1], weight[0], "its bias is computed")
    return (*source[:-1], weight[0])


def _embedding(state: Analysis, node: fx.Node) -> Dims:
    parts = edit.arguments(node)
    rows, width = state.dims[parts["weight"]]
    state.fix(rows)
    return (*state.dims[parts["indices"]], width)


def _matmul(state: Analysis, node: fx.Node) -> Dims:
    a, b = (edit.operand(node, i) for i in (0, 1))
    return _product(state, node, a, b)


def _product(state: Analysis, node: fx.Node, a: fx.Node, b: fx.Node) -> Dims:
    left, right = state.dims[a], state.dims[b]
    state.tie(left[-1], right[-2] if len(right) > 1 else right[-1])
    rows, columns = left[-2:-1], right[-1:] if len(right) > 1 else ()
    rank = max(len(left), len(right)) - 2
    outer = [(state.dims[n][:-2], state.sizes(n)[:-2]) for n in (a, b)]
    return (*broadcast(state, node, outer, max(rank, 0)), *rows, *columns)


def _product_and_sum(state: Analysis, node: fx.Node) -> Dims:
    first, a, b = (edit.operand(node, i) for i in range(3))
    result = _product(state, node, a, b)
    operands = [(state.dims[first], state.sizes(first)), (result, state.sizes(node))]
    return broadcast(state, node, operands, len(result))


def _einsum(state: Analysis, node: fx.Node) -> Dims:
    """Equal letters are equal dimensions."""
    parts = edit.arguments(node)
    inputs, arrow, output = parts["equation"].replace(" ", "").partition("->")
    terms = inputs.split(",")
    letters = [letter for term in terms for letter in term]
    if "." in parts["equation"]:
        dims = [dim for n in parts["tensors"] for dim in state.dims[n]]
        state.refuse(node, f"{edit.describe(node)} leaves dimensions unnamed", dims)
        return (None,) * len(state.sizes(node))
    found: dict[str, tuple[Dim, int | str]] = {}
    for term, operand in zip(terms, parts["tensors"], strict=True):
        for letter, dim, size in zip(term, state.dims[operand], state.sizes(operand), strict=True):
            found[letter] = _met(state, node, found[letter], (dim, size)) if letter in found else (dim, size)
    if not arrow:
        output = "".join(sorted(letter for letter in set(letters) if letters.count(letter) == 1))
    return tuple(found[letter][0] for letter in output)


def _met(state: Analysis, node: fx.Node, a: tuple[Dim, int | str], b: tuple[Dim, int | str]) -> tuple[Dim, int | str]:
    (dim,) = broadcast(state, node, [((a[0],), (a[1],)), ((b[0],), (b[1],))], 1)
    return dim, b[1] if a[1] == 1 else a[1]


def _attention(state: Analysis, node: fx.Node) -> Dims:
    parts = edit.arguments(node)
    query, key, value = (state.dims[parts[name]] for name in ("query", "key", "value"))
    state.tie(query[-1], key[-1])
    state.tie(key[-2], value[-2])
    if parts["enable_gqa"]:
        _share_heads(state, node)
    outer = broadcast(state, node, [_outer(state, parts, name) for name in ("query", "key", "value")], len(query) - 2)
    if parts["is_causal"]:
        state.freeze((query[-2], key[-2]), f"{edit.describe(node)} is causal")
    if parts["attn_mask"] is not None:
        sizes = (*state.sizes(parts["query"])[:-1], state.sizes(parts["key"])[-2])
        mask = (state.dims[parts["attn_mask"]], state.sizes(parts["attn_mask"]))
        broadcast(state, node, [((*outer, query[-2], key[-2]), sizes), mask], len(query))
    width = state.sizes(parts["query"])[-1]
    if parts["scale"] is None and isinstance(width, int):
        state.edit(node, "scale", lambda _: 1 / math.sqrt(width))  # of the width that it was trained with
    return (*outer, query[-2], value[-1])


def _outer(state: Analysis, parts: dict[str, Any], name: str) -> tuple[Dims, tuple[int | str, ...]]:
    """Batch and heads of an operand of attention; shared heads stand for those of the query."""
    dims, sizes = state.dims[parts[name]][:-2], state.sizes(parts[name])[:-2]
    if parts["enable_gqa"]:
        dims = (*dims[:-1], state.dims[parts["query"]][-3])
        sizes = (*sizes[:-1], state.sizes(parts["query"])[-3])
    return dims, sizes


def _share_heads(state: Analysis, node: fx.Node) -> None:
    """Grouped queries: each head of keys and values serves as many heads of queries."""
    parts = edit.arguments(node)
    query, key, value = (state.dims[parts[name]] for name in ("query", "key", "value"))
    heads, shared = state.sizes(parts["query"])[-3], state.sizes(parts["key"])[-3]
    assert isinstance(heads, int)
    assert isinstance(shared, int)
    state.tie(key[-3], value[-3])
    outer, _ = state.factor(query[-3], (shared, heads // shared))
    state.tie(outer, key[-3])


RULES: dict[Any, Any] = {
    **dict.fromkeys(CONVOLUTIONS, _convolution),
    **dict.fromkeys(TRANSPOSED, _transposed),
    aten.linear.default: _linear,
    aten.embedding.default: _embedding,
    **dict.fromkeys((aten.matmul.default, aten.bmm.default, aten.mm.default, own.scaled_matmul.default), _matmul),
    **dict.fromkeys((aten.addmm.default, aten.baddbmm.default), _product_and_sum),
    aten.einsum.default: _einsum,
    aten.scaled_dot_product_attention.default: _attention,
}
