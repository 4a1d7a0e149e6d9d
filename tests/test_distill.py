"""Distillation: its terms against their definitions, its refusals, and what it is good for."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from quantised import Written
from torch import Tensor, nn
from torch.nn import functional

import edgekit as ek
from edgekit import train as training
from edgekit.data import Split
from edgekit.errors import UsageError
from edgekit.graph import Graph
from edgekit.graph.save import serialise
from edgekit.options import DistillConfig, RecoverConfig
from edgekit.train.begin import Assignment, begin
from edgekit.train.distill import lesson, softened
from edgekit.train.distributed import Workers
from edgekit.train.objectives import CLASSIFICATION, Objective
from edgekit.train.placement import CPU

CLASSES = 4


def rings(count: int, seed: int) -> Split:
    """Points on the plane, classes by angle and radius: a net needs many of them to draw the borders."""
    rng = np.random.default_rng(seed)
    points = rng.uniform(-1, 1, (count, 2)).astype(np.float32)
    inner = np.hypot(*points.T) < 0.6
    targets = 2 * inner + (points[:, 0] * points[:, 1] > 0)
    return Split((points,), (targets.astype(np.int64),))


def net(width: int, seed: int = 3) -> Graph:
    torch.manual_seed(seed)
    model = Written(
        lambda m, x: m["out"](torch.relu(m["middle"](torch.relu(m["first"](x))))),
        first=nn.Linear(2, width),
        middle=nn.Linear(width, 8),
        out=nn.Linear(8, CLASSES),
    )
    return ek.capture(model, torch.zeros(2, 2))


def config(distill: dict[str, Any] | None, **options: Any) -> RecoverConfig:
    basis: dict[str, Any] = {"epochs": 40, "learning_rate": 0.01, "batch_size": 16, "optimizer": "adam"}
    return RecoverConfig(**(basis | options), distill=None if distill is None else DistillConfig(**distill))


def test_a_good_teacher_helps_recovery_where_labels_are_few() -> None:
    """Half the channels cut, 48 labels of which a fifth are wrong; the teacher has seen thousands. Six seeds."""
    held_out = rings(2000, 99)
    teacher = training.train(net(48), rings(4000, 1), config(None, epochs=30, batch_size=64), 0).graph
    assert training.accuracy(training.predict(teacher), held_out) > 0.95
    student, gains = ek.prune(teacher, ratio=0.5).graph, []
    for seed in range(6):
        few = rings(48, 200 + seed)
        few.targets[0][::5] = (few.targets[0][::5] + 1) % CLASSES
        plain = training.train(student, few, config(None), seed).graph
        helped = training.train(student, few, config({"weight": 0.9, "temperature": 2.0}), seed, teacher=teacher).graph
        alone, taught = (training.accuracy(training.predict(graph), held_out) for graph in (plain, helped))
        gains.append(taught - alone)
    assert np.mean(gains) > 0.05, gains
    assert min(gains) > 0, gains


def test_the_teacher_is_left_as_it_was() -> None:
    teacher = net(12).train()
    before, seen = serialise(teacher), [p.requires_grad for _, p in teacher.named_parameters()]
    training.train(net(6), rings(64, 0), config({"features": ["relu_1"]}, epochs=2), 0, teacher=teacher)
    assert serialise(teacher) == before
    assert all(p.grad is None for _, p in teacher.named_parameters())
    assert [p.requires_grad for _, p in teacher.named_parameters()] == seen


def test_no_gradient_reaches_the_teacher_in_training() -> None:
    """Not even its own copy: nothing is kept for a backward pass, and a step leaves its tensors alone."""
    teacher, student, split = net(12), net(6), rings(32, 0)
    made = lesson(teacher, student, CLASSIFICATION, DistillConfig(features=("relu_1",)), CPU)
    before = serialise(made.teacher)
    chosen = config({"features": ["relu_1"]})
    run = begin(Assignment(student, split, chosen, 0, CLASSIFICATION, None, teacher), Workers(CPU))
    inputs, targets = (tuple(map(torch.from_numpy, arrays)) for arrays in (split.inputs, split.targets))
    made.loss(run.view(*inputs), targets, inputs).backward()  # type: ignore[no-untyped-call]
    assert all(p.grad is not None for p in run.state.parameters)
    assert all(p.grad is None for p in made.teacher.module.parameters())
    assert serialise(made.teacher) == before


def by_definition(own: Tensor, taught: Tensor, temperature: float) -> float:
    p, q = (np.exp(t.double().numpy() / temperature) for t in (taught, own))
    p, q = p / p.sum(1, keepdims=True), q / q.sum(1, keepdims=True)
    return float((p * np.log(p / q)).sum(1).mean() * temperature**2)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0, 20.0])
def test_softened_logits_by_their_definition(temperature: float) -> None:
    own, taught = torch.randn(9, 5) * 3, torch.randn(9, 5) * 3
    assert float(softened(own, taught, temperature)) == pytest.approx(by_definition(own, taught, temperature), rel=1e-4)
    assert float(softened(own, own, temperature)) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("shape", [(9,), (9, 1)])
def test_a_single_score_is_the_logit_of_one_class_against_the_other(shape: tuple[int, ...]) -> None:
    own, taught = torch.randn(shape), torch.randn(shape)
    pairs = [torch.stack([torch.zeros(9), scores.reshape(9)], 1) for scores in (own, taught)]
    assert float(softened(own, taught, 2.0)) == pytest.approx(by_definition(*pairs, 2.0), rel=1e-4)


def test_the_loss_is_the_weighted_sum_of_its_terms() -> None:
    teacher, student, split = net(12), net(6), rings(16, 0)
    inputs, targets = (tuple(map(torch.from_numpy, arrays)) for arrays in (split.inputs, split.targets))
    options = DistillConfig(weight=0.3, temperature=3.0, features=("relu_1", "linear_1"), feature_weight=0.7)
    assignment = Assignment(student, split, RecoverConfig(epochs=1, learning_rate=1.0, distill=options), 0,
                            CLASSIFICATION, None, teacher)  # fmt: skip
    run = begin(assignment, Workers(CPU))
    results = run.view(*inputs)
    own, taught = ({n.name: n for n in g.nodes} for g in (student, teacher))
    assert own.keys() == taught.keys()
    values = [inner(graph, inputs[0]) for graph in (student, teacher)]
    features = sum(functional.mse_loss(a, b) for a, b in zip(*(v[1:] for v in values), strict=True))
    task = functional.cross_entropy(values[0][0], targets[0])
    expected = 0.7 * task + 0.3 * softened(values[0][0], values[1][0], 3.0) + 0.7 * features
    assert float(run.loss(results, targets, inputs).detach()) == pytest.approx(float(expected.detach()), rel=1e-5)


def inner(graph: Graph, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Output, second ReLU and second linear, computed from the weights by hand."""
    weights = {name.removeprefix("layers."): value for name, value in graph.named_parameters()}
    hidden = torch.relu(x @ weights["first.weight"].T + weights["first.bias"])
    middle = hidden @ weights["middle.weight"].T + weights["middle.bias"]
    return torch.relu(middle) @ weights["out.weight"].T + weights["out.bias"], torch.relu(middle), middle


