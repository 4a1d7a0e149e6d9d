"""The float words: equal to torch where torch has the meaning, differentiable, and one node in a captured graph."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from edgekit.errors import UsageError
from edgekit.ops import recurrent as words
from edgekit.ops import samples

ops: Any = torch.ops.edgekit


def masks() -> dict[str, Tensor | None]:
    causal = torch.ones(5, 5, dtype=torch.bool).tril()
    padding = torch.arange(5)[None, :] < torch.tensor([5, 3])[:, None]
    return {"none": None, "causal": causal, "padding": padding[:, None, None, :]}


@pytest.mark.parametrize("name", ["none", "causal", "padding"])
def test_masked_softmax_is_the_one_inside_attention(name: str) -> None:
    query, key, value = (samples.f32(2, 3, 5, 8, seed=seed, spread=3) for seed in range(3))
    scores = query @ key.transpose(-1, -2) / 8**0.5
    want = functional.scaled_dot_product_attention(query, key, value, attn_mask=masks()[name])
    torch.testing.assert_close(ops.masked_softmax(scores, masks()[name]) @ value, want)


def test_masked_values_are_never_looked_at_and_a_fully_masked_row_is_zero() -> None:
    x = torch.tensor([[1.0, 2.0, 3e38], [5.0, 6.0, 7.0]], requires_grad=True)
    mask = torch.tensor([[True, True, False], [False, False, False]])
    y = ops.masked_softmax(x, mask)
    assert y[1].tolist() == [0, 0, 0]
    assert y[0, 2] == 0
    torch.testing.assert_close(y[0, :2], torch.softmax(torch.tensor([1.0, 2.0]), -1))
    y[:, 0].sum().backward()
    assert x.grad is not None
    assert x.grad[~mask].tolist() == [0, 0, 0, 0]
    assert x.grad[0, 0] > 0


def test_a_mask_of_numbers_is_refused() -> None:
    with pytest.raises(UsageError, match="bool"):
        ops.masked_softmax(torch.zeros(3), torch.zeros(3))


def test_l2_norm_is_normalize() -> None:
    x = samples.f32(4, 7)
    x[1] = 0
    x[2] *= 1e-9
    for eps in (1e-12, 1e-3):
        torch.testing.assert_close(ops.l2_norm(x, eps), functional.normalize(x, dim=-1, eps=eps), rtol=0, atol=0)


CALLS: dict[str, tuple[Callable[..., Any], tuple[Tensor, ...]]] = {
    "masked_softmax": (
        lambda x: ops.masked_softmax(x, torch.ones(4, 4, dtype=torch.bool).tril()),
        (samples.f32(3, 4, 4),),
    ),
    "l2_norm": (lambda x: ops.l2_norm(x, 1e-6), (samples.f32(3, 5),)),
}


@pytest.mark.parametrize("name", CALLS)
def test_gradients_are_right(name: str) -> None:
    function, args = CALLS[name]
    assert torch.autograd.gradcheck(function, tuple(arg.double().requires_grad_() for arg in args))


@pytest.mark.parametrize("name", CALLS)
def test_export_keeps_one_node_with_a_symbol_for_the_first_dimension(name: str) -> None:
    function, args = CALLS[name]

    class Net(torch.nn.Module):
        def forward(self, *args: Tensor) -> Any:
            return function(*args)

    batch = torch.export.Dim("batch", min=2, max=99)
    program = torch.export.export(Net(), args, dynamic_shapes=(tuple({0: batch} for _ in args),))
    targets = [node.target for node in program.graph.nodes]
    assert getattr(ops, name).default in targets
    longer = tuple(torch.cat([arg, arg]) for arg in args)
    torch.testing.assert_close(program.module()(*longer), function(*longer))


def recurrent(kind: str, reverse: bool, steps: int = 6) -> tuple[Tensor, Tensor, Any, tuple[Any, ...]]:
    """Input, torch's layer run on it from a state of its own, and the arguments of the word for the same."""
    layer = getattr(torch.nn, kind.upper())(5, 4, bidirectional=True)
    gates, end = (4 if kind == "lstm" else 3), "_reverse" if reverse else ""
    x, states = samples.f32(steps, 3, 5), [samples.f32(2, 3, 4, seed=seed, spread=0.5) for seed in range(gates - 2)]
    parts = functional.linear(x, getattr(layer, f"weight_ih_l0{end}"), getattr(layer, f"bias_ih_l0{end}"))
    weights = getattr(layer, f"weight_hh_l0{end}").chunk(gates), getattr(layer, f"bias_hh_l0{end}").chunk(gates)
    y, state = layer(x, tuple(states) if kind == "lstm" else states[0])
    own = [one[int(reverse)] for one in states]
    word = (*parts.chunk(gates, -1), *own, *weights[0], *weights[1], reverse)
    return y[..., 4:] if reverse else y[..., :4], state, layer, word


@pytest.mark.parametrize("reverse", [False, True])
def test_gru_is_torch_gru(reverse: bool) -> None:
    want, state, layer, word = recurrent("gru", reverse)
    y = ops.gru(*word)
    torch.testing.assert_close(y, want)
    torch.testing.assert_close(y[0 if reverse else -1], state[int(reverse)])
    torch.testing.assert_close(
        torch.autograd.grad(y.square().sum(), list(layer.parameters())[4 * reverse :][:4]),
        torch.autograd.grad(want.square().sum(), list(layer.parameters())[4 * reverse :][:4]),
    )


