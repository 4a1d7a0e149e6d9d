"""Real SIGKILL at random times inside every stage, then resume: the bytes of an undisturbed run.

A dry run gives the interval of each stage. For each kill the directory is set back to where that stage had not begun,
a process goes on with the run and is killed at a time drawn uniformly from the stage's interval, counted from the
moment the stage says it runs.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import recipes
from test_pipeline import STAGES, tree

TIMEOUT_SECONDS = 120.0

TEXT = recipes.TINY.replace("[onnxruntime, tensorrt-10]", "[onnxruntime]").replace("epochs: 3", "epochs: 40")

Start = Callable[[Path, Path], "Victim"]


class Victim:
    """A process that runs ``pipeline.run(..., resume=True)``."""

    def __init__(self, pid: int, alive: Callable[[], bool], wait: Callable[[], int | None]) -> None:
        self.pid, self.alive, self.wait = pid, alive, wait


def work(recipe: Path, out: Path) -> None:
    from edgekit import pipeline

    pipeline.run(recipe, out, resume=True)


def forked(recipe: Path, out: Path) -> Victim:
    """From a server that has imported everything and computed nothing: starting costs no second."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["edgekit.pipeline", "onnxscript", "torch.onnx", "translations"])
    process = context.Process(target=work, args=(recipe, out))
    process.start()
    assert process.pid

    def wait() -> int | None:
        process.join(TIMEOUT_SECONDS)
        return process.exitcode

    return Victim(process.pid, process.is_alive, wait)


def command(recipe: Path, out: Path) -> Victim:
    """The command line itself."""
    process = subprocess.Popen(
        [sys.executable, "-m", "edgekit", "run", str(recipe), "-o", str(out), "--resume", "--json"],
        stdout=subprocess.DEVNULL,
    )
    return Victim(process.pid, lambda: process.poll() is None, lambda: process.wait(TIMEOUT_SECONDS))


def running_stage(out: Path) -> str | None:
    try:
        return str(json.loads((out / "run.json").read_bytes()).get("stage"))
    except (OSError, ValueError):
        return None


def kill_inside(start: Start, recipe: Path, out: Path, stage: str, delay: float) -> str:
    """Start the run, wait until ``stage`` runs, kill ``delay`` seconds later; says what was hit."""
    before = (out / "run.json").read_bytes() if (out / "run.json").exists() else b""
    victim = start(recipe, out)
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while victim.alive() and time.monotonic() < deadline:
        fresh = (out / "run.json").exists() and (out / "run.json").read_bytes() != before
        if fresh and running_stage(out) == stage:
            break
        time.sleep(0.002)
    time.sleep(delay)
    hit = running_stage(out) or "publishing"
    if not victim.alive():
        return "nothing"
    os.kill(victim.pid, signal.SIGKILL)
    victim.wait()
    return hit


def set_back(dry: Path, out: Path, stage: str) -> None:
    """Make ``out`` what ``dry`` was before ``stage`` began; the published files of later are gone too."""
    shutil.rmtree(out, ignore_errors=True)
    shutil.copytree(dry, out)
    for number, name in enumerate(STAGES, 1):
        if number > STAGES.index(stage):
            shutil.rmtree(out / "stages" / f"{number:02d}-{name}")
    for path in [out / "run.json", out / "results.json", out / "report.html", *out.glob("model.*")]:
        path.unlink()


def kill_and_resume(
    start: Start, recipe: Path, folder: Path, stages: tuple[str, ...], seed: int, kills: int
) -> dict[str, int]:
    """So many kills in each stage; every resume must end in the bytes of the dry run. Returns each stage's hits."""
    dry, out, rng, hits = folder / "dry", folder / "run", random.Random(seed), dict.fromkeys(stages, 0)
    assert start(recipe, dry).wait() == 0
    seconds = json.loads((dry / "run.json").read_bytes())["seconds"]
    for stage in stages:
        for _ in range(10 * kills):
            set_back(dry, out, stage)
            hit = kill_inside(start, recipe, out, stage, rng.uniform(0, seconds[stage]))
            hits[hit] = hits.get(hit, 0) + 1
            assert start(recipe, out).wait() == 0
            assert tree(out) == tree(dry)
            assert not list(out.rglob("*.tmp-*"))
            if hits[stage] == kills:
                break
    print("stages hit:", hits, "seed:", seed)
    assert all(hits[stage] >= kills for stage in stages)
    return hits


def test_a_kill_inside_a_stage_costs_nothing(tmp_path: Path, record_property: Callable[[str, object], None]) -> None:
    """A stage that trains, one that computes and one that writes many files; the others in the long tests."""
    stages = ("train", "quantize", "export")
    hits = kill_and_resume(forked, recipes.project(tmp_path, TEXT), tmp_path, stages, seed=os.getpid(), kills=1)
    record_property("stages_hit", hits)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_many_kills_inside_every_stage_cost_nothing(tmp_path: Path) -> None:
    kill_and_resume(forked, recipes.project(tmp_path, TEXT), tmp_path, STAGES, seed=os.getpid(), kills=5)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_a_kill_of_the_command_on_the_shipped_recipe_costs_nothing(tmp_path: Path) -> None:
    from edgekit import recipe

    kill_and_resume(command, recipe.locate("digits-mlp"), tmp_path, STAGES, seed=os.getpid(), kills=2)
