"""The training loop: against one written by hand, seeded, and refusing what cannot be trained."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import quantised
import torch
from quantised import Written, items
from torch import Tensor, nn
from torch.nn import functional

import edgekit as ek
from edgekit import train as training
from edgekit.data import Split
from edgekit.errors import DataError, UsageError
from edgekit.graph import Graph
from edgekit.options import TrainConfig
from edgekit.train import loop
from edgekit.train.batches import Batch
from edgekit.train.begin import Training
from edgekit.train.objectives import Objective, Tensors

SIZE = 90


def blobs(count: int = SIZE, seed: int = 0) -> Split:
    """Three classes far apart."""
    rng = np.random.default_rng(seed)
    targets = np.arange(count) % 3
    centres = np.array([[3, 0, 0, 0], [0, 3, 0, 0], [0, 0, 3, 0]], np.float32)
    return Split(((centres[targets] + rng.standard_normal((count, 4)) * 0.3).astype(np.float32),), (targets,))


def images(count: int = 40) -> Split:
    rng = np.random.default_rng(1)
    return Split((rng.random((count, 1, 6, 6), np.float32),), (np.arange(count) % 3,))


def perceptron() -> Graph:
    torch.manual_seed(3)
    return ek.capture(nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 3)), torch.zeros(2, 4))


def config(**options: Any) -> TrainConfig:
    return TrainConfig(**({"epochs": 3, "learning_rate": 0.05, "batch_size": 16} | options))


def weights(graph: Graph) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in graph.named_parameters()}


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_what_can_be_separated_is_learnt(optimizer: str) -> None:
    rate = 0.1 if optimizer == "sgd" else 0.01
    result = training.train(perceptron(), blobs(), config(epochs=8, optimizer=optimizer, learning_rate=rate), 0)
    losses = result.report.losses
    assert len(losses) == 8
    assert losses[-1] < 0.2 * losses[0]
    assert training.accuracy(training.predict(result.graph), blobs(seed=9)) == 1
    assert result.report.to_json()["losses"] == losses
    assert not result.graph.module.training


def by_hand(
    model: nn.Module, split: Split, order: list[np.ndarray], optimizer: torch.optim.Optimizer
) -> Iterator[float]:
    for batch in order:
        optimizer.zero_grad()
        loss = functional.cross_entropy(
            model(torch.from_numpy(split.inputs[0][batch])), torch.from_numpy(split.targets[0][batch])
        )
        loss.backward()
        optimizer.step()
        yield float(loss.detach())


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_steps_are_those_of_a_loop_written_by_hand(optimizer: str) -> None:
    """On the module itself, with torch's own layers; the order of items is numpy's permutation for the seed."""
    torch.manual_seed(3)
    model, split, rate = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 3)), blobs(70), 0.02
    chosen = config(
        epochs=2, optimizer=optimizer, learning_rate=rate, schedule="constant", weight_decay=0.01, momentum=0.8
    )
    result = training.train(ek.capture(model, torch.zeros(2, 4)), split, chosen, 5)
    rng = np.random.default_rng(5)
    order = [batch for _ in range(2) for batch in np.split(rng.permutation(70), [16, 32, 48, 64])]
    made: torch.optim.Optimizer = (
        torch.optim.SGD(model.parameters(), rate, momentum=0.8, weight_decay=0.01)
        if optimizer == "sgd"
        else torch.optim.Adam(model.parameters(), rate, weight_decay=0.01)
    )
    losses = list(by_hand(model, split, order, made))
    for name, value in model.named_parameters():
        assert torch.equal(weights(result.graph)[name], value.detach()), name
    sizes = [len(batch) for batch in order]
    for epoch, mean in enumerate(result.report.losses):
        part = slice(5 * epoch, 5 * epoch + 5)
        assert mean == pytest.approx(np.average(losses[part], weights=sizes[part]), rel=1e-12)


def test_a_seed_decides_everything_and_the_callers_generator_is_left_alone() -> None:
    model = Written(
        lambda m, x: m["b"](m["drop"](torch.relu(m["a"](x)))),
        a=nn.Linear(4, 8),
        drop=nn.Dropout(0.4),
        b=nn.Linear(8, 3),
    )
    graph = ek.capture(model, torch.zeros(2, 4))
    results = []
    for seed, noise in ((0, 1), (0, 2), (1, 1)):
        torch.manual_seed(noise)
        np.random.seed(noise)
        state = torch.get_rng_state()
        results.append(weights(training.train(graph, blobs(), config(), seed).graph))
        assert torch.equal(torch.get_rng_state(), state)
    assert same(results[0], results[1])
    assert not same(results[0], results[2])


def test_the_input_graph_is_left_as_it_was() -> None:
    graph = perceptron()
    before, text = weights(graph), str(graph.module.graph)
    result = training.train(graph, blobs(), config(), 0)
    assert same(weights(graph), before)
    assert str(graph.module.graph) == text
    assert not graph.module.training
    assert not same(weights(result.graph), before)


def rates(monkeypatch: pytest.MonkeyPatch, **options: Any) -> list[float]:
    """The learning rate of every step."""
    seen: list[float] = []
    real = loop._step

    def step(run: Training, batch: Batch, rate: float) -> Tensor:
        loss = real(run, batch, rate)
        seen.append(run.state.optimizer.param_groups[0]["lr"])
        return loss

    monkeypatch.setattr(loop, "_step", step)
    training.train(perceptron(), blobs(64), config(**options), 0)
    return seen


def test_schedules(monkeypatch: pytest.MonkeyPatch) -> None:
    assert rates(monkeypatch, schedule="constant", learning_rate=0.03) == [0.03] * 12
    cosine = rates(monkeypatch, schedule="cosine", learning_rate=0.03)
    assert cosine == pytest.approx([0.03 * (1 + math.cos(math.pi * i / 12)) / 2 for i in range(12)], rel=1e-12)


def batches(monkeypatch: pytest.MonkeyPatch, split: Split, **options: Any) -> list[list[Tensor]]:
    """Inputs of every step."""
    seen: list[list[Tensor]] = []

    def step(_: Training, batch: Batch, __: float) -> Tensor:
        assert len(batch.targets[0]) == len(batch.inputs[0]) == batch.items
        seen.append([*batch.inputs, *batch.targets])
        return torch.ones(())

    monkeypatch.setattr(loop, "_step", step)
    model = nn.Sequential(nn.Flatten(), nn.Linear(int(np.prod(split.inputs[0].shape[1:])), 3))
    training.train(ek.capture(model, torch.from_numpy(split.inputs[0][:2])), split, config(**options), 0)
    return seen


@pytest.mark.parametrize(
    ("count", "size", "sizes"),
    [
        (33, 16, [16, 16]),
        (34, 16, [16, 16, 2]),
        (32, 16, [16, 16]),
        (17, 16, [16]),
        (5, 16, [5]),
        (3, 1, [1, 1, 1]),
        (1, 16, [1]),
        (1, 1, [1]),
    ],
)
def test_a_last_batch_of_one_is_left_out_where_others_are_larger(
    count: int, size: int, sizes: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = batches(monkeypatch, blobs(count), epochs=1, batch_size=size)
    assert [len(inputs[0]) for inputs in seen] == sizes


def test_every_epoch_sees_every_item_once_in_another_order(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = batches(monkeypatch, blobs(48), epochs=2, batch_size=16)
    epochs = [torch.cat([inputs[0] for inputs in seen[i : i + 3]]).numpy() for i in (0, 3)]
    assert not np.array_equal(*epochs)
    for epoch in epochs:
        np.testing.assert_array_equal(np.sort(epoch, axis=0), np.sort(blobs(48).inputs[0], axis=0))


def test_images_are_augmented_only_when_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    split = images()
    known = {row.tobytes() for row in split.inputs[0]}
    plain, varied = (batches(monkeypatch, split, epochs=2, augment=augment) for augment in (False, True))
    assert all(row.numpy().tobytes() in known for inputs in plain for row in inputs[0])
    rows = [row.numpy() for inputs in varied for row in inputs[0]]
    assert not any(row.tobytes() in known for row in rows)
    assert len({row.tobytes() for row in rows}) == 80
    assert all(row.min() >= 0 and row.max() <= 1 for row in rows)
    targets = [torch.cat([inputs[-1] for inputs in seen])[:40].tolist() for seen in (plain, varied)]
    assert targets[0] == targets[1]  # of the first epoch: the order is drawn before anything is varied


def test_progress_counts_steps() -> None:
    seen: list[tuple[int, int]] = []
    training.train(
        perceptron(), blobs(64), config(epochs=2), 0, progress=lambda done, total: seen.append((done, total))
    )
    assert seen == [(i, 8) for i in range(1, 9)]


def test_no_epochs_change_nothing() -> None:
    graph = perceptron()
    result = training.train(graph, blobs(), config(epochs=0), 0)
    assert same(weights(result.graph), weights(graph))
    assert result.report.losses == ()


def margin(outputs: Tensors, targets: Tensors, _: Tensors) -> Tensor:
    return functional.multi_margin_loss(outputs[0], targets[0])


def steep(outputs: Tensors, targets: Tensors, _: Tensors) -> Tensor:
    return 100 * functional.cross_entropy(outputs[0], targets[0])


def judged_by(loss: Callable[[Tensors, Tensors, Tensors], Tensor]) -> Objective:
    return Objective(loss, {})


def test_another_loss_and_the_first_of_several_outputs() -> None:
    model = Written(lambda m, x: (m["a"](x), m["b"](x)), a=nn.Linear(4, 3), b=nn.Linear(4, 2))
    graph = ek.capture(model, torch.zeros(2, 4))
    before = weights(graph)
    result = training.train(graph, blobs(), config(), 0, objective=judged_by(margin))
    after = weights(result.graph)
    assert result.report.losses[-1] < result.report.losses[0]
    assert torch.equal(before["layers.b.weight"], after["layers.b.weight"])
    assert not torch.equal(before["layers.a.weight"], after["layers.a.weight"])


@pytest.mark.parametrize("rate", [1e20, 3e38])
def test_training_that_diverges_is_refused_with_the_epoch(rate: float) -> None:
    with pytest.raises(DataError, match=r"not finite in epoch \d.*Lower the learning rate"):
        training.train(perceptron(), blobs(), config(learning_rate=rate, epochs=4), 0)


def test_weights_that_the_last_step_ruined_are_refused() -> None:
    """One step in all: its loss was still finite."""
    with pytest.raises(DataError, match="the weights are not finite in epoch 1"):
        training.train(perceptron(), blobs(16), config(learning_rate=3e38, epochs=1), 0, objective=judged_by(steep))


def test_data_that_is_not_finite_is_refused() -> None:
    split = blobs()
    split.inputs[0][7, 1] = np.nan
    with pytest.raises(DataError, match="loss is not finite in epoch 1"):
        training.train(perceptron(), split, config(), 0)


def test_nothing_to_train_is_refused() -> None:
    with pytest.raises(DataError, match="empty"):
        training.train(perceptron(), blobs(0), config(), 0)
    integer = ek.lower(ek.quantize(perceptron(), [items((4,))]).graph)
    with pytest.raises(UsageError, match="no parameters"):
        training.train(integer, blobs(), config(), 0)


def test_a_quantised_graph_is_trained_as_well() -> None:
    """The ranges of an untrained net bound how far its loss can fall; its answers are right all the same."""
    graph = ek.quantize(perceptron(), [torch.from_numpy(blobs().inputs[0])]).graph
    result = training.train(graph, blobs(), config(epochs=8), 0)
    assert result.report.losses[-1] < 0.75 * result.report.losses[0]
    assert training.accuracy(training.predict(ek.lower(result.graph)), blobs(seed=4)) == 1


def test_batch_norm_and_dropout_train_and_then_rest() -> None:
    graph = quantised.float_graph("residual")
    statistics = {n: v.clone() for n, v in graph.module.named_buffers()}
    split = Split((items((3, 8, 8), 40).numpy(),), (np.arange(40) % 5,))
    result = training.train(graph, split, config(epochs=1), 0).graph
    changed = [not torch.equal(value, statistics[n]) for n, value in result.module.named_buffers()]
    assert all(changed)
    assert len(changed) >= 10
    x = items((3, 8, 8), 4)
    assert torch.equal(result(x), result(x))


def test_accuracy_is_the_share_of_right_answers() -> None:
    scores = np.eye(3, dtype=np.float32)[[0, 1, 2, 0, 1, 1]]
    split = Split((scores,), (np.array([0, 1, 2, 1, 1, 0]),))
    assert training.accuracy(lambda x: (x, np.zeros(1)), split) == 4 / 6
    many = Split((np.tile(scores, (100, 1)),), (np.tile(split.targets[0], 100),))
    assert training.accuracy(lambda x: (x,), many) == 4 / 6


def test_predict_keeps_the_graph_it_was_given() -> None:
    graph = perceptron()
    run, x = training.predict(graph), blobs().inputs[0]
    before = run(x)[0]
    with torch.no_grad():
        for _, value in graph.named_parameters():
            value.zero_()
    np.testing.assert_array_equal(run(x)[0], before)
    strided = np.asfortranarray(x)
    np.testing.assert_array_equal(run(strided)[0], before)
