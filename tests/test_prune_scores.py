"""Scores by their definitions, and how they choose."""

from __future__ import annotations

from collections.abc import Callable

import nets
import pytest
import torch
from torch import Tensor, nn

import edgekit as ek
from edgekit.errors import UsageError
from edgekit.graph import Graph, cost, edit
from edgekit.options import SparsityConfig
from edgekit.prune import couple, sparse
from edgekit.prune.groups import Group
from edgekit.prune.scores import IMPORTANCES, WITH_DATA, scores


def pair(width: int = 8) -> tuple[nn.Sequential, Graph, Group]:
    torch.manual_seed(1)
    model = nn.Sequential(nn.Linear(3, width, bias=False), nn.ReLU(), nn.Linear(width, 2, bias=False))
    graph = ek.capture(model, torch.randn(2, 3))
    (group,) = (group for group in couple(graph).groups if not group.frozen)
    return model, graph, group


def relative(*places: Tensor) -> Tensor:
    return torch.stack([place / place.mean() for place in places]).mean(0)


def loss(output: Tensor, target: Tensor) -> Tensor:
    return (output - target).square().sum()


DATA = [(torch.randn(5, 3, generator=torch.Generator().manual_seed(i)), torch.ones(5, 2)) for i in range(2)]


def test_fpgm_is_the_distance_to_all_other_filters() -> None:
    model, graph, group = pair()
    rows, columns = model[0].weight.detach().double(), model[2].weight.detach().double().T
    expected = [torch.stack([(a - b).norm() for b in w]).sum() for w in (rows, columns) for a in w]
    got = scores(graph, [group], "fpgm")[0]
    torch.testing.assert_close(got, relative(*torch.stack(expected).reshape(2, -1)))


def test_lamp_is_the_share_among_those_that_are_not_smaller() -> None:
    model, graph, group = pair()

    def lamp(rows: Tensor) -> Tensor:
        squares = rows.square().sum(1)
        return torch.stack([s / squares[squares >= s].sum() for s in squares])

    expected = relative(*(lamp(w.detach().double()) for w in (model[0].weight, model[2].weight.T)))
    torch.testing.assert_close(scores(graph, [group], "lamp")[0], expected)


def test_hessian_is_the_second_order_term_with_each_items_own_gradient() -> None:
    """By autograd on the eager model, item by item."""
    model, graph, group = pair()
    sums = [torch.zeros_like(layer.weight, dtype=torch.float64) for layer in (model[0], model[2])]
    for inputs, targets in DATA:
        for x, target in zip(inputs, targets, strict=True):
            weights = [model[0].weight, model[2].weight]
            gradients = torch.autograd.grad(loss(model(x[None]), target[None]), weights)
            for total, w, g in zip(sums, weights, gradients, strict=True):
                total += (w * g).detach().double().square() / 2
    got = scores(graph, [group], "hessian", DATA, loss)[0]
    torch.testing.assert_close(got, relative(sums[0].sum(1), sums[1].sum(0)), rtol=1e-4, atol=1e-6)


def test_activation_is_what_the_reading_layer_sees() -> None:
    model, graph, group = pair()
    seen = torch.cat([torch.relu(model[0](x)) for x, _ in DATA]).detach().double().abs().mean(0)
    got = scores(graph, [group], "activation", DATA)[0]
    torch.testing.assert_close(got, seen / seen.mean(), rtol=1e-5, atol=1e-7)


def test_batch_norm_scales_score_where_there_are_some() -> None:
    graph = nets.graph_of("residual").copy()
    with torch.no_grad():
        edit.get_by_path(graph.module, "stem_norm.weight").copy_(torch.arange(8.0) + 1)
        edit.get_by_path(graph.module, "branch_norm.weight").copy_(-torch.arange(8.0) - 1)
    groups = {group.name: group for group in couple(graph).groups if not group.frozen}
    stem, wide = scores(graph, [groups["stem.weight"], groups["wide.weight"]], "batch_norm")
    assert stem.argsort().tolist() == list(range(8))
    torch.testing.assert_close(wide, scores(graph, [groups["wide.weight"]], "l2")[0])  # no norm there


