"""Arrays in a file: several inputs and targets, the file's own test items, and the types that a graph can read."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from edgekit import data
from edgekit.data.npz import npz, npz_items
from edgekit.errors import DataError
from edgekit.options import DataConfig, TaskConfig

RNG = np.random.default_rng(0)
X, Y = RNG.random((60, 4), np.float32), np.arange(60) % 3


def save(folder: Path, **arrays: np.ndarray) -> Path:
    np.savez(folder / "a.npz", **arrays)
    return folder / "a.npz"


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (np.float16, np.float32),
        (np.float64, np.float32),
        (np.uint8, np.uint8),
        (np.int8, np.int64),
        (np.uint16, np.int64),
        (np.int64, np.int64),
    ],
)
def test_inputs_keep_one_of_three_types(tmp_path: Path, given: type, kept: type) -> None:
    x = (X * 100).astype(given)
    found = npz(save(tmp_path, x=x, y=Y)).items.inputs[0]
    assert found.dtype == kept
    np.testing.assert_array_equal(found, x)


def test_numbered_inputs_and_targets_come_in_order(tmp_path: Path) -> None:
    many = {f"x{i}": np.full((5, 2), i, np.float32) for i in range(11)}
    items = npz(save(tmp_path, **many, y1=np.arange(5), y0=np.ones((5, 3), bool))).items
    assert [int(array[0, 0]) for array in items.inputs] == list(range(11))
    assert [array.shape for array in items.targets] == [(5, 3), (5,)]
    assert [len(item) for item in npz_items(tmp_path / "a.npz")] == [11] * 5


def test_calibration_needs_no_targets(tmp_path: Path) -> None:
    items = npz_items(save(tmp_path, x0=X, x1=Y[:, None].astype(np.uint8)))
    assert [array.shape for array in items[7]] == [(1, 4), (1, 1)]
    np.testing.assert_array_equal(items[7][0][0], X[7])


def test_its_own_test_items_stay_the_test_set(tmp_path: Path) -> None:
    save(tmp_path, x=X, y=Y, x_test=X[:10] + 2, y_test=Y[:10])
    loaded = data.load(DataConfig(source="a.npz"), 0, 32, tmp_path)
    np.testing.assert_array_equal(loaded.test.inputs[0], X[:10] + 2)
    np.testing.assert_array_equal(loaded.train.inputs[0], X)


def test_a_regression_has_rows_of_values(tmp_path: Path) -> None:
    for y in (X[:, 0].astype(np.float64), Y, X[:, :2]):
        save(tmp_path, x=X, y=y)
        loaded = data.load(DataConfig(source="a.npz"), 0, 32, tmp_path, task=TaskConfig(kind="regression"))
        assert (loaded.classes, loaded.train.targets[0].dtype, loaded.train.targets[0].ndim) == (0, np.float32, 2)


def test_every_element_may_have_a_class_or_none(tmp_path: Path) -> None:
    maps = RNG.integers(-1, 4, (60, 6, 6))
    save(tmp_path, x=RNG.random((60, 1, 6, 6), np.float32), y=maps)
    loaded = data.load(DataConfig(source="a.npz"), 0, 32, tmp_path, task=TaskConfig(kind="segmentation"))
    assert (loaded.classes, loaded.train.targets[0].shape[1:]) == (4, (6, 6))


def test_detection_has_classes_and_boxes(tmp_path: Path) -> None:
    save(tmp_path, x=X, y0=RNG.integers(0, 3, (60, 5)), y1=RNG.random((60, 5, 4), np.float32))
    loaded = data.load(DataConfig(source="a.npz"), 0, 32, tmp_path, task=TaskConfig(kind="detection"))
    assert (loaded.classes, [target.shape[1:] for target in loaded.test.targets]) == (3, [(5,), (5, 4)])


@pytest.mark.parametrize(
    ("arrays", "kind", "expected"),
    [
        ({"x0": X, "x1": X[:-1], "y": Y}, "classification", r"inputs have .*60.*59.* items"),
        ({"x1": X, "y": Y}, "classification", "no array 'x'"),
        ({"x": X, "y": Y, "x_test": X}, "classification", "no array 'y_test'"),
        ({"x": X, "y": Y, "y_test": Y}, "classification", "no array 'x_test'"),
        ({"x": X, "y": Y, "x_test": X[:, :3], "y_test": Y}, "classification", "another type or shape"),
        ({"x": X, "y": Y, "x_test": X.astype(np.uint8), "y_test": Y}, "classification", "another type or shape"),
        ({"x": X, "y0": Y, "y1": Y}, "classification", "has 2 targets"),
        ({"x": X, "y": Y[:, None]}, "reconstruction", r"int64 of shape \[60, 1\]"),
        ({"x": X, "y": Y}, "segmentation", r"int64 of shape \[60\]"),
        ({"x": X, "y": X}, "sequence_labelling", r"float32 of shape \[60, 4\]"),
        ({"x": X, "y": np.where(Y > 1, np.nan, 1.0)}, "regression", "y: item 2 holds NaN"),
        ({"x": X, "y": np.array(["a"] * 60)}, "classification", "y is <U1"),
        ({"x": X > 0.5, "y": Y}, "classification", "x is bool"),
        ({"x": np.full((60, 2), 2**64 - 1), "y": Y}, "classification", "too large for int64"),
        ({"x": Y, "y": Y}, "classification", r"x has shape \[60\]"),
    ],
)
def test_what_does_not_fit_is_named(tmp_path: Path, arrays: dict[str, np.ndarray], kind: str, expected: str) -> None:
    save(tmp_path, **arrays)
    with pytest.raises(DataError, match=expected):
        data.load(DataConfig(source="a.npz"), 0, 32, tmp_path, task=TaskConfig.model_validate({"kind": kind}))


def test_a_pipe_does_not_wait(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.npz")
    with pytest.raises(DataError, match="is not a file"):
        npz(tmp_path / "a.npz")
