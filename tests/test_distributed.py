"""Data parallel training: the arithmetic in one process, and two real processes that talk over gloo."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import recipes
import torch
from torch import nn

import edgekit as ek
from edgekit import preflight
from edgekit import train as training
from edgekit.data import Split
from edgekit.graph import Graph, save
from edgekit.options import TrainConfig
from edgekit.stages import fit as fit_job
from edgekit.train import TrainResult
from edgekit.train.batches import batches
from edgekit.train.distributed import Workers, join, launched, leads
from edgekit.train.objectives import CLASSIFICATION, Objective

ROOT = Path(__file__).parent.parent
CPU = torch.device("cpu")
TIMEOUT_SECONDS = 120
pytestmark = pytest.mark.skipif(not torch.distributed.is_gloo_available(), reason="this torch has no gloo")


@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_shares_cover_a_batch_and_none_is_a_single_item(count: int) -> None:
    for items in range(1, 40):
        shares = [Workers(CPU, rank, count).share(items) for rank in range(count)]
        places = [place for share in shares for place in range(items)[share]]
        assert places == list(range(items))
        sizes = [share.stop - share.start for share in shares]
        assert sizes[0] > 0
        assert 1 not in sizes or items == 1
        assert max(sizes) - min(size for size in sizes if size) <= 1


@pytest.mark.parametrize("augment", [False, True])
def test_shares_of_all_processes_are_the_batches_of_one(augment: bool) -> None:
    rng = np.random.default_rng(0)
    split = Split((rng.random((37, 1, 6, 6), np.float32),), (np.arange(37) % 3,))
    config = TrainConfig(epochs=1, learning_rate=0.1, batch_size=8, augment=augment)

    def epoch(rank: int, count: int) -> list[Any]:
        return list(batches(split, config, np.random.default_rng(5), Workers(CPU, rank, count)))

    alone, together = epoch(0, 1), [epoch(rank, 3) for rank in range(3)]
    assert len(alone) == 5
    for whole, *parts in zip(alone, *together, strict=True):
        assert torch.equal(whole.inputs[0], torch.cat([part.inputs[0] for part in parts]))
        assert torch.equal(whole.targets[0], torch.cat([part.targets[0] for part in parts]))
        assert sum(part.weight for part in parts) == pytest.approx(1)
        assert whole.weight == 1


def test_one_process_is_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable that a batch system left behind does not make one of several of it."""
    monkeypatch.setenv("RANK", "3")
    monkeypatch.setenv("WORLD_SIZE", "4")
    monkeypatch.delenv("TORCHELASTIC_RUN_ID", raising=False)
    assert not launched()
    assert leads()
    assert join(CPU) == Workers(CPU)


def test_alone_nothing_is_averaged() -> None:
    model, loss = nn.Linear(2, 2), torch.tensor(3.0)
    assert Workers(CPU).average(list(model.parameters()), loss, 1.0) is loss
    assert all(p.grad is None for p in model.parameters())
    assert Workers(CPU).broadcast(b"x") == b"x"
    assert Workers(CPU).gather(loss) == [loss]


# What every process of a launch does: each training, then what it came to, in a file of its own.
SCRIPT = """
import json
import sys
from datetime import timedelta
from pathlib import Path

import torch

sys.path.insert(0, {tests!r})
import test_distributed
from edgekit.train import checkpoint, distributed

torch.set_num_threads(1)
checkpoint.EVERY_SECONDS = 0.0
distributed.TIMEOUT = timedelta(seconds={timeout})
for name in sys.argv[1:]:
    found = test_distributed.outcome(name, Path())
    Path(name + "." + found["rank"]).write_text(json.dumps(found))
"""


def net(norm: bool = False, dropout: float = 0.0) -> Graph:
    torch.manual_seed(3)
    layers = [nn.Linear(4, 12), nn.BatchNorm1d(12) if norm else nn.ReLU(), nn.Dropout(dropout), nn.Linear(12, 3)]
    return ek.capture(nn.Sequential(*layers), torch.zeros(2, 4))


def blobs(count: int = 99, seed: int = 0) -> Split:
    rng = np.random.default_rng(seed)
    targets = np.arange(count) % 3
    x = rng.standard_normal((count, 4)) + 2 * np.eye(4)[targets]
    return Split((x.astype(np.float32),), (targets,))