def test_random_follows_the_seed() -> None:
    _, graph, group = pair()
    first, again, other = (scores(graph, [group], "random", seed=seed)[0] for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize(
    ("reduce", "expected"),
    [("mean", lambda a, b: (a + b) / 2), ("max", torch.maximum), ("sum", torch.add)],
)
@pytest.mark.parametrize(
    ("normalise", "divisor"),
    [("mean", Tensor.mean), ("max", Tensor.max), ("sum", Tensor.sum), ("none", lambda _: 1.0)],
)
def test_places_are_divided_and_joined(
    reduce: str, expected: Callable[..., Tensor], normalise: str, divisor: Callable[[Tensor], Tensor]
) -> None:
    model, graph, group = pair()
    rows, columns = model[0].weight.detach().double().norm(dim=1), model[2].weight.detach().double().norm(dim=0)
    got = scores(graph, [group], "l2", reduce=reduce, normalise=normalise)[0]
    torch.testing.assert_close(got, expected(rows / divisor(rows), columns / divisor(columns)))


@pytest.mark.parametrize("importance", IMPORTANCES)
def test_every_score_prunes_a_residual_net(importance: str) -> None:
    graph = nets.graph_of("residual")
    x = nets.NETS["residual"].inputs(6)
    data = [(x, torch.zeros(6, 5))] if importance in WITH_DATA else None
    result = ek.prune(graph, 0.5, importance=importance, data=data, loss=loss if data else None)
    assert [(w.before, w.after) for w in result.report.layers] == [(8, 4), (12, 6)]


@pytest.mark.parametrize("importance", WITH_DATA)
def test_scores_that_look_at_data_ask_for_it(importance: str) -> None:
    with pytest.raises(UsageError, match="needs data="):
        ek.prune(nets.graph_of("residual"), 0.5, importance=importance)


# How much.


@pytest.mark.parametrize("share", [0.8, 0.5, 0.2])
@pytest.mark.parametrize("scope", ["local", "global", "isomorphic"])
def test_a_target_is_reached_and_no_more_than_reached(share: float, scope: str) -> None:
    graph = nets.graph_of("depthwise")
    report = ek.prune(graph, target_macs=share, scope=scope).report
    assert report.macs_after <= share * report.macs_before
    one_less = [w.after / w.before for w in report.layers]
    assert report.macs_after >= 0.6 * share * report.macs_before, one_less  # six channels are a coarse measure
    report = ek.prune(graph, target_parameters=share, scope=scope).report
    assert 0.6 * share * report.parameters_before <= report.parameters_after <= share * report.parameters_before


def test_a_target_out_of_reach_says_what_is_the_least() -> None:
    with pytest.raises(UsageError, match="is the least"):
        ek.prune(nets.graph_of("residual"), target_macs=0.001)


def test_predicted_costs_are_those_of_the_cut_graph() -> None:
    from edgekit.prune.predict import Predicted
    from edgekit.prune.select import Rule, gone, select
    from edgekit.prune.surgery import cut, keeper

    for name in ("residual", "depthwise", "attention", "recurrent"):
        graph = nets.graph_of(name).copy()
        coupling = couple(graph)
        victims = select(coupling, scores(graph, coupling.groups, "l2"), 0.5, Rule())
        predicted = Predicted(coupling.state, keeper(coupling.state, gone(victims)))
        expected = predicted.macs(), predicted.parameters()
        cut(graph, coupling, gone(victims))
        assert (cost.total_macs(graph), cost.total_parameters(graph)) == expected


def test_ratios_by_name_leave_the_others() -> None:
    report = ek.prune(nets.graph_of("residual"), {"wide.*": 0.25, "*": 0.5}).report
    assert {w.name: w.after for w in report.layers} == {"stem.weight": 4, "wide.weight": 9}
    report = ek.prune(nets.graph_of("residual"), {"wide.weight": 0.5}).report
    assert {w.name: w.after for w in report.layers} == {"wide.weight": 6}


def test_isomorphic_scope_ranks_layers_of_a_kind_together() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 2)
    )
    with torch.no_grad():
        model[2].weight[:4] *= 1e-3
        model[4].weight[:, :4] *= 1e-3
    widths = {
        w.name: w.after
        for w in ek.prune(model, 0.25, scope="isomorphic", example_inputs=torch.randn(2, 4)).report.layers
    }
    assert widths["2.weight"] == 4
    assert "4.weight" not in widths or widths["4.weight"] > 4


