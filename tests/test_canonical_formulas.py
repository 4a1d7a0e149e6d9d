"""Formulas written out become one operator; what only resembles them stays."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from nets import Written, same
from rewritten import aten, close, operators, rewritten
from torch import nn
from torch.nn import functional

import edgekit as ek
from edgekit.graph import edit

SEQUENCE = (3, 6, 8)
F = functional
BERT = math.sqrt(2 / math.pi)

ACTIVATIONS: list[tuple[str, Callable[..., Any]]] = [
    ("silu", lambda _, x: x * torch.sigmoid(x)),
    ("silu", lambda _, x: x.sigmoid() * x),
    ("hardswish", lambda _, x: x * F.relu6(x + 3) / 6),
    ("hardswish", lambda _, x: x * (torch.clamp(x + 3, 0, 6) / 6)),
    ("hardswish", lambda _, x: (3 + x).clamp(0, 6) * (1 / 6) * x),
    ("hardswish", lambda _, x: x * F.hardsigmoid(x)),
    ("hardsigmoid", lambda _, x: F.relu6(x + 3) / 6),
    ("gelu", lambda _, x: x * 0.5 * (1.0 + torch.erf(x / math.sqrt(2.0)))),
    ("gelu", lambda _, x: 0.5 * (x * (torch.erf(x * math.sqrt(0.5)) + 1))),
    ("gelu", lambda _, x: x / 2 * (1.0 + torch.erf(x * 0.70710678))),
    ("gelu tanh", lambda _, x: 0.5 * x * (1.0 + torch.tanh(BERT * (x + 0.044715 * torch.pow(x, 3.0))))),
    ("gelu tanh", lambda _, x: 0.5 * x * (1 + torch.tanh(0.7978845608 * (x + 0.044715 * x * x * x)))),
    ("gelu tanh", lambda _, x: 0.5 * x * (1.0 + torch.tanh(x * 0.7978845608 * (1.0 + 0.044715 * x * x)))),
    ("softplus", lambda _, x: torch.log1p(torch.exp(x))),
    ("softplus", lambda _, x: torch.log(1 + x.exp())),
    ("mish", lambda _, x: x * torch.tanh(F.softplus(x))),
]


@pytest.mark.parametrize(("name", "function"), ACTIVATIONS)
def test_activations_written_out_are_one_operator(name: str, function: Callable[..., Any]) -> None:
    graph, _ = rewritten(function, *SEQUENCE, exact=False)
    (node,) = edit.calls(graph.module)
    assert operators(graph) == [name.split()[0]]
    if name.startswith("gelu"):
        assert edit.arguments(node)["approximate"] == ("tanh" if "tanh" in name else "none")


@pytest.mark.parametrize(
    "function",
    [
        lambda _, x: x * torch.sigmoid(1.702 * x),
        lambda _, x: x * torch.sigmoid(x + 1),
        lambda _, x: (x + 1) * torch.sigmoid(x),
        lambda _, x: 2 * x * torch.sigmoid(x),
        lambda _, x: x * F.relu6(x + 2) / 6,
        lambda _, x: x * F.relu6(x + 3) / 5,
        lambda _, x: x * torch.clamp(x + 3, 0, 5) / 6,
        lambda _, x: 0.5 * x * (2 + torch.erf(x * math.sqrt(0.5))),
        lambda _, x: 0.5 * x * (1 + torch.erf(x)),
        lambda _, x: 0.5 * x * (1 + torch.tanh(0.79 * (x + 0.044715 * x**3))),
        lambda _, x: 0.5 * x * (1 + torch.tanh(BERT * (x + 0.05 * x**3))),
        lambda _, x: 0.5 * x * (1 + torch.tanh(BERT * (x + 0.044715 * x**2))),
        lambda _, x: torch.log(2 + torch.exp(x)),
        lambda _, x: x * torch.tanh(F.softplus(x, 2.0)),
    ],
)
def test_what_only_resembles_an_activation_stays(function: Callable[..., Any]) -> None:
    graph, _ = rewritten(function, *SEQUENCE)
    assert not {"silu", "mish", "hardswish", "hardsigmoid", "gelu"} & set(operators(graph))
    assert len(operators(graph)) > 1


# Norms.


def _hugging_face(self: Any, x: torch.Tensor) -> torch.Tensor:
    """LlamaRMSNorm."""
    kind = x.dtype
    x = x.to(torch.float32)
    x = x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6)
    return self.weight * x.to(kind)


@pytest.mark.parametrize(
    "function",
    [
        _hugging_face,
        lambda self, x: x * torch.rsqrt((x * x).mean(-1, keepdim=True) + 1e-6) * self.weight,
        lambda self, x: x / torch.sqrt(x.square().mean(2, keepdim=True) + 1e-6) * self.weight,
        lambda self, x: self.weight * (x * (1 / torch.sqrt(1e-6 + x.pow(2).mean(-1, True)))),
    ],
)
def test_rms_norm_written_out(function: Callable[..., Any]) -> None:
    model = Written(function)
    model.weight = nn.Parameter(torch.rand(8) + 0.5)
    x = torch.randn(SEQUENCE)
    graph = ek.capture(model, x)
    (node,) = edit.calls(graph.module)
    assert node.target is aten.rms_norm.default
    parts = edit.arguments(node)
    assert (parts["normalized_shape"], parts["eps"], parts["weight"].target) == ([8], 1e-6, "weight")
    y = torch.randn(5, *SEQUENCE[1:])
    assert close(graph(y), model(y))
    gradients = [torch.autograd.grad(f(y).square().sum(), w) for f, w in
                 ((model, model.weight), (graph, dict(graph.named_parameters())["weight"]))]  # fmt: skip
    assert close(*gradients)


def test_rms_norm_without_gain_or_epsilon() -> None:
    graph, _ = rewritten(lambda _, x: x * x.pow(2).mean(-1, keepdim=True).rsqrt(), *SEQUENCE, exact=False)
    (node,) = edit.calls(graph.module)
    assert node.target is aten.rms_norm.default
    assert edit.arguments(node)["eps"] == 0.0


def test_rms_norm_of_torch_says_its_epsilon() -> None:
    graph, _ = rewritten(lambda self, x: self.n(x), *SEQUENCE, n=nn.RMSNorm(8))
    (node,) = edit.calls(graph.module)
    assert edit.arguments(node)["eps"] == torch.finfo(torch.float32).eps


@pytest.mark.parametrize(
    "function",
    [
        lambda _, x: x * torch.rsqrt(x.pow(2).mean(1, keepdim=True) + 1e-6),
        lambda _, x: x * torch.rsqrt(x.pow(4).mean(-1, keepdim=True) + 1e-6),
        lambda _, x: (x + 1) * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6),
        lambda _, x: F.rms_norm(x, (8,), None, 1e-6) * x,
    ],
)
def test_what_only_resembles_an_rms_norm_stays(function: Callable[..., Any]) -> None:
    graph, _ = rewritten(function, *SEQUENCE)
    assert "mul" in operators(graph)


@pytest.mark.parametrize(
    ("function", "eps"),
    [
        (lambda _, x: F.normalize(x, dim=-1), 1e-12),
        (lambda _, x: F.normalize(x, dim=2, eps=1e-6), 1e-6),
        (lambda _, x: x / x.norm(dim=-1, keepdim=True), 0.0),
        (lambda _, x: x / x.norm(p=2, dim=-1, keepdim=True).clamp(min=1e-3), 1e-3),
        (lambda _, x: x / torch.linalg.vector_norm(x, dim=-1, keepdim=True), 0.0),
        (lambda _, x: x / x.pow(2).sum(-1, keepdim=True).sqrt(), 0.0),
    ],
)
def test_l2_normalisation_is_one_operator(function: Callable[..., Any], eps: float) -> None:
    graph, _ = rewritten(function, *SEQUENCE, exact=False)
    (node,) = edit.calls(graph.module)
    assert node.target is torch.ops.edgekit.l2_norm.default
    assert node.args[1] == eps


@pytest.mark.parametrize(
    "function",
    [
        lambda _, x: F.normalize(x, dim=1),
        lambda _, x: F.normalize(x, p=1.0, dim=-1),
        lambda _, x: (x * 2) / x.norm(dim=-1, keepdim=True),
        lambda _, x: x / x.norm(dim=-1, keepdim=True).clamp(0.1, 2.0),
    ],
)
def test_other_norms_stay(function: Callable[..., Any]) -> None:
    graph, x = rewritten(function, *SEQUENCE)
    assert "div" in operators(graph)
    assert same(graph(x), Written(function)(x))
