"""Whole runs of a tiny recipe: what they leave, how they resume, and what they refuse before anything is written."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import recipes
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file

import edgekit
from edgekit import device, disk, pipeline
from edgekit.errors import (
    CalibrationError,
    CaptureError,
    DataError,
    EdgekitError,
    GateError,
    ModelError,
    OutputError,
    RecipeError,
)  # fmt: skip
from edgekit.progress import Progress
from edgekit.runtime import load

STAGES = ("train", "prune", "quantize", "lower", "export", "bench")
VOLATILE = ("run.json", "results.json", "report.html", ".edgekit")


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("project")
    pipeline.run(recipes.project(folder), folder / "run")
    return folder


def tree(root: Path) -> dict[str, bytes]:
    """Every file that has to be the same after every undisturbed or resumed run."""
    files = {p.relative_to(root).as_posix(): p.read_bytes() for p in root.rglob("*") if p.is_file()}
    return {name: data for name, data in files.items() if name not in VOLATILE and "-bench/" not in name}


def test_a_run_leaves_every_promised_file_and_says_it_is_complete(done: Path) -> None:
    names = {p.relative_to(done / "run").as_posix() for p in (done / "run").rglob("*") if p.is_file()}
    for number, stage in enumerate(STAGES, 1):
        assert {f"stages/{number:02d}-{stage}/DONE", f"stages/{number:02d}-{stage}/metrics.json"} <= names
    assert {
        "run.json",
        "recipe.lock.yaml",
        "results.json",
        "report.html",
        "model.onnxruntime.onnx",
        "model.tensorrt-10.onnx",
    } <= names
    state = json.loads((done / "run/run.json").read_bytes())
    assert state["state"] == "complete"
    assert list(state["seconds"]) == list(STAGES)


def test_results_name_a_float_baseline_and_every_artefact(done: Path) -> None:
    results = json.loads((done / "run/results.json").read_bytes())
    names = [row["name"] for row in results["variants"]]
    assert names == ["float", "pruned", "INT8, golden", "INT8, onnxruntime", "INT8, tensorrt-10"]
    for row in results["variants"]:
        assert (done / "run" / row["artefact"]).stat().st_size == row["bytes"]
        assert set(row["metrics"]) == {"test", "varied"}
        assert all(0 <= row["metrics"][split]["accuracy"] <= 1 for split in row["metrics"])
        assert row["unmeasured"] == {}
        assert (row["bench"] is None) == bool(row["not_measured"])
    assert results["variants"][0]["macs"] > 1.5 * results["variants"][1]["macs"]
    assert [layer["operator"] for layer in results["layers"]] == [
        "quantize_s8",
        "flatten",
        *["linear_s8"] * 3,
    ]
    assert all(layer["source"] for layer in results["layers"][1:])


def test_accuracy_in_results_is_that_of_the_file(done: Path) -> None:
    results = json.loads((done / "run/results.json").read_bytes())
    x, y = held_out(done)
    scores = load(done / "run/model.onnxruntime.onnx").run(x)[0]
    row = next(row for row in results["variants"] if row["name"] == "INT8, onnxruntime")
    assert row["metrics"]["test"]["accuracy"] == pytest.approx(float((scores.argmax(1) == y).mean()), abs=1e-12)


def held_out(folder: Path) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    from edgekit import preflight

    test = preflight.prepare(folder / "recipe.yaml").data.test
    return test.inputs[0], test.targets[0]


def test_the_published_model_is_the_exported_one_and_sound(done: Path) -> None:
    published = (done / "run/model.onnxruntime.onnx").read_bytes()
    assert published == (done / "run/stages/05-export/model.onnxruntime.onnx").read_bytes()
    onnx.checker.check_model(onnx.load_from_string(published), full_check=True)


def test_the_lock_is_a_recipe_that_gives_the_same_run(done: Path, tmp_path: Path) -> None:
    (tmp_path / "items.npz").write_bytes((done / "items.npz").read_bytes())
    (tmp_path / "lock.yaml").write_bytes((done / "run/recipe.lock.yaml").read_bytes())
    pipeline.run(tmp_path / "lock.yaml", tmp_path / "run")
    assert tree(tmp_path / "run") == tree(done / "run")


def test_resume_of_a_complete_run_does_no_stage_again(done: Path) -> None:
    before = {p: p.stat().st_mtime_ns for p in (done / "run/stages").rglob("*")}
    pipeline.run(done / "recipe.yaml", done / "run", resume=True)
    assert {p: p.stat().st_mtime_ns for p in (done / "run/stages").rglob("*")} == before


def test_a_changed_option_runs_again_only_what_depends_on_it(tmp_path: Path) -> None:
    recipe = recipes.project(tmp_path)
    pipeline.run(recipe, tmp_path / "run")
    stamps = {s.name: (s / "DONE").stat().st_mtime_ns for s in (tmp_path / "run/stages").iterdir()}
    pipeline.run(recipe, tmp_path / "run", resume=True, overrides=["quantize.observer=percentile"])
    again = {s.name for s in (tmp_path / "run/stages").iterdir() if (s / "DONE").stat().st_mtime_ns != stamps[s.name]}
    assert again == {"03-quantize", "04-lower", "05-export", "06-bench"}
    (tmp_path / "run/stages/mine").mkdir()
    pipeline.run(recipe, tmp_path / "run", resume=True, overrides=["prune=null"])
    left = sorted(s.name for s in (tmp_path / "run/stages").iterdir())
    assert left == ["01-train", "02-quantize", "03-lower", "04-export", "05-bench", "mine"]


@pytest.mark.parametrize("victim", ["01-train/float.safetensors", "04-lower/metrics.json", "05-export/DONE"])
def test_a_damaged_stage_is_made_again(done: Path, tmp_path: Path, victim: str) -> None:
    import shutil

    shutil.copytree(done / "run", tmp_path / "run")
    path = tmp_path / "run/stages" / victim
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))
    pipeline.run(done / "recipe.yaml", tmp_path / "run", resume=True)
    assert tree(tmp_path / "run") == tree(done / "run")


def test_a_user_model_runs_end_to_end(tmp_path: Path) -> None:
    text = recipes.TINY.replace("{name: mlp, args: {hidden: 12}}", "{file: net.py, object: build}")
    results = pipeline.run(recipes.project(tmp_path, text), tmp_path / "run")
    exported = next(e for e in results["exports"] if e["target"] == "onnxruntime")
    assert exported["integer_convolutions"] == "2 of 2"
    assert exported["differing_bytes"] == 0 or not device.has_vnni()
    assert {layer["source"].split(":")[0] for layer in results["layers"][1:]} == {"net.py"}


def test_without_prune_the_trained_graph_is_quantised(tmp_path: Path) -> None:
    text = "\n".join(line for line in recipes.TINY.splitlines() if not line.startswith("prune"))
    results = pipeline.run(recipes.project(tmp_path, text), tmp_path / "run")
    assert results["pruning"] is None
    assert [row["name"] for row in results["variants"]][:2] == ["float", "INT8, golden"]
    assert sorted(p.name for p in (tmp_path / "run/stages").iterdir())[1] == "02-quantize"


def test_taylor_importance_uses_the_training_data(tmp_path: Path) -> None:
    results = pipeline.run(recipes.project(tmp_path), tmp_path / "run", overrides=["prune.importance=taylor"])
    assert results["pruning"]["macs_after"] < results["pruning"]["macs_before"]


def test_a_failed_gate_keeps_results_and_rejects_the_models(tmp_path: Path) -> None:
    recipe = recipes.project(tmp_path)
    with pytest.raises(GateError, match="fewer MACs"):
        pipeline.run(recipe, tmp_path / "run", overrides=["gates.min_macs_ratio=1000"])
    assert not list((tmp_path / "run").glob("model.*"))
    assert {p.name for p in (tmp_path / "run/rejected").iterdir()} == {
        "model.onnxruntime.onnx",
        "model.tensorrt-10.onnx",
    }
    assert json.loads((tmp_path / "run/run.json").read_bytes())["state"] == "failed"
    assert (tmp_path / "run/report.html").exists()
    pipeline.run(recipe, tmp_path / "run", resume=True)
    assert not (tmp_path / "run/rejected").exists()
    assert (tmp_path / "run/model.onnxruntime.onnx").exists()


def test_a_target_that_fails_does_not_stop_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = recipes.project(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(sys.modules["edgekit.export.validate"], "MIN_SQNR_DB", 1e9)
        with pytest.raises(GateError, match="export for tensorrt-10"):
            pipeline.run(recipe, tmp_path / "run")
    results = json.loads((tmp_path / "run/results.json").read_bytes())
    assert {e["target"]: bool(e["failure"]) for e in results["exports"]} == {"onnxruntime": False, "tensorrt-10": True}
    assert [p.name for p in (tmp_path / "run/rejected").iterdir()] == ["model.onnxruntime.onnx"]
    assert "tensorrt-10" in (tmp_path / "run/report.html").read_text()


def test_an_interrupt_leaves_a_resumable_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = recipes.project(tmp_path)

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("edgekit.stages.lower", interrupted)
        with pytest.raises(KeyboardInterrupt):
            pipeline.run(recipe, tmp_path / "run")
    assert json.loads((tmp_path / "run/run.json").read_bytes())["state"] == "interrupted"
    assert not list((tmp_path / "run").rglob("*.tmp-*"))
    pipeline.run(recipe, tmp_path / "run", resume=True)
    assert json.loads((tmp_path / "run/run.json").read_bytes())["seconds"]["quantize"] is None


class Watching(Progress):
    """Keeps the steps that it is told of, by stage, and interrupts at one of them."""

    def __init__(self, stage: str = "", at: int = 0) -> None:
        super().__init__(quiet=True)
        self.wanted, self.steps = (stage, at), dict[str, list[int]]()

    def step(self, done: int, total: int) -> None:
        self.steps.setdefault(self._stage, []).append(done)
        if (self._stage, done) == self.wanted:
            raise KeyboardInterrupt


@pytest.mark.parametrize(("stage", "at"), [("train", 11), ("prune", 7)])
def test_resume_goes_on_inside_a_training(
    done: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stage: str, at: int
) -> None:
    """The tiny recipe has 5 steps an epoch: the epochs before the interrupt are not trained again."""
    monkeypatch.setattr("edgekit.train.checkpoint.EVERY_SECONDS", 0.0)
    recipe = recipes.project(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        pipeline.run(recipe, tmp_path / "run", progress=Watching(stage, at))
    assert (tmp_path / "run/checkpoints").is_dir()
    after = Watching()
    pipeline.run(recipe, tmp_path / "run", resume=True, progress=after)
    assert after.steps[stage][0] == at // 5 * 5 + 1
    assert not (tmp_path / "run/checkpoints").exists()
    assert tree(tmp_path / "run") == tree(done / "run")


def test_a_checkpoint_of_another_recipe_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgekit.train.checkpoint.EVERY_SECONDS", 0.0)
    recipe = recipes.project(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        pipeline.run(recipe, tmp_path / "run", progress=Watching("train", 11))
    after = Watching()
    pipeline.run(recipe, tmp_path / "run", resume=True, overrides=["train.learning_rate=0.05"], progress=after)
    assert after.steps["train"][0] == 1
    assert not (tmp_path / "run/checkpoints").exists()


def test_recovery_learns_from_the_trained_net_and_training_stops_early(tmp_path: Path) -> None:
    overrides = [
        "data.validation_fraction=0.25",
        "train.early_stop={patience: 2, min_change: 10}",
        "train.epochs=40",
        "prune.recover.distill={weight: 1.0}",
    ]
    recipe = recipes.project(tmp_path)
    results = pipeline.run(recipe, tmp_path / "run", overrides=overrides)
    trained = json.loads((tmp_path / "run/stages/01-train/metrics.json").read_bytes())
    assert len(trained["validation_losses"]) == len(trained["losses"]) == 3
    assert results["data"]["splits"]["validation"] == 36
    pruned = (tmp_path / "run/stages/02-prune/pruned.safetensors").read_bytes()
    pipeline.run(recipe, tmp_path / "other", overrides=[*overrides[:3], "prune.recover.distill={weight: 0.0}"])
    assert pruned != (tmp_path / "other/stages/02-prune/pruned.safetensors").read_bytes()


def test_a_quantised_net_is_trained_and_that_one_is_exported(tmp_path: Path) -> None:
    """Scales are learned, the float net teaches; a run that was interrupted on the way ends in the same bytes."""
    recipe, training = recipes.project(tmp_path), "{epochs: 2, learning_rate: 0.01, learn_scale: true, distill: {}}"
    overrides = [f"qat={training}", "export.targets=[onnxruntime]"]
    results = pipeline.run(recipe, tmp_path / "run", overrides=overrides)
    names = [stage["name"] for stage in results["stages"]]
    assert names == ["train", "prune", "quantize", "qat", "lower", "export", "bench"]
    rows = {row["name"]: row for row in results["variants"]}
    assert list(rows) == ["float", "pruned", "quantised, not trained", "INT8, golden", "INT8, onnxruntime"]
    assert len(json.loads((tmp_path / "run/stages/04-qat/metrics.json").read_bytes())["losses"]) == 2
    before, after = (
        load_file(tmp_path / f"run/stages/{stage}/quantized.safetensors") for stage in ("03-quantize", "04-qat")
    )
    scales = [name for name in before if "scale" in name]
    assert scales
    assert any(not torch.equal(before[name], after[name]) for name in scales)
    with pytest.raises(KeyboardInterrupt):
        pipeline.run(recipe, tmp_path / "cut", overrides=overrides, progress=Watching("qat", 4))
    pipeline.run(recipe, tmp_path / "cut", overrides=overrides, resume=True)
    assert tree(tmp_path / "cut") == tree(tmp_path / "run")


def snapshot(root: Path) -> dict[str, bytes | None]:
    return {p.relative_to(root).as_posix(): p.read_bytes() if p.is_file() else None for p in root.rglob("*")}


def spoil_nan(folder: Path) -> None:
    x, y = recipes.items()
    x[17, 0, 2, 2] = np.nan
    np.savez(folder / "items.npz", x=x, y=y)


def spoil_label(folder: Path) -> None:
    x, y = recipes.items()
    y[5] += 2**40
    np.savez(folder / "items.npz", x=x, y=y)


def make_file(folder: Path) -> None:
    (folder / "run").write_text("something of the user's")


def make_foreign(folder: Path) -> None:
    (folder / "run").mkdir()
    (folder / "run/thesis.tex").write_text("mine")


def nothing(_: Path) -> None:
    pass


BAD = {
    "unknown key": (nothing, ["train.epoch=3"], RecipeError, 3, "epoch"),
    "value out of range": (nothing, ["prune.ratio=1.5"], RecipeError, 3, "ratio"),
    "unknown target": (nothing, ["export.targets=[tensorrt-7]"], RecipeError, 3, "tensorrt"),
    "NaN in the data": (spoil_nan, [], DataError, 3, "17"),
    "a label beyond all classes": (spoil_label, [], DataError, 3, "item 5"),
    "NaN in the model": (nothing, ["model={file: net.py, object: spoilt}"], ModelError, 3, "NaN"),
    "training of what is not quantised": (
        nothing,
        ["quantize=null", "qat={epochs: 1, learning_rate: 0.1}"],
        RecipeError,
        3,
        "`qat` trains what `quantize` makes",
    ),
    "a feature that quantising folds away": (
        nothing,
        [
            "model={file: net.py, object: build}",
            "qat={epochs: 1, learning_rate: 0.1, distill: {features: [batch_norm]}}",
        ],
        RecipeError,
        3,
        "qat.distill.features: the model has no node 'batch_norm'",
    ),
    "a quantised net is not made sparse": (
        nothing,
        ["qat={epochs: 1, learning_rate: 0.1, sparsity: {kind: group_lasso}}"],
        RecipeError,
        3,
        "`sparsity` prepares for pruning",
    ),
    "an unknown feature": (
        nothing,
        ["prune.recover.distill.features=[liner_1]"],
        RecipeError,
        3,
        "Did you mean 'linear_1'",
    ),
    "three calibration items": (nothing, ["quantize.calibration_samples=3"], CalibrationError, 3, "32"),
    "no data file": (nothing, ["data.source=absent.npz"], DataError, 3, "absent.npz"),
    "no model file": (nothing, ["model={file: absent.py, object: build}"], ModelError, 3, "absent.py"),
    "model that cannot be captured": (
        nothing,
        ["model={file: net.py, object: branching}"],
        CaptureError,
        4,
        "x.sum() > 0",
    ),
    "output directory is a file": (make_file, [], OutputError, 2, "file"),
    "output directory is somebody else's": (make_foreign, [], OutputError, 2, "not a run"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_a_typed_sentence_and_changes_nothing(case: str, tmp_path: Path) -> None:
    spoil, overrides, kind, exit_code, words = BAD[case]
    recipe = recipes.project(tmp_path)
    spoil(tmp_path)
    before = snapshot(tmp_path)
    with pytest.raises(EdgekitError) as caught:
        pipeline.run(recipe, tmp_path / "run", overrides=overrides)
    assert type(caught.value) is kind
    assert caught.value.exit_code == exit_code
    assert words in str(caught.value)
    assert {k: v for k, v in snapshot(tmp_path).items() if "__pycache__" not in k} == before


def test_a_second_process_is_kept_out(tmp_path: Path) -> None:
    recipe = recipes.project(tmp_path)
    with disk.claim(tmp_path / "run"), pytest.raises(OutputError, match="in use"):
        pipeline.run(recipe, tmp_path / "run")


def test_a_run_is_not_overwritten_without_a_word(done: Path) -> None:
    before = snapshot(done / "run")
    with pytest.raises(OutputError, match="--resume"):
        pipeline.run(done / "recipe.yaml", done / "run")
    assert {k: v for k, v in snapshot(done / "run").items() if k != ".edgekit"} == {
        k: v for k, v in before.items() if k != ".edgekit"
    }


def test_public_name_is_the_pipeline() -> None:
    assert edgekit.run is pipeline.run
