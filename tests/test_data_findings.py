"""The statistics behind the checks of data, against scipy and by simulation; sound data; the printed form."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import numpy as np
import planted
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from test_data_checks import examine, warnings

from edgekit import data
from edgekit.data import description
from edgekit.data.findings import View, copies, drift, findings, near, view
from edgekit.data.split import Split, stratified
from edgekit.options import DataConfig


def warned(looked: View) -> list[str]:
    return [finding["message"] for finding in findings(looked) if finding["level"] == "warn"]


def divided(inputs: tuple[np.ndarray, ...], target: np.ndarray, **known: Any) -> View:
    """Split as a recipe does: three tenths are held out, and half of the rest calibrates."""
    whole, labels = Split(inputs, (target,)), np.zeros(len(target), np.int64)
    if target.dtype == np.int64 and target.ndim == 1:
        labels = target
    held = np.zeros(len(target), bool)
    held[stratified(labels, -(-3 * len(target) // 10), 0)] = True
    train = whole.take(np.flatnonzero(~held))
    half = stratified(labels[~held], len(train) // 2, 1)
    return View(train, whole.take(np.flatnonzero(held)), calibration=train.take(half), **known)


@st.composite
def sound_data(draw: st.DrawFn) -> View:
    """Independent items of many shapes and kinds."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    classes, each = draw(st.integers(2, 6)), draw(st.integers(60, 110))
    count, kind = classes * each, draw(st.sampled_from(["classification", "regression", "reconstruction"]))
    makers = {
        "normal columns": lambda: rng.standard_normal((count, draw(st.integers(1, 40))), np.float32),
        "skew columns": lambda: rng.lognormal(0, 0.6, (count, draw(st.integers(1, 12)))).astype(np.float32),
        "columns of yes and no": lambda: (rng.random((count, draw(st.integers(1, 12)))) < 0.6).astype(np.float32),
        "small numbers": lambda: rng.integers(0, 9, (count, draw(st.integers(2, 5)))).astype(np.float32),
        "pictures": lambda: rng.random((count, draw(st.sampled_from([1, 3])), 8, draw(st.integers(4, 9))), np.float32),
        "bytes": lambda: rng.integers(0, 256, (count, 3, 6, 6), dtype=np.uint8),
        "series": lambda: rng.standard_normal((count, 20, 3), np.float32),
        "sounds": lambda: (0.2 * rng.standard_normal((count, 1200), np.float32)).clip(-1, 1),
        "tokens": lambda: rng.integers(1, 500, (count, draw(st.integers(8, 40)))),
    }
    chosen = draw(st.lists(st.sampled_from(sorted(makers)), min_size=1, max_size=2))
    labels = rng.permutation(np.arange(count) % classes)
    if kind == "regression":
        return divided(tuple(makers[name]() for name in chosen), rng.standard_normal((count, 2), np.float32),
                       classes=0, kind=kind)  # fmt: skip
    looked = divided(tuple(makers[name]() for name in chosen), labels, classes=classes, kind=kind)
    if kind == "reconstruction":
        train, test = (Split(part.inputs, (np.zeros(len(part), np.int64),)) for part in (looked.train, looked.test))
        test.targets[0][::3] = 1
        return View(train, test, 0, calibration=train, kind=kind)
    return looked


@given(sound_data())
@settings(deadline=None, max_examples=80, derandomize=True)
def test_sound_data_raises_no_alarm(looked: View) -> None:
    """A test of chance warns of sound data with a probability of CHANCE at most, and a report makes about ten of them.

    So 80 reports stay silent with a probability above 0.99 for any choice of seeds; the seeds are fixed besides.
    """
    assert warned(looked) == []


@pytest.mark.parametrize("name", ["iris", "wine", "breast_cancer", "diabetes"])
def test_textbook_data_raises_no_alarm(name: str) -> None:
    from sklearn import datasets

    x, y = getattr(datasets, f"load_{name}")(return_X_y=True)
    regression = name == "diabetes"
    target = y.astype(np.float32)[:, None] if regression else y.astype(np.int64)
    classes = 0 if regression else int(y.max()) + 1
    kind = "regression" if regression else "classification"
    # Iris has a flower twice, and wine as it is mixes columns of 1 and of 1,000: both are so.
    looked = divided((x.astype(np.float32),), target, classes=classes, kind=kind, preprocessed=True)
    assert warned(looked) == []


