"""The command line as a user meets it: verbs, exit codes, JSON, and sentences instead of tracebacks."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import nets
import numpy as np
import pytest
import recipes

from edgekit import cli, stages
from edgekit.errors import EdgekitError
from edgekit.graph import Graph, cost


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project taken verb by verb from training to an ONNX file."""
    folder = tmp_path_factory.mktemp("verbs")
    recipe = str(recipes.project(folder))
    x, _ = recipes.items(64, seed=5)
    np.savez(folder / "calibration.npz", x=x)
    for arguments in (
        ["train", recipe, "-o", "float.safetensors"],
        ["prune", "float.safetensors", "--ratio", "0.5", "-o", "pruned.safetensors", "--recipe", recipe],
        ["quantize", "pruned.safetensors", "--data", "calibration.npz", "-o", "int8.safetensors"],
        ["export", "int8.safetensors", "--target", "tensorrt-11", "-o", "model.onnx"],
        ["export", "int8.safetensors", "-o", "cpu.onnx"],
    ):
        assert call(folder, *arguments)[0] == 0
    return folder


def call(folder: Path, *arguments: str) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of one command in this process, called in ``folder``."""
    import contextlib
    import io
    import os

    out, err, here = io.StringIO(), io.StringIO(), os.getcwd()
    os.chdir(folder)
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), pytest.raises(SystemExit) as stop:
            cli.main(list(arguments))
    finally:
        os.chdir(here)
    code = stop.value.code
    return int(code or 0), out.getvalue(), err.getvalue()


def document(folder: Path, *arguments: str) -> Any:
    code, out, err = call(folder, *arguments, "--json")
    assert code == 0, err
    return json.loads(out)


def test_every_verb_of_the_road_leaves_its_file(project: Path) -> None:
    for name in ("float.safetensors", "pruned.safetensors", "int8.safetensors", "model.onnx", "cpu.onnx"):
        assert (project / name).stat().st_size > 500


def test_inspect_shows_the_graph_and_what_runs(project: Path) -> None:
    graph = document(project, "inspect", "float.safetensors")
    assert graph["macs"] == 64 * 12 + 12 * 12 + 12 * 10
    assert [n["operator"] for n in graph["nodes"]][:2] == ["aten.flatten", "aten.linear"]
    onnx = document(project, "inspect", "cpu.onnx")
    assert onnx["inputs"] == [{"name": "input", "shape": ["N", 1, 8, 8], "dtype": "float32"}] or onnx["inputs"][0][
        "shape"
    ] == ["N", 1, 8, 8]
    assert onnx["onnxruntime_runs"]["QGemm"] == 3
    assert "aten.linear" in call(project, "inspect", "float.safetensors")[1]


def test_prune_reports_sizes(project: Path) -> None:
    found = document(project, "prune", "float.safetensors", "--ratio", "0.5", "-o", "again.safetensors")
    assert found["macs_after"] == 64 * 6 + 6 * 6 + 6 * 10


def test_prune_recovers_after_every_step(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trained = list[int]()
    real = stages.fit

    def fit(job: Any, graph: Graph, *arguments: Any, **options: Any) -> Any:
        trained.append(cost.total_macs(graph))
        return real(job, graph, *arguments, **options)

    monkeypatch.setattr(stages, "fit", fit)
    wanted = ["prune", "float.safetensors", "--ratio", "0.5", "--steps", "2", "-o", "stepped.safetensors"]
    found = document(project, *wanted, "--recipe", "recipe.yaml")
    assert len(trained) == 2
    assert found["macs_before"] > trained[0] > trained[1] == found["macs_after"]


def test_prune_keeps_what_additions_join_if_asked(project: Path) -> None:
    nets.graph_of("residual").save(project / "residual.safetensors")
    wanted = ["prune", "residual.safetensors", "--ratio", "0.5", "-o", "inside.safetensors"]
    for more, stays in (([], False), (["--keep-residual"], True)):
        reasons = [row["reason"] for row in document(project, *wanted, *more)["not_pruned"]]
        assert any("adds results" in reason for reason in reasons) == stays


def test_taylor_needs_a_recipe_and_gets_it(project: Path) -> None:
    wanted = ["prune", "float.safetensors", "--ratio", "0.5", "-o", "t.safetensors", "--importance", "taylor"]
    code, _, err = call(project, *wanted)
    assert code == 2
    assert "taylor" in err
    assert call(project, *wanted, "--recipe", "recipe.yaml")[0] == 0


def test_bench_gives_a_verdict_and_a_reason_for_no_energy(project: Path) -> None:
    found = document(
        project,
        "bench",
        "cpu.onnx",
        "--seconds",
        "0.1",
        "--samples",
        "20",
        "--against",
        "float.safetensors",
        "-o",
        "b.json",
    )
    assert found["verdict"] in ("valid", "warn", "invalid")
    assert (found["energy_mj"] is None) == bool(found["energy_reason"])
    assert json.loads((project / "b.json").read_bytes())["name"] == "cpu.onnx"


def test_run_and_report(project: Path) -> None:
    found = document(project, "run", "recipe.yaml", "-o", "run", "--set", "train.epochs=1")
    assert found["recipe"]["train"]["epochs"] == 1
    page = (project / "run/report.html").read_bytes()
    (project / "run/report.html").unlink()
    assert document(project, "report", "run") == {"file": "run/report.html"}
    assert (project / "run/report.html").read_bytes() == page
    assert call(project, "run", "recipe.yaml", "-o", "run")[0] == 2


def test_a_failed_gate_still_gives_the_document(project: Path) -> None:
    wanted = ["run", "recipe.yaml", "-o", "gated", "--set", "gates.min_macs_ratio=1000", "--json"]
    code, out, err = call(project, *wanted)
    assert code == 5
    assert "fewer MACs" in err
    assert [gate["passed"] for gate in json.loads(out)["gates"]].count(False) == 1


def test_seed_is_the_recipes_seed(project: Path) -> None:
    first = document(project, "train", "recipe.yaml", "-o", "a.safetensors", "--seed", "5")
    second = document(project, "train", "recipe.yaml", "-o", "b.safetensors", "--set", "seed=5")
    assert first["losses"] == second["losses"]
    assert (project / "a.safetensors").read_bytes() == (project / "b.safetensors").read_bytes()


def test_train_and_run_say_the_metric_that_decides(project: Path) -> None:
    found = document(project, "train", "recipe.yaml", "-o", "c.safetensors")
    assert found["task"]["primary"] == "accuracy"
    assert set(found["metrics"]) == {"test", "varied"}
    share = f"{100 * found['metrics']['test']['accuracy']:.2f}"
    said = call(project, "train", "recipe.yaml", "-o", "c.safetensors")[1].replace("\N{NO-BREAK SPACE}", " ")
    assert said.startswith(f"c.safetensors: accuracy {share} % (test), ")
    whole = call(project, "run", "recipe.yaml", "-o", "spoken", "--set", "prune=null")[1]
    assert f"accuracy {share} % (test)" in whole.replace("\N{NO-BREAK SPACE}", " ")


def test_results_of_an_older_schema_are_refused(project: Path) -> None:
    (project / "results-of-old.json").write_text('{"schema": 1, "variants": []}')
    code, _, err = call(project, "report", "results-of-old.json")
    assert code == 3
    assert "schema 2" in err


def test_recipe_verbs(tmp_path: Path) -> None:
    assert "digits" in document(tmp_path, "recipe", "list")
    assert document(tmp_path, "recipe", "show", "digits")["model"]["name"] == "resnet8"
    assert json.loads(call(tmp_path, "recipe", "schema")[1])["title"] == "Recipe"


WRONG = {
    "no such recipe": (["run", "nosuch", "-o", "x"], 2),
    "unknown option": (["run", "digits", "--bogus"], 2),
    "missing argument": (["run"], 2),
    "unknown verb": (["fly"], 2),
    "missing graph": (["prune", "absent.safetensors", "--ratio", "0.5", "-o", "y.safetensors"], 3),
    "graph that is none": (["inspect", "broken.safetensors"], 3),
    "onnx that is none": (["inspect", "broken.onnx"], 3),
    "unknown suffix": (["inspect", "notes.txt"], 2),
    "ratio out of range": (["prune", "float.safetensors", "--ratio", "2", "-o", "y.safetensors"], 2),
    "unknown target": (["export", "float.safetensors", "--target", "coreml", "-o", "y.onnx"], 2),
    "unknown observer": (
        ["quantize", "float.safetensors", "--data", "calibration.npz", "--observer", "guess", "-o", "y"],
        2,
    ),
    "too few samples": (["quantize", "float.safetensors", "--data", "calibration.npz", "--samples", "3", "-o", "y"], 3),
    "no calibration file": (["quantize", "float.safetensors", "--data", "absent.npz", "-o", "y"], 3),
    "no directory for the output": (["train", "recipe.yaml", "-o", "no/such/place.safetensors"], 2),
    "no finite time": (["bench", "cpu.onnx", "--seconds", "nan"], 2),
    "a negative count": (["bench", "cpu.onnx", "--samples", "-1"], 2),
    "results that are none": (["report", "notes.txt"], 3),
    "no results": (["report", "absent"], 3),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_calls_end_with_their_code_and_a_sentence(case: str, project: Path) -> None:
    for name in ("broken.safetensors", "broken.onnx", "notes.txt"):
        (project / name).write_bytes(b"\x00 not a model \xff")
    before = {p.name for p in project.iterdir()}
    arguments, expected = WRONG[case]
    code, out, err = call(project, *arguments)
    assert code == expected, err
    assert err.strip()
    assert "Traceback" not in out + err
    assert {p.name for p in project.iterdir()} == before


def test_control_characters_of_a_file_name_do_not_reach_the_terminal(project: Path) -> None:
    code, _, err = call(project, "inspect", "a\x1b[31mb.onnx")
    assert code == 3
    assert "\x1b" not in err


def test_a_bug_says_so_and_debug_shows_where(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> list[str]:
        raise ZeroDivisionError("oops")

    monkeypatch.setattr("edgekit.recipe.shipped", broken)
    code, _, err = call(tmp_path, "recipe", "list")
    assert (code, "bug in edgekit" in err, "Traceback" in err) == (70, True, False)
    assert "Traceback" in call(tmp_path, "--debug", "recipe", "list")[2]


def test_interrupt_ends_with_130_and_says_how_to_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("edgekit.pipeline.run", interrupted)
    code, _, err = call(tmp_path, "run", "digits", "-o", "somewhere")
    assert code == 130
    assert "--resume" in err


def test_codes_are_distinct_and_exit_codes_are_the_documented_ones() -> None:
    def family(kind: type[EdgekitError]) -> list[type[EdgekitError]]:
        return [kind, *(c for child in kind.__subclasses__() for c in family(child))]

    kinds = family(EdgekitError)
    assert len({kind.code for kind in kinds}) == len(kinds)
    assert {kind.exit_code for kind in kinds} == {2, 3, 4, 5, 6, 7, 8, 70, 130}


def test_module_and_script_are_the_same_command() -> None:
    result = subprocess.run([sys.executable, "-m", "edgekit", "--version"], capture_output=True, text=True, check=True)
    from edgekit import __version__

    assert result.stdout == f"edgekit {__version__}\n"
