"""How much is cut, which channels go, what the report says, and how prune is called."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nets
import pytest
import torch
from masking import widths
from nets import graph_of, same
from torch import Tensor, nn

import edgekit as ek
from edgekit.errors import UsageError
from edgekit.graph import cost, edit
from edgekit.graph import save as file
from edgekit.prune import couple
from edgekit.prune.scores import scores

# How much, and which.


def test_the_report_tells_the_truth() -> None:
    graph = graph_of("residual")
    result = ek.prune(graph, 0.5)
    report = result.report
    assert report.macs_before == cost.total_macs(graph)
    assert report.macs_after == 12 * 12 * 4 * 27 + 6 * 6 * 4 * 36 + 2 * 2 * 6 * 36 + 5 * 6
    assert report.macs_after == cost.total_macs(result.graph)
    assert report.parameters_before == sum(p.numel() for _, p in graph.named_parameters())
    assert report.parameters_after == sum(p.numel() for _, p in result.graph.named_parameters())
    assert [(w.name, w.before, w.after) for w in report.layers] == [("stem.weight", 8, 4), ("wide.weight", 12, 6)]
    assert report.not_pruned == (("head.weight", "model output output"),)
    plain = json.loads(json.dumps(report.to_json()))
    assert plain["layers"][0] == {"name": "stem.weight", "before": 8, "after": 4}
    assert plain["not_pruned"] == [{"name": "head.weight", "reason": "model output output"}]


@pytest.mark.parametrize(
    ("ratio", "round_to", "width", "kept"),
    [
        (0.5, 1, 16, 8), (0.5, 8, 16, 8), (0.5, 8, 24, 16), (0.5, 8, 20, 16), (0.9, 8, 16, 8), (0.5, 8, 6, 6),
        (0.01, 1, 16, 16), (0.99, 1, 16, 1), (0.29, 1, 100, 71), (0.7, 1, 10, 3), (0.6, 4, 10, 4), (0.5, 32, 16, 16),
    ],
)  # fmt: skip
def test_widths_by_ratio_and_rounding(ratio: float, round_to: int, width: int, kept: int) -> None:
    model = nn.Sequential(nn.Linear(3, width), nn.ReLU(), nn.Linear(width, 2))
    pruned = ek.prune(model, ratio, round_to=round_to, example_inputs=torch.randn(2, 3)).graph
    assert widths(pruned)["0.weight"] == kept


def test_a_target_rounds_to_the_nearest_width() -> None:
    """Rounding up would leave every narrow layer whole, and take from the wide ones what is missing."""
    model = nn.Sequential(nn.Linear(3, 24), nn.ReLU(), nn.Linear(24, 256), nn.ReLU(), nn.Linear(256, 2))
    pruned = ek.prune(model, target_macs=0.9, round_to=16, example_inputs=torch.randn(2, 3)).graph
    assert (widths(pruned)["0.weight"], widths(pruned)["2.weight"]) == (16, 240)


def test_a_target_keeps_multiples_where_channels_are_fixed() -> None:
    """Twenty of the channels reach an output of the net and stay, so that 32 can only stay whole."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.c = nn.Conv2d(3, 64, 1), nn.Conv2d(64, 32, 1), nn.Conv2d(12, 4, 1)

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            y = self.b(torch.relu(self.a(x)))
            return y[:, :20], self.c(y[:, 20:])

    pruned = ek.prune(Net(), target_macs=0.6, round_to=16, example_inputs=torch.randn(2, 3, 4, 4)).graph
    assert widths(pruned)["b.weight"] == 32
    assert widths(pruned)["a.weight"] % 16 == 0


@pytest.mark.parametrize(("importance", "power"), [("l1", 1), ("l2", 2)])
def test_the_smallest_norm_goes_first(importance: str, power: int) -> None:
    """A channel's score is the mean of its relative norms as row of the one weight and column of the next."""
    model = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 2))
    result = ek.prune(model, 0.5, importance=importance, example_inputs=torch.randn(2, 3))
    rows = model[0].weight.detach().double().norm(power, dim=1)
    columns = model[2].weight.detach().double().norm(power, dim=0)
    score = (rows / rows.mean() + columns / columns.mean()) / 2
    kept = sorted(score.argsort(descending=True)[:4].tolist())
    assert torch.equal(edit.get_by_path(result.graph.module, "0.weight"), model[0].weight[kept])
    assert torch.equal(edit.get_by_path(result.graph.module, "0.bias"), model[0].bias[kept])
    assert torch.equal(edit.get_by_path(result.graph.module, "2.weight"), model[2].weight[:, kept])


def test_global_scope_takes_more_where_less_matters() -> None:
    """Relative scores: a group with half its channels near zero gives those, an even one nothing."""
    model = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 2))
    with torch.no_grad():
        for layer in (model[0], model[2], model[4]):
            layer.weight.fill_(1.0)
        model[0].weight[:4] = 1e-3
        model[2].weight[:, :4] = 1e-3
    local = ek.prune(model, 0.25, example_inputs=torch.randn(2, 3)).graph
    assert [widths(local)[name] for name in ("0.weight", "2.weight")] == [6, 6]
    everywhere = ek.prune(model, 0.25, scope="global", example_inputs=torch.randn(2, 3)).graph
    assert [widths(everywhere)[name] for name in ("0.weight", "2.weight")] == [4, 8]


def quadratic(output: Tensor, target: Tensor) -> Tensor:
    return (output - target).square().sum()


TAYLOR_DATA = [(torch.randn(5, 3, generator=torch.Generator().manual_seed(i)), torch.ones(5, 1)) for i in range(3)]