@given(st.lists(st.integers(0, 9), min_size=1, max_size=40), st.lists(st.integers(0, 9), min_size=1, max_size=40))
@settings(deadline=None)
def test_the_distance_of_distributions_is_scipys(one: list[int], other: list[int]) -> None:
    ours = drift.distance(np.array(one, np.float32), np.array(other, np.float32))
    assert ours == pytest.approx(stats.ks_2samp(one, other, method="asymp").statistic, abs=1e-12)


def test_drift_warns_of_sound_data_as_seldom_as_it_says(monkeypatch: pytest.MonkeyPatch) -> None:
    """With CHANCE at 5 % and every difference large enough: of 1,000 sound sets at most 5 % warn, plus 4 deviations."""
    monkeypatch.setattr(drift, "CHANCE", 0.05)
    monkeypatch.setattr(drift, "MIN_DISTANCE", 0.0)
    monkeypatch.setattr(drift, "MIN_SHIFT", 0.0)
    rng = np.random.default_rng(0)
    alarms = {"drift": 0, "label drift": 0}
    for _ in range(1000):
        parts = [Split((rng.standard_normal((n, 3), np.float32),), (rng.integers(0, 4, n),)) for n in (90, 60)]
        looked = View(parts[0], parts[1], 4)
        for finding in (*drift.inputs(looked), *drift.targets(looked)):
            alarms[finding["check"]] += finding["level"] == "warn"
    most = 50 + 4 * (1000 * 0.05 * 0.95) ** 0.5
    assert all(10 < count <= most for count in alarms.values()), alarms  # and it is not silent for another reason


def test_a_difference_too_small_to_matter_is_no_drift() -> None:
    """With 200,000 items a test sees a shift of 0.03 deviations; nobody needs to know."""
    rng = np.random.default_rng(0)
    one, other = (rng.standard_normal((200_000, 1), np.float32) + shift for shift in (0, 0.03))
    assert stats.ks_2samp(one[:, 0], other[:, 0]).pvalue < 1e-9
    parts = [Split((x,), (np.arange(len(x)) % 2,)) for x in (one, other)]
    assert [finding["level"] for finding in drift.inputs(View(*parts, 2))] == ["ok"]


@given(st.integers(1, 400), st.floats(1e-6, 200))
@settings(deadline=None)
def test_the_bound_of_chance_is_no_less_than_the_chance(least: int, mean: float) -> None:
    assert copies._log_poisson_tail(least, mean) >= stats.poisson.logsf(least - 1, mean) - 1e-9


def test_rows_of_few_values_coincide_and_rows_of_measurements_do_not() -> None:
    rng = np.random.default_rng(0)
    flags = rng.integers(0, 2, (300, 4)).astype(np.float32)
    labels = rng.integers(0, 2, 300)
    found = findings(divided((flags,), labels, classes=2))
    duplicates = [finding for finding in found if finding["check"] in ("duplicates", "leakage", "conflicting labels")]
    assert {finding["level"] for finding in duplicates} == {"ok"}
    assert all("by chance" in finding["message"] for finding in duplicates)
    measured = np.column_stack([flags, rng.standard_normal(300).astype(np.float32)])
    measured[1] = measured[0]
    assert any(
        "copies" in message or "also stand" in message for message in warned(divided((measured,), labels, classes=2))
    )


@pytest.mark.parametrize(("noise", "gain", "found"), [(0.0, 0.5, 3), (0.02, 1.0, 3), (0.3, 1.0, 0), (0.0, 1.0, 0)])
def test_near_copies_are_told_from_strangers_and_from_exact_ones(noise: float, gain: float, found: int) -> None:
    rng = np.random.default_rng(0)
    train, test = rng.standard_normal((2, 300, 64), np.float32).reshape(2, 300, 1, 8, 8)
    changed = gain * train[5:8] + noise * rng.standard_normal((3, 1, 8, 8))
    test[10:13] = changed.astype(np.float32)
    (finding,) = near.near_copies(
        View(Split((train,), (np.arange(300) % 2,)), Split((test,), (np.arange(300) % 2,)), 2)
    )
    assert finding["value"] == found
    assert ("item 10" in finding["message"]) == bool(found)


