"""Each variant beside the float baseline: what is compared, what is not, and the one sentence that sums it up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edgekit.bench import words
from edgekit.bench.words import number


@dataclass(frozen=True)
class Row:
    """A line of the main table. Ratios are None for the baseline and where one side was not measured.

    Attributes:
        variant: as it stands in ``results.json``.
        is_baseline: whether it is the float model that all others are compared with.
        level: verdict on its times; None where there are none.
        accuracy_change: variant minus baseline by data set, as a fraction.
        smaller, lighter, faster, thriftier: baseline over variant in bytes, MACs, median time and energy.
        interval: bounds of ``faster`` where the two were timed in turn.
        not_compared: why the times are not compared although both exist.
    """

    variant: Mapping[str, Any]
    is_baseline: bool
    level: str | None
    accuracy_change: Mapping[str, float]
    smaller: float | None
    lighter: float | None
    faster: float | None
    thriftier: float | None
    interval: tuple[float, float] | None
    not_compared: str | None

    @property
    def bench(self) -> Mapping[str, Any]:
        """The measurement, empty where there is none."""
        return bench_of(self.variant)

    @property
    def p50(self) -> float | None:
        """Median time in microseconds."""
        return median_of(self.variant)

    @property
    def reasons(self) -> list[str]:
        """What stands against the measurement."""
        reasons = self.bench.get("reasons")
        return [reason for reason in reasons if isinstance(reason, str)] if isinstance(reasons, list) else []

    @property
    def why_no_energy(self) -> str | None:
        """The reason beside a missing energy figure."""
        if number(self.bench.get("energy_mj")) is not None:
            return None
        reason = self.bench.get("energy_reason") or self.variant.get("not_measured")
        return reason if isinstance(reason, str) else None


def rows(variants: Sequence[Mapping[str, Any]]) -> list[Row]:
    """One row for each variant; the first one is the baseline."""
    return [_row(variant, variants[0], index == 0) for index, variant in enumerate(variants)]


def _row(variant: Mapping[str, Any], base: Mapping[str, Any], is_baseline: bool) -> Row:
    refusal = None if is_baseline else _refusal(bench_of(variant), bench_of(base))
    timed = not is_baseline and refusal is None
    faster, interval = _faster(variant, base) if timed else (None, None)
    return Row(
        variant=variant,
        is_baseline=is_baseline,
        level=bench_of(variant).get("verdict"),
        accuracy_change={} if is_baseline else _accuracy_change(variant, base),
        smaller=None if is_baseline else ratio(base.get("bytes"), variant.get("bytes")),
        lighter=None if is_baseline else ratio(base.get("macs"), variant.get("macs")),
        faster=faster,
        thriftier=ratio(bench_of(base).get("energy_mj"), bench_of(variant).get("energy_mj")) if timed else None,
        interval=interval,
        not_compared=refusal,
    )


def _refusal(own: Mapping[str, Any], base: Mapping[str, Any]) -> str | None:
    """Why two measurements may not be compared, where both exist."""
    if not own or not base:
        return None
    if "invalid" in (own.get("verdict"), base.get("verdict")):
        return "not compared: invalid"
    if _header(own).get("fingerprint") != _header(base).get("fingerprint"):
        return "not compared: another machine"
    if (own.get("threads"), own.get("batch")) != (base.get("threads"), base.get("batch")):
        return "not compared: other threads or batch"
    return None


def _faster(variant: Mapping[str, Any], base: Mapping[str, Any]) -> tuple[float | None, tuple[float, float] | None]:
    """The ratio of calls made in turn where there is one, else that of the medians."""
    speedup = bench_of(variant).get("speedup")
    if isinstance(speedup, dict) and speedup.get("against") in (base.get("name"), bench_of(base).get("name")):
        paired, low, high = (number(speedup.get(key)) for key in ("ratio", "low", "high"))
        if paired and low is not None and high is not None:
            return paired, (low, high)
    return ratio(median_of(base), median_of(variant)), None


def _accuracy_change(variant: Mapping[str, Any], base: Mapping[str, Any]) -> dict[str, float]:
    own, other = accuracy_of(variant), accuracy_of(base)
    return {key: own[key] - other[key] for key in own if key in other}


def ratio(base: object, own: object) -> float | None:
    """Base over own, None unless both are positive numbers."""
    above, below = number(base), number(own)
    return above / below if above and below and above > 0 and below > 0 else None


def bench_of(variant: Mapping[str, Any]) -> Mapping[str, Any]:
    """The measurement of a variant, empty where there is none."""
    bench = variant.get("bench")
    return bench if isinstance(bench, dict) else {}


def median_of(variant: Mapping[str, Any]) -> float | None:
    """Median time of a variant in microseconds."""
    latency = bench_of(variant).get("latency_us")
    return number(latency.get("p50")) if isinstance(latency, dict) else None


def accuracy_of(variant: Mapping[str, Any]) -> dict[str, float]:
    """Accuracies of a variant by data set, those that are numbers."""
    accuracy = variant.get("accuracy")
    entries = accuracy.items() if isinstance(accuracy, dict) else ()
    return {key: value for key, item in entries if (value := number(item)) is not None}


def _header(bench: Mapping[str, Any]) -> Mapping[str, Any]:
    header = bench.get("header")
    return header if isinstance(header, dict) else {}


def final(table: Sequence[Row]) -> Row | None:
    """The row that the report is about: the last compressed one, best with a time in the baseline's own runtime."""
    compressed = [row for row in table if not row.is_baseline]
    timed = [row for row in compressed if row.p50 is not None]
    same = [row for row in timed if row.variant.get("runtime") == table[0].variant.get("runtime")]
    return next((group[-1] for group in (same, timed, compressed) if group), None)


