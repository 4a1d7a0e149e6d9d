"""Numbers as a reader says them: units that fit the size, and ``not measured`` for whatever is no number."""

from __future__ import annotations

import math
import unicodedata

MISSING = "not measured"
UNKNOWN = "unknown"
LONGEST = 2000  # characters of one text; a longer name is a mistake or an attack
_LARGEST = 1e300  # NaN and infinity fail the comparison too
_SPACE = "\N{NO-BREAK SPACE}"
_HIDDEN = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}  # controls, bidi overrides and other characters one cannot see


def number(value: object) -> float | None:
    """The value if it is a finite number, else None."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return float(value) if math.isfinite(value) else None


def digits(value: float, significant: int = 3) -> str:
    """Three significant digits without an exponent; whole numbers from 100 up."""
    if value == 0:
        return "0"
    exponent = int(f"{value:.{significant - 1}e}".split("e")[1])  # of the rounded value: 9.996 counts as 10.0
    decimals = significant - 1 - exponent
    return f"{value:.{max(0, min(decimals, 6))}f}"


def _scaled(value: object, units: tuple[str, ...], step: float = 1000.0) -> str:
    amount = number(value)
    if amount is None:
        return MISSING
    if amount.is_integer() and abs(amount) < step:
        return f"{int(amount)}{_SPACE}{units[0]}".strip()
    for unit in units[:-1]:
        if abs(amount) < step * 0.9995:
            return f"{digits(amount)}{_SPACE}{unit}".strip()
        amount /= step
    return f"{digits(amount)}{_SPACE}{units[-1]}"


def size(value: object) -> str:
    """Bytes, in powers of ten."""
    return _scaled(value, ("B", "kB", "MB", "GB"))


def count(value: object) -> str:
    """A count of operations or parameters."""
    return _scaled(value, ("", "k", "M", "G", "T"))


def duration(value: object) -> str:
    """Microseconds, as microseconds, milliseconds or seconds."""
    return _scaled(value, ("\N{MICRO SIGN}s", "ms", "s"))


def energy(value: object) -> str:
    """Millijoules, as microjoules, millijoules or joules."""
    amount = number(value)
    return _scaled(None if amount is None else amount * 1000, ("\N{MICRO SIGN}J", "mJ", "J"))


def seconds(value: object) -> str:
    """Seconds, and minutes where there are some."""
    amount = number(value)
    if amount is None or amount < 60:
        return MISSING if amount is None else f"{amount:.1f}{_SPACE}s"
    return f"{int(amount // 60)}{_SPACE}min {int(amount % 60)}{_SPACE}s"


def percent(value: object) -> str:
    """A fraction as a percentage with two decimals: a step of one in 5,400 items is visible."""
    amount = number(value)
    return MISSING if amount is None else f"{100 * amount:.2f}{_SPACE}%"


def plain(value: object) -> str:
    """A number with four significant digits."""
    amount = number(value)
    return MISSING if amount is None else f"{amount:.4g}".replace("-", "\N{MINUS SIGN}")


def metric(value: object, unit: object) -> str:
    """A metric: a share in percent, any other value as it is."""
    return percent(value) if unit == "share" else plain(value)


def metric_change(own: float, base: float, unit: object) -> str:
    """The difference of two metrics: in points for shares, else in percent of the second one where that is not 0."""
    if unit == "share":
        return points(own - base)
    if own == base:
        return "equal"
    if not base:
        return plain(own - base)
    return f"{100 * (own - base) / abs(base):+.3g}".replace("-", "\N{MINUS SIGN}") + f"{_SPACE}%"


def decibels(value: object) -> str:
    """A signal-to-noise ratio; None stands for an infinite one, where not a bit differs."""
    amount = number(value)
    return "exact" if amount is None else f"{amount:.1f}{_SPACE}dB"


def points(difference: float) -> str:
    """A difference of two fractions, in percentage points, with its sign."""
    return f"{100 * difference:+.2f}".replace("-", "\N{MINUS SIGN}") + f"{_SPACE}points"


def times(ratio: float, better: str, worse: str, sign: str = " times") -> str:
    """``2.10 times faster`` for 2.1 and ``1.50 times slower`` for 2 / 3; ``equal`` within half a percent."""
    if abs(ratio - 1) < 0.005:
        return "equal"
    word, factor = (better, ratio) if ratio > 1 else (worse, 1 / ratio)
    return f"{digits(factor)}{sign} {word}"


def factor(ratio: float, better: str, worse: str) -> str:
    """As :func:`times`, with a sign instead of the word, for tables."""
    return times(ratio, better, worse, "\N{MULTIPLICATION SIGN}")


def fact(value: object) -> str:
    """A property of a machine or of data."""
    if value is None:
        return UNKNOWN
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, dict):
        return _named(value)
    return ", ".join(map(fact, value)) or "none" if isinstance(value, (list, tuple)) else str(value)


def _named(value: dict[object, object]) -> str:
    """The entries of a group; one that has a name is that name, with what else there is in brackets."""
    entries = [f"{key}: {fact(item)}" for key, item in value.items() if key != "name" and item not in ([], {}, None)]
    more = ", ".join(entries)
    name = value.get("name")
    return more or "none" if name is None else f"{fact(name)} ({more})" if more else fact(name)


def visible(text: str) -> str:
    """The text without characters that could move, hide or colour their neighbours, and not too long."""
    shown = "".join("\N{REPLACEMENT CHARACTER}" if _is_hidden(c) else c for c in text[:LONGEST])
    return shown + "\N{HORIZONTAL ELLIPSIS}" if len(text) > LONGEST else shown


def _is_hidden(character: str) -> bool:
    return character not in "\n\t" and unicodedata.category(character) in _HIDDEN


def clean(value: object) -> object:
    """A copy of JSON values: texts and keys made :func:`visible`, numbers too large to be written dropped."""
    if isinstance(value, str):
        return visible(value)
    if isinstance(value, dict):
        return {visible(str(key)): clean(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [clean(item) for item in value]
    too_large = isinstance(value, (int, float)) and not abs(value) < _LARGEST
    return None if too_large else value
