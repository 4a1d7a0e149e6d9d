"""Options of training: schedules, clipping, optimisers, early stop, precision, device, and inputs of every type."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from quantised import Written, items
from torch import Tensor, nn
from torch.nn import functional

import edgekit as ek
from edgekit import train as training
from edgekit.data import Split
from edgekit.errors import DataError, UnsupportedError, UsageError
from edgekit.graph import Graph, save
from edgekit.options import TrainConfig
from edgekit.train import TrainReport, loop, placement, precision
from edgekit.train.begin import Training
from edgekit.train.objectives import CLASSIFICATION, Objective
from edgekit.train.schedule import learning_rate
from edgekit.train.validation import best_epoch

SCHEDULES = ("constant", "cosine", "linear", "step")


def config(**options: Any) -> TrainConfig:
    return TrainConfig(**({"epochs": 3, "learning_rate": 0.05, "batch_size": 16} | options))


def blobs(count: int = 90, seed: int = 0, noise: float = 0.3) -> Split:
    rng = np.random.default_rng(seed)
    targets = np.arange(count) % 3
    x = 3 * np.eye(4)[targets] + rng.standard_normal((count, 4)) * noise
    return Split((x.astype(np.float32),), (targets,))


def layers() -> nn.Sequential:
    torch.manual_seed(3)
    return nn.Sequential(nn.Linear(4, 16), nn.LayerNorm(16), nn.ReLU(), nn.Linear(16, 3))


def net() -> Graph:
    return ek.capture(layers(), torch.zeros(2, 4))


def weights(graph: Graph) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in graph.module.state_dict().items()}


def same(a: Graph, b: Graph) -> bool:
    return save.serialise(a) == save.serialise(b)


def rates(steps_per_epoch: int = 10, **options: Any) -> list[float]:
    chosen = config(**({"epochs": 4, "learning_rate": 1.0} | options))
    return [learning_rate(chosen, step, steps_per_epoch) for step in range(chosen.epochs * steps_per_epoch)]


def test_schedules_are_those_of_torch() -> None:
    """Each against torch's own scheduler of that name."""
    made = torch.optim.SGD([nn.Parameter(torch.zeros(1))], 1.0)
    torches = {
        "cosine": torch.optim.lr_scheduler.CosineAnnealingLR(made, 40),
        "linear": torch.optim.lr_scheduler.LinearLR(made, 1.0, 0.0, 40),
        "step": torch.optim.lr_scheduler.MultiStepLR(made, [20, 30]),
    }
    for name, scheduler in torches.items():
        made.param_groups[0]["lr"] = 1.0
        seen = []
        for _ in range(40):
            seen.append(made.param_groups[0]["lr"])
            made.step()
            scheduler.step()
        assert rates(schedule=name) == pytest.approx(seen, abs=1e-9), name
    assert rates(schedule="constant") == [1.0] * 40


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_warm_up_rises_by_equal_steps_and_the_schedule_takes_the_rest(schedule: str) -> None:
    seen = rates(schedule=schedule, warmup_epochs=1.5)
    assert seen[:15] == pytest.approx([(i + 1) / 15 for i in range(15)])
    plain = [learning_rate(config(epochs=1, learning_rate=1.0, schedule=schedule), step, 25) for step in range(25)]
    assert seen[15:] == pytest.approx(plain)


@settings(deadline=None, max_examples=60)
@given(st.sampled_from(SCHEDULES), st.floats(0, 9), st.integers(1, 6), st.integers(1, 9))
def test_every_rate_lies_between_nothing_and_the_largest(schedule: str, warmup: float, epochs: int, steps: int) -> None:
    seen = rates(steps, schedule=schedule, warmup_epochs=warmup, epochs=epochs, learning_rate=0.3)
    assert all(0 < rate <= 0.3 for rate in seen)
    top = seen.index(max(seen))
    assert seen[:top] == sorted(seen[:top])
    assert seen[top:] == sorted(seen[top:], reverse=True)


def test_the_report_holds_the_last_rate_of_every_epoch() -> None:
    report = training.train(net(), blobs(64), config(schedule="linear"), 0).report
    assert report.learning_rates == pytest.approx([0.05 * (1 - step / 12) for step in (3, 7, 11)])