def outcome(name: str, folder: Path) -> dict[str, Any]:
    """One of the trainings below, and what it came to: a hash of the weights, the weights, the report."""
    try:
        result = TRAININGS[name](folder)
    except Exception as error:  # the test wants to see whatever happened
        return {"name": name, "rank": os.environ.get("RANK"), "error": f"{type(error).__name__}: {error}"}
    values = torch.cat([value.flatten() for value in result.graph.module.state_dict().values()]).tolist()
    digest = hashlib.sha256(save.serialise(result.graph)).hexdigest()
    report = result.report.to_json()
    return {"name": name, "rank": os.environ.get("RANK"), "hash": digest, "values": values, **report}


def fit(graph: Graph, count: int = 99, **options: Any) -> TrainResult:
    keyword = {key: options.pop(key) for key in ("checkpoint", "progress", "objective") if key in options}
    config = TrainConfig(**({"epochs": 4, "learning_rate": 0.05, "batch_size": 16} | options))
    return training.train(graph, blobs(count), config, 5, validation=blobs(41, 9), **keyword)


class Stopped(Exception):
    """Raised in the middle of a training."""


def stop(done: int, _: int) -> None:
    if done == 17:
        raise Stopped


def dying(outputs: Any, targets: Any, inputs: Any) -> torch.Tensor:
    """Ends the second process without a word."""
    if os.environ["RANK"] == "1":
        os._exit(9)
    return CLASSIFICATION.loss(outputs, targets, inputs)


def hanging(outputs: Any, targets: Any, inputs: Any) -> torch.Tensor:
    """Keeps the first process waiting for the second for longer than it is ready to wait."""
    if os.environ["RANK"] == "1" and torch.is_grad_enabled():
        time.sleep(8)
    return CLASSIFICATION.loss(outputs, targets, inputs)


def other(_: Path) -> TrainResult:
    """Each process with data of its own."""
    config = TrainConfig(epochs=1, learning_rate=0.1)
    return training.train(net(), blobs(seed=int(os.environ["RANK"])), config, 0)


TRAININGS: dict[str, Callable[[Path], TrainResult]] = {
    "plain": lambda _: fit(net()),
    "unequal": lambda _: fit(net(), count=83, batch_size=13, optimizer="adam", clip_norm=0.5),
    "idle": lambda _: fit(net(), count=38, batch_size=5, weight_decay=0.01),
    "stop": lambda _: fit(net(), epochs=40, early_stop={"patience": 2, "min_change": 0.02}),
    "bfloat16": lambda _: fit(net(), precision="bfloat16"),
    "norm": lambda _: fit(net(norm=True, dropout=0.3)),
    "interrupted": lambda folder: fit(net(norm=True, dropout=0.3), checkpoint=folder / "checkpoint", progress=stop),
    "resumed": lambda folder: fit(net(norm=True, dropout=0.3), checkpoint=folder / "checkpoint"),
    "other": other,
    "nan": lambda _: fit(net(), learning_rate=3e38, schedule="constant"),
    "dying": lambda _: fit(net(), objective=Objective(dying, {})),
    "hanging": lambda _: fit(net(), objective=Objective(hanging, {})),
}


