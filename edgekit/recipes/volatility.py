"""The table for the recipe `volatility`: days of a share price that nobody traded, made as markets are modelled.

Variance follows GJR-GARCH(1,1), in which falls count for more than rises (Glosten et al. 1993), around a level that
jumps between quiet and nervous years. Realised volatility is what a day's price steps show of it. The columns are what
Corsi's (2009) HAR model reads, the last day, week and month, and the last return with its falls apart.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

COLUMNS = ("day", "day_vol", "week_vol", "month_vol", "rise", "fall", "week_return", "next_vol")
REACTION, LEVERAGE, MEMORY = 0.04, 0.12, 0.88
LEVELS = np.array([0.5, 1.0, 2.5])  # variance of a day's return in percent^2, in each regime
STAY = 0.996  # chance that a regime goes on for another day
TAILS = 6.0  # degrees of freedom of Student's t
STEPS = 13  # prices seen in a day
MONTH, WEEK, SETTLE = 22, 5, 250

Series = NDArray[np.float64]


def make(folder: Path, days: int = 4000, seed: int = 0) -> None:
    """Write `folder/table.csv`: for each day the logarithm of volatility so far, and that of the next day.

    Args:
        folder: empty.
        days: lines of the table, in order of time.
        seed: of the series.
    """
    returns, volatility = _market(days + MONTH + SETTLE, np.random.default_rng(seed))
    log, first = np.log(volatility), MONTH + SETTLE - 1
    lines = [",".join(COLUMNS)]
    for day in range(first, first + days):
        week = slice(day - WEEK + 1, day + 1)
        values = (
            log[day],
            log[week].mean(),
            log[day - MONTH + 1 : day + 1].mean(),
            max(returns[day], 0.0),
            max(-returns[day], 0.0),
            returns[week].sum(),
            log[day + 1],
        )
        lines.append(",".join([str(day - first), *(f"{value:.6f}" for value in values)]))
    (folder / "table.csv").write_text("\n".join(lines) + "\n", "utf-8")


def _market(days: int, rng: np.random.Generator) -> tuple[Series, Series]:
    """Returns of each day in percent, and realised volatilities."""
    shocks = rng.standard_t(TAILS, days) * np.sqrt((TAILS - 2) / TAILS)  # variance 1
    seen = rng.chisquare(STEPS, days) / STEPS
    regime, variance = 1, LEVELS[1]
    returns, volatility = np.empty(days), np.empty(days)
    for day in range(days):
        if rng.random() > STAY:
            regime = int(rng.integers(len(LEVELS)))
        returns[day] = np.sqrt(variance) * shocks[day]
        volatility[day] = np.sqrt(variance * seen[day])
        constant = LEVELS[regime] * (1 - REACTION - LEVERAGE / 2 - MEMORY)
        falls = LEVERAGE if returns[day] < 0 else 0.0
        variance = constant + (REACTION + falls) * returns[day] ** 2 + MEMORY * variance
    return returns, volatility