def test_near_copies_are_not_claimed_where_neighbours_are_as_near() -> None:
    """Sines of any phase fill a circle: each has a neighbour closer than a copy would be."""
    phase = np.random.default_rng(0).uniform(0, 2 * np.pi, (600, 1, 1, 1))
    x = np.sin(np.arange(64).reshape(1, 1, 8, 8) + phase).astype(np.float32)
    (finding,) = near.near_copies(divided((x,), np.arange(600) % 2, classes=2))
    assert (finding["level"], "not examined" in finding["message"]) == ("ok", True)


@pytest.mark.parametrize("pitch", [20, 100, 440])
def test_a_sine_that_reaches_full_scale_is_not_clipped(pitch: int) -> None:
    time, phase = np.arange(8000) / 8000, np.random.default_rng(0).uniform(0, 6, (120, 1))
    sines = np.sin(2 * np.pi * pitch * time + phase)
    for sound, level in ((sines, "ok"), (1.05 * sines, "warn")):
        steps = (np.round(32767 * sound.clip(-1, 1)) / 32768).astype(np.float32)
        looked = divided((steps,), np.arange(120) % 2, classes=2)
        (finding,) = [finding for finding in findings(looked) if finding["check"] == "clipped sounds"]
        assert finding["level"] == level, finding


def test_a_calibration_set_of_another_kind_is_seen() -> None:
    rng = np.random.default_rng(0)
    sound = divided((rng.standard_normal((500, 6), np.float32),), np.arange(500) % 2, classes=2)
    assert sound.calibration is not None
    dark = Split((sound.calibration.inputs[0] - 1,), sound.calibration.targets)
    (message,) = warned(View(sound.train, sound.test, 2, calibration=dark))
    assert "calibration against train" in message


def test_a_class_without_calibration_items_is_seen(tmp_path: Path) -> None:
    def rows(rng: np.random.Generator) -> planted.Arrays:
        return {**planted.rows(rng), "y": np.where(np.arange(400) < 20, 1, np.array([0, 2, 3])[np.arange(400) % 3])}

    planted.npz(rows)(tmp_path)
    recipe = planted.write(tmp_path, planted.NPZ)
    recipe.write_text(recipe.read_text() + "quantize: {calibration_samples: 4, allow_few: true}\n")
    assert "calibration has no item of class 1" in warnings(recipe)["missing classes"]


def test_validation_items_are_compared_too(tmp_path: Path) -> None:
    planted.PICTURES(tmp_path)
    recipe = planted.write(tmp_path, "data: {source: a.npz, validation_fraction: 0.2}")
    assert warnings(recipe) == {}
    planted.change(x=planted.copy(slice(0, 100), slice(100, 200)))(tmp_path)
    found = warnings(recipe)["leakage"]
    assert "validation items also stand in train" in found
    assert "test items also stand in validation" in found


def test_what_is_not_examined_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looked = divided((planted.sounds(np.random.default_rng(0))["x"],), np.arange(200) % 4, classes=4)
    whole = [finding["message"] for finding in findings(looked)]
    assert not any("examined" in message for message in whole)
    monkeypatch.setattr(view, "MAX_VALUES", 50_000)  # 140 x 1,600 values: one item in five
    part = divided(looked.train.inputs, looked.train.targets[0], classes=4)
    said = [finding for finding in findings(part) if "examined" in finding["message"]]
    assert {"blank items", "clipped sounds", "drift"} <= {finding["check"] for finding in said}
    assert any("one in 4 items of train" in finding["message"] for finding in said)


def test_without_scipy_the_rest_is_examined_and_the_lack_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    looked = divided((np.random.default_rng(0).standard_normal((300, 4), np.float32),), np.arange(300) % 2, classes=2)
    (message,) = warned(looked)
    assert "without SciPy" in message
    assert "pip install" in message
    assert len(findings(looked)) > 10


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("shape", [(1,), (4,), (1, 8, 8), (2000,)])
@pytest.mark.parametrize("count", [2, 3, 100])
@pytest.mark.parametrize("values", [(-3e38, 3e38), (0, 1e-45), (0, 0), (-1, 1)])
def test_extremes_give_findings_that_json_can_say(
    shape: tuple[int, ...], count: int, values: tuple[float, float]
) -> None:
    x = np.random.default_rng(0).choice(np.array(values, np.float32), (count, *shape))
    for kind, target in (
        ("classification", np.arange(count) % 2),
        ("regression", x.reshape(count, -1)[:, :1]),
        ("custom", x.reshape(count, -1)),
        ("sequence_labelling", np.full((count, 5), -100)),
    ):
        found = findings(divided((x,), target, classes=0 if target.dtype.kind == "f" else 2, kind=kind))
        json.dumps(found, allow_nan=False)
        assert found


