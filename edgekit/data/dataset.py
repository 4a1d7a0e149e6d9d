"""From a recipe's ``data`` section to train, validation, calibration, test and varied sets."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgekit.data import labels, parts, sources
from edgekit.data.checks import check_calibration, check_teachable
from edgekit.data.findings import Finding, View, findings
from edgekit.data.source import Learned, Source
from edgekit.data.split import Split, stratified
from edgekit.data.vary import vary
from edgekit.errors import DataError
from edgekit.options import DataConfig, TaskConfig

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class Dataset:
    """Everything a run reads.

    Attributes:
        name: the source, as the recipe spells it.
        train: what training sees.
        calibration: a part of ``train``, for the ranges of activations.
        test: held out; shares no item with ``train``.
        varied: the test items again, shifted and with noise, or none.
        classes: how many labels there are; 0 where the task knows none.
        findings: what the checks saw.
        validation: what early stopping watches, held out of ``train``, or none.
        class_names: of the labels, in order; empty where they have none.
        preprocess: the module that stands in front of the model in the exported graph, or none; it learned from
            ``train`` alone.
        facts: what the report says about the data, as plain JSON values.
        assets: files that a device needs beside the graph, by name.
    """

    name: str
    train: Split
    calibration: Split
    test: Split
    varied: Split | None
    classes: int
    findings: list[Finding]
    validation: Split | None = None
    class_names: tuple[str, ...] = ()
    preprocess: nn.Module | None = None
    facts: dict[str, Any] = field(default_factory=dict)
    assets: dict[str, bytes] = field(default_factory=dict)


def load(
    config: DataConfig,
    seed: int,
    calibration_samples: int,
    base: Path | None = None,
    *,
    task: TaskConfig | None = None,
    allow_few: bool = False,
) -> Dataset:
    """Read, check and split a source; the same arguments give the same sets, under any version of numpy.

    Args:
        config: the recipe's ``data``.
        seed: of the splits and of the varied set.
        calibration_samples: how many training items calibrate; all of them if there are fewer.
        base: the folder in which a relative path starts.
        task: the recipe's ``task``; classification by default.
        allow_few: accept fewer than 32 calibration items.

    Raises:
        DataError: what was read cannot be used; names the file or array, and the item.
        CalibrationError: the calibration set is too small.
    """
    kind = (task or TaskConfig()).kind
    name, source = sources.read(config, base or Path(), kind)
    source = labels.fit(name, source, kind)
    divided = parts.split(source, config, seed, kind)
    learned = Learned(lambda items: items) if source.learn is None else source.learn(divided.train)
    train, test = learned.encode(divided.train), learned.encode(divided.test)
    validation = None if divided.validation is None else learned.encode(divided.validation)
    classes = labels.count_classes(source, kind)
    if kind == "classification":
        _check_learnable(name, source, train, test, classes)
    check_teachable(name, kind, train, source.classes)
    calibration = _calibration(train, calibration_samples, seed + 1)
    check_calibration(calibration.items(), allow_few)
    facts = source.facts | learned.facts
    return Dataset(
        name=name,
        train=train,
        calibration=calibration,
        test=test,
        varied=vary(test, **config.varied.model_dump(), seed=seed + 2) if config.varied else None,
        classes=classes,
        findings=findings(
            View(
                train,
                test,
                classes,
                calibration=calibration,
                validation=validation,
                kind=kind,
                class_names=source.classes,
                groups=divided.groups,
                preprocessed=source.preprocess is not None,
                facts=facts,
            )
        ),
        validation=validation,
        class_names=source.classes,
        preprocess=None if source.preprocess is None else source.preprocess(train),
        facts=facts,
        assets=learned.assets,
    )


def _calibration(train: Split, count: int, seed: int) -> Split:
    """Choose training items without a missing value (NaN): a range that was guessed from a gap is no range."""
    whole = np.flatnonzero(np.logical_and.reduce([_complete(array) for array in train.inputs]))
    items = train.take(whole)
    return items.take(stratified(parts.strata(items), min(count, len(items)), seed)) if len(items) else items


def _complete(array: Any) -> Any:
    if array.dtype.kind != "f":
        return np.ones(len(array), dtype=bool)
    return ~np.isnan(array).reshape(len(array), -1).any(axis=1)


def _check_learnable(name: str, source: Source, train: Split, test: Split, classes: int) -> None:
    """Refuse a class that is tested and that no training item shows."""
    seen, asked = (np.bincount(part.targets[0], minlength=classes) for part in (train, test))
    missing = np.flatnonzero((seen == 0) & (asked > 0))
    if len(missing):
        label = int(missing[0])
        raise DataError(
            f"{name}: class {source.classes[label] if source.classes else label} is tested, but never trained on.",
            fix="Give it more items, change `seed`, or use `data.split: random`.",
        )
