"""Each variant beside the float baseline: what is compared, what is not, and the one sentence that sums it up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edgekit.bench import words
from edgekit.bench.words import number


@dataclass(frozen=True)
class Task:
    """What the variants are judged by, as ``results.json`` says it; of another file than ours maybe nothing.

    Attributes:
        kind: of the task.
        primary: name of the metric that decides.
        metrics: ``better``, ``unit`` and ``spoken`` of each metric by name.
    """

    kind: str
    primary: str
    metrics: Mapping[str, Mapping[str, Any]]

    @classmethod
    def of(cls, value: object) -> Task:
        """Read a results' ``task``."""
        task = value if isinstance(value, dict) else {}
        found = task.get("metrics")
        metrics = {name: row for name, row in found.items() if isinstance(row, dict)} if isinstance(found, dict) else {}
        kind, primary = (task.get(key) for key in ("kind", "primary"))
        name = primary if isinstance(primary, str) and primary in metrics else next(iter(metrics), "")
        return cls(kind if isinstance(kind, str) else "", name, metrics)

    def unit(self, name: str) -> object:
        """``share`` or ``value``."""
        return self.metrics.get(name, {}).get("unit")

    def spoken(self, name: str) -> str:
        """The metric as a sentence spells it."""
        spoken = self.metrics.get(name, {}).get("spoken")
        return spoken if isinstance(spoken, str) and spoken else name or "quality"

    def lower_is_better(self, name: str) -> bool:
        """Whether smaller values are."""
        return self.metrics.get(name, {}).get("better") == "lower"


@dataclass(frozen=True)
class Row:
    """A line of the main table. Ratios are None for the baseline and where one side was not measured.

    Attributes:
        variant: as it stands in ``results.json``.
        is_baseline: whether it is the float model that all others are compared with.
        level: verdict on its times; None where there are none.
        quality: metrics by data set and name, those that are numbers.
        base_quality: the same of the baseline; empty for the baseline itself.
        smaller, lighter, faster, thriftier: baseline over variant in bytes, MACs, median time and energy.
        interval: bounds of ``faster`` where the two were timed in turn.
        not_compared: why the times are not compared although both exist.
    """

    variant: Mapping[str, Any]
    is_baseline: bool
    level: str | None
    quality: Mapping[str, Mapping[str, float]]
    base_quality: Mapping[str, Mapping[str, float]]
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

    def change(self, split: str, name: str, unit: object) -> str:
        """How a metric differs from the baseline's, in words; nothing where one side is missing."""
        own, base = (sets.get(split, {}).get(name) for sets in (self.quality, self.base_quality))
        return "" if own is None or base is None else words.metric_change(own, base, unit)

    def why_unmeasured(self, split: str, name: str) -> str:
        """The reason beside a missing metric."""
        reasons = self.variant.get("unmeasured")
        reason = reasons.get(split) if isinstance(reasons, dict) else None
        found = reason.get(name) if isinstance(reason, dict) else None
        return found if isinstance(found, str) else ""

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
        quality=quality_of(variant),
        base_quality={} if is_baseline else quality_of(base),
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


def quality_of(variant: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """Metrics of a variant by data set and name, those that are numbers."""
    sets = variant.get("metrics")
    found = {key: values for key, values in sets.items() if isinstance(values, dict)} if isinstance(sets, dict) else {}
    return {
        key: {name: value for name, item in values.items() if (value := number(item)) is not None}
        for key, values in found.items()
    }


def _header(bench: Mapping[str, Any]) -> Mapping[str, Any]:
    header = bench.get("header")
    return header if isinstance(header, dict) else {}


def final(table: Sequence[Row]) -> Row | None:
    """The row that the report is about: the last compressed one, best with a time in the baseline's own runtime."""
    compressed = [row for row in table if not row.is_baseline]
    timed = [row for row in compressed if row.p50 is not None]
    same = [row for row in timed if row.variant.get("runtime") == table[0].variant.get("runtime")]
    return next((group[-1] for group in (same, timed, compressed) if group), None)


def headline(table: Sequence[Row], task: Task, stays_float: bool = False) -> str:
    """The outcome in a few sentences that can be read aloud."""
    kept = "The model stays in float, because the recipe says so." if stays_float else ""
    row = final(table)
    if row is None:
        return kept or "Nothing was compressed in this run."
    return " ".join(filter(None, [kept, _about_quality(row, task), _about_cost(row), _about_time(row, table[0])]))


def _about_quality(row: Row, task: Task) -> str:
    name = f"The {str(row.variant.get('name', 'resulting')).partition(',')[0]} model"
    spoken = task.spoken(task.primary)
    split = next((key for key, values in row.quality.items() if task.primary in values), None)
    if split is None:
        missing = next((reason for key in row.quality if (reason := row.why_unmeasured(key, task.primary))), None)
        return f"The {spoken} of {name[0].lower() + name[1:]} was not measured{_because(missing)}."
    own, base = row.quality[split][task.primary], row.base_quality.get(split, {}).get(task.primary)
    if task.unit(task.primary) == "share":
        return f"{name} reaches {words.percent(own)} {spoken} on the {split} data{_by_points(own, base)}."
    return f"{name}'s {spoken} on the {split} data is {words.plain(own)}{_by_percent(own, base)}."


def _by_points(own: float, base: float | None) -> str:
    if base is None:
        return ""
    if abs(own - base) < 5e-5:
        return ", the same as the float model"
    return f", {100 * abs(own - base):.2f} points {'more' if own > base else 'less'} than the float model"


def _by_percent(own: float, base: float | None) -> str:
    if base is None:
        return ""
    if own == base or (base and abs(own / base - 1) < 5e-5):
        return ", the same as the float model's"
    way = "more" if own > base else "less"
    if not base or own / base > 10 or own / base < 0:
        return f", {way} than the float model's {words.plain(base)}"
    return f", {100 * abs(own / base - 1):.3g} % {way} than the float model's"


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
