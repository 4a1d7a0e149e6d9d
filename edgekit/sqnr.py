"""Signal to quantisation noise, of two arrays or summed over any number of them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

_HOPELESS_DB = -3000.0  # below what any finite float32 values give; JSON has no infinity
_TINY = float(np.finfo(np.float64).tiny)


@dataclass
class Sqnr:
    """Sums over pairs of arrays.

    Attributes:
        signal: of the squares of the reference.
        noise: of the squared differences; infinite once a value is NaN or infinite in one and not in the other.
    """

    signal: float = 0.0
    noise: float = 0.0

    def add(self, reference: Any, other: Any) -> None:
        """Take one more pair of arrays of one shape."""
        signal, got = np.asarray(reference, np.float64), np.asarray(other, np.float64)
        self.signal += float(np.square(signal, where=np.isfinite(signal), out=np.zeros(signal.shape)).sum())
        if not np.array_equal(signal, got, equal_nan=True):
            with np.errstate(invalid="ignore"):
                noise = float(np.square(signal - got).sum())
            self.noise += noise if math.isfinite(noise) else math.inf

    @property
    def db(self) -> float | None:
        """``10 log10(signal / noise)`` in dB; None where nothing differs, -3000 where the noise is infinite."""
        if not self.noise:
            return None
        if not math.isfinite(self.noise):
            return _HOPELESS_DB
        return 10 * math.log10(max(self.signal, _TINY) / max(self.noise, _TINY))


def sqnr_db(reference: Any, other: Any) -> float | None:
    """Signal to quantisation noise, ``10 log10(sum r^2 / sum (r - o)^2)``, in dB; None where nothing differs.

    Values that are NaN or infinite in one and not in the other give -3000.
    """
    sums = Sqnr()
    sums.add(reference, other)
    return sums.db