def by_hand(split: Split, made: torch.optim.Optimizer, model: nn.Module, clip: float | None) -> Iterator[float]:
    rng = np.random.default_rng(5)
    for _ in range(2):
        for batch in np.split(rng.permutation(70), [16, 32, 48, 64]):
            made.zero_grad()
            x, y = torch.from_numpy(split.inputs[0][batch]), torch.from_numpy(split.targets[0][batch])
            functional.cross_entropy(model(x), y).backward()  # type: ignore[no-untyped-call]
            if clip:
                yield float(nn.utils.clip_grad_norm_(model.parameters(), clip))
            made.step()


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw"])
@pytest.mark.parametrize("clip", [None, 0.3])
def test_optimisers_and_clipping_are_those_of_torch(optimizer: str, clip: float | None) -> None:
    """Bit for bit; AdamW decays every parameter, the norm's and the biases too, as torch does."""
    split, model = blobs(70), layers()
    options = {"epochs": 2, "schedule": "constant", "weight_decay": 0.1, "optimizer": optimizer, "clip_norm": clip}
    result = training.train(ek.capture(model, torch.zeros(2, 4)), split, config(**options), 5)
    kinds: dict[str, type[torch.optim.Optimizer]] = {
        "sgd": torch.optim.SGD, "adam": torch.optim.Adam, "adamw": torch.optim.AdamW
    }  # fmt: skip
    momentum = {"momentum": 0.9} if optimizer == "sgd" else {}
    made = kinds[optimizer](model.parameters(), lr=0.05, weight_decay=0.1, **momentum)  # type: ignore[arg-type]
    norms = list(by_hand(split, made, model, clip))
    assert not clip or max(norms) > clip  # or nothing was clipped
    trained = dict(result.graph.named_parameters())
    for name, value in model.named_parameters():
        assert torch.equal(trained[name], value), name


def test_the_best_epoch_by_the_definition() -> None:
    assert best_epoch([3.0], 0.0) == 0
    assert best_epoch([3.0, 2.0, 2.0, 2.5], 0.0) == 1
    assert best_epoch([3.0, 2.9, 2.8, 2.7], 0.5) == 0
    assert best_epoch([3.0, 2.9, 2.4, 2.3], 0.5) == 2


def overfitting(**options: Any) -> tuple[Split, Split, TrainConfig]:
    """Few items, far from clear: the validation loss falls at first and then rises."""
    basis = {"epochs": 80, "learning_rate": 0.01, "optimizer": "adam", "schedule": "constant"}
    return blobs(48, 0, 3.0), blobs(48, 1, 3.0), config(**(basis | options))


def test_early_stop_keeps_the_best_weights_and_says_why_it_ended() -> None:
    split, validation, chosen = overfitting(early_stop={"patience": 4})
    result = training.train(net(), split, chosen, 0, validation=validation)
    report = result.report
    best = int(np.argmin(report.validation_losses)) + 1
    assert 1 < best < len(report.losses) == best + 4 < 80
    assert report.best_epoch == best
    assert report.ended == "The validation loss had not fallen for 4 epochs."
    with torch.no_grad():
        loss = functional.cross_entropy(
            result.graph(torch.from_numpy(validation.inputs[0])), torch.from_numpy(validation.targets[0])
        )
    assert float(loss) == pytest.approx(min(report.validation_losses), rel=1e-5)
    until = training.train(net(), split, chosen.model_copy(update={"epochs": best, "early_stop": None}), 0)
    assert same(result.graph, until.graph)  # the schedule is constant: the same steps


def test_all_epochs_done_still_gives_the_best_weights() -> None:
    split, validation, chosen = overfitting(early_stop={"patience": 100}, epochs=40)
    report = training.train(net(), split, chosen, 0, validation=validation).report
    assert len(report.losses) == 40
    assert report.ended == "All epochs were done."
    assert report.best_epoch == int(np.argmin(report.validation_losses)) + 1 < 40


def test_watching_changes_nothing() -> None:
    watched, alone = (training.train(net(), blobs(), config(), 0, validation=v) for v in (blobs(30, 4), None))
    assert same(watched.graph, alone.graph)
    assert watched.report.losses == alone.report.losses
    assert len(watched.report.validation_losses) == 3
    assert watched.report.best_epoch is None
    assert alone.report.validation_losses == ()


def test_the_validation_loss_weighs_items_alike() -> None:
    validation = blobs(37, 4, 2.0)  # 16, 16 and 5 of them
    result = training.train(net(), blobs(), config(epochs=1), 0, validation=validation)
    with torch.no_grad():
        loss = functional.cross_entropy(
            result.graph(torch.from_numpy(validation.inputs[0])), torch.from_numpy(validation.targets[0])
        )
    assert result.report.validation_losses == (pytest.approx(float(loss), rel=1e-6),)


