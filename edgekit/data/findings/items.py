"""Whole items of images, sounds and text: silent, blank, clipped, cut, and of the wrong range of values."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from edgekit.data.findings.view import NORMAL_QUARTILES, OUTLIER, Finding, Input, View, finding, listing

MIN_SIZE = 16  # values of an item below which equal ones may mean something
BLANK = 1e-3  # of the median item's deviation: 60 dB below it
FULL_SCALE = 0.9999  # of the range from -1 to 1; 16 bits end at 0.99997
MAX_CLIPPED = 0.01  # share of an item's samples, next to one another; a sine that just reaches full scale has 0.9 %
LOUDER = 4.0  # times the median item's: two of INT8's eight bits
PAD = 0  # what stands at the end of a line of tokens that is shorter than the others
MAX_CUT = 0.5  # share of the lines


def items(view: View) -> Iterator[Finding]:
    """All checks of items that are no rows of a table."""
    for part in view.inputs:
        if part.is_table or part.size < MIN_SIZE:
            continue
        yield _constant(part)
        yield _blank(view, part)
        if part.is_tokens:
            yield _cut(view, part)
            continue
        yield _range(view, part)
        yield _outliers(view, part)
        if part.is_signal and np.abs(part.summary("train")[:, 2:]).max() <= 1:
            yield _clipped(view, part)


def _constant(part: Input) -> Finding:
    """Places that are the same in every item; a picture's corners may be, half of it may not."""
    array = part.array("train")[:: part.step("train")]
    constant = int((array == array[0]).all(axis=0).sum())
    message = f"{part.prefix}{constant} of {part.size} features never change in train"
    advice = "Most of each item says nothing: cut it smaller"
    return finding("constant features", 2 * constant <= part.size, message, advice, constant / part.size, 0.5)


def _blank(view: View, part: Input) -> Finding:
    spread = {name: part.summary(name)[:, 1] for name in view.sets}
    bound = BLANK * np.median(spread["train"])
    found = [
        f"{name} item {place * part.step(name)}"
        for name, deviations in spread.items()
        for place in np.flatnonzero(deviations <= bound)
    ]
    names = f": {listing(found)}" if found else ""
    message = f"{part.prefix}{len(found)} items are blank, silent or padding alone{names}{part.examined(*view.sets)}"
    return finding("blank items", not found, message, "Remove or mend them", len(found), 0)


def _cut(view: View, part: Input) -> Finding:
    """Lines without padding at the end, where others have some: what followed was cut."""
    ends = np.concatenate([part.array(name)[..., -1].reshape(-1) for name in view.sets])
    padded = view.facts.get("kind") == "text" or bool((ends == PAD).any())
    share = float((ends != PAD).mean()) if padded else 0.0
    message = f"{part.prefix}{100 * share:.0f} % of the lines fill all {part.size} tokens; longer ones were cut"
    good = share <= MAX_CUT
    advice = "Raise `data.text.length`, unless the beginning tells enough"
    return finding("cut lines", good, message if padded else f"{part.prefix}no line is padded", advice, share, MAX_CUT)


def _range(view: View, part: Input) -> Finding:
    """Values that look like bytes or 16-bit samples where floats of about 1 are expected."""
    values = part.values("train")
    low, high = float(values.min()), float(values.max())
    floats = part.array("train").dtype.kind == "f" and not view.preprocessed
    pixels = part.is_image and low >= 0 and 16 < high <= 255
    samples = part.is_signal and max(-low, high) > 256 and bool((values == np.round(values)).all())
    advice = f"Divide by {255 if pixels else 32768}: training expects values of about 1"
    message = f"{part.prefix}train goes from {low:.4g} to {high:.4g}"
    return finding("value range", not (floats and (pixels or samples)), message, advice)


def _outliers(view: View, part: Input) -> Finding:
    """Items whose root mean square is far above the others'; anomalies may be."""
    size = {name: np.hypot(*part.summary(name)[:, :2].T) for name in view.sets}
    low, middle, high = np.quantile(size["train"], (0.25, 0.5, 0.75))
    bound = max(LOUDER * middle, middle + OUTLIER * (high - low) / NORMAL_QUARTILES)
    whole = np.concatenate([values for name, values in size.items() if name != "test" or not view.tests_anomalies])
    count = int((whole > bound).sum())
    message = f"{part.prefix}{count} items are far larger than the others (root mean square above {bound:.4g})"
    advice = "Look at them: a wrong unit or a fault; INT8's range would go to waste"
    return finding("outliers", not count, message, advice, float(whole.max()), bound)


def _clipped(view: View, part: Input) -> Finding:
    shares = np.concatenate([_at_full_scale(part, name) for name in view.sets])
    count = int((shares > MAX_CLIPPED).sum())
    message = (
        f"{part.prefix}{count} of {len(shares)} sounds have more than {100 * MAX_CLIPPED:g} % of their samples "
        f"at full scale{part.examined(*view.sets)}"
    )
    advice = "They are clipped: record at a lower level"
    return finding("clipped sounds", not count, message, advice, float(shares.max()), MAX_CLIPPED)


def _at_full_scale(part: Input, name: str) -> NDArray[np.float64]:
    """The share of each item's samples at full scale beside another one; only items that reach it are read again."""
    reaches = np.abs(part.summary(name)[:, 2:]).max(axis=1) >= FULL_SCALE
    full = np.abs(part.values(name)[reaches]) >= FULL_SCALE
    shares = np.zeros(len(reaches))
    shares[reaches] = (full[:, 1:] & full[:, :-1]).mean(axis=1)
    return shares
