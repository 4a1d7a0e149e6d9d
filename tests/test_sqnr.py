"""Signal to quantisation noise, of arrays and of sums over many."""

from __future__ import annotations

import numpy as np
import pytest

from edgekit.sqnr import Sqnr, sqnr_db


def test_signal_to_noise_of_the_ends() -> None:
    one = np.ones(10)
    assert sqnr_db(one, one) is None
    assert sqnr_db(np.zeros(3), np.zeros(3)) is None
    assert sqnr_db(one, one * 0.9) == pytest.approx(20)
    assert sqnr_db(one, np.zeros(10)) == pytest.approx(0)
    assert sqnr_db(np.zeros(2), np.ones(2)) < -1000  # type: ignore[operator]
    for bad in (np.nan, np.inf, -np.inf):
        broken = one.copy()
        broken[3] = bad
        assert sqnr_db(one, broken) == -3000
        assert sqnr_db(broken, broken) is None


def test_parts_add_up_to_the_whole() -> None:
    generator = np.random.default_rng(0)
    signal = generator.standard_normal((40, 7))
    other = signal + 0.01 * generator.standard_normal(signal.shape)
    sums = Sqnr()
    for part, got in zip(np.array_split(signal, 6), np.array_split(other, 6), strict=True):
        sums.add(part, got)
    assert sums.db == pytest.approx(sqnr_db(signal, other))
    assert sums.db == pytest.approx(40, abs=0.5)  # a hundredth in amplitude


def test_one_broken_part_breaks_the_sum() -> None:
    sums = Sqnr()
    sums.add(np.ones(3), np.ones(3))
    sums.add(np.array([1.0, np.nan]), np.array([1.0, np.nan]))
    assert sums.db is None
    sums.add(np.ones(2), np.array([1.0, np.inf]))
    sums.add(np.ones(3), np.ones(3))
    assert sums.db == -3000