def test_nothing_to_watch_is_refused() -> None:
    chosen = config(early_stop={"patience": 2})
    for nothing in (None, blobs(0)):
        with pytest.raises(UsageError, match="early stop watches validation items"):
            training.train(net(), blobs(), chosen, 0, validation=nothing)


def test_validation_items_that_are_not_finite_are_refused() -> None:
    validation = blobs(20)
    validation.inputs[0][3, 1] = np.nan
    with pytest.raises(DataError, match="validation loss is not finite in epoch 1"):
        training.train(net(), blobs(), config(), 0, validation=validation)


def test_bfloat16_learns_and_leaves_float32() -> None:
    seen: list[torch.dtype] = []

    def loss(outputs: tuple[Tensor, ...], targets: tuple[Tensor, ...], inputs: tuple[Tensor, ...]) -> Tensor:
        seen.append(outputs[0].dtype)
        return CLASSIFICATION.loss(outputs, targets, inputs)

    chosen = config(epochs=8, precision="bfloat16", learning_rate=0.1)
    result = training.train(net(), blobs(), chosen, 0, objective=Objective(loss, {}))
    assert training.accuracy(training.predict(result.graph), blobs(seed=9)) == 1
    assert set(seen) == {torch.float32}
    assert {value.dtype for value in weights(result.graph).values()} == {torch.float32}
    assert result.report.precision == "bfloat16"
    plain = training.train(net(), blobs(), chosen.model_copy(update={"precision": "float32"}), 0)
    assert not same(result.graph, plain.graph)
    assert result.report.losses == pytest.approx(plain.report.losses, rel=0.1, abs=0.01)


def never(*_: Any) -> Tensor:
    raise AssertionError("something was trained")


def test_a_precision_that_is_not_there_is_refused_before_anything_is_trained(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "_step", never)
    with pytest.raises(UnsupportedError, match="float16 cannot be trained on cpu here"):
        training.train(net(), blobs(), config(precision="float16"), 0)
    quantised = ek.quantize(ek.capture(nn.Linear(4, 3), torch.zeros(2, 4)), [items((4,))]).graph
    with pytest.raises(UnsupportedError, match="takes float32 alone"):
        training.train(quantised, blobs(), config(precision="bfloat16"), 0)
    if not torch.cuda.is_available():
        with pytest.raises(UnsupportedError, match="no CUDA device"):
            training.train(net(), blobs(), config(), 0, device="cuda")


def test_float16_scales_the_loss_and_clips_what_it_scaled_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a CPU, where the scaler works as on a GPU: the clipped step is the one of float32, to what float16 holds."""
    monkeypatch.setattr(precision, "_has", lambda *_: True)
    chosen = config(epochs=1, batch_size=90, momentum=0.0, clip_norm=0.1, learning_rate=1.0)
    plain = weights(training.train(net(), blobs(), chosen, 0).graph)
    scaled = weights(training.train(net(), blobs(), chosen.model_copy(update={"precision": "float16"}), 0).graph)
    moved = torch.cat([(plain[name] - value).flatten() for name, value in weights(net()).items()])
    assert float(moved.norm()) == pytest.approx(0.1, rel=1e-3)
    for name, value in plain.items():
        torch.testing.assert_close(scaled[name], value, atol=1e-3, rtol=0)


def test_auto_is_the_cpu_where_there_is_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    auto, cpu = (training.train(net(), blobs(), config(), 0, device=device).graph for device in ("auto", "cpu"))
    assert same(auto, cpu)


def test_a_graph_moves_with_everything_it_holds() -> None:
    """To torch's device without data, where a tensor left behind would be an error; and back."""

    class Placed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(4, 4)
            self.register_buffer("shift", torch.ones(4))
            self.register_buffer("hidden", torch.ones(4), persistent=False)

        def forward(self, x: Tensor) -> Tensor:
            steps = torch.arange(4, dtype=torch.float32) + torch.zeros(x.shape[0], 4)
            return self.layer(x + self.shift) * self.hidden + steps + torch.tensor([1.0, 2.0, 3.0, 4.0])

    graph = ek.capture(Placed(), torch.zeros(2, 4))
    moved = placement.move(graph.copy(), torch.device("meta"))
    assert moved(torch.zeros(3, 4, device="meta")).device.type == "meta"
    again = placement.move(graph.copy(), torch.device("cpu"))
    assert torch.equal(again(torch.ones(3, 4)), graph(torch.ones(3, 4)))


@pytest.mark.gpu
def test_a_gpu_trains_and_gives_the_graph_back() -> None:
    for chosen in (config(), config(precision="float16", clip_norm=1.0)):
        result = training.train(net(), blobs(), chosen, 0, device="cuda")
        assert {value.device.type for value in weights(result.graph).values()} == {"cpu"}
        assert training.accuracy(training.predict(result.graph), blobs(seed=9)) > 0.9