def test_describe_says_what_numpy_says(tmp_path: Path) -> None:
    planted.PICTURES(tmp_path)
    loaded = data.load(DataConfig(source="a.npz"), 0, 64, tmp_path)
    found = data.describe(loaded)
    json.dumps(found, allow_nan=False)
    images = loaded.train.inputs[0]
    (entry,) = found["inputs"]
    assert (entry["dtype"], entry["shape"]) == ("float32", ["N", 1, 8, 8])
    expected = [images.min(), images.max(), images.astype(np.float64).mean(), images.astype(np.float64).std(), 0]
    assert [entry[key] for key in ("min", "max", "mean", "deviation", "missing")] == pytest.approx(expected)
    assert found["splits"] == {"train": 210, "calibration": 64, "test": 90}
    assert found["classes"][2] == {"name": "2", "train": 42, "calibration": 13, "test": 18}
    assert found["findings"] == loaded.findings
    assert found["summary"] == {"ok": len(loaded.findings), "warn": 0}


def test_missing_values_are_counted_and_left_out(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("a,b,y\n" + "".join(f"{'' if n % 4 else n},{n % 7},{n % 2}\n" for n in range(200)))
    recipe = planted.write(tmp_path, "data: {csv: {path: a.csv, target: y, missing: median}}")
    code, out, err = examine(recipe, "--json")
    assert code == 0, err
    found = json.loads(out)
    assert found["inputs"][0]["missing"] == pytest.approx(0.75 * found["splits"]["train"], abs=20)
    assert any(finding["check"] == "missing values" and finding["level"] == "warn" for finding in found["findings"])


def test_the_verb_prints_warnings_first_and_builds_no_model(tmp_path: Path) -> None:
    planted.TABLE(tmp_path)
    planted.change(x=planted.put((slice(None), 4), 2.5))(tmp_path)
    recipe = planted.write(tmp_path, planted.NPZ)
    recipe.write_text(recipe.read_text().replace("{name: mlp}", "{file: nowhere.py, object: build}"))
    code, out, err = examine(recipe, "-o", str(tmp_path / "data.json"), "--seed", "3")
    assert (code, err) == (0, "")
    first = next(line for line in out.splitlines() if line.split()[:1] in (["ok"], ["warn"]))
    assert "constant features" in first
    assert out.rstrip().endswith("of them warn")
    assert f"{np.dtype(np.float32)} [N, 6]" in out
    assert json.loads((tmp_path / "data.json").read_bytes())["summary"]["warn"] == 1
    assert examine(recipe, "--set", "data.test_fraction=2")[0] == 3
    assert examine(tmp_path / "none.yaml")[0] == 2


def test_names_from_files_cannot_write_on_the_terminal(tmp_path: Path) -> None:
    evil = "\x1b[2J\u202eevil[red]"
    rows = "".join(f"{n},7,{'a' if n % 2 else evil}\n" for n in range(100))
    (tmp_path / "a.csv").write_text(f"x,{evil},y\n{rows}")
    code, out, _ = examine(planted.write(tmp_path, "data: {csv: {path: a.csv, target: y}}"))
    assert code == 0
    assert all(character.isprintable() or character == "\n" for character in out)
    assert "[2J?evil[red]" in out  # the class and the column, their controls made visible


def test_many_classes_are_not_all_listed() -> None:
    labels = np.tile(np.arange(50), 20)
    x = np.random.default_rng(0).standard_normal((1000, 5), np.float32)
    looked = divided((x,), labels, classes=50)
    assert looked.calibration is not None
    loaded = data.Dataset("many", looked.train, looked.calibration, looked.test, None, 50, findings(looked))
    text = description.show(data.describe(loaded))
    assert "and 30 more classes" in text
    assert len(data.describe(loaded)["classes"]) == 50
