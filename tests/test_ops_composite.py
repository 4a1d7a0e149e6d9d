"""The float words: equal to torch where torch has the meaning, differentiable, and one node in a captured graph."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from edgekit.errors import UsageError
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