def test_tokens_images_and_numbers_together_and_two_targets() -> None:
    class Mixed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.words = nn.Embedding(20, 6)
            self.table, self.picture = nn.Linear(3, 6), nn.Linear(16, 6)
            self.kind, self.value = nn.Linear(6, 3), nn.Linear(6, 1)

        def forward(self, words: Tensor, picture: Tensor, table: Tensor) -> tuple[Tensor, Tensor]:
            seen = self.words(words).mean(1) + self.picture(picture.flatten(1).float() / 255) + self.table(table)
            return self.kind(torch.relu(seen)), self.value(torch.relu(seen))

    rng = np.random.default_rng(0)
    words = rng.integers(0, 20, (64, 5))
    picture = rng.integers(0, 256, (64, 1, 4, 4), np.uint8)
    table = rng.standard_normal((64, 3)).astype(np.float32)
    value = (table.sum(1, keepdims=True) + picture.mean((1, 2, 3))[:, None] / 255).astype(np.float32)
    split = Split((words, picture, table), (words[:, 0] % 3, value))

    def loss(outputs: tuple[Tensor, ...], targets: tuple[Tensor, ...], inputs: tuple[Tensor, ...]) -> Tensor:
        assert [tensor.dtype for tensor in inputs] == [torch.int64, torch.uint8, torch.float32]
        assert [tensor.dtype for tensor in targets] == [torch.int64, torch.float32]
        return functional.cross_entropy(outputs[0], targets[0]) + functional.mse_loss(outputs[1], targets[1])

    torch.manual_seed(0)
    graph = ek.capture(Mixed(), tuple(torch.from_numpy(array[:2]) for array in split.inputs))
    before = {name: value.clone() for name, value in weights(graph).items()}
    chosen = config(epochs=30, optimizer="adam", learning_rate=0.03)
    result = training.train(graph, split, chosen, 0, objective=Objective(loss, {}, "custom"), validation=split)
    assert result.report.losses[-1] < 0.3 * result.report.losses[0]
    assert all(not torch.equal(value, before[name]) for name, value in weights(result.graph).items())


def test_a_frozen_parameter_and_a_tied_one() -> None:
    torch.manual_seed(0)
    model = Written(
        lambda m, x: functional.linear(m["b"](torch.relu(m["a"](x))), m["b"].weight) @ m["out"].weight.T,
        a=nn.Linear(4, 6), b=nn.Linear(6, 6), out=nn.Linear(6, 3),
    )  # fmt: skip
    model.layers["a"].weight.requires_grad_(False)
    graph = ek.capture(model, torch.zeros(2, 4))
    before = weights(graph)
    after = weights(training.train(graph, blobs(), config(weight_decay=0.1), 0).graph)
    changed = {name for name, value in after.items() if not torch.equal(value, before[name])}
    assert "layers.a.weight" not in changed
    assert {"layers.a.bias", "layers.b.weight", "layers.out.weight"} <= changed


def test_training_in_training_mode_and_judging_in_inference() -> None:
    """The view that trains and the graph that is validated share tensors, but not modes."""
    model = Written(lambda m, x: m["out"](m["drop"](m["norm"](x))),
                    norm=nn.BatchNorm1d(4), drop=nn.Dropout(0.5), out=nn.Linear(4, 3))  # fmt: skip
    seen: list[Training] = []
    real = loop._validate

    def validate(run: Training) -> None:
        seen.append(run)
        real(run)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "_validate", validate)
        graph = ek.capture(model, torch.zeros(2, 4))
        result = training.train(graph, blobs(), config(), 0, validation=blobs(30, 4))
    run = seen[0]
    assert run.view.module.training
    assert not run.state.graph.module.training
    x = torch.from_numpy(blobs().inputs[0])
    assert not torch.equal(run.view(x), run.view(x))
    assert torch.equal(result.graph(x), result.graph(x))
    mean = dict(result.graph.module.named_buffers())["layers.norm.running_mean"]
    torch.testing.assert_close(mean, x.mean(0), atol=0.3, rtol=0)


def test_a_report_holds_neither_times_nor_paths() -> None:
    a, b = (training.train(net(), blobs(), config(), 0, validation=blobs(12)).report for _ in range(2))
    assert a.to_json() == b.to_json()
    assert set(a.to_json()) == set(TrainReport.__dataclass_fields__)
    assert math.isfinite(sum(a.losses))
