"""What the checks look at, and the form in which they say what they saw."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, TypedDict

import numpy as np
from numpy.typing import NDArray

from edgekit.data.split import Labels, Split

MAX_VALUES = 2**25  # of one input of one set that statistics are taken of: 128 MiB as float32
MAX_COLUMNS = 256  # a float32 [N, columns] up to here is a table, whose columns have a meaning of their own
SIGNAL_LENGTH = 1000  # a float32 [N, samples] or [N, 1, samples] from here on, either side of zero, is taken as sound
CHANCE = 1e-5  # how often one test of chance may call a clean set doubtful; a report makes about ten
OUTLIER = 50.0  # robust deviations from the median; a lognormal column of 10,000 values reaches 40
NORMAL_QUARTILES = 1.349  # standard deviations between the quartiles of a normal distribution

Values = NDArray[np.float32]


class _Finding(TypedDict):
    check: str
    level: Literal["ok", "warn"]
    message: str


class Finding(_Finding, total=False):
    """One line of the report: which check, ``ok`` or ``warn``, and a sentence with numbers and what to do.

    ``value`` is what was judged and ``bound`` what it was held against, where the check comes down to one number.
    """

    value: float
    bound: float


def finding(
    check: str, good: bool, message: str, advice: str = "", value: float | None = None, bound: float | None = None
) -> Finding:
    """Make a finding; ``advice`` is said only where it warns."""
    said = message if good or not advice else f"{message}. {advice}"
    found: Finding = {"check": check, "level": "ok" if good else "warn", "message": said}
    if value is not None and math.isfinite(value):
        found["value"] = float(value)
    if bound is not None and math.isfinite(bound):
        found["bound"] = float(bound)
    return found


def listing(names: Sequence[str], most: int = 3) -> str:
    """The first few names, and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


@dataclass(frozen=True)
class View:
    """The sets of one run, and what is known about them.

    Attributes:
        train, validation, calibration, test: the sets; the middle two may be missing.
        classes: how many labels there are; 0 where the targets are no classes.
        kind: of the task, as a recipe spells it.
        class_names: of the labels, in order, or empty.
        groups: for some of the sets, by name, a number for each item; equal ones belong together (a patient).
        preprocessed: a module in front of the model scales the inputs.
        facts: what the reader has to say; a table's ``columns`` with their names and words.
    """

    train: Split
    test: Split
    classes: int
    calibration: Split | None = None
    validation: Split | None = None
    kind: str = "classification"
    class_names: tuple[str, ...] = ()
    groups: Mapping[str, Labels] = field(default_factory=dict)
    preprocessed: bool = False
    facts: Mapping[str, Any] = field(default_factory=dict)

    @cached_property
    def columns(self) -> list[Mapping[str, Any]]:
        """Name and words of each column of a table that a reader knows the names of."""
        columns = self.facts.get("columns")
        return [column for column in columns if isinstance(column, Mapping)] if isinstance(columns, list) else []

    @cached_property
    def sets(self) -> dict[str, Split]:
        """The sets that share no item, by name; calibration is a part of train."""
        sets = {"train": self.train, "validation": self.validation, "test": self.test}
        return {name: split for name, split in sets.items() if split is not None and len(split)}

    @property
    def tests_anomalies(self) -> bool:
        """Whether the test set holds items that are to differ from those of train."""
        return self.kind == "reconstruction"

    @cached_property
    def inputs(self) -> tuple[Input, ...]:
        """The inputs of the model, one after the other."""
        count = len(self.train.inputs)
        return tuple(Input(self, index, f"input {index}: " if count > 1 else "") for index in range(count))

    @cached_property
    def keys(self) -> dict[str, list[bytes]]:
        """A digest of each item's bytes over all its inputs, for each of the sets."""
        return {name: _keys(split) for name, split in self.sets.items()}

    def class_name(self, label: int) -> str:
        """How messages call a class."""
        return f"{label} ({self.class_names[label]})" if label < len(self.class_names) else str(label)


