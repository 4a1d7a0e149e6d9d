"""Attention written out in any way is one operator; masks arrive as truth values."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from nets import Written, tensors
from rewritten import aten, close, operators, rewritten
from torch import Tensor, fx, nn

import edgekit as ek
from edgekit.graph import Graph, edit

SEQUENCE = (3, 6, 8)
SDPA = aten.scaled_dot_product_attention.default
HEADS, WIDTH = 2, 4


def heads(x: Tensor) -> Tensor:
    return x.view(x.size(0), 6, HEADS, WIDTH).transpose(1, 2)


def attention_of(graph: Graph) -> fx.Node:
    (node,) = (node for node in edit.calls(graph.module) if node.target is SDPA)
    assert not {"softmax", "matmul", "bmm", "baddbmm"} & set(operators(graph))
    return node


def triple(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    h = heads(x)
    return h, h * 1.5 + x.mean(), h.tanh()


def scale_on_scores(_: Any, x: Tensor) -> Tensor:
    q, k, v = triple(x)
    return ((q @ k.transpose(-2, -1)) / math.sqrt(3)).softmax(-1) @ v


def scale_on_query(_: Any, x: Tensor) -> Tensor:
    q, k, v = triple(x.tanh())
    return torch.softmax((q.exp() * 0.3) @ k.mT, -1) @ v


def scale_on_both(_: Any, x: Tensor) -> Tensor:
    q, k, v = triple(x)
    return torch.matmul((q.sin() * 0.5).matmul((k.sin() / 1.6).transpose(2, 3)).softmax(3), v)


def scale_in_front_of_the_heads(_: Any, x: Tensor) -> Tensor:
    return torch.softmax(heads(x.tanh() * 0.7) @ heads(x).permute(0, 1, 3, 2), dim=-1) @ heads(x.sin())


def key_in_one_permutation(_: Any, x: Tensor) -> Tensor:
    k = x.view(x.size(0), 6, HEADS, WIDTH).permute(0, 2, 3, 1)
    return ((heads(x.sin()) @ k) * 0.25).softmax(-1) @ heads(x)


def one_head(_: Any, x: Tensor) -> Tensor:
    return torch.bmm(torch.bmm(x.sin(), x.transpose(1, 2)).mul(0.4).softmax(-1), x)


@pytest.mark.parametrize(
    ("function", "scale"),
    [
        (scale_on_scores, 1 / math.sqrt(3)),
        (scale_on_query, 0.3),
        (scale_on_both, 0.5 / 1.6),
        (scale_in_front_of_the_heads, 0.7),
        (key_in_one_permutation, 0.25),
        (one_head, 0.4),
    ],
)
def test_attention_written_out_is_one_operator(function: Callable[..., Any], scale: float) -> None:
    graph, _ = rewritten(function, *SEQUENCE, exact=False)
    parts = edit.arguments(attention_of(graph))
    assert parts["scale"] == pytest.approx(scale)
    assert parts["attn_mask"] is None
    assert not parts["is_causal"]


CAUSAL = torch.ones(6, 6).tril().bool()
FUTURE = torch.full((6, 6), -torch.inf).triu(1)


def masked(hide: Callable[[Tensor, Tensor], Tensor]) -> Callable[..., Any]:
    def function(_: Any, x: Tensor) -> Tensor:
        q, k, v = triple(x)
        return hide(q @ k.mT * 0.5, x[:, :, 0] > -1.5).softmax(-1) @ v

    return function


PADDED: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "masked_fill": lambda s, seen: s.masked_fill(~seen[:, None, None], -torch.inf),
    "masked_fill finite": lambda s, seen: s.masked_fill(seen[:, None, None] == 0, -1e9),
    "where": lambda s, seen: torch.where(seen[:, None, None], s, -torch.inf),
    "where tensor": lambda s, seen: torch.where(seen[:, None, None], s, torch.tensor(torch.finfo(torch.float32).min)),
    "where other way": lambda s, seen: torch.where(~seen[:, None, None], -1e9, s),
    "added": lambda s, seen: s + torch.where(seen[:, None, None], 0.0, -torch.inf),
    "added filled": lambda s, seen: (
        torch.zeros_like(seen, dtype=torch.float32).masked_fill(~seen, -1e9)[:, None, None] + s
    ),
    "added product": lambda s, seen: s + (1.0 - seen[:, None, None].float()) * -10000.0,
    "causal": lambda s, _: s.masked_fill(~CAUSAL, -torch.inf),
    "causal added": lambda s, _: s + FUTURE,
    "causal made here": lambda s, _: s + torch.full((6, 6), -torch.inf).triu(1),
    "both": lambda s, seen: (s + FUTURE).masked_fill(~seen[:, None, None], -1e9),
    "both in one": lambda s, seen: s + (FUTURE + torch.where(seen[:, None, None], 0.0, -torch.inf)),
}


@pytest.mark.parametrize("hide", list(PADDED.values()), ids=list(PADDED))
def test_masks_are_truth_values(hide: Callable[[Tensor, Tensor], Tensor]) -> None:
    function = masked(hide)
    x = torch.randn(4, *SEQUENCE[1:])
    x[:, 0, 0] = 1.0  # every row has a step to see
    graph = ek.capture(Written(function), x)
    mask = edit.arguments(attention_of(graph))["attn_mask"]
    assert mask.meta["val"].dtype == torch.bool
    assert close(graph(x), function(None, x))
    assert close(graph(x[:2]), function(None, x[:2]))


def test_a_bias_on_the_scores_stays_a_number() -> None:
    slopes = torch.linspace(-1, 0, 36).view(6, 6)
    graph, _ = rewritten(masked(lambda s, _: s + slopes), *SEQUENCE, exact=False)
    assert edit.arguments(attention_of(graph))["attn_mask"].meta["val"].dtype == torch.float32


def test_a_row_that_sees_nothing_gives_zeros() -> None:
    function = masked(lambda s, seen: s.masked_fill(~seen[:, None, None], -1e9))
    x = torch.randn(SEQUENCE)
    graph = ek.capture(Written(function), x)
    x[1, :, 0] = -2.0
    assert not graph(x)[1].any()
    assert close(graph(x)[0], function(None, x)[0])


def weights_are_read(_: Any, x: Tensor) -> tuple[Tensor, Tensor]:
    weights = (x @ x.mT).softmax(-1)
    return weights @ x, weights


@pytest.mark.parametrize(
    "function",
    [
        weights_are_read,
        lambda _, x: (x @ x.mT).softmax(1) @ x,
        lambda _, x: (x @ x.mT).tanh().softmax(-1) @ x,
        lambda _, x: ((x @ x.mT + x.mean(-1, keepdim=True).mT) * 0.5).softmax(-1) @ x,
        lambda _, x: (x @ x.mT).softmax(-1) @ x[0],
        lambda _, x: (x * 2).softmax(-1) @ x.mT,
    ],
)
def test_what_is_not_attention_stays(function: Callable[..., Any]) -> None:
    graph, _ = rewritten(function, *SEQUENCE)
    assert "softmax" in operators(graph)
    assert SDPA not in {node.target for node in edit.calls(graph.module)}


def test_dropout_on_the_weights_is_that_of_the_operator() -> None:
    def function(self: Any, x: Tensor) -> Tensor:
        return self.dropout((x @ x.mT).softmax(-1)) @ x

    x = torch.randn(SEQUENCE)
    graph = ek.capture(Written(function, dropout=nn.Dropout(0.25)), x)
    node = attention_of(graph)
    assert graph.attention_dropout == {node.name: 0.25}
    assert not close(graph.train()(x), graph.eval()(x))
    assert close(graph(x), (x @ x.mT).softmax(-1) @ x)


class Layers(nn.Module):
    """What torch has of transformers, with padding."""

    def __init__(self, causal: bool) -> None:
        super().__init__()
        self.encoder = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, dropout=0.0)
        self.decoder = nn.TransformerDecoderLayer(8, 2, 16, batch_first=True, dropout=0.0)
        self.causal = causal

    def forward(self, x: Tensor, y: Tensor, padding: Tensor) -> Tensor:
        memory = self.encoder(x, src_key_padding_mask=padding)
        future = nn.Transformer.generate_square_subsequent_mask(6)
        return self.decoder(y, memory, future, memory_key_padding_mask=padding, tgt_is_causal=self.causal)


@pytest.mark.parametrize("causal", [True, False])
def test_layers_of_torch(causal: bool) -> None:
    model = Layers(causal).eval()
    x, y = torch.randn(3, 5, 8), torch.randn(3, 6, 8)
    padding = torch.tensor([5, 3, 1])[:, None] <= torch.arange(5)
    graph = ek.capture(model, (x, y, padding))
    nodes = [edit.arguments(node) for node in edit.calls(graph.module) if node.target is SDPA]
    assert len(nodes) == 3
    masks = [part["attn_mask"] for part in nodes]
    assert all(mask is None or mask.meta["val"].dtype == torch.bool for mask in masks)
    assert not {"chunk", "split_with_sizes", "unflatten", "squeeze", "unsqueeze", "masked_fill"} & set(operators(graph))
    with torch.no_grad():
        assert close(graph(x, y, padding), model(x, y, padding))
        assert close(graph(x[:2], y[:2], padding[:2]), model(x[:2], y[:2], padding[:2]))


def test_a_module_whose_weights_nobody_reads_is_one_operator() -> None:
    layer = nn.MultiheadAttention(8, 2, batch_first=True)
    graph, _ = rewritten(lambda self, x: self.a(x, x, x)[0], *SEQUENCE, exact=False, a=layer)
    assert edit.arguments(attention_of(graph))["scale"] == pytest.approx(0.5)


def test_a_module_whose_weights_are_an_output_stays_written_out() -> None:
    layer = nn.MultiheadAttention(8, 2, batch_first=True).eval()
    x = torch.randn(SEQUENCE)
    graph = ek.capture(Written(lambda self, x: self.a(x, x, x), a=layer), x)
    assert "softmax" in operators(graph)
    assert len(tensors(graph(x))) == 2


# Constants.


def test_what_is_computed_from_constants_is_stored() -> None:
    graph, _ = rewritten(lambda _, x: x + torch.arange(8).float().mul(0.1).cos(), *SEQUENCE)
    assert operators(graph) == ["add"]


def test_random_numbers_and_large_tables_are_not_stored() -> None:
    x = torch.randn(SEQUENCE)
    graph = ek.capture(Written(lambda _, x: x + torch.rand(8)), x)
    assert not torch.equal(graph(x), graph(x))
    graph, _ = rewritten(lambda _, x: x + torch.arange(2.0**21).sum() * 0, *SEQUENCE)
    assert "arange" in operators(graph)


def test_slices_of_a_packed_weight_become_weights_where_nothing_is_trained_any_more() -> None:
    from edgekit.graph.constants import fold_constants

    layer = nn.MultiheadAttention(8, 2, batch_first=True).eval()
    x = torch.randn(SEQUENCE)
    graph = ek.capture(Written(lambda self, x: self.a(x, x * 2, x * 3, need_weights=False)[0], a=layer), x)
    before, frozen = graph(x), graph.copy()
    assert fold_constants(frozen, learned=True)
    frozen.refresh()
    assert close(frozen(x), before)  # stored elsewhere, products may be added up in another order
    linears = [node for node in edit.calls(frozen.module) if node.target is aten.linear.default]
    assert all(edit.arguments(node)["weight"].op == "get_attr" for node in linears)
    assert not fold_constants(graph)