def test_steps_end_where_one_cut_does_and_score_anew() -> None:
    graph = nets.graph_of("residual")
    seen: list[int] = []

    def recover(smaller: Graph) -> Graph:
        seen.append(cost.total_macs(smaller))
        return smaller

    once = ek.prune(graph, 0.5).report
    slowly = ek.prune(graph, 0.5, steps=3, recover=recover).report
    assert len(seen) == 2
    assert once.macs_before > seen[0] > seen[1] > slowly.macs_after
    assert [(w.name, w.before) for w in slowly.layers] == [(w.name, w.before) for w in once.layers]
    by_macs = ek.prune(graph, target_macs=0.4, steps=3).report
    assert by_macs.macs_after <= 0.4 * by_macs.macs_before


def test_widths_are_what_the_target_wants() -> None:
    model = nn.Sequential(nn.Conv2d(3, 48, 3), nn.ReLU(), nn.Conv2d(48, 40, 3), nn.ReLU(), nn.Conv2d(40, 4, 1)).eval()
    x = torch.randn(2, 3, 9, 9)
    report = ek.prune(model, 0.5, round_to="onnxruntime", example_inputs=x).report
    assert [w.after for w in report.layers] == [32, 32]
    assert [w.after for w in ek.prune(model, 0.5, round_to="xavier", example_inputs=x).report.layers] == [32, 32]
    with pytest.raises(UsageError, match="has no INT8"):
        ek.prune(model, 0.5, round_to="nano", example_inputs=x)
    with pytest.raises(UsageError, match="Did you mean"):
        ek.prune(model, 0.5, round_to="onnxrunner", example_inputs=x)


def test_the_report_says_what_became_of_each_operator() -> None:
    graph = nets.graph_of("residual")
    result = ek.prune(graph, 0.5)
    rows = {row.name: row for row in result.report.operators}
    assert sum(row.macs_before for row in rows.values()) == result.report.macs_before
    assert sum(row.macs_after for row in rows.values()) == result.report.macs_after
    assert rows["linear"].parameters_before == 12 * 5 + 5
    assert rows["linear"].parameters_after == 6 * 5 + 5


# Sparse learning.


@pytest.mark.parametrize("kind", ["group_lasso", "batch_norm"])
def test_a_penalty_makes_channels_small(kind: str) -> None:
    graph = nets.graph_of("residual").copy().train()
    of = sparse.penalty(graph, SparsityConfig(kind=kind, weight=0.01))
    before = float(of(graph).detach())
    optimiser = torch.optim.SGD([p for _, p in graph.named_parameters()], lr=0.5)
    for _ in range(20):
        optimiser.zero_grad()
        of(graph).backward()
        optimiser.step()
    assert float(of(graph).detach()) < 0.95 * before


def test_group_lasso_is_the_norm_of_a_channels_weights_in_all_layers() -> None:
    model, graph, _ = pair()
    rows, columns = model[0].weight.detach(), model[2].weight.detach().T
    expected = torch.cat([rows, columns], 1).norm(dim=1).sum() * 0.5
    got = sparse.penalty(graph, SparsityConfig(kind="group_lasso", weight=0.5))(graph)
    torch.testing.assert_close(got.detach(), expected)


def test_a_net_without_norms_has_none_to_make_small() -> None:
    _, graph, _ = pair()
    with pytest.raises(UsageError, match="nothing to make sparse"):
        sparse.penalty(graph, SparsityConfig(kind="batch_norm"))
