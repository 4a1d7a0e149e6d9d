"""Exact resume: a training stopped in the middle and gone on with ends in the bytes of one that nothing disturbed."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from quantised import Written, conv
from torch import nn
from torch.nn import functional

import edgekit as ek
from edgekit import disk
from edgekit import train as training
from edgekit.data import Split
from edgekit.errors import IntegrityError, OutputError
from edgekit.graph import Graph, save
from edgekit.options import RecoverConfig, TrainConfig
from edgekit.train import TrainResult, checkpoint
from edgekit.train.objectives import Objective

ITEMS, STEPS = 40, 3  # steps in an epoch of 16 items each


class Stopped(Exception):
    """What the tests raise in the middle of a training."""


@pytest.fixture(autouse=True)
def every_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    """A checkpoint after each epoch, however short."""
    monkeypatch.setattr(checkpoint, "EVERY_SECONDS", 0.0)


def images(seed: int = 1, count: int = ITEMS) -> Split:
    rng = np.random.default_rng(seed)
    return Split((rng.random((count, 1, 6, 6), np.float32),), (np.arange(count) % 3,))


def net(width: int = 4) -> Graph:
    """Batch norm and dropout: both remember, or draw, something in every step."""
    torch.manual_seed(3)
    model = Written(
        lambda m, x: m["head"](m["drop"](torch.relu(m["norm"](m["conv"](x)))).flatten(1)),
        conv=conv(1, width),
        norm=nn.BatchNorm2d(width),
        drop=nn.Dropout(0.3),
        head=nn.Linear(width * 36, 3),
    )
    return ek.capture(model, torch.zeros(2, 1, 6, 6))


def config(**options: Any) -> RecoverConfig:
    return RecoverConfig(**({"epochs": 5, "learning_rate": 0.02, "batch_size": 16} | options))


def stop_at(step: int) -> Callable[[int, int], None]:
    def progress(done: int, _: int) -> None:
        if done == step:
            raise Stopped

    return progress


def fit(chosen: TrainConfig, seed: int = 7, graph: Graph | None = None, **more: Any) -> TrainResult:
    return training.train(graph or net(), images(), chosen, seed, **more)


def interrupt(chosen: TrainConfig, folder: Path, step: int = 3 * STEPS + 2, **more: Any) -> None:
    with pytest.raises(Stopped):
        fit(chosen, checkpoint=folder, progress=stop_at(step), **more)
    assert (folder / "last" / disk.DONE).exists()


def equal(a: TrainResult, b: TrainResult) -> bool:
    return a.report == b.report and save.serialise(a.graph) == save.serialise(b.graph)


OPTIONS: dict[str, dict[str, Any]] = {
    "sgd": {"weight_decay": 0.01, "augment": True},
    "sgd without momentum": {"momentum": 0.0},
    "adam": {"optimizer": "adam", "warmup_epochs": 1.5, "schedule": "linear"},
    "adamw": {"optimizer": "adamw", "weight_decay": 0.1, "clip_norm": 0.5, "augment": True},
    "early stop": {"early_stop": {"patience": 3}, "learning_rate": 0.2, "epochs": 8},
    "bfloat16": {"precision": "bfloat16"},
    "distilled": {"distill": {"features": ["relu"]}},
}


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_a_stopped_training_ends_in_the_bytes_of_an_undisturbed_one(options: dict[str, Any], tmp_path: Path) -> None:
    chosen, more = config(**options), {"validation": images(2, 12)}
    if chosen.distill:
        more["teacher"] = net().train()
    undisturbed = fit(chosen, **more)
    folder = tmp_path / "checkpoint"
    interrupt(chosen, folder, **more)
    seen: list[int] = []
    resumed = fit(chosen, checkpoint=folder, progress=lambda done, _: seen.append(done), **more)
    assert seen[0] == 3 * STEPS + 1  # the fourth epoch from its beginning
    assert equal(resumed, undisturbed)
    assert not folder.exists()


def test_stopped_again_and_again(tmp_path: Path) -> None:
    chosen, folder = config(augment=True), tmp_path / "checkpoint"
    for step in (STEPS + 1, 2 * STEPS + 1, 4 * STEPS + 3):
        interrupt(chosen, folder, step)
    assert equal(fit(chosen, checkpoint=folder), fit(chosen))


def test_a_checkpoint_alone_changes_nothing(tmp_path: Path) -> None:
    assert equal(fit(config(), checkpoint=tmp_path / "a" / "b"), fit(config()))
    assert list((tmp_path / "a").iterdir()) == []


def test_a_float16_scaler_goes_on_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Scaling works on a CPU, too, though nobody would want it. A scale that is no power of two shows in the bytes."""
    scaler, options = torch.amp.GradScaler, {"growth_interval": 2, "growth_factor": 1.3, "init_scale": 8.0}
    monkeypatch.setattr("edgekit.train.precision._has", lambda *_: True)
    monkeypatch.setattr(torch.amp, "GradScaler", lambda *args, **more: scaler(*args, **more, **options))
    chosen = config(precision="float16", clip_norm=1.0)
    undisturbed = fit(chosen)
    interrupt(chosen, tmp_path / "c")
    assert equal(fit(chosen, checkpoint=tmp_path / "c"), undisturbed)


def mean_of_two(outputs: Any, targets: Any, _: Any) -> torch.Tensor:
    return functional.multi_margin_loss(outputs[0], targets[0])