def launch(folder: Path, *arguments: str, timeout: float = TIMEOUT_SECONDS) -> subprocess.CompletedProcess[str]:
    """Two processes under torchrun on this machine."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=timeout, check=False
    )


def together(folder: Path, *names: str, timeout: float = TIMEOUT_SECONDS) -> dict[str, tuple[dict[str, Any], ...]]:
    """What each of two processes says of each training; nothing of one that did not live to say it."""
    script = folder / "script.py"
    script.write_text(SCRIPT.format(tests=str(Path(__file__).parent), timeout=timeout))
    done = launch(folder, str(script), *names)
    files = {name: [folder / f"{name}.{rank}" for rank in range(2)] for name in names}
    found = {name: tuple(json.loads(f.read_bytes()) for f in both if f.exists()) for name, both in files.items()}
    assert done.returncode or all(len(both) == 2 for both in found.values()), done.stderr
    return found


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[dict[str, Any], dict[str, Any]]]:
    """All trainings whose processes live to the end, then one that is stopped and, by a second launch, gone on with."""
    folder = tmp_path_factory.mktemp("together")
    found = together(folder, "plain", "unequal", "idle", "stop", "bfloat16", "norm", "other", "nan", "interrupted")
    assert (folder / "checkpoint" / "last" / "DONE").exists()
    found |= together(folder, "resumed")
    assert not (folder / "checkpoint").exists()
    return found


@pytest.mark.parametrize("name", ["plain", "unequal", "idle"])
def test_two_processes_train_like_one(name: str, outcomes: dict[str, Any], tmp_path: Path) -> None:
    alone, pair = outcome(name, tmp_path), outcomes[name]
    for found in pair:
        np.testing.assert_allclose(found["values"], alone["values"], rtol=1e-4, atol=2e-5)
        np.testing.assert_allclose(found["losses"], alone["losses"], rtol=1e-4)
        np.testing.assert_allclose(found["validation_losses"], alone["validation_losses"], rtol=1e-4)
        assert found["learning_rates"] == list(alone["learning_rates"])
        assert (found["processes"], alone["processes"]) == (2, 1)


@pytest.mark.parametrize("name", ["plain", "unequal", "idle", "stop", "bfloat16", "norm", "resumed"])
def test_every_process_ends_with_the_same_bytes(name: str, outcomes: dict[str, Any]) -> None:
    first, second = ({k: v for k, v in found.items() if k != "rank"} for found in outcomes[name])
    assert first == second
    assert first["losses"][-1] < first["losses"][0]


def test_all_stop_early_alike(outcomes: dict[str, Any]) -> None:
    for found in outcomes["stop"]:
        assert found["ended"].startswith("The validation loss had not fallen")
        assert found["best_epoch"] == len(found["losses"]) - 2 == len(found["validation_losses"]) - 2 < 38


def test_a_stopped_training_of_two_goes_on_exactly(outcomes: dict[str, Any]) -> None:
    """Each process with its own random numbers for dropout; batch norm's statistics are averages of both."""
    for resumed, undisturbed in zip(outcomes["resumed"], outcomes["norm"], strict=True):
        assert {**resumed, "name": ""} == {**undisturbed, "name": ""}


def test_a_process_whose_partner_is_gone_says_so(outcomes: dict[str, Any]) -> None:
    first, second = outcomes["interrupted"]
    assert first["error"].startswith("Stopped")
    assert second["error"].startswith("DeviceError: [EK8000] another process of this training was lost.")


def test_what_is_wrong_is_wrong_for_all(outcomes: dict[str, Any]) -> None:
    for found in outcomes["other"]:
        assert "DataError: [EK3002] the processes were given different options, data or weights." in found["error"]
    for found in outcomes["nan"]:
        assert "not finite in epoch 1" in found["error"]


def test_a_process_that_dies_ends_the_launch(tmp_path: Path) -> None:
    """Whether torchrun or the closed connection comes first: nobody waits, and nobody has a result."""
    for found in together(tmp_path, "dying")["dying"]:
        assert found["error"].startswith("DeviceError")


@pytest.mark.slow
def test_a_process_that_hangs_does_not_hang_the_other(tmp_path: Path) -> None:
    first = together(tmp_path, "hanging", timeout=3)["hanging"][0]
    assert first["rank"] == "0"
    assert first["error"].startswith("DeviceError: [EK8000] another process of this training was lost.")


def test_the_command_writes_one_file(tmp_path: Path) -> None:
    recipe = recipes.project(tmp_path)
    before = {path.name for path in tmp_path.iterdir()}
    done = launch(tmp_path, "-m", "edgekit", "train", str(recipe), "-o", "float.safetensors", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["processes"] == 2  # one document: the second process says nothing
    assert {path.name for path in tmp_path.iterdir()} - before - {"__pycache__"} == {"float.safetensors"}
    job = preflight.prepare(recipe)
    alone = fit_job(job, job.graph, job.recipe.train, job.recipe.seed).graph
    pair = dict(Graph.load(tmp_path / "float.safetensors").named_parameters())
    for name, value in alone.named_parameters():
        torch.testing.assert_close(pair[name], value, rtol=1e-4, atol=2e-5, msg=name)
