"""From a recipe's ``data`` section to train, calibration, test and varied sets."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgekit.data.checks import Finding, check_calibration, findings
from edgekit.data.sources import digits, npz
from edgekit.data.split import Split, stratified
from edgekit.data.vary import vary
from edgekit.errors import DataError
from edgekit.options import DataConfig


@dataclass(frozen=True)
class Dataset:
    """Everything a run reads.

    Attributes:
        name: the source, as the recipe spells it.
        train: what training sees.
        calibration: a part of ``train``, for the ranges of activations.
        test: held out; shares no item with ``train``.
        varied: the test items again, shifted and with noise, or none.
        classes: how many labels there are.
        findings: what the checks saw.
    """

    name: str
    train: Split
    calibration: Split
    test: Split
    varied: Split | None
    classes: int
    findings: list[Finding]


def load(
    config: DataConfig, seed: int, calibration_samples: int, base: Path | None = None, *, allow_few: bool = False
) -> Dataset:
    """Read, check and split a source; the same arguments give the same sets.

    Args:
        config: the recipe's ``data``.
        seed: of the splits and of the varied set.
        calibration_samples: how many training items calibrate; all of them if there are fewer.
        base: the folder in which a relative path starts.
        allow_few: accept fewer than 32 calibration items.

    Raises:
        DataError: what was read cannot be used; names the array and the item.
        CalibrationError: the calibration set is too small.
    """
    source = str(config.source)
    whole = digits() if source == "digits" else npz((base or Path()) / source)
    train, test = _parts(whole, config.test_fraction, seed)
    count = min(calibration_samples, len(train))
    calibration = train.take(stratified(train.targets[0], count, seed + 1))
    check_calibration(calibration.items(), allow_few)
    varied = vary(test, **config.varied.model_dump(), seed=seed + 2) if config.varied else None
    classes = int(whole.targets[0].max()) + 1
    return Dataset(source, train, calibration, test, varied, classes, findings(train, test, classes))


def _parts(whole: Split, test_fraction: float, seed: int) -> tuple[Split, Split]:
    count = math.ceil(test_fraction * len(whole))
    if count >= len(whole):
        raise DataError(f"There are {len(whole)} items, and {count} are held out.", fix="Give more items.")
    held_out = np.zeros(len(whole), dtype=bool)
    held_out[stratified(whole.targets[0], count, seed)] = True
    return whole.take(np.flatnonzero(~held_out)), whole.take(np.flatnonzero(held_out))