def other_images() -> Split:
    split = images()
    split.inputs[0][5, 0, 2, 2] += np.float32(1e-3)
    return split


OTHER: dict[str, Callable[[Path], TrainResult]] = {
    "config": lambda path: fit(config(learning_rate=0.03), checkpoint=path),
    "seed": lambda path: fit(config(), 8, checkpoint=path),
    "graph": lambda path: fit(config(), graph=net(5), checkpoint=path),
    "data": lambda path: training.train(net(), other_images(), config(), 7, checkpoint=path),
    "validation": lambda path: fit(config(), validation=images(3), checkpoint=path),
    "loss": lambda path: fit(config(), objective=Objective(mean_of_two, {}), checkpoint=path),
}


@pytest.mark.parametrize("other", OTHER.values(), ids=OTHER)
def test_a_checkpoint_of_another_training_is_refused_aloud(
    other: Callable[[Path], TrainResult], tmp_path: Path
) -> None:
    interrupt(config(), tmp_path / "c")
    with pytest.warns(RuntimeWarning, match="training starts over: .* was made from other inputs"):
        started_over = other(tmp_path / "c")
    assert equal(started_over, other(tmp_path / "fresh"))


def test_another_version_starts_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    interrupt(config(), tmp_path / "c")
    monkeypatch.setattr(checkpoint, "__version__", "9.9")
    with pytest.warns(RuntimeWarning, match="training starts over"):
        assert equal(fit(config(), checkpoint=tmp_path / "c"), fit(config()))


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("damage", [cut, flip, Path.unlink, lambda path: (path.parent / disk.DONE).unlink()])
def test_a_damaged_checkpoint_starts_over_aloud(damage: Callable[[Path], None], tmp_path: Path) -> None:
    interrupt(config(), tmp_path / "c")
    damage(tmp_path / "c" / "last" / checkpoint.FILE)
    with pytest.warns(RuntimeWarning, match="training starts over"):
        assert equal(fit(config(), checkpoint=tmp_path / "c"), fit(config()))


FORGED: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda _: b"{}",
    "no safetensors": lambda data: b"\xff" * 8 + data[8:],
    "no metadata": lambda _: b"\x02\0\0\0\0\0\0\0{}",
    "other weights": lambda data: data.replace(b'"weights.layers.head.bias"', b'"weights.layers.head.sums"'),
    "no random numbers": lambda data: data.replace(b'"random.0"', b'"random.1"'),
    "other numbers": lambda data: data.replace(b"PCG64", b"PCG65"),
    "losses": lambda data: data.replace(b'{\\"format\\": 1', b'{\\"format\\": 2'),
}


@pytest.mark.parametrize("forge", FORGED.values(), ids=FORGED)
def test_a_forged_checkpoint_is_a_typed_error(forge: Callable[[bytes], bytes], tmp_path: Path) -> None:
    """Its record of hashes holds, and yet it is not what this training writes."""
    interrupt(config(), tmp_path / "c")
    last = tmp_path / "c" / "last"
    key, data = json.loads((last / disk.DONE).read_bytes())["key"], (last / checkpoint.FILE).read_bytes()
    assert forge(data) != data
    with disk.commit(last, key) as fresh:
        disk.write_file(fresh / checkpoint.FILE, forge(data))
    with pytest.raises(IntegrityError, match="Delete the directory"):
        fit(config(), checkpoint=tmp_path / "c")


def test_a_directory_of_other_making_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("dear")
    with pytest.raises(OutputError, match="not a run of edgekit"):
        fit(config(), checkpoint=tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["letter.txt"]


def test_two_trainings_do_not_share_a_checkpoint(tmp_path: Path) -> None:
    def second(*_: int) -> None:
        with pytest.raises(OutputError, match="in use by process"):
            fit(config(), checkpoint=tmp_path / "c")

    fit(config(epochs=1), checkpoint=tmp_path / "c", progress=second)


def test_short_epochs_do_not_wait_for_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoint, "EVERY_SECONDS", 1000.0)
    with pytest.raises(Stopped):
        fit(config(), checkpoint=tmp_path / "c", progress=stop_at(4 * STEPS))
    assert [path.name for path in (tmp_path / "c").iterdir()] == [disk.MARKER]
    assert equal(fit(config(), checkpoint=tmp_path / "c"), fit(config()))


def test_nothing_is_said_without_a_reason(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        interrupt(config(), tmp_path / "c")
        fit(config(), checkpoint=tmp_path / "c")


VICTIM = """
import sys
from pathlib import Path

sys.path.insert(0, {tests!r})
import test_resume
from edgekit.graph import save
from edgekit.train import checkpoint

checkpoint.EVERY_SECONDS = 0.0
result = test_resume.fit(test_resume.config(epochs=200, augment=True), checkpoint=Path({folder!r}))
"""


def test_killed_without_a_word(tmp_path: Path) -> None:
    """SIGKILL at a time of no choosing; what it left behind is gone in the end."""
    folder = tmp_path / "c"
    script = VICTIM.format(tests=str(Path(__file__).parent), folder=str(folder))
    process = subprocess.Popen([sys.executable, "-c", script])
    deadline = time.monotonic() + 120
    while not (folder / "last" / disk.DONE).exists():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    chosen, seen = config(epochs=200, augment=True), list[int]()
    resumed = fit(chosen, checkpoint=folder, progress=lambda done, _: seen.append(done))
    assert seen[0] > 1
    assert equal(resumed, fit(chosen))
    assert list(tmp_path.iterdir()) == []
