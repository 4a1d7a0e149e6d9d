"""Metrics against scikit-learn's, whatever the size of a batch, and what is said of those that have no value."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from edgekit.data import Split
from edgekit.train.metrics import BATCH, TABLE, Measured, Metric, accuracy, measure

TOLERANCE = 2e-6  # torchmetrics divides its counts in float32


def table(kind: str) -> dict[str, Metric]:
    return {row.name: row for row in TABLE if kind in row.kinds}


def echo(*outputs: np.ndarray) -> Any:
    """A model that gives these outputs for items 0, 1, 2, ... in whatever batches they come."""
    return lambda places: tuple(array[places.astype(int)] for array in outputs)


def measured(kind: str, outputs: tuple[np.ndarray, ...], targets: tuple[np.ndarray, ...], batch: int = 7) -> Measured:
    places = np.arange(len(targets[0]))
    return measure(echo(*outputs), Split((places,), targets), table(kind), kind, batch)


def classified(count: int = 200, classes: int = 4, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    wanted = rng.integers(0, classes, count)
    scores = rng.standard_normal((count, classes)) + 1.5 * np.eye(classes)[wanted]
    return scores.astype(np.float32), wanted


def softmax(scores: np.ndarray) -> np.ndarray:
    return torch.softmax(torch.from_numpy(scores).double(), 1).numpy()


def expected(found: np.ndarray, wanted: np.ndarray) -> dict[str, float]:
    options = {"average": "macro", "zero_division": 0}
    return {
        "accuracy": sk.accuracy_score(wanted, found),
        "precision": sk.precision_score(wanted, found, **options),
        "recall": sk.recall_score(wanted, found, **options),
        "f1": sk.f1_score(wanted, found, **options),
    }


def test_classification_as_in_scikit_learn() -> None:
    scores, wanted = classified()
    want = expected(scores.argmax(1), wanted)
    want["auc"] = sk.roc_auc_score(wanted, softmax(scores), multi_class="ovr")
    assert measured("classification", (scores,), (wanted,)).values == pytest.approx(want, abs=TOLERANCE)


@pytest.mark.parametrize("shape", [(-1,), (-1, 1)])
def test_one_score_for_two_classes(shape: tuple[int, ...]) -> None:
    scores, wanted = classified(classes=2)
    single = (scores[:, 1] - scores[:, 0]).reshape(shape) * 100  # beyond where a sigmoid still tells values apart
    want = expected(single.reshape(-1) > 0, wanted)
    want["auc"] = sk.roc_auc_score(wanted, single.reshape(-1))
    assert measured("classification", (single,), (wanted,)).values == pytest.approx(want, abs=TOLERANCE)


def test_ties_count_half_in_the_area() -> None:
    scores, wanted = classified(classes=2)
    coarse = np.round(scores[:, 1:])  # as INT8 gives them
    got = measured("classification", (coarse,), (wanted,)).values["auc"]
    assert got == pytest.approx(sk.roc_auc_score(wanted, coarse[:, 0]), abs=TOLERANCE)


@pytest.mark.parametrize("columns", [None, 1, 3])
def test_regression_as_in_scikit_learn(columns: int | None) -> None:
    rng = np.random.default_rng(1)
    shape = (150,) if columns is None else (150, columns)
    wanted = (1e3 + rng.standard_normal(shape)).astype(np.float32)  # a mean that a naive variance would drown in
    found = (wanted + 0.3 * rng.standard_normal(shape)).astype(np.float32)
    ours = measured("regression", (found.reshape(150, -1),), (wanted,)).values
    exact, other = wanted.astype(float), found.astype(float)
    assert ours == pytest.approx(
        {
            "mse": sk.mean_squared_error(exact, other),
            "mae": sk.mean_absolute_error(exact, other),
            "rmse": math.sqrt(sk.mean_squared_error(exact, other)),
            "r2": sk.r2_score(exact, other),
        },
        rel=1e-9,
    )


def test_r2_of_small_targets_is_not_taken_for_perfect() -> None:
    rng = np.random.default_rng(2)
    wanted = (1e-4 * rng.standard_normal(50)).astype(np.float32)
    found = (wanted + 1e-4 * rng.standard_normal(50)).astype(np.float32)
    ours = measured("regression", (found,), (wanted,)).values["r2"]
    assert ours == pytest.approx(sk.r2_score(wanted.astype(float), found.astype(float)), rel=1e-9)
    assert ours is not None
    assert ours < 0.5


def test_segmentation_leaves_out_pixels_without_a_label() -> None:
    rng = np.random.default_rng(3)
    wanted = rng.integers(-1, 3, (20, 5, 6))
    scores = rng.standard_normal((20, 4, 5, 6)).astype(np.float32)  # class 3 occurs in no target
    kept = wanted >= 0
    found = scores.argmax(1)[kept]
    want = expected(found, wanted[kept]) | {"iou": sk.jaccard_score(wanted[kept], found, average="macro")}
    assert measured("segmentation", (scores,), (wanted,)).values == pytest.approx(want, abs=TOLERANCE)


def test_a_class_that_occurs_nowhere_does_not_count() -> None:
    scores, wanted = classified(classes=3)
    wider = np.concatenate([scores, np.full((200, 2), -99, np.float32)], 1)
    narrow, wide = (measured("classification", (s,), (wanted,)).values for s in (scores, wider))
    assert wide == pytest.approx(narrow, abs=1e-12)


def test_sequences_are_judged_by_the_token() -> None:
    rng = np.random.default_rng(4)
    wanted = rng.integers(-1, 5, (30, 9))
    scores = rng.standard_normal((30, 9, 5)).astype(np.float32)
    kept = wanted >= 0
    want = expected(scores.argmax(2)[kept], wanted[kept])
    assert measured("sequence_labelling", (scores,), (wanted,)).values == pytest.approx(want, abs=TOLERANCE)


def pixels(box: np.ndarray) -> np.ndarray:
    grid = np.zeros((12, 12), bool)
    grid[box[1] : box[3], box[0] : box[2]] = True
    return grid


def test_boxes_overlap_as_counted_pixel_by_pixel() -> None:
    rng = np.random.default_rng(5)
    corners = np.sort(rng.integers(0, 12, (2, 40, 3, 2, 2)), axis=-1)  # [found or wanted, N, A, x or y, low or high]
    found, wanted = corners.transpose(0, 1, 2, 4, 3).reshape(2, 40, 3, 4).astype(np.float32)
    labels = rng.integers(-1, 3, (40, 3))
    overlaps = []
    for own, other in zip(found[labels > 0].astype(int), wanted[labels > 0].astype(int), strict=True):
        union = (pixels(own) | pixels(other)).sum()
        overlaps.append((pixels(own) & pixels(other)).sum() / union if union else 0.0)
    scores = rng.standard_normal((40, 3, 3)).astype(np.float32)
    ours = measured("detection", (scores, found), (labels, wanted)).values
    assert ours["iou"] == pytest.approx(np.mean(overlaps), abs=1e-12)
    kept = labels >= 0
    assert ours["f1"] == pytest.approx(expected(scores.argmax(2)[kept], labels[kept])["f1"], abs=TOLERANCE)


@pytest.mark.parametrize("outputs", [1, 2])
def test_reconstruction_tells_anomalies_by_their_error(outputs: int) -> None:
    rng = np.random.default_rng(6)
    labels = np.arange(60) % 3 // 2
    original = rng.standard_normal((60, 2, 5)).astype(np.float32)
    made = (original + rng.standard_normal((60, 2, 5)) * (1 + labels[:, None, None])).astype(np.float32)
    errors = ((made.astype(float) - original) ** 2).mean((1, 2))
    split = Split((original if outputs == 1 else np.zeros((60, 3), np.float32),), (labels,))
    done = iter(range(0, 60, 7))

    def run(items: np.ndarray) -> tuple[np.ndarray, ...]:
        start = next(done)
        return (made, original)[0][start : start + 7], *((original[start : start + 7],) if outputs == 2 else ())

    ours = measure(run, split, table("reconstruction"), "reconstruction", 7).values
    assert ours["error"] == pytest.approx(errors[labels == 0].mean(), rel=1e-12)
    assert ours["auc"] == pytest.approx(sk.roc_auc_score(labels, errors), abs=TOLERANCE)


@settings(deadline=None, max_examples=25)
@given(st.integers(1, 230), st.sampled_from(["classification", "regression"]))
def test_a_metric_is_the_same_for_every_batch_size(batch: int, kind: str) -> None:
    scores, wanted = classified()
    targets = wanted if kind == "classification" else scores[::-1].copy()
    ours = measured(kind, (scores,), (targets,), batch).values
    assert ours == pytest.approx(measured(kind, (scores,), (targets,), 200).values, rel=1e-12)


def test_accuracy_by_either_way_is_the_same() -> None:
    scores, wanted = classified(count=BATCH + 44)
    split = Split((np.arange(len(wanted)),), (wanted,))
    assert accuracy(echo(scores), split) == measured("classification", (scores,), (wanted,)).values["accuracy"]


NOTHING: dict[str, tuple[str, tuple[Any, ...], tuple[Any, ...], dict[str, str]]] = {
    "one class": (
        "classification",
        (np.ones((5, 2), np.float32),),
        (np.ones(5, int),),
        {"auc": "every item of the set is of class 1"},
    ),
    "scores that are not finite": (
        "classification",
        (np.full((4, 2), np.nan, np.float32),),
        (np.arange(4) % 2,),
        {"auc": "the outputs are not finite"},
    ),
    "values that are not finite": (
        "regression",
        (np.full(4, np.inf, np.float32),),
        (np.arange(4, dtype=np.float32),),
        dict.fromkeys(("mse", "mae", "rmse", "r2"), "the outputs are not finite"),
    ),
    "equal targets": (
        "regression",
        (np.arange(4, dtype=np.float32),),
        (np.ones(4, np.float32),),
        {"r2": "the targets of a column are all equal"},
    ),
    "no label": (
        "sequence_labelling",
        (np.ones((3, 2, 2), np.float32),),
        (np.full((3, 2), -1),),
        dict.fromkeys(("accuracy", "precision", "recall", "f1"), "no item of the set has a label"),
    ),
    "no object": (
        "detection",
        (np.ones((3, 2, 2), np.float32), np.ones((3, 2, 4), np.float32)),
        (np.zeros((3, 2), int), np.ones((3, 2, 4), np.float32)),
        {"iou": "no anchor of the set holds an object"},
    ),
}


@pytest.mark.parametrize("case", NOTHING)
def test_what_cannot_be_computed_is_none_with_a_reason(case: str) -> None:
    kind, outputs, targets, reasons = NOTHING[case]
    found = measured(kind, outputs, targets)
    assert found.reasons == reasons
    assert {name for name, value in found.values.items() if value is None} == set(reasons)
    assert all(value is None or math.isfinite(value) for value in found.values.values())


def test_anomalies_alone_have_no_error_and_no_area() -> None:
    found = measure(lambda x: (x,), Split((np.ones((4, 2), np.float32),), (np.ones(4, int),)), table("reconstruction"),
                    "reconstruction")  # fmt: skip
    assert found.values == {"auc": None, "error": None}


def test_the_table_names_a_metric_once_for_a_kind() -> None:
    pairs = [(row.name, kind) for row in TABLE for kind in row.kinds]
    assert len(pairs) == len(set(pairs))