def headline(table: Sequence[Row]) -> str:
    """The outcome in a few sentences that can be read aloud."""
    row = final(table)
    if row is None:
        return "Nothing was compressed in this run."
    name = row.variant.get("name", "The result")
    sentences = [_about_accuracy(row, name), _about_cost(row), _about_time(row, table[0])]
    return " ".join(sentence for sentence in sentences if sentence)


def _about_accuracy(row: Row, name: str) -> str:
    accuracy = accuracy_of(row.variant)
    if not accuracy:
        return f"The accuracy of {name} was not measured."
    key, value = next(iter(accuracy.items()))
    change = row.accuracy_change.get(key)
    if change is None:
        compared = ""
    elif abs(change) < 5e-5:
        compared = ", the same as the float model"
    else:
        compared = f", {100 * abs(change):.2f} points {'more' if change > 0 else 'less'} than the float model"
    return f"The {name} model reaches {words.percent(value)} accuracy on the {key} data{compared}."


def _about_cost(row: Row) -> str:
    parts = [words.times(row.smaller, "smaller", "larger")] if row.smaller else []
    parts += [f"needs {words.times(row.lighter, 'fewer', 'more')} multiplications"] if row.lighter else []
    spoken = " and ".join(part for part in parts if "equal" not in part)
    return (
        f"It is {spoken}." if row.smaller and spoken and "equal" not in parts[0] else f"It {spoken}." if spoken else ""
    )


def _about_time(row: Row, base: Row) -> str:
    if row.p50 is None:
        return f"Its latency was not measured{_because(row.variant.get('not_measured'))}."
    if row.level == "invalid":
        return f"Its latency cannot be quoted{_because(next(iter(row.reasons), None))}."
    compared = f", {words.times(row.faster, 'faster', 'slower')} than the float model" if row.faster else ""
    instead = f" instead of {words.duration(base.p50)}" if row.faster and base.p50 else ""
    warning = " The timing carries a warning." if row.level == "warn" else ""
    return f"One inference takes {words.duration(row.p50)}{instead}{compared}.{warning}"


def _because(reason: object) -> str:
    return f": {reason}" if isinstance(reason, str) and reason else ""
