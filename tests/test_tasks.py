"""Each kind of task from data to report, with tiny nets: what is measured, judged and said, and what is refused."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from lowering import needs_vnni
from sklearn import metrics as sk

from edgekit import pipeline, preflight
from edgekit.errors import DataError, EdgekitError, GateError, RecipeError
from edgekit.runtime import load

BASE = """\
name: tiny
threads: 1
data: {source: items.npz}
train: {epochs: 4, learning_rate: 0.01, optimizer: adam, batch_size: 32}
quantize: {calibration_samples: 64}
bench: {warmup: 1, warmup_seconds: 0, min_samples: 5, min_seconds: 0.01}
gates: {max_drop: null}
"""

NETS = """\
import torch
from torch import nn


class Scorer(nn.Sequential):
    def __init__(self, outputs=1):
        super().__init__(nn.Linear(6, 12), nn.ReLU(), nn.Linear(12, outputs))


class Segmenter(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Conv2d(1, 6, 3, padding=1), nn.ReLU(), nn.Conv2d(6, 3, 1))


class Detector(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Linear(6, 16)
        self.scores, self.boxes = nn.Linear(16, 4 * 3), nn.Linear(16, 4 * 4)

    def forward(self, x):
        x = torch.relu(self.body(x))
        return self.scores(x).view(-1, 4, 3), self.boxes(x).view(-1, 4, 4)


class Tagger(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(8, 6)
        self.gru = nn.GRU(6, 10, batch_first=True)
        self.head = nn.Linear(10, 3)

    def forward(self, tokens):
        return self.head(self.gru(self.embedding(tokens))[0])


class Summed(Tagger):
    def forward(self, tokens):
        return self.head(self.gru(self.embedding(tokens))[0].cumsum(1))


class Autoencoder(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Linear(6, 3), nn.ReLU(), nn.Linear(3, 6))


class Silent(nn.Linear):
    def __init__(self):
        super().__init__(6, 1)

    def forward(self, x):
        return super().forward(x).detach() + self.bias.detach()
"""

OWN = """\
import torch


def huberish(output, target, delta=1.0):
    return torch.nn.functional.huber_loss(output, target, delta=delta)


def mape(output, target):
    return ((output - target).abs() / (1 + target.abs())).mean()


mape.better = "lower"


def fragile(output, target):
    raise ArithmeticError("no luck")


fragile.better = "higher"


def endless(output, target):
    return (output - target).mean() / 0
"""


def features(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((count, 6)).astype(np.float32)


def binary() -> dict[str, np.ndarray]:
    x = features(200)
    return {"x": x, "y": (x[:, 0] + x[:, 1] > 0).astype(int)}


def values(columns: int = 1) -> dict[str, np.ndarray]:
    x = features(200)
    return {"x": x, "y": np.stack([x[:, 0] * 2 - x[:, k + 1] for k in range(columns)], 1).astype(np.float32)}


def pictures() -> dict[str, np.ndarray]:
    x = np.random.default_rng(1).random((120, 1, 6, 6)).astype(np.float32)
    y = np.digitize(x[:, 0], [0.3, 0.7])
    y[:, 0] = -1
    return {"x": x, "y": y}


def objects() -> dict[str, np.ndarray]:
    x = features(200)
    labels = np.stack([np.digitize(x[:, k], [0, 0.8]) for k in range(4)], 1)
    low = np.stack([x[:, :4], x[:, 1:5]], 2)
    return {"x": x, "y0": labels, "y1": np.concatenate([low, low + 1], 2).astype(np.float32)}


def sentences() -> dict[str, np.ndarray]:
    x = np.random.default_rng(2).integers(0, 8, (160, 5))
    return {"x": x, "y": np.where(x == 0, -1, x % 3)}


def machines() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(3)
    normal = rng.standard_normal((200, 2)) @ rng.standard_normal((2, 6))
    odd = rng.standard_normal((30, 6)) * 2
    return {"x": np.concatenate([normal, odd]).astype(np.float32), "y": np.repeat([0, 1], [200, 30])}


def model(name: str, **args: Any) -> str:
    return json.dumps({"file": "nets.py", "object": name, "args": args})


PRUNE = "prune={ratio: 0.5, recover: {epochs: 2, learning_rate: 0.01, optimizer: adam}}"
FLOAT = "quantize=null"
CASES: dict[str, tuple[Callable[[], dict[str, np.ndarray]], list[str]]] = {
    "classification": (
        binary,
        [f"model={model('Scorer')}", "task={loss: binary_cross_entropy, metrics: [f1, accuracy, auc]}"],
    ),
    "regression": (
        values,
        [f"model={model('Scorer')}", "task.kind=regression", PRUNE, "prune.importance=taylor", "train.epochs=40"],
    ),
    "segmentation": (pictures, [f"model={model('Segmenter')}", "task={kind: segmentation, loss: dice}"]),
    "detection": (objects, [f"model={model('Detector')}", "task.kind=detection", FLOAT]),
    "sequence_labelling": (sentences, [f"model={model('Tagger')}", "task.kind=sequence_labelling", FLOAT]),
    "reconstruction": (machines, [f"model={model('Autoencoder')}", "task.kind=reconstruction"]),
    "custom": (
        lambda: values(2),
        [
            f"model={model('Scorer', outputs=2)}",
            "task={kind: custom, loss: {file: own.py, object: huberish, args: {delta: 2.0}}, "
            "metrics: [{file: own.py, object: mape}]}",
            PRUNE,
            FLOAT,
        ],
    ),
}
PRIMARY = {
    "classification": "f1",
    "regression": "mse",
    "segmentation": "iou",
    "detection": "f1",
    "sequence_labelling": "accuracy",
    "reconstruction": "auc",
    "custom": "mape",
}


def project(folder: Path, data: dict[str, np.ndarray]) -> Path:
    np.savez(folder / "items.npz", **data)
    (folder / "nets.py").write_text(NETS)
    (folder / "own.py").write_text(OWN)
    (folder / "recipe.yaml").write_text(BASE + "model: {name: mlp}\n")
    return folder / "recipe.yaml"


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The folder of a case whose run is complete; each is made once."""
    made: dict[str, Path] = {}

    def folder_of(case: str) -> Path:
        if case not in made:
            data, overrides = CASES[case]
            made[case] = tmp_path_factory.mktemp(case)
            pipeline.run(project(made[case], data()), made[case] / "run", overrides=overrides)
        return made[case]

    return folder_of


def results(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / "run/results.json").read_bytes())
    return content


def held_out(folder: Path, case: str) -> tuple[Any, tuple[np.ndarray, ...]]:
    """The held-out items, and what the published file makes of them."""
    test = preflight.prepare(folder / "recipe.yaml", CASES[case][1]).data.test
    return test, load(folder / "run/model.onnxruntime.onnx").run(*test.inputs)


@pytest.mark.parametrize("case", CASES)
def test_every_kind_of_task_goes_the_whole_way(case: str, runs: Callable[[str], Path]) -> None:
    folder = runs(case)
    content = results(folder)
    assert content["schema"] == 2
    assert (content["task"]["kind"], content["task"]["primary"]) == (case, PRIMARY[case])
    for row in content["variants"]:
        assert set(row["metrics"]["test"]) == set(content["task"]["metrics"])
        assert None not in row["metrics"]["test"].values()
        assert row["unmeasured"] == {}
    losses = json.loads((folder / "run/stages/01-train/metrics.json").read_bytes())["losses"]
    assert losses[-1] < losses[0]
    page = (folder / "run/report.html").read_text("utf-8")
    assert content["task"]["metrics"][PRIMARY[case]]["spoken"] in page
    onnx.checker.check_model(onnx.load(folder / "run/model.onnxruntime.onnx"), full_check=True)


@pytest.mark.parametrize("case", CASES)
def test_the_metric_of_a_file_is_that_of_its_outputs(case: str, runs: Callable[[str], Path]) -> None:
    folder = runs(case)
    test, outputs = held_out(folder, case)
    first, target = outputs[0], test.targets[0]
    kept = target >= 0
    wanted = {
        "classification": lambda: sk.f1_score(target, first[:, 0] > 0, average="macro"),
        "regression": lambda: sk.mean_squared_error(target, first),
        "segmentation": lambda: sk.jaccard_score(target[kept], first.argmax(1)[kept], average="macro"),
        "detection": lambda: sk.f1_score(target[kept], first.argmax(2)[kept], average="macro"),
        "sequence_labelling": lambda: sk.accuracy_score(target[kept], first.argmax(2)[kept]),
        "reconstruction": lambda: sk.roc_auc_score(target, ((first - test.inputs[0]) ** 2).mean(1)),
        "custom": lambda: (np.abs(first - target) / (1 + np.abs(target))).mean(),
    }[case]()
    (row,) = [row for row in results(folder)["variants"] if row["artefact"].endswith("model.onnxruntime.onnx")]
    assert row["metrics"]["test"][PRIMARY[case]] == pytest.approx(wanted, rel=1e-5)


def test_a_float_run_has_neither_golden_nor_layers_and_says_why(runs: Callable[[str], Path]) -> None:
    content = results(runs("custom"))
    assert [row["name"] for row in content["variants"]] == ["float", "pruned", "pruned, onnxruntime"]
    assert content["layers"] == []
    stages = sorted(path.name for path in (runs("custom") / "run/stages").iterdir())
    assert stages == ["01-train", "02-prune", "03-export", "04-bench"]
    assert "The model stays in float, because the recipe says so." in (runs("custom") / "run/report.html").read_text()
    assert [row["name"] for row in results(runs("detection"))["variants"]] == ["float", "float, onnxruntime"]


def test_a_quantised_run_has_both(runs: Callable[[str], Path]) -> None:
    content = results(runs("segmentation"))
    assert [row["name"] for row in content["variants"]] == ["float", "INT8, golden", "INT8, onnxruntime"]
    assert content["exports"][0]["integer_convolutions"] == "2 of 2"
    assert "stays in float" not in (runs("segmentation") / "run/report.html").read_text()


@pytest.mark.parametrize("case", ["regression", "sequence_labelling"])
def test_either_way_a_complete_run_does_nothing_again(case: str, runs: Callable[[str], Path]) -> None:
    folder = runs(case)
    before = {path: path.stat().st_mtime_ns for path in (folder / "run/stages").rglob("*")}
    pipeline.run(folder / "recipe.yaml", folder / "run", resume=True, overrides=CASES[case][1])
    assert {path: path.stat().st_mtime_ns for path in (folder / "run/stages").rglob("*")} == before


def test_a_run_that_goes_on_in_float_drops_the_integer_stages(tmp_path: Path) -> None:
    recipe, overrides = project(tmp_path, values()), CASES["regression"][1]
    pipeline.run(recipe, tmp_path / "run", overrides=overrides)
    pipeline.run(recipe, tmp_path / "run", resume=True, overrides=[*overrides, FLOAT])
    seconds = json.loads((tmp_path / "run/run.json").read_bytes())["seconds"]
    assert list(seconds) == ["train", "prune", "export", "bench"]
    assert (seconds["train"], seconds["prune"]) == (None, None)
    assert sorted(p.name[3:] for p in (tmp_path / "run/stages").iterdir()) == ["bench", "export", "prune", "train"]


def test_a_changed_loss_of_the_users_trains_again(runs: Callable[[str], Path]) -> None:
    folder = runs("custom")
    keys = []
    for text in (OWN, OWN.replace("delta=delta", "delta=2 * delta")):
        (folder / "own.py").write_text(text)
        keys.append(preflight.prepare(folder / "recipe.yaml", CASES["custom"][1]).depends("train")["own"])
    (folder / "own.py").write_text(OWN)
    assert keys[0] != keys[1]


@needs_vnni  # saturated sums make its errors five times as large, and its gate says so
def test_the_strangers_project_of_the_readme_runs(tmp_path: Path) -> None:
    readme = (Path(__file__).parent.parent / "README.md").read_text("utf-8")
    (recipe,), (code,) = (re.findall(rf"```{kind}\n(.*?)```", readme, re.DOTALL) for kind in ("yaml", "py"))
    assert len(recipe.splitlines()) <= 10
    rng = np.random.default_rng(0)
    area, age, rooms = rng.uniform(30, 200, 400), rng.uniform(0, 90, 400), rng.integers(1, 8, 400)
    price = 3 * area - age + 20 * rooms + rng.normal(0, 10, 400)
    rows = zip(area, age, rooms, price / 100, strict=True)
    lines = ["area,age,rooms,price", *(",".join(f"{value:.3f}" for value in row) for row in rows)]
    (tmp_path / "table.csv").write_text("\n".join(lines) + "\n")
    (tmp_path / "mine.py").write_text(code)
    (tmp_path / "mine.yaml").write_text(recipe)
    content = pipeline.run(tmp_path / "mine.yaml", tmp_path / "run", overrides=["bench.min_seconds=0.01"])
    assert [gate["name"] for gate in content["gates"]] == ["mae rise, test", "float r2, test"]
    assert (tmp_path / "run/model.tensorrt-10.onnx").exists()


def test_a_reconstruction_behind_preprocessing_is_of_the_features(tmp_path: Path) -> None:
    """The exported file gives both; in raw units the error would be that of the largest column alone."""
    recipe, data = project(tmp_path, machines()), machines()
    scaled = data["x"] * [1000, 1, 1, 1, 1, 0.001] + 7
    names = np.where(data["y"] == 1, "worn", "normal")
    rows = [",".join([*(f"{value:.6f}" for value in row), name]) for row, name in zip(scaled, names, strict=True)]
    (tmp_path / "table.csv").write_text("\n".join(["a,b,c,d,e,f,state", *rows]) + "\n")
    overrides = [*CASES["reconstruction"][1], "data={csv: {path: table.csv, target: state}}"]
    content = pipeline.run(recipe, tmp_path / "run", overrides=overrides)
    test = preflight.prepare(recipe, overrides).data.test
    made, features = load(tmp_path / "run/model.onnxruntime.onnx").run(*test.inputs)
    assert np.abs(features).max() < 20
    errors = ((made - features) ** 2).mean(1)
    (row,) = [row for row in content["variants"] if row["name"] == "INT8, onnxruntime"]
    assert row["metrics"]["test"]["error"] == pytest.approx(errors[test.targets[0] == 0].mean(), rel=1e-5)
    assert row["metrics"]["test"]["auc"] == pytest.approx(sk.roc_auc_score(test.targets[0], errors), abs=1e-5)
    assert content["data"]["classes"] == ["normal", "anomaly"]


# Gates


def gated(runs: Callable[[str], Path], case: str, gate: str) -> list[dict[str, Any]]:
    """The gates of a complete run that is asked again with a gate; failing or not."""
    folder = runs(case)
    overrides = [*CASES[case][1], gate]
    try:
        return list(pipeline.run(folder / "recipe.yaml", folder / "run", resume=True, overrides=overrides)["gates"])
    except GateError:
        return list(results(folder)["gates"])


def test_an_error_may_rise_by_so_many_percent(runs: Callable[[str], Path]) -> None:
    content = results(runs("regression"))
    base, *others = [row["metrics"]["test"]["mse"] for row in content["variants"]]
    rise = 100 * (max(others[1:]) - base) / base  # of what is INT8
    assert rise > 1
    for bound, passed in ((rise + 1, True), (rise - 1, False)):
        (gate,) = gated(runs, "regression", f"gates.max_drop={bound}")
        assert gate["name"] == "mse rise, test"
        assert (gate["unit"], gate["must"], gate["passed"]) == ("%", "at most", passed)
        assert gate["value"] == pytest.approx(rise, rel=1e-5)


def test_a_share_may_drop_by_so_many_points(runs: Callable[[str], Path]) -> None:
    rows = results(runs("classification"))["variants"]
    base, *others = [row["metrics"]["test"]["f1"] for row in rows]
    (gate,) = gated(runs, "classification", "gates.max_drop=100")
    assert (gate["name"], gate["unit"]) == ("f1 drop, test", "points")
    assert gate["value"] == pytest.approx(100 * (base - min(others)), abs=1e-5)


@pytest.mark.parametrize(("key", "must", "offset"), [("at_least", "at least", -1e-3), ("at_most", "at most", 1e-3)])
def test_bounds_hold_the_float_net(key: str, must: str, offset: float, runs: Callable[[str], Path]) -> None:
    value = results(runs("regression"))["variants"][0]["metrics"]["test"]["r2"]
    for bound, passed in ((value + offset, True), (value - offset, False)):
        (gate,) = gated(runs, "regression", f"gates={{max_drop: null, {key}: {{r2: {bound}}}}}")
        assert (gate["name"], gate["must"], gate["passed"]) == ("float r2, test", must, passed)


def test_what_was_not_measured_passes_no_gate(tmp_path: Path) -> None:
    data = machines() | {"y": np.zeros(230, int)}  # nothing odd to find
    overrides = [*CASES["reconstruction"][1], "gates={at_least: {auc: 0.1}}"]
    with pytest.raises(GateError, match="auc drop, test is not measured"):
        pipeline.run(project(tmp_path, data), tmp_path / "run", overrides=overrides)
    content = results(tmp_path)
    assert [(gate["value"], gate["passed"]) for gate in content["gates"]] == [(None, False)] * 2
    assert content["variants"][0]["metrics"]["test"]["auc"] is None
    assert content["variants"][0]["unmeasured"] == {"test": {"auc": "every item of the set is of class 0"}}
    page = (tmp_path / "run/report.html").read_text("utf-8")
    assert "was not measured: every item of the set is of class 0" in page
    assert "nan" not in (tmp_path / "run/results.json").read_text().lower()


# What is refused before anything is written

BAD: dict[str, tuple[str, list[str], type[EdgekitError], str]] = {
    "an unknown loss": ("regression", ["task.loss=msee"], RecipeError, "Did you mean 'mse'"),
    "an unknown metric": ("regression", ["task.metrics=[accuracy]"], RecipeError, "mse, mae, rmse, r2"),
    "a gate on what is not measured": ("regression", ["gates={at_most: {mze: 1}}"], RecipeError, "Did you mean 'mse'"),
    "one score too few": ("classification", ["task={}"], DataError, "binary_cross_entropy"),
    "too many values": (
        "regression",
        [f"model={model('Scorer', outputs=3)}"],
        DataError,
        r"the model gives [N, 3], which does not fit a regression task. Give values [N, 1]",
    ),
    "a loss that cannot be differentiated": ("regression", [f"model={model('Silent')}"], RecipeError, "differentiated"),
    "a loss that is not finite": (
        "regression",
        ["task.loss={file: own.py, object: endless}"],
        RecipeError,
        "one finite number",
    ),
    "a metric that fails": (
        "regression",
        ["task.metrics=[{file: own.py, object: fragile}]"],
        RecipeError,
        "own.py, line 16): ArithmeticError: no luck",
    ),
    "a device that is not there": ("regression", ["device=cuda"], EdgekitError, "no CUDA device"),
    "nobody to watch": ("regression", ["train.early_stop={}"], RecipeError, "validation_fraction"),
    "an operator without an integer form": (
        "sequence_labelling",
        [f"model={model('Summed')}", "quantize={strict: true}"],
        EdgekitError,
        "cumsum",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_it_is_refused_before_the_first_write(case: str, tmp_path: Path) -> None:
    import torch

    kind, changes, error, words = BAD[case]
    if "cuda" in changes[0] and torch.cuda.is_available():
        pytest.skip("there is a CUDA device")
    data, overrides = CASES[kind]
    with pytest.raises(error) as caught:
        pipeline.run(project(tmp_path, data()), tmp_path / "run", overrides=[*overrides, *changes])
    assert words in str(caught.value)
    assert not (tmp_path / "run").exists()