def test_other_tasks_compare_all_outputs_by_mean_squared_error() -> None:
    def pair(seed: int) -> Graph:
        torch.manual_seed(seed)
        both = Written(lambda m, x: (m["a"](x), m["b"](x)), a=nn.Linear(2, 3), b=nn.Linear(2, 1))
        return ek.capture(both, torch.zeros(2, 2))

    def first(outputs: Any, targets: Any, _: Any) -> Tensor:
        return functional.mse_loss(outputs[0], targets[0])

    x, teacher, student = torch.randn(7, 2), pair(1), pair(2)
    made = lesson(teacher, student, Objective(first, {}, "regression"), DistillConfig(weight=1.0), CPU)
    own, taught = student(x), teacher(x)
    expected = sum(functional.mse_loss(a, b) for a, b in zip(own, taught, strict=True))
    assert float(made.loss(own, (torch.zeros(7, 3),), (x,)).detach()) == pytest.approx(float(expected.detach()))


def test_nothing_but_the_teacher() -> None:
    """With the whole weight on the teacher labels do not matter, and the student comes close to it."""
    teacher, split = net(12, 5), rings(200, 0)
    wrong = Split(split.inputs, (np.zeros_like(split.targets[0]),))
    chosen = config({"weight": 1.0})
    a, b = (training.train(net(12, 6), s, chosen, 0, teacher=teacher) for s in (split, wrong))
    assert a.report == b.report
    assert a.report.losses[-1] < 0.05 * a.report.losses[0]


def test_features_pull_inner_values_together() -> None:
    teacher, student, split = net(12, 5), net(6, 6), rings(200, 0)
    x = torch.from_numpy(split.inputs[0])
    distances = []
    for weight in (0.0, 10.0):
        options = {"weight": 0.0, "features": ["linear_1"], "feature_weight": weight}
        trained = training.train(student, split, config(options, epochs=20), 0, teacher=teacher).graph
        distances.append(float(functional.mse_loss(inner(trained, x)[2], inner(teacher, x)[2]).detach()))
    assert distances[1] < 0.2 * distances[0]


def test_the_result_has_no_more_outputs_than_before() -> None:
    student = net(6)
    result = training.train(
        student, rings(32, 0), config({"features": ["relu", "relu_1"]}, epochs=1), 0, teacher=net(6, 9)
    ).graph
    assert result.output_names == student.output_names
    assert [n.name for n in result.nodes] == [n.name for n in student.nodes]
    assert isinstance(result(torch.zeros(2, 2)), Tensor)


def refused(teacher: Graph, match: str, **distill: Any) -> None:
    with pytest.raises(UsageError, match=match):
        training.train(net(6), rings(32, 0), config(distill), 0, teacher=teacher)


def test_features_that_do_not_fit_are_refused_with_those_that_do() -> None:
    shapes = r"feature 'relu' is \[1, 12\] in the teacher and \[1, 6\] in the student"
    with pytest.raises(UsageError, match=shapes) as caught:
        training.train(net(6), rings(32, 0), config({"features": ["relu"]}), 0, teacher=net(12))
    assert "Nodes that fit: linear_1, relu_1, linear_2." in str(caught.value)
    refused(net(12), r"feature 'relu_9' is missing in the teacher and missing in the student", features=["relu_9"])
    refused(net(12), r"feature 'x' is missing", features=["x"])  # an input, which nothing can pull anywhere


def test_a_teacher_of_another_kind_is_refused() -> None:
    wide = ek.capture(nn.Linear(3, CLASSES), torch.zeros(2, 3))
    refused(wide, r"the teacher's inputs are float32 \[None, 3\], the student's are float32 \[None, 2\]")
    many = ek.capture(nn.Linear(2, 7), torch.zeros(2, 2))
    refused(many, r"the teacher's outputs are float32 \[None, 7\]")


def test_a_teacher_and_the_option_belong_together() -> None:
    with pytest.raises(UsageError, match="needs both"):
        training.train(net(6), rings(32, 0), config({}), 0)
    with pytest.raises(UsageError, match="needs both"):
        training.train(net(6), rings(32, 0), config(None), 0, teacher=net(6))
