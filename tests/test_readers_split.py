"""Who trains and who is held out: disjoint, whole, seeded, and by group, time or normality where that matters."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit import data
from edgekit.data import Split, parts
from edgekit.data.source import Source, allocate
from edgekit.errors import DataError
from edgekit.options import DataConfig, TaskConfig, TaskKind


def source(count: int, labels: np.ndarray | None = None, groups: np.ndarray | None = None) -> Source:
    """Items that carry their own number."""
    targets = np.zeros(count, np.int64) if labels is None else labels
    return Source(Split((np.arange(count, dtype=np.int64)[:, None],), (targets,)), groups=groups)


def divide(given: Source, kind: TaskKind = "classification", seed: int = 0, **options: Any) -> parts.Parts:
    return parts.split(given, DataConfig(source="x.npz", **options), seed, kind)


def numbers(part: Split | None) -> list[int]:
    return [] if part is None else part.inputs[0][:, 0].tolist()


@given(
    st.integers(5, 200), st.floats(0.05, 0.6), st.sampled_from([0.0, 0.01, 0.2, 0.5]), st.booleans(), st.integers(0, 5)
)
@settings(deadline=None, max_examples=80)
def test_sets_are_disjoint_whole_and_as_large_as_asked(
    count: int, test: float, validation: float, last: bool, seed: int
) -> None:
    options = {"test_fraction": test, "validation_fraction": validation, "split": "last" if last else "random"}
    found = divide(source(count, np.arange(count) % 3), seed=seed, **options)
    train, watched, held = (numbers(part) for part in (found.train, found.validation, found.test))
    assert sorted(train + watched + held) == list(range(count))
    assert train == sorted(train)
    assert abs(len(held) - test * count) < 1
    assert abs(len(watched) - validation * (count - len(held))) < 1
    if last:
        assert train + watched + held == list(range(count))


@given(st.lists(st.integers(0, 9), min_size=2, max_size=120), st.floats(0.05, 0.6), st.integers(0, 5))
@settings(deadline=None, max_examples=120)
def test_groups_stay_whole_and_the_test_set_comes_near_its_share(groups: list[int], fraction: float, seed: int) -> None:
    sizes = np.bincount(groups)
    given_source = source(len(groups), groups=np.array(groups))
    if len(set(groups)) < 2 or np.ceil(fraction * len(groups)) >= len(groups):
        with pytest.raises(DataError):
            divide(given_source, test_fraction=fraction)
        return
    found = divide(given_source, seed=seed, test_fraction=fraction)
    train, held = ({groups[i] for i in numbers(part)} for part in (found.train, found.test))
    assert train
    assert held
    assert not train & held
    assert abs(len(found.test) - fraction * len(groups)) <= sizes.max() + 1
    assert set(found.groups["train"].tolist()) == train
    assert set(found.groups["test"].tolist()) == held


def test_the_groups_of_seed_0_are_the_ones_that_results_are_compared_on() -> None:
    """numpy guarantees the raw stream of PCG64, so these hold under every version of it."""
    found = divide(source(40, groups=np.arange(40) // 4), test_fraction=0.3)
    assert sorted(set(found.groups["test"].tolist())) == [1, 2, 3]


def test_other_seeds_give_other_sets() -> None:
    for groups in (None, np.arange(100) // 4):
        seen = {tuple(numbers(divide(source(100, groups=groups), seed=seed).test)) for seed in range(4)}
        assert len(seen) == 4


def test_the_end_of_a_series_may_not_cut_a_group() -> None:
    groups = np.arange(40) // 4
    found = divide(source(40, groups=groups), split="last", test_fraction=0.3)
    assert numbers(found.test) == list(range(28, 40))
    with pytest.raises(DataError, match="begins within a group"):
        divide(source(40, groups=groups), split="last", test_fraction=0.25 + 0.02)


def test_values_are_split_at_random_too() -> None:
    given_source = Source(Split((np.arange(50)[:, None],), (np.linspace(0, 1, 50, dtype=np.float32),)))
    held = numbers(divide(given_source, "regression").test)
    assert len(held) == 15
    assert held != list(range(35, 50))


@pytest.mark.parametrize("own_test", [False, True])
def test_only_normal_items_train_and_every_anomaly_is_tested(own_test: bool) -> None:
    labels = (np.arange(100) % 5 == 0).astype(np.int64)
    given_source = source(100, labels)
    if own_test:
        apart = Split((np.arange(100, 110)[:, None],), (np.zeros(10, np.int64),))
        given_source = Source(given_source.items, apart)
    found = divide(given_source, "reconstruction", validation_fraction=0.2)
    assert not found.train.targets[0].any()
    assert found.validation is not None
    assert not found.validation.targets[0].any()
    assert found.test.targets[0].sum() == 20
    held = [number for number in numbers(found.test) if number % 5 and number < 100]
    assert len(held) == (0 if own_test else 24)


def test_nothing_normal_is_nothing_to_learn_from() -> None:
    with pytest.raises(DataError, match="no normal items"):
        divide(source(10, np.ones(10, np.int64)), "reconstruction")


@pytest.mark.parametrize(("count", "fraction"), [(1, 0.3), (2, 0.7), (10, 0.95)])
def test_a_side_without_items_is_refused(count: int, fraction: float) -> None:
    with pytest.raises(DataError, match=f"There are {count} items, and {count} are held out"):
        divide(source(count), test_fraction=fraction)


def test_a_class_that_was_never_trained_on_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=np.random.default_rng(0).random((60, 3)), y=np.arange(60) // 20)
    config = DataConfig(source="a.npz", split="last")
    with pytest.raises(DataError, match="class 2 is tested, but never trained on"):
        data.load(config.model_copy(update={"test_fraction": 0.34}), 0, 32, tmp_path)
    data.load(config, 0, 32, tmp_path)


def test_normal_is_label_0_or_the_class_that_is_called_so(tmp_path: Path) -> None:
    task = TaskConfig(kind="reconstruction")
    labels = np.arange(60) % 3
    np.savez(tmp_path / "a.npz", x=np.random.default_rng(0).random((60, 3)), y=labels)
    loaded = data.load(DataConfig(source="a.npz"), 0, 8, tmp_path, task=task, allow_few=True)
    assert (loaded.classes, loaded.class_names) == (0, ("normal", "anomaly"))
    assert np.bincount(loaded.test.targets[0]).tolist() == [6, 40]
    rows = "".join(f"{i}.5,{('hiss', 'Normal', 'rattle')[i % 3]}\n" for i in range(60))
    (tmp_path / "t.csv").write_text("a,label\n" + rows)
    config = DataConfig.model_validate({"csv": {"path": "t.csv", "target": "label"}})
    loaded = data.load(config, 0, 8, tmp_path, task=task, allow_few=True)
    assert all(round(value - 0.5) % 3 == 1 for value in loaded.train.inputs[0][:, 0])
    (tmp_path / "t.csv").write_text("a,label\n" + rows.replace("Normal", "hum"))
    with pytest.raises(DataError, match="which of the classes hiss, hum, rattle is the normal one"):
        data.load(config, 0, 8, tmp_path, task=task)


def test_memory_is_bounded_before_it_is_taken() -> None:
    assert allocate("small", (2, 3), np.uint8).shape == (2, 3)
    with pytest.raises(DataError, match=r"huge would take 4,294,967,300 bytes"):
        allocate("huge", (2**30 + 1,), np.float32)


def test_validation_items_shape_neither_training_nor_what_is_learned_from_it(tmp_path: Path) -> None:
    rows = "".join(f"{i if i < 56 else 10**6},{i}\n" for i in range(80))
    (tmp_path / "t.csv").write_text("a,y\n" + rows)
    config = DataConfig.model_validate(
        {"csv": {"path": "t.csv", "target": "y", "scale": "minmax"}, "split": "last", "validation_fraction": 0.001}
    )
    loaded = data.load(config, 0, 8, tmp_path, task=TaskConfig(kind="regression"), allow_few=True)
    assert (len(loaded.train), loaded.preprocess is not None) == (55, True)
    assert float(dict(loaded.preprocess.named_buffers())["scale"]) == pytest.approx(1 / 54)  # type: ignore[union-attr]
