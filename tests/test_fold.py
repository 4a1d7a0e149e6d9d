"""Batch norm folds into the layer before it, by the formula, or stays with a reason."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import nets
import pytest
import torch
from nets import Written, captured, same
from rewritten import IMAGE, aten, operators, rewritten
from torch import Tensor, nn

import edgekit as ek
from edgekit.graph import edit, fold
from edgekit.graph.canonical import fold_batch_norm

# Folding batch norm.


def worst(a: Any, b: Any) -> float:
    pairs = zip(nets.tensors(a), nets.tensors(b), strict=True)
    return max(float((x - y).detach().abs().max()) for x, y in pairs)


@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(
    ("layer", "norm", "shape"),
    [
        (lambda bias: nn.Conv2d(3, 6, 3, groups=3, bias=bias), nn.BatchNorm2d, (4, 3, 7, 7)),
        (lambda bias: nn.Conv2d(3, 6, 2, padding="same", bias=bias), nn.BatchNorm2d, (4, 3, 7, 7)),
        (lambda bias: nn.Conv1d(3, 6, 3, bias=bias), nn.BatchNorm1d, (4, 3, 7)),
        (lambda bias: nn.Linear(3, 6, bias=bias), nn.BatchNorm1d, (4, 3)),
    ],
)
@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
def test_folded_weights_are_the_formula_in_double_rounded_once(
    layer: Callable[[bool], nn.Module], norm: Callable[..., nn.Module], shape: tuple[int, ...], bias: bool, affine: bool
) -> None:
    model = nn.Sequential(layer(bias), norm(6, affine=affine, eps=1e-3)).eval()
    first, second = model
    second.running_mean.normal_()
    second.running_var.uniform_(0.1, 3)
    if affine:
        nn.init.normal_(second.weight)
        nn.init.normal_(second.bias)
    graph = ek.capture(model, torch.randn(shape))
    folded = fold_batch_norm(graph)
    assert "batch_norm" not in operators(folded)
    assert "batch_norm" in operators(graph)  # the input is not edited
    parts = edit.arguments(next(edit.calls(folded.module)))
    weight, offset = (edit.get_tensor(folded.module, parts[name]) for name in ("weight", "bias"))
    with torch.no_grad():
        one, zero = torch.ones(6).double(), torch.zeros(6).double()
        gamma, beta = (second.weight.double(), second.bias.double()) if affine else (one, zero)
        factor = gamma / (second.running_var.double() + 1e-3).sqrt()
        expected = first.weight.double() * factor.view(-1, *[1] * (first.weight.dim() - 1))
        before = first.bias.double() if bias else zero
        assert torch.equal(weight, expected.float())
        assert torch.equal(offset, ((before - second.running_mean.double()) * factor + beta).float())
    # A double model of the same weights is the truth; float rounding of sums of at most 28 terms of size below 10.
    x = torch.randn(shape)
    assert worst(folded(x).double(), model.double()(x.double())) < 28 * 10 * 2**-23


@pytest.mark.parametrize("name", ["residual", "depthwise", "perceptron"])
def test_whole_nets_fold(name: str) -> None:
    net = nets.NETS[name]
    model, graph = captured(name)
    graph.train()
    folded = fold_batch_norm(graph)
    assert "batch_norm" not in operators(folded)
    assert graph.module.training
    assert worst(folded(*net.inputs(7)), model(*net.inputs(7))) < 1e-5
    names = {key for key, _ in graph.named_parameters()}
    kept = {key for key, _ in folded.named_parameters()}
    assert {key for key in names if "norm" not in key and "layers.2" not in key} <= kept  # the layers keep their names
    torch.manual_seed(0)
    assert same(folded(*net.inputs(3)), folded.copy()(*net.inputs(3)))


def twice(self: nn.Module, x: Tensor) -> Tensor:
    y = self.c(x)
    return self.n(y) + y


def rows(self: nn.Module, x: Tensor) -> Tensor:
    return self.n(self.l(x.flatten(2)))


@pytest.mark.parametrize(
    ("function", "layers", "reason"),
    [
        (lambda s, x: s.n(x), {"n": nn.BatchNorm2d(4)}, "its input is not a convolution or linear"),
        (lambda s, x: s.n(torch.relu(s.c(x))), {"c": nn.Conv2d(4, 4, 3), "n": nn.BatchNorm2d(4)}, "its input is not"),
        (twice, {"c": nn.Conv2d(4, 4, 3), "n": nn.BatchNorm2d(4)}, "the layer before it has other users"),
        (
            lambda s, x: s.n(s.c(x)),
            {"c": nn.Conv2d(4, 4, 3), "n": nn.BatchNorm2d(4, track_running_stats=False)},
            "it has no running statistics",
        ),
        (rows, {"l": nn.Linear(36, 5), "n": nn.BatchNorm1d(4)}, "it does not normalise the linear's features"),
        (
            lambda s, x: s.n(s.c(x)),
            {"c": nn.utils.parametrizations.weight_norm(nn.Conv2d(4, 4, 3)), "n": nn.BatchNorm2d(4)},
            "computed, not stored",
        ),
    ],
)
def test_what_is_not_folded_has_a_reason(
    function: Callable[..., Any], layers: dict[str, nn.Module], reason: str
) -> None:
    graph, x = rewritten(function, *IMAGE, **layers)
    (norm,) = (node for node in edit.calls(graph.module) if node.target is aten.batch_norm.default)
    assert reason in fold.why_not_folded(norm)
    folded = fold_batch_norm(graph)
    assert operators(folded) == operators(graph)
    assert same(folded(x), graph(x))


def test_a_layer_that_runs_twice_is_folded_for_each_norm() -> None:
    model = Written(
        lambda s, x: s.b(s.c(torch.relu(s.a(s.c(x))))),
        c=nn.Conv2d(4, 4, 3, padding=1),
        a=nn.BatchNorm2d(4),
        b=nn.BatchNorm2d(4),
    ).eval()
    model.a.running_var.fill_(3.0)
    model.b.running_mean.fill_(0.7)
    x = torch.randn(IMAGE)
    folded = fold_batch_norm(ek.capture(model, x))
    assert operators(folded) == ["conv2d", "relu", "conv2d"]
    assert worst(folded(x), model(x)) < 1e-5


def test_a_shared_layer_without_norm_keeps_its_weight() -> None:
    model = Written(
        lambda s, x: s.c(torch.relu(s.n(s.c(x)))), c=nn.Conv2d(4, 4, 3, padding=1), n=nn.BatchNorm2d(4)
    ).eval()
    model.n.running_var.fill_(3.0)
    x = torch.randn(IMAGE)
    folded = fold_batch_norm(ek.capture(model, x))
    assert worst(folded(x), model(x)) < 1e-5
