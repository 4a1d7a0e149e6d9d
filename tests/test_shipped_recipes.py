"""Every recipe that ships goes from data to report: tiny here, at full length in the slow tests, where gates hold."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import shipped

from edgekit import pipeline, recipe

TINY = [
    "bench={warmup: 1, min_samples: 5, min_seconds: 0.0}",
    "gates={max_drop: null}",
    "export.targets=[onnxruntime, tensorrt-10]",
]
STEADY = ["anomaly", "cancer", "simple_nn", "text", "volatility"]  # another seed of `speech` is other voices
SHORT = ["train.epochs=1", "prune.recover.epochs=1"]
QUICK = ("cancer", "simple_nn")  # the others take a minute each even so; `make demo` runs `digits`
SMALLER = {
    "anomaly": ["data.generate.args={normal: 60, anomalous: 8}"],
    "cancer": [],
    "digits": ["data.varied.items=20", "model.args={in_channels: 1, width: 4}"],
    "digits-mlp": ["data.varied.items=20"],
    "simple_nn": ["data.generate.args={points: 100}"],
    "speech": ["data.generate.args={speakers: 6, takes: 1}", "model.args={width: 16}"],
    "text": ["data.generate.args={train: 60, test: 20, files: 60}", "model.args={classes: 5, length: 256, width: 8}"],
    "volatility": ["data.generate.args={days: 120}"],
}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Generated data goes where pytest cleans up."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def test_every_recipe_is_tested() -> None:
    assert recipe.shipped() == sorted(SMALLER)


@pytest.mark.parametrize("name", [n if n in QUICK else pytest.param(n, marks=pytest.mark.slow) for n in SMALLER])
def test_a_recipe_goes_the_whole_way(name: str, tmp_path: Path) -> None:
    if name == "speech":
        shipped.need_espeak()
    results = pipeline.run(name, tmp_path / "run", overrides=[*TINY, *SHORT, *SMALLER[name]])
    assert [row["name"] for row in results["variants"]] == [
        "float",
        "pruned",
        "INT8, golden",
        "INT8, onnxruntime",
        "INT8, tensorrt-10",
    ]
    assert not [export["failure"] for export in results["exports"] if export["failure"]]
    assert results["variants"][0]["macs"] > results["variants"][1]["macs"]
    assert (tmp_path / "run/report.html").exists()
    assert json.loads((tmp_path / "run/run.json").read_bytes())["state"] == "complete"


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize(("name", "seed"), [(name, 0) for name in SMALLER] + [(name, 1) for name in STEADY])
def test_a_recipe_reaches_what_it_promises(name: str, seed: int, tmp_path: Path) -> None:
    """A gate that does not hold raises; so does a run that has none."""
    if name == "speech":
        shipped.need_espeak()
    gates = recipe.load(name).gates
    assert gates.at_least or gates.at_most
    pipeline.run(name, tmp_path / "run", overrides=[TINY[0], f"seed={seed}"])