class Input:
    """One input of the model over all sets, and what kind of thing it holds."""

    def __init__(self, view: View, index: int, prefix: str) -> None:
        self._view, self._index, self.prefix = view, index, prefix
        self._values: dict[str, Values] = {}
        self._summaries: dict[str, Values] = {}
        array = view.train.inputs[index]
        self.shape = array.shape[1:]
        self.size = int(np.prod(self.shape))
        self.is_tokens = array.dtype.kind in "iu" and array.dtype != np.uint8
        self.is_table = array.dtype.kind == "f" and array.ndim == 2 and self.size <= MAX_COLUMNS
        self.is_image = array.ndim == 4 and self.shape[0] in (1, 3, 4)

    @cached_property
    def is_signal(self) -> bool:
        """Whether the items look like sound: one long row of values around zero."""
        row = len(self.shape) == 1 or (len(self.shape) == 2 and self.shape[0] == 1)
        return not self.is_tokens and row and self.size >= SIGNAL_LENGTH and bool(self.values("train").min() < 0)

    def array(self, name: str) -> NDArray[Any]:
        """The items of a set as they are."""
        split = self._view.calibration if name == "calibration" else self._view.sets[name]
        assert split is not None
        return split.inputs[self._index]

    def values(self, name: str) -> Values:
        """The items of a set as float32 [n, values]: evenly spaced ones where they are many, gaps (NaN) filled."""
        if name not in self._values:
            values = self.array(name)[:: self.step(name)].reshape(-1, self.size).astype(np.float32, copy=False)
            self._values[name] = self._filled(values) if self.gaps.any() else values
        return self._values[name]

    def summary(self, name: str) -> Values:
        """Mean, deviation, smallest and largest value of each item that :meth:`values` gives, [n, 4]."""
        if name not in self._summaries:
            values = self.values(name)
            parts = (values.mean(axis=1), values.std(axis=1), values.min(axis=1), values.max(axis=1))
            self._summaries[name] = np.stack(parts, axis=1)
        return self._summaries[name]

    def step(self, name: str) -> int:
        """Every how many-th item of a set statistics are taken of."""
        return -(-self.array(name).size // MAX_VALUES)

    def examined(self, *names: str) -> str:
        """What messages add where statistics are not taken of all items."""
        steps = {name: self.step(name) for name in names if self.step(name) > 1}
        return "".join(f" (one in {step} items of {name} examined)" for name, step in steps.items())

    def column(self, index: int) -> str:
        """How messages call a column of a table."""
        columns = self._view.columns
        known = len(columns) == self.size and self._index == 0
        return f"{index} ({columns[index].get('name')})" if known else str(index)

    @cached_property
    def measures(self) -> NDArray[np.bool_]:
        """Which columns hold numbers; the others hold the places of words in a list, which have no size."""
        columns = self._view.columns
        known = len(columns) == self.size and self._index == 0
        return np.array([not (known and columns[index].get("words")) for index in range(self.size)])

    @cached_property
    def gaps(self) -> NDArray[np.float64]:
        """The share of missing values (NaN) of each column of a table in train; empty for anything else."""
        return np.isnan(self.array("train")).mean(axis=0) if self.is_table else np.zeros(0)

    def _filled(self, values: Values) -> Values:
        """Gaps become the column's median in train, as the graph fills them."""
        medians = np.nanmedian(np.where(self.gaps < 1, self.array("train"), 0), axis=0)
        return np.where(np.isnan(values), medians, values).astype(np.float32)


def _keys(split: Split) -> list[bytes]:
    arrays = [np.ascontiguousarray(array) for array in split.inputs]
    if len(arrays) == 1:
        return [_digest(item) for item in arrays[0]]
    return [b"".join(map(_digest, items)) for items in zip(*arrays, strict=True)]


def _digest(item: Any) -> bytes:
    return hashlib.blake2b(item.tobytes(), digest_size=16).digest()
