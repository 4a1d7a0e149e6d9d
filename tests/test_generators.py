"""What the recipes that ship generate: the same bytes each time, in the promised form and number."""

from __future__ import annotations

import csv
import wave
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shipped
from numpy.typing import NDArray
from sklearn.datasets import load_breast_cancer

from edgekit import recipe, userfile
from edgekit.errors import DataError, MissingDependency

SMALL: dict[str, dict[str, Any]] = {
    "cancer.py": {},
    "keywords.py": {"speakers": 2, "takes": 1},
    "machine.py": {"normal": 3, "anomalous": 4, "seconds": 0.5},
    "simple_nn.py": {"points": 20},
    "snippets.py": {"train": 20, "test": 8, "files": 30},
    "volatility.py": {"days": 60},
}


def content(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def sound(path: Path) -> NDArray[np.int16]:
    with wave.open(str(path)) as file:
        assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (1, 2, 16000)
        return np.frombuffer(file.readframes(file.getnframes()), "<i2")


def test_every_generator_is_tested() -> None:
    assert {path.name for path in recipe.SHIPPED.glob("*.py")} == set(SMALL)


@pytest.mark.parametrize("file", SMALL)
def test_the_same_arguments_give_the_same_bytes_and_another_seed_others(file: str, tmp_path: Path) -> None:
    if file == "keywords.py":
        shipped.need_espeak()
    first, again = (content(shipped.make(file, tmp_path / name, **SMALL[file])) for name in "ab")
    assert first
    assert first == again
    if file != "cancer.py":
        assert content(shipped.make(file, tmp_path / "c", **SMALL[file], seed=1)) != first


def test_keywords_are_a_second_of_each_class_by_each_speaker(tmp_path: Path) -> None:
    shipped.need_espeak()
    folder = shipped.make("keywords.py", tmp_path / "data", speakers=2, takes=2)
    names = {label.name: sorted(p.name for p in label.iterdir()) for label in folder.iterdir()}
    assert len(names) == 12
    assert {"yes", "stop", "unknown", "silence"} <= set(names)
    assert all(found == ["f1_000.wav", "f1_001.wav", "m1_000.wav", "m1_001.wav"] for found in names.values())
    for path in folder.rglob("*.wav"):
        samples = sound(path)
        assert len(samples) == 16000
        assert 0.09 * 2**15 < np.abs(samples.astype(int)).max() < 0.91 * 2**15


def test_a_machine_without_espeak_is_told_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingDependency, match="apt-get install espeak-ng") as caught:
        shipped.make("keywords.py", tmp_path / "data")
    assert caught.value.exit_code == 4


@pytest.mark.parametrize("speakers", [0, 49])
def test_speakers_that_do_not_exist_are_refused(speakers: int, tmp_path: Path) -> None:
    shipped.need_espeak()
    with pytest.raises(DataError, match="1 to 48"):
        shipped.make("keywords.py", tmp_path / "data", speakers=speakers)


def test_snippets_are_one_line_each_and_stand_nowhere_twice(tmp_path: Path) -> None:
    folder = shipped.make("snippets.py", tmp_path / "data", train=50, test=20, files=60)
    lines = [line for path in folder.rglob("*.txt") for line in path.read_text("utf-8").splitlines()]
    kinds = {side.name: {path.stem for path in side.iterdir()} for side in folder.iterdir()}
    assert kinds["train"] == kinds["test"] == {"cmake", "cpp", "english", "python", "stubs"}
    assert len(lines) == len(set(lines))
    assert 5 * (50 + 20) / 4 <= len(lines) <= 5 * (50 + 20)
    assert all(40 <= len(line) <= 256 and line.isprintable() for line in lines)


def test_too_few_files_of_a_kind_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="snippets of cmake for test, far from 100000"):
        shipped.make("snippets.py", tmp_path / "data", test=100_000, files=3)


def test_the_table_of_cancer_is_that_of_scikit_learn(tmp_path: Path) -> None:
    table = rows(shipped.make("cancer.py", tmp_path / "data") / "table.csv")
    data = load_breast_cancer()
    values = np.array([[float(v) for k, v in row.items() if k != "diagnosis"] for row in table])
    np.testing.assert_array_equal(values, data.data)
    assert [row["diagnosis"] for row in table] == [data.target_names[label] for label in data.target]


def test_tomorrow_is_no_feature_of_today_and_becomes_the_next_day(tmp_path: Path) -> None:
    table = rows(shipped.make("volatility.py", tmp_path / "data", days=200) / "table.csv")
    assert [int(row["day"]) for row in table] == list(range(200))
    for today, tomorrow in pairwise(table):
        assert today["next_vol"] == tomorrow["day_vol"]
        assert min(float(today["rise"]), float(today["fall"])) == 0
    week = np.mean([float(row["day_vol"]) for row in table[10:15]])
    assert float(table[14]["week_vol"]) == pytest.approx(week, abs=1e-6)


def test_variance_answers_more_to_falls_than_to_rises() -> None:
    market, _ = userfile.find("volatility.py", "_market", recipe.SHIPPED, DataError)
    returns, volatility = market(20_000, np.random.default_rng(0))
    large = np.abs(returns[:-1]) > 2
    after = np.log(volatility[1:])
    assert after[large & (returns[:-1] < 0)].mean() > after[large & (returns[:-1] > 0)].mean() + 0.05
    assert np.corrcoef(np.log(volatility[:-1]), after)[0, 1] > 0.5


def test_faults_take_turns_and_stay_faint(tmp_path: Path) -> None:
    folder = shipped.make("machine.py", tmp_path / "data", normal=12, anomalous=12)
    normal, anomalous = (sorted((folder / name).iterdir()) for name in ("normal", "anomalous"))
    assert len(normal) == len(anomalous) == 12
    assert {path.name.split("_")[0] for path in anomalous} == {"bearing", "imbalance", "belt", "loose"}
    power = [np.mean([np.mean(sound(path).astype(float) ** 2) for path in paths]) for paths in (normal, anomalous)]
    assert 0.5 < power[1] / power[0] < 3


def test_the_points_of_the_textbook_lie_on_the_valley(tmp_path: Path) -> None:
    table = rows(shipped.make("simple_nn.py", tmp_path / "data") / "table.csv")
    x, y, z = (np.array([float(row[name]) for row in table]) for name in "xyz")
    noise = z - np.abs(x) / 2 - y / 4
    assert len(noise) == 400
    assert noise.std() == pytest.approx(0.02, rel=0.15)  # four standard errors