@pytest.mark.parametrize("reverse", [False, True])
def test_lstm_is_torch_lstm(reverse: bool) -> None:
    want, (h, c), layer, word = recurrent("lstm", reverse)
    y, cell = ops.lstm(*word)
    torch.testing.assert_close(y, want)
    torch.testing.assert_close(y[0 if reverse else -1], h[int(reverse)])
    torch.testing.assert_close(cell, c[int(reverse)])
    torch.testing.assert_close(
        torch.autograd.grad(y.square().sum(), list(layer.parameters())[4 * reverse :][:4]),
        torch.autograd.grad(want.square().sum(), list(layer.parameters())[4 * reverse :][:4]),
    )


@pytest.mark.parametrize("kind", ["gru", "lstm"])
def test_recurrent_words_keep_time_and_batch_as_symbols_in_export(kind: str) -> None:
    *_, word = recurrent(kind, reverse=True)
    gates = 4 if kind == "lstm" else 3
    tensors, constants = word[: 2 * gates - 2], word[2 * gates - 2 :]
    assert len(tensors) + len(constants) == len(word)

    class Net(torch.nn.Module):
        def forward(self, *args: Tensor) -> Any:
            return getattr(ops, kind)(*args, *constants)

    steps, batch = torch.export.Dim("steps", min=2, max=999), torch.export.Dim("batch", min=2, max=99)
    dynamic = ({0: steps, 1: batch},) * gates + ({0: batch},) * (gates - 2)
    tensors = tuple(one.detach() for one in tensors)
    constants = tuple(one.detach() if isinstance(one, Tensor) else one for one in constants)
    program = torch.export.export(Net(), tensors, dynamic_shapes=(dynamic,))
    assert getattr(ops, kind).default in [node.target for node in program.graph.nodes]
    longer = tuple(torch.cat([one, one]) if one.dim() == 3 else one for one in tensors)
    torch.testing.assert_close(program.module()(*longer), Net()(*longer))


def test_a_recurrent_word_taken_apart_is_not_recorded_as_uninitialised_memory() -> None:
    *_, word = recurrent("gru", reverse=False, steps=3)
    tensors = tuple(one.detach() for one in word[:-1])

    class Net(torch.nn.Module):
        def forward(self, *args: Tensor) -> Any:
            return ops.gru(*args, False)

    program = torch.export.export(Net(), tensors).run_decompositions()
    assert ops.gru.default not in [node.target for node in program.graph.nodes]
    torch.testing.assert_close(program.module()(*tensors), ops.gru(*word))


@pytest.mark.parametrize("kind", ["gru", "lstm"])
@pytest.mark.parametrize("reverse", [False, True])
def test_quantities_of_a_finished_run_are_what_the_run_went_through(kind: str, reverse: bool) -> None:
    """Against the quantities of single steps, each from the state that the one before it left."""
    *_, word = recurrent(kind, reverse)
    word = tuple(one.detach() if isinstance(one, Tensor) else one for one in word)
    gates = 4 if kind == "lstm" else 3
    parts, states = word[:gates], list(word[gates : 2 * gates - 2])
    weights, biases = word[2 * gates - 2 :][:gates], word[2 * gates - 2 :][gates : 2 * gates]
    result = getattr(ops, kind)(*word)
    y = result[0] if kind == "lstm" else result
    found = getattr(words, f"{kind}_quantities")(parts, *states, weights, biases, reverse, y)
    assert tuple(found) == getattr(words, f"{kind.upper()}_QUANTITIES")
    for t in range(6)[:: -1 if reverse else 1]:
        seen: dict[str, Tensor] = {}
        step = getattr(words, f"{kind}_step")
        new = step([part[t] for part in parts], *states, weights, biases, lambda k, v, seen=seen: seen.setdefault(k, v))
        states = list(new) if kind == "lstm" else [new]
        for name in set(found) - {"h", "c"}:
            at = len(y) - 1 - t if reverse and name in ("cell", "tanh_cell") else t
            torch.testing.assert_close(found[name][at], seen[name])
    torch.testing.assert_close(found["h"][1:], y)


@pytest.mark.parametrize("kind", ["gru", "lstm"])
def test_fine_scales_change_little_and_pass_gradients(kind: str) -> None:
    *_, word = recurrent(kind, reverse=False)
    names = getattr(words, f"{kind.upper()}_QUANTITIES")
    fine = [torch.tensor(2.0 / (32767 if name == "c" else 127)) for name in names]
    plain, quantised = getattr(ops, kind)(*word), getattr(ops, kind)(*word, fine)
    y, z = (plain[0], quantised[0]) if kind == "lstm" else (plain, quantised)
    assert 0 < (y - z).abs().max() < 0.1
    steps = z / fine[0]
    torch.testing.assert_close(steps, steps.round(), rtol=0, atol=1e-4)
    leaves = [one for one in word if isinstance(one, Tensor) and one.is_leaf is False]
    for one in torch.autograd.grad(z.sum(), leaves):
        assert one.abs().max() > 0
    with pytest.raises(UsageError, match="scales"):
        getattr(ops, kind)(*word, fine[1:])


def test_a_sequence_without_a_step_is_refused() -> None:
    *_, word = recurrent("gru", reverse=False)
    with pytest.raises(UsageError, match="step"):
        ops.gru(*(one[:0] for one in word[:3]), *word[3:])
