"""The arithmetic of benchmarks/engine.py: ratios, intervals, verdicts and goals; no time is taken here."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

PATH = Path(__file__).parent.parent / "benchmarks" / "ratios.py"


@pytest.fixture(scope="module")
def ratios() -> ModuleType:
    spec = importlib.util.spec_from_file_location("engine_ratios", PATH)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules["engine_ratios"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_constant_times_have_an_interval_of_one_point(ratios: ModuleType) -> None:
    found = ratios.against_best([2.0] * 20, {"slow": [5.0] * 20, "fast": [3.0] * 20})
    assert (found.best, found.ratio, found.low, found.high) == ("fast", 1.5, 1.5, 1.5)
    assert (found.spread, found.verdict, found.rounds) == (0.0, "steady", 20)


def test_what_slows_a_whole_round_leaves_the_ratio_and_its_spread_alone(ratios: ModuleType) -> None:
    load = np.random.default_rng(0).uniform(1, 3, 31)
    found = ratios.against_best(list(load), {"peer": list(2 * load)})
    assert found.ratio == pytest.approx(2.0)
    assert found.spread == pytest.approx(0.0, abs=1e-12)
    assert found.verdict == "steady"


def test_the_interval_of_noise_holds_the_truth_about_as_often_as_it_says(ratios: ModuleType) -> None:
    rng, held, trials = np.random.default_rng(1), 0, 200
    for seed in range(trials):
        own, peer = rng.lognormal(0, 0.05, 31), 1.3 * rng.lognormal(0, 0.05, 31)
        found = ratios.against_best(list(own), {"peer": list(peer)}, seed)
        assert found.low <= found.ratio <= found.high
        held += found.low <= 1.3 <= found.high
    # Of 200 trials at 95 %, fewer than 178 hold it once in 10,000 times; the bootstrap of a median holds a little less.
    assert 172 <= held <= trials


def test_the_best_peer_is_chosen_anew_in_every_resample(ratios: ModuleType) -> None:
    """Of peers that are alike, one looks fastest by luck: the interval reaches below what that one alone would give."""
    rng = np.random.default_rng(2)
    own, peers = [1.0] * 15, {name: list(rng.lognormal(0, 0.1, 15)) for name in "abcdef"}
    found = ratios.against_best(own, peers)
    alone = ratios.against_best(own, {found.best: peers[found.best]})
    assert found.ratio == alone.ratio
    assert found.low <= alone.low
    assert found.high < alone.high


def test_the_same_rounds_give_the_same_interval(ratios: ModuleType) -> None:
    rng = np.random.default_rng(3)
    own, peer = list(rng.lognormal(0, 0.1, 11)), list(rng.lognormal(0, 0.1, 11))
    assert ratios.against_best(own, {"peer": peer}) == ratios.against_best(own, {"peer": peer})


def test_spread_and_few_rounds_are_said(ratios: ModuleType) -> None:
    assert ratios.spread([1.0, 2.0, 3.0]) == 0.5
    assert ratios.verdict(0.025, 10) == "steady"
    assert ratios.verdict(0.026, 10) == "unsteady: 2.6%, the bound is 2.5%"
    assert ratios.verdict(0.0, 9) == "only 9 rounds, 10 are needed"


@pytest.mark.parametrize("peers", [{}, {"peer": [1.0]}, {"peer": [1.0, 2.0, 3.0]}])
def test_parties_of_unequal_rounds_are_refused(ratios: ModuleType, peers: dict[str, list[float]]) -> None:
    with pytest.raises(ValueError, match="one time for each round"):
        ratios.against_best([1.0, 1.0], peers)


@pytest.mark.parametrize(
    ("low", "goal", "why", "word"),
    [
        (1.47, 1.5, None, "met"),
        (1.46, 1.5, None, "missed"),
        (0.97, None, None, "not slower"),
        (0.96, None, None, "below 0.97x"),
        (9.0, 1.5, "no VNNI here", "not measured: no VNNI here"),
        (None, 1.5, None, "not measured: no ratio"),
    ],
)
def test_goals(ratios: ModuleType, low: float | None, goal: float | None, why: str | None, word: str) -> None:
    found = None if low is None else ratios.Ratio("peer", low + 0.1, low, low + 0.2, 0.01, "steady", 31)
    assert ratios.standing(found, goal, why) == word
