"""Losses against their definitions, what a recipe may name, and the user's own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import log_loss
from torch import Tensor

from edgekit.data import Split
from edgekit.errors import DataError, RecipeError
from edgekit.options import TaskConfig
from edgekit.train.losses import LOSSES
from edgekit.train.metrics import TABLE
from edgekit.train.objectives import DEFAULTS, objective
from edgekit.train.shapes import check_outputs

OWN = """\
import torch


def mape(output, target, floor=1.0):
    return ((output[:, 0] - target).abs() / target.abs().clamp(min=floor)).mean()


mape.better = "lower"


def undecided(output, target):
    return 1.0


def words(output, target):
    return "good"


words.better = "higher"


def broken(output, target):
    return output.nothing


class Weighted(torch.nn.Module):
    def __init__(self, weight):
        super().__init__()
        self.weight = weight

    def forward(self, output, target):
        scores, boxes = output
        classes, places = target
        return self.weight * scores.sum() + boxes.sum() + classes.sum() + places.sum()
"""


def loss(kind: str, name: str, outputs: Any, targets: Any, inputs: Any = ()) -> Tensor:
    return LOSSES[kind][name](outputs, targets, inputs)


def task(**values: Any) -> TaskConfig:
    return TaskConfig.model_validate(values)


def own(name: str, **args: Any) -> dict[str, Any]:
    return {"file": "own.py", "object": name, "args": args}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "own.py").write_text(OWN)
    return tmp_path


# Losses


def test_cross_entropies_are_the_log_loss() -> None:
    scores, labels = torch.randn(20, 3), torch.arange(20) % 3
    want = log_loss(labels.numpy(), scores.softmax(1).numpy())
    assert loss("classification", "cross_entropy", (scores,), (labels,)).item() == pytest.approx(want, rel=1e-5)
    single, binary = torch.randn(20, 1), torch.arange(20) % 2
    want = log_loss(binary.numpy(), single.sigmoid().numpy())
    assert loss("classification", "binary_cross_entropy", (single,), (binary,)).item() == pytest.approx(want, rel=1e-5)


def test_focal_loss_counts_what_is_right_less() -> None:
    shares = torch.tensor([[0.9, 0.1], [0.4, 0.6]])
    want = -(0.1**2 * np.log(0.9) + 0.6**2 * np.log(0.4)) / 2
    got = loss("classification", "focal", (shares.log(),), (torch.tensor([0, 0]),))
    assert got.item() == pytest.approx(want, rel=1e-5)


def test_smoothed_labels_are_mixed_with_all_classes() -> None:
    scores, labels = torch.randn(8, 4), torch.arange(8) % 4
    soft = 0.9 * torch.nn.functional.one_hot(labels, 4) + 0.1 / 4
    want = -(soft * scores.log_softmax(1)).sum(1).mean()
    assert loss("classification", "label_smoothing", (scores,), (labels,)).item() == pytest.approx(
        want.item(), rel=1e-5
    )


@pytest.mark.parametrize("name", LOSSES["regression"])
def test_a_column_and_a_row_of_values_are_the_same_values(name: str) -> None:
    found, wanted = torch.randn(9, 1), torch.randn(9)
    got = loss("regression", name, (found,), (wanted,))  # broadcasting would compare each with each
    want = {"mse": "mse_loss", "mae": "l1_loss", "huber": "huber_loss"}[name]
    assert torch.equal(got, getattr(torch.nn.functional, want)(found[:, 0], wanted))


def test_pixels_and_tokens_without_a_label_have_no_part() -> None:
    scores, labels = torch.randn(2, 3, 4, 4), torch.randint(0, 3, (2, 4, 4))
    labels[0, :2] = -1
    want = torch.nn.functional.cross_entropy(scores, labels, ignore_index=-1)
    assert torch.allclose(loss("segmentation", "cross_entropy", (scores,), (labels,)), want)
    tokens = (scores.flatten(2).movedim(1, 2),)
    assert torch.allclose(loss("sequence_labelling", "cross_entropy", tokens, (labels.flatten(1),)), want)
    other = scores.clone()
    other[0, :, :2] += 100
    for name in LOSSES["segmentation"]:
        assert torch.allclose(*(loss("segmentation", name, (s,), (labels,)) for s in (scores, other)))


def test_dice_is_one_minus_the_overlap() -> None:
    labels = torch.tensor([[[0, 0], [1, 1]]])
    sure = 100.0 * torch.nn.functional.one_hot(labels, 3).movedim(-1, 1)
    assert loss("segmentation", "dice", (sure,), (labels,)).item() == pytest.approx(0, abs=1e-6)
    assert loss("segmentation", "dice", (sure,), (1 - labels,)).item() == pytest.approx(1, abs=1e-6)
    half = torch.tensor([[[0, 1], [1, 1]]])  # class 0: 2 * 1 / (2 + 1), class 1: 2 * 2 / (2 + 3)
    want = 1 - (2 / 3 + 4 / 5) / 2
    assert loss("segmentation", "dice", (sure,), (half,)).item() == pytest.approx(want, abs=1e-6)


def test_boxes_count_where_there_is_an_object() -> None:
    scores, boxes, wanted = torch.randn(2, 5, 3), torch.randn(2, 5, 4), torch.randn(2, 5, 4)
    labels = torch.tensor([[0, 1, 2, -1, 0], [0, 0, -1, -1, 2]])
    kept, held = labels >= 0, labels > 0
    want = torch.nn.functional.cross_entropy(scores[kept], labels[kept])
    want = want + torch.nn.functional.smooth_l1_loss(boxes[held], wanted[held], reduction="sum") / 3
    assert torch.allclose(loss("detection", "multibox", (scores, boxes), (labels, wanted)), want)


@pytest.mark.parametrize("kind", ["segmentation", "detection", "sequence_labelling"])
def test_a_batch_without_any_label_is_no_nan(kind: str) -> None:
    outputs = {
        "segmentation": (torch.randn(2, 3, 4, 4),),
        "detection": (torch.randn(2, 4, 3), torch.randn(2, 4, 4)),
        "sequence_labelling": (torch.randn(2, 4, 3),),
    }[kind]
    shape = (2, 4, 4) if kind == "segmentation" else (2, 4)
    for name in LOSSES[kind]:
        value = loss(kind, name, outputs, (torch.full(shape, -1), torch.randn(2, 4, 4)))
        assert value.item() == 0


def test_a_reconstruction_is_of_the_second_output_or_of_the_input() -> None:
    made, features, raw = torch.randn(3, 4), torch.randn(3, 4), torch.randn(3, 2, 2)
    want = ((made - features) ** 2).mean()
    assert torch.allclose(loss("reconstruction", "mse", (made, features), (), (torch.randn(9),)), want)
    assert torch.allclose(loss("reconstruction", "mae", (made,), (), (raw,)), (made - raw.reshape(3, 4)).abs().mean())


# What a recipe may name


@pytest.mark.parametrize("kind", DEFAULTS)
def test_every_kind_has_a_loss_and_metrics_of_its_own(kind: str) -> None:
    found = objective(task(kind=kind), None, 3)
    assert tuple(found.metrics) == DEFAULTS[kind]
    assert found.to_json()["primary"] == DEFAULTS[kind][0] == found.primary.name
    assert found.loss is next(iter(LOSSES[kind].values()))


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.name)
def test_every_metric_can_be_asked_for(row: Any) -> None:
    for kind in row.kinds:
        assert list(objective(task(kind=kind, metrics=[row.name]), None, 2).metrics) == [row.name]


WRONG = {
    "a loss misspelt": ({"loss": "cross_entrop"}, "Did you mean 'cross_entropy'"),
    "a loss of another kind": ({"kind": "regression", "loss": "dice"}, "mse, mae, huber"),
    "a metric misspelt": ({"metrics": ["acuracy"]}, "Did you mean 'accuracy'"),
    "a metric of another kind": ({"kind": "regression", "metrics": ["f1"]}, "mse, mae, rmse, r2"),
    "one score for three classes": ({"loss": "binary_cross_entropy"}, "the data has 3"),
    "a custom task without a loss": ({"kind": "custom"}, "task.loss"),
    "a custom task with a loss by name": ({"kind": "custom", "loss": "mse"}, "none of its own"),
    "a custom task without metrics": ({"kind": "custom", "loss": own("mape")}, "task.metrics"),
    "no such file": ({"loss": {"file": "absent.py", "object": "f"}}, "absent.py"),
    "no such object": ({"loss": own("mapee")}, "Did you mean 'mape'"),
    "a metric that does not say what is good": ({"metrics": [own("undecided")]}, 'undecided.better = "lower"'),
    "a class without its argument": ({"loss": own("Weighted")}, "weight"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_cannot_be_used_is_refused_with_what_can(case: str, folder: Path) -> None:
    values, words = WRONG[case]
    with pytest.raises(RecipeError) as caught:
        objective(task(**values), folder, 3)
    assert words in str(caught.value)


def test_a_loss_and_a_metric_of_the_users_own(folder: Path) -> None:
    found = objective(task(kind="regression", loss=own("mape", floor=2.0), metrics=[own("mape"), "mae"]), folder, 0)
    output, target = torch.tensor([[3.0], [1.0]]), torch.tensor([4.0, 1.0])
    assert found.loss((output,), (target,), ()).item() == pytest.approx(0.125)
    assert found.to_json() == {
        "kind": "regression",
        "primary": "mape",
        "metrics": {
            "mape": {"better": "lower", "unit": "value", "spoken": "mape"},
            "mae": {"better": "lower", "unit": "value", "spoken": "mean absolute error"},
        },
    }
    split = Split((output.numpy(),), (target.numpy(),))
    assert found.measure(lambda x: (x,), split).values == pytest.approx({"mape": 0.125, "mae": 0.5})


def test_a_metric_of_the_users_own_sees_the_whole_set_at_once(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text("def size(output, target):\n    return len(target)\n\n\nsize.better = 'higher'\n")
    found = objective(task(metrics=[own("size")]), tmp_path, 2)
    split = Split((np.zeros((600, 2), np.float32),), (np.zeros(600, int),))
    assert found.measure(lambda x: (x,), split).values == {"size": 600}


def test_a_class_of_the_users_own_gets_tuples_where_there_are_several(folder: Path) -> None:
    found = objective(task(kind="custom", loss=own("Weighted", weight=2), metrics=[own("mape")]), folder, 0)
    one = torch.ones(1)
    assert found.loss((one, one), (one, one), ()).item() == 5


@pytest.mark.parametrize(("name", "words"), [("broken", "line "), ("words", "not a number")])
def test_code_of_the_user_that_fails_is_a_sentence(name: str, words: str, folder: Path) -> None:

    with open(folder / "own.py", "a") as file:
        file.write("broken.better = 'lower'\n")
    found = objective(task(metrics=[own(name)]), folder, 2)
    with pytest.raises(RecipeError, match=words):
        found.measure(lambda x: (x,), Split((np.zeros((3, 2), np.float32),), (np.zeros(3, int),)))


# Shapes

N = 2
GOOD: dict[str, tuple[str, Any, list[Any], list[Any], list[Any], int]] = {
    "classes": ("classification", None, [(N, 3)], [(N,)], [(N, 8)], 3),
    "more scores than classes": ("classification", None, [(N, 10)], [(N,)], [(N, 8)], 3),
    "one score": ("classification", "binary_cross_entropy", [(N, 1)], [(N,)], [(N, 8)], 2),
    "a flat score": ("classification", "binary_cross_entropy", [(N,)], [(N,)], [(N, 8)], 2),
    "a value": ("regression", None, [(N, 1)], [(N,)], [(N, 8)], 0),
    "a flat value": ("regression", None, [(N,)], [(N, 1)], [(N, 8)], 0),
    "several values": ("regression", None, [(N, 4)], [(N, 4)], [(N, 8)], 0),
    "pixels": ("segmentation", None, [(N, 3, 4, 5)], [(N, 4, 5)], [(N, 1, 4, 5)], 3),
    "anchors": ("detection", None, [(N, 6, 3), (N, 6, 4)], [(N, 6), (N, 6, 4)], [(N, 8)], 3),
    "tokens": ("sequence_labelling", None, [(N, 7, 3)], [(N, 7)], [(N, 7)], 3),
    "an input again": ("reconstruction", None, [(N, 8)], [(N,)], [(N, 8)], 0),
    "features again": ("reconstruction", None, [(N, 5), (N, 5)], [(N,)], [(N, 8)], 0),
    "anything": ("custom", "x", [(N, 9)], [(N,), (N, 2)], [(N, 8)], 0),
}
BAD: dict[str, tuple[str, Any, list[Any], list[Any], list[Any], int, str]] = {
    "too few scores": ("classification", None, [(N, 2)], [(N,)], [(N, 8)], 3, r"\[N, 2\].*3 classes.*scores \[N, 3\]"),
    "one score": ("classification", None, [(N, 1)], [(N,)], [(N, 8)], 2, "binary_cross_entropy"),
    "two scores": ("classification", "binary_cross_entropy", [(N, 2)], [(N,)], [(N, 8)], 2, r"\[N, 1\] or \[N\]"),
    "other values": ("regression", None, [(N, 3)], [(N,)], [(N, 8)], 0, r"values \[N\]"),
    "smaller pixels": ("segmentation", None, [(N, 3, 2, 2)], [(N, 4, 5)], [(N, 1, 4, 5)], 3, r"target \[N, 4, 5\]"),
    "no boxes": ("detection", None, [(N, 6, 3)], [(N, 6), (N, 6, 4)], [(N, 8)], 3, r"boxes \[N, A, 4\]"),
    "other anchors": ("detection", None, [(N, 5, 3), (N, 5, 4)], [(N, 6), (N, 6, 4)], [(N, 8)], 3, r"\[N, 6\] and"),
    "one target": ("detection", None, [(N, 6, 3), (N, 6, 4)], [(N, 6)], [(N, 8)], 3, "has 2 targets"),
    "other tokens": ("sequence_labelling", None, [(N, 6, 3)], [(N, 7)], [(N, 7)], 3, r"target \[N, 7\]"),
    "another input": ("reconstruction", None, [(N, 7)], [(N,)], [(N, 8)], 0, r"Give \[N, 8\]"),
}


def arrays(shapes: list[Any]) -> tuple[np.ndarray, ...]:
    return tuple(np.zeros(shape, np.float32) for shape in shapes)


@pytest.mark.parametrize("case", GOOD)
def test_outputs_that_fit_are_taken(case: str) -> None:
    kind, name, *shapes, classes = GOOD[case]
    check_outputs(kind, name, *map(arrays, shapes), classes)  # type: ignore[arg-type]


@pytest.mark.parametrize("case", BAD)
def test_outputs_that_do_not_fit_are_refused_with_what_would(case: str) -> None:
    kind, name, *shapes, classes, words = BAD[case]
    with pytest.raises(DataError, match=words):
        check_outputs(kind, name, *map(arrays, shapes), classes)  # type: ignore[arg-type]
