"""Clean data sets on disk, and defects to plant in them: each a small change to the files of one set."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

Arrays = dict[str, np.ndarray]
Clean = Callable[[Path], str]
Spoil = Callable[[Path], None]

RECIPE = """\
name: planted
{sections}
model: {{name: mlp}}
train: {{epochs: 1, learning_rate: 0.1}}
"""
NPZ = "data: {source: a.npz}"
REGRESSION = f"{NPZ}\ntask: {{kind: regression}}"
RECONSTRUCTION = f"{NPZ}\ntask: {{kind: reconstruction}}"


class Case(NamedTuple):
    """A defect.

    Attributes:
        name: what is wrong.
        clean: writes a sound data set into a folder and returns the sections of a recipe that reads it.
        spoil: plants the defect.
        check: the finding that must warn, or none where the data must be refused.
        says: what its message, or that of the error, must hold (a regular expression).
        also: other findings that the defect makes warn, rightly.
    """

    name: str
    clean: Clean
    spoil: Spoil
    check: str | None
    says: str
    also: tuple[str, ...] = ()


def write(folder: Path, sections: str) -> Path:
    """The recipe of a data set."""
    path = folder / "recipe.yaml"
    path.write_text(RECIPE.format(sections=sections))
    return path


def npz(make: Callable[[np.random.Generator], Arrays], sections: str = NPZ) -> Clean:
    """A data set of arrays."""

    def clean(folder: Path) -> str:
        np.savez(folder / "a.npz", **make(np.random.default_rng(0)))
        return sections

    return clean


def change(**changes: Callable[[np.ndarray], np.ndarray | None]) -> Spoil:
    """Change arrays of the file: each function changes its array in place, or returns another one."""

    def spoil(folder: Path) -> None:
        with np.load(folder / "a.npz") as file:
            arrays = dict(file)
        for name, function in changes.items():
            changed = function(arrays[name])
            arrays[name] = arrays[name] if changed is None else changed
        np.savez(folder / "a.npz", **arrays)

    return spoil


def put(place: object, value: object) -> Callable[[np.ndarray], None]:
    """Write a value to a place of an array."""

    def function(array: np.ndarray) -> None:
        array[place] = value

    return function


def copy(source: object, place: object, noise: float = 0.0) -> Callable[[np.ndarray], None]:
    """Copy items of an array over others, with a little noise."""

    def function(array: np.ndarray) -> None:
        rng = np.random.default_rng(1)
        items = array[source]
        array[place] = items + (noise * rng.standard_normal(items.shape)).astype(array.dtype) if noise else items

    return function


def rows(rng: np.random.Generator, count: int = 400) -> Arrays:
    """A table of six columns and three classes."""
    y = np.arange(count) % 3
    x = rng.standard_normal((count, 6), np.float32)
    x[:, 0] += y
    return {"x": x, "y": y}


def rows_apart(rng: np.random.Generator) -> Arrays:
    """A table with test rows of its own."""
    train, test = rows(rng, 300), rows(rng, 150)
    return {**train, "x_test": test["x"], "y_test": test["y"]}


def values(rng: np.random.Generator) -> Arrays:
    """A table with two values to predict."""
    x = rng.standard_normal((400, 4), np.float32)
    noise = rng.standard_normal((400, 2), np.float32)
    return {"x": x, "y": x[:, :2] + 0.3 * noise}


def value(rng: np.random.Generator) -> Arrays:
    """A table with one value to predict."""
    arrays = values(rng)
    return {"x": arrays["x"], "y": arrays["y"][:, 0]}


def values_apart(rng: np.random.Generator) -> Arrays:
    """Values to predict, with test rows of their own."""
    train, test = values(rng), values(rng)
    return {**train, "x_test": test["x"], "y_test": test["y"]}


def pictures(rng: np.random.Generator) -> Arrays:
    """Grey pictures from 0 to 1."""
    return {"x": rng.random((300, 1, 8, 8), np.float32), "y": np.arange(300) % 5}


def pictures_apart(rng: np.random.Generator) -> Arrays:
    """Grey pictures, with test pictures of their own."""
    return {f"{name}{part}": array for part in ("", "_test") for name, array in pictures(rng).items()}


def sounds(rng: np.random.Generator) -> Arrays:
    """Noise from -1 to 1."""
    x = 0.1 * rng.standard_normal((200, 1600), np.float32)
    return {"x": x.clip(-1, 1), "y": np.arange(200) % 4}


def lines(rng: np.random.Generator) -> Arrays:
    """Tokens, padded with 0."""
    x = rng.integers(1, 256, (300, 32))
    x[np.arange(32) >= rng.integers(8, 31, 300)[:, None]] = 0
    return {"x": x, "y": np.arange(300) % 3}


def machines(rng: np.random.Generator) -> Arrays:
    """Normal items and anomalies."""
    return {"x": rng.standard_normal((300, 6), np.float32), "y": (np.arange(300) % 10 == 0).astype(np.int64)}


def shares(array: np.ndarray) -> np.ndarray:
    """Half of the items of classes 1 and 2 become class 0."""
    return np.where(np.arange(len(array)) % 2 == 0, 0, array)


def pickled(array: np.ndarray) -> np.ndarray:
    return np.array([None] * len(array))


def cut_short(folder: Path) -> None:
    path = folder / "a.npz"
    path.write_bytes(path.read_bytes()[:-200])


TABLE, TABLE_APART = npz(rows), npz(rows_apart)
VALUES, VALUE, VALUES_APART = npz(values, REGRESSION), npz(value, REGRESSION), npz(values_apart, REGRESSION)
PICTURES, PICTURES_APART, SOUNDS, LINES = npz(pictures), npz(pictures_apart), npz(sounds), npz(lines)
MACHINES = npz(machines, RECONSTRUCTION)


def answer(folder: Path) -> None:
    """A column of the table is the target, in other units."""
    with np.load(folder / "a.npz") as file:
        arrays = dict(file)
    arrays["x"][:, 2] = 3 * arrays["y"].astype(np.float32) - 1
    np.savez(folder / "a.npz", **arrays)


def leak(noise: float, gain: float = 1.0) -> Spoil:
    """Six test pictures become training pictures, changed a little."""

    def spoil(folder: Path) -> None:
        with np.load(folder / "a.npz") as file:
            arrays = dict(file)
        changed = gain * arrays["x"][100:106] + noise * np.random.default_rng(1).standard_normal((6, 1, 8, 8))
        arrays["x_test"][40:46] = changed.astype(np.float32)
        np.savez(folder / "a.npz", **arrays)

    return spoil


def keep(count: int) -> Callable[[np.ndarray], np.ndarray]:
    return lambda array: array[:count]


ARRAYS = (
    Case("a NaN", TABLE, change(x=put((7, 2), np.nan)), None, "x: item 7 holds NaN"),
    Case("an infinity", PICTURES, change(x=put((9, 0, 1, 1), -np.inf)), None, "x: item 9 holds an infinite value"),
    Case("a NaN in a target", VALUES, change(y=put((5, 1), np.nan)), None, "y: item 5 holds NaN"),
    Case("a number too large for float32", TABLE, change(x=lambda x: x.astype(np.float64) * 1e300), None,
         "holds an infinite value"),
    Case("a damaged file", TABLE, cut_short, None, "cannot be read as .npz"),
    Case("a wrong type", TABLE, change(x=lambda x: x.astype(np.complex64)), None, "complex64"),
    Case("pickled objects", TABLE, change(y=pickled), None, "pickled"),
    Case("a wrong shape", TABLE, change(x=lambda x: x[:, 0]), None, r"shape \[400\]"),
    Case("no items", TABLE, change(x=keep(0), y=keep(0)), None, r"shape \[0, 6\]"),
    Case("a target too few", TABLE, change(y=keep(399)), None, "y has 399 items"),
    Case("test items of another shape", TABLE_APART, change(x_test=lambda x: x[:, :5]), None, "another type or shape"),
    Case("a negative label", TABLE, change(y=put(11, -1)), None, "item 11 has label -1"),
    Case("an absurd label", TABLE, change(y=put(11, 10**9)), None, "item 11 has label 1000000000"),
    Case("labels that are not whole", TABLE, change(y=lambda y: y + 0.5), None, "float"),
    Case("one class alone", TABLE, change(y=put(slice(None), 2)), None, "every training item has class 2"),
    Case("one value to predict", VALUE, change(y=put(slice(None), 0.5)), None, "every training item has the target"),
    Case("too few to calibrate", TABLE, change(x=keep(40), y=keep(40)), None, "calibration set has 28 items"),
    Case("a rare class", TABLE, change(y=put(slice(60, 300), 0)), "class balance", r"of class [12]"),
    Case("a class of eight", TABLE, change(y=put(slice(0, 8), 3)), "class size", "class 3", ("class balance",)),
    Case("a class that is not tested", TABLE_APART, change(y_test=lambda y: y % 2), "missing classes",
         "test has no item of class 2", ("label drift",)),
    Case("copies in train", TABLE_APART, change(x=copy(slice(0, 6), slice(12, 18))), "duplicates",
         "train: 6 of 300"),
    Case("test pictures in train", PICTURES_APART, leak(0), "leakage", "6 of 300 test items.*first is item 40"),
    Case("test pictures in train, a little noisier", PICTURES_APART, leak(0.01), "near duplicates",
         "6 of 300 test items.*first is item 40"),
    Case("test pictures in train, half as bright", PICTURES_APART, leak(0, 0.5), "near duplicates", "6 of 300"),
    Case("a test set of another source", TABLE_APART, change(x_test=lambda x: x + np.float32([0, 0, 1, 0, 0, 0])),
         "drift", "test against train.*column 2"),
    Case("test pictures that are brighter", PICTURES_APART, change(x_test=lambda x: np.sqrt(x)), "drift",
         "of an item"),
    Case("targets in other units", VALUES_APART, change(y_test=lambda y: y * np.float32([1, 5])), "drift",
         "targets of test against train.*target 1"),
    Case("classes in other shares", TABLE_APART, change(y_test=shares), "label drift", "class 0 is 33 % of train and"),
    Case("a target that never changes", VALUES, change(y=put((slice(None), 1), 4)), "constant target",
         "target 1 is always 4"),
    Case("a small test set", TABLE_APART, change(x_test=keep(20), y_test=keep(20)), "held-out size", "test 20"),
    Case("no anomaly", MACHINES, change(y=put(slice(None), 0)), "anomalies", "test has 0 anomalies"),
    Case("an outlier in test alone", TABLE_APART, change(x_test=put((3, 1), 3e4)), "outliers", "1 values"),
    Case("equal items, different labels", PICTURES, change(x=copy(slice(0, 3), slice(6, 9))), "conflicting labels",
         "3 items occur with different labels", ("duplicates", "leakage")),
    Case("a constant column", TABLE, change(x=put((slice(None), 4), 2.5)), "constant features", "column 4"),
    Case("a column twice", TABLE, change(x=lambda x: np.column_stack([x, 9 - 5 * x[:, 1]])), "duplicate columns",
         "column 6"),
    Case("row numbers", TABLE, change(x=lambda x: np.column_stack([x, np.arange(400)]).astype(np.float32)),
         "identifiers", "column 6", ("feature scales",)),
    Case("the label as a column", TABLE, answer, "target leakage", "column 2"),
    Case("the target as a column", VALUE, answer, "target leakage", "column 2"),
    Case("a code for a missing value", TABLE, change(x=put((slice(0, 400, 80), 3), -999)), "outliers",
         "5 values.*-999 in column 3", ("feature scales",)),
    Case("one huge picture", PICTURES, change(x=lambda x: x * (1 + 1e4 * (np.arange(300) == 7))[:, None, None, None]),
         "outliers", "1 items are far larger"),
    Case("columns of other scales", TABLE, change(x=lambda x: x * np.float32([1, 1, 1, 1, 1, 1e4])), "feature scales",
         "5 of 6 columns"),
    Case("pictures from 0 to 255", PICTURES, change(x=lambda x: x * 255), "value range", "Divide by 255"),
    Case("sounds in 16-bit steps", SOUNDS, change(x=lambda x: np.round(x * 32767)), "value range", "Divide by 32768"),
    Case("half of every picture black", PICTURES, change(x=put((..., slice(0, 5), slice(None)), 0)),
         "constant features", "40 of 64"),
    Case("a blank picture", PICTURES, change(x=put(42, 0.25)), "blank items", "1 items are blank"),
    Case("a silent sound", SOUNDS, change(x=lambda x: x * np.where(np.arange(200) == 9, 1e-5, 1)[:, None]),
         "blank items", "1 items are blank"),
    Case("clipped sounds", SOUNDS, change(x=lambda x: (15 * x).clip(-1, 1)), "clipped sounds", "200 of 200"),
    Case("cut lines", LINES, change(x=lambda x: x[:, :16]), "cut lines", "fill all 16 tokens"),
    Case("a line of padding alone", LINES, change(x=put(4, 0)), "blank items", "1 items are blank"),
)  # fmt: skip