@pytest.mark.parametrize("wrap", [lambda x: x, lambda x: (x,), lambda x: [x], lambda x: {"input": x}])
def test_taylor_is_the_first_order_change_of_the_loss(wrap: Callable[[Tensor], Any]) -> None:
    """By hand for y = v . relu(W x): dL/dv_j = sum 2 (y - t) h_j, dL/dW_jk = sum 2 (y - t) v_j [h_j > 0] x_k."""
    model = nn.Sequential(nn.Linear(3, 6, bias=False), nn.ReLU(), nn.Linear(6, 1, bias=False))
    graph = ek.capture(model, torch.randn(2, 3))
    w, v = (layer.weight.detach().double() for layer in (model[0], model[2]))
    dw, dv = torch.zeros_like(w), torch.zeros_like(v)
    for x, target in TAYLOR_DATA:
        x, target = x.double(), target.double()
        h = (x @ w.T).clamp(min=0)
        error = 2 * (h @ v.T - target)
        dv += error.T @ h
        dw += ((error @ v) * (h > 0)).T @ x
    rows, columns = (w * dw).sum(1).abs(), (v * dv).sum(0).abs()
    expected = (rows / rows.mean() + columns / columns.mean()) / 2
    data = [(wrap(x), target) for x, target in TAYLOR_DATA]
    groups = couple(graph).groups
    (group,) = (group for group in groups if not group.frozen)
    got = scores(graph, [group], "taylor", data, quadratic)[0]
    # Products in float32: a relative error of 100 roundings in terms of the size of the largest score.
    assert float((got - expected).abs().max()) < 100 * 2**-24 * float(expected.max())
    result = ek.prune(graph, 0.5, importance="taylor", data=data, loss=quadratic).graph
    kept = sorted(expected.argsort(descending=True)[:3].tolist())
    assert torch.equal(edit.get_by_path(result.module, "0.weight"), model[0].weight[kept])


def test_taylor_leaves_no_gradient_behind() -> None:
    model = nn.Sequential(nn.Linear(3, 6), nn.ReLU(), nn.Linear(6, 1))
    graph = ek.capture(model, torch.randn(2, 3))
    ek.prune(graph, 0.5, importance="taylor", data=TAYLOR_DATA, loss=quadratic)
    assert all(parameter.grad is None for _, parameter in graph.named_parameters())


def test_the_same_call_prunes_the_same() -> None:
    first, second = (file.serialise(ek.prune(graph_of("residual"), 0.4, scope="global").graph) for _ in range(2))
    assert first == second


# How it is called.


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"ratio": 0}, "ratio"), ({"ratio": 1}, "ratio"), ({"ratio": -0.1}, "ratio"),
        ({"ratio": float("nan")}, "ratio"),
        ({"ratio": "half"}, "ratio"), ({"ratio": None}, "ratio"), ({"scope": "layer"}, "scope"),
        ({"round_to": 0}, "round_to"), ({"round_to": 2.5}, "round_to"), ({"importance": "l3"}, "importance"),
        ({"importance": "taylor"}, "data= and loss="), ({"importance": "taylor", "data": []}, "data= and loss="),
        ({"importance": "taylor", "data": [], "loss": quadratic}, "no data"), ({"exclude": ["nothing*"]}, "nothing"),
    ],
)  # fmt: skip
def test_bad_arguments(arguments: dict[str, Any], message: str) -> None:
    graph = graph_of("perceptron")
    with pytest.raises(UsageError, match=message):
        ek.prune(graph, **({"ratio": 0.5} | arguments))


def test_a_module_needs_example_inputs() -> None:
    with pytest.raises(UsageError, match="example_inputs"):
        ek.prune(nn.Linear(2, 2), 0.5)


def test_a_module_is_pruned_like_its_graph() -> None:
    net = nets.NETS["residual"]
    model = net.build()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    direct = ek.prune(model, 0.5, example_inputs=net.inputs())
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert same(direct.graph(*net.inputs()), ek.prune(graph_of("residual"), 0.5).graph(*net.inputs()))


@pytest.mark.parametrize("scope", ["local", "global"])
def test_a_net_with_nothing_to_prune(scope: str) -> None:
    for model in (nn.ReLU(), nn.Linear(3, 2)):
        result = ek.prune(model, 0.5, scope=scope, example_inputs=torch.randn(2, 3))
        assert result.report.layers == ()
        assert result.report.macs_before == result.report.macs_after


IMPORTS = (
    "import edgekit as ek; f = ek.prune",
    "import edgekit as ek; import edgekit.prune; f = ek.prune",
    "import edgekit.prune; import edgekit as ek; f = ek.prune",
    "from edgekit.prune import prune as f; import edgekit as ek; assert ek.prune.prune is f",
    "from edgekit import prune as f; import edgekit.prune.groups",
    "import edgekit.pipeline; from edgekit import prune as f",
)
CALL = """
import inspect
from edgekit.errors import UsageError
assert "ratio" in inspect.signature(f).parameters
try:
    f(None, 2)
except UsageError:
    os._exit(0)
"""


def test_the_package_is_the_function_whatever_is_imported_first() -> None:
    """One child for each order, forked from a process that has torch but not edgekit."""
    code = (
        "import os, sys, torch\n"
        f"for lines in {[f'{line}{CALL}' for line in IMPORTS]!r}:\n"
        "    child = os.fork()\n"
        "    if not child:\n"
        "        exec(lines, {'os': os})\n"
        "        os._exit(1)\n"
        "    if os.waitpid(child, 0)[1]: sys.exit(lines)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parent.parent)
