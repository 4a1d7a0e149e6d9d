"""Observers: what calibration makes of values, against numpy and whatever way the values come."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit.options import QuantConfig
from edgekit.quant import observe
from edgekit.quant.observe import BINS, MinMax, Observer, Percentile

modest = settings(deadline=None, max_examples=60)
FLOATS = (
    st.floats(-(2.0**127), 2.0**127, width=32) | st.floats(-4, 4, width=32) | st.sampled_from([0.0, 1e-45, -1e-38, 2.0])
)
VALUES = st.lists(FLOATS, min_size=1, max_size=60)


def seen(observer: Observer, *parts: torch.Tensor) -> float:
    for part in parts:
        observer.see(part)
    return observer.limit()


def tensor(values: list[float]) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float32)


@modest
@given(VALUES)
def test_minmax_is_the_largest_magnitude(values: list[float]) -> None:
    assert seen(MinMax(), tensor(values)) == np.abs(np.float32(values)).max()


@modest
@given(VALUES, st.floats(50.5, 100))
def test_percentile_is_numpys_to_one_bin(values: list[float], percentile: float) -> None:
    """The bin of the wanted value is at most 1/1024 of the largest wide, and its upper edge is what is given.

    The range is a power of two at most twice the largest magnitude L, so a bin is at most 2 L / 2048 wide. Numpy's
    percentile without interpolation is the first value at which the share of values reaches it; rounding of the
    percentile itself can move that by one rank either way.
    """
    magnitudes = np.abs(np.float32(values)).astype(np.float64)
    ranks = [
        np.percentile(magnitudes, p, method="inverted_cdf") for p in (percentile - 1e-9, min(percentile + 1e-9, 100))
    ]
    got = seen(Percentile(percentile), tensor(values))
    assert ranks[0] <= got <= ranks[1] + 2 * magnitudes.max() / BINS
    assert got <= magnitudes.max()


def test_percentile_of_many_values() -> None:
    values = torch.randn(200_000, generator=torch.Generator().manual_seed(1))
    want = np.percentile(values.abs().numpy(), 99.9, method="inverted_cdf")
    got = seen(Percentile(99.9), *values.split(777))
    assert want <= got <= want + 2 * float(values.abs().max()) / BINS
    assert got < 0.9 * seen(MinMax(), values)  # the tail is really cut


@modest
@given(
    VALUES,
    st.randoms(use_true_random=False),
    st.lists(st.integers(0, 60), max_size=4),
    st.sampled_from([60, 99.9, 100]),
)
def test_order_and_batches_make_no_difference(
    values: list[float], random: object, cuts: list[int], percentile: float
) -> None:
    shuffled = list(values)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    edges = [0, *sorted(min(cut, len(values)) for cut in cuts), len(values)]
    parts = [tensor(shuffled[a:b]) for a, b in pairwise(edges)]
    for make in (MinMax, lambda: Percentile(percentile)):
        assert seen(make(), *parts) == seen(make(), tensor(values))


def test_zeros_count_whenever_they_come() -> None:
    """Nine zeros and a one: 80 % of the values are zero, in whatever order."""
    zeros, one = torch.zeros(9), torch.ones(1)
    first_bin = 2 / BINS
    assert seen(Percentile(80), zeros, one) == seen(Percentile(80), one, zeros) == first_bin
    assert seen(Percentile(95), zeros, one) == 1


def test_the_range_grows_from_the_smallest_to_the_largest() -> None:
    tiny, huge = torch.full((3,), 1e-45), torch.full((1,), 3e38)
    largest = float(huge[0])
    assert seen(Percentile(100), tiny, huge) == largest
    assert seen(Percentile(70), tiny, huge) <= 2 * largest / BINS
    assert seen(Percentile(70), tiny) == float(tiny[0])


def test_negative_values_count_by_magnitude() -> None:
    values = -torch.arange(1, 101).float()
    assert seen(MinMax(), values) == 100
    assert 90 <= seen(Percentile(90), values) <= 90 + 200 / BINS


@pytest.mark.parametrize("make", [MinMax, lambda: Percentile(99.99)], ids=["minmax", "percentile"])
def test_nothing_and_zeros_give_a_dead_scale_of_one(make: type[MinMax]) -> None:
    for parts in ([], [torch.zeros(0, 3)], [torch.zeros(4)], [torch.full((2,), 1e-40)]):
        observer = make()
        for part in parts:
            observer.see(part)
        assert observe.is_dead(observer)
        assert observe.scale(observer) == 1


@modest
@given(VALUES)
def test_the_scale_is_a_normal_positive_float32(values: list[float]) -> None:
    for config in (QuantConfig(), QuantConfig(observer="percentile", percentile=99)):
        observer = observe.make(config)
        observer.see(tensor(values))
        scale = observe.scale(observer)
        assert scale.dtype == torch.float32
        assert scale.shape == ()
        assert torch.finfo(torch.float32).tiny <= float(scale) <= 3e38
        if not observe.is_dead(observer):
            assert float(scale) == np.float32(observer.limit() / 127)


def test_configuration_chooses_the_observer() -> None:
    assert isinstance(observe.make(QuantConfig()), MinMax)
    assert isinstance(observe.make(QuantConfig(observer="percentile")), Percentile)
    values = torch.arange(1000).float()
    assert seen(observe.make(QuantConfig(observer="percentile", percentile=60)), values) < 602


def test_gradients_do_not_reach_an_observer() -> None:
    x = torch.ones(3, requires_grad=True)
    for observer in (MinMax(), Percentile(99)):
        observer.see(x * 2)
        assert observer.limit() == 2
