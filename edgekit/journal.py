"""The run directory as a journal: which stages are done, for which inputs, and what run.json says about the run.

A stage is done only if its directory's DONE verifies and was made for the same key: the hash of the stage's name, its
options, the versions of what computes it, and the key of the stage before. So a killed run goes on where it stopped,
and a changed recipe runs again exactly the stages that it changes.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from edgekit import __version__, disk
from edgekit.progress import Progress

METRICS = "metrics.json"
CHECKPOINTS = "checkpoints"
Work = Callable[[Path], dict[str, Any]]  # writes artefacts into a directory, returns metrics


class Journal:
    """Runs stages in order inside a claimed run directory.

    Args:
        directory: the run directory.
        about: what run.json says besides: environment, seeds, command.
        progress: where stages are announced.
    """

    def __init__(self, directory: Path, about: dict[str, Any], progress: Progress) -> None:
        self.directory, self._about, self._progress = directory, about, progress
        self.seconds: dict[str, float | None] = {}
        self._metrics: dict[str, dict[str, Any]] = {}
        self._folders: dict[str, Path] = {}
        self._key = ""
        self._started = _now()
        (directory / "stages").mkdir(exist_ok=True)

    def stage(self, name: str, depends: object, work: Work) -> None:
        """Run ``work`` unless its outcome is on the disk for the same ``depends`` and the same stages before it.

        Args:
            name: of the stage; its directory is ``stages/NN-name``.
            depends: everything besides earlier stages that decides the outcome, as plain JSON values.
            work: gets an empty directory; what it writes there and returns becomes visible at once or not at all.
        """
        folder = self.directory / "stages" / f"{len(self._folders) + 1:02d}-{name}"
        self._key = digest({"stage": name, "depends": depends, "before": self._key, "edgekit": __version__})
        began = time.monotonic()
        if disk.completed(folder, self._key) is None:
            self.write("running", stage=name)
            with self._progress.stage(name), disk.commit(folder, self._key) as fresh:
                disk.write_file(fresh / METRICS, encode(work(fresh)))
            self.seconds[name] = round(time.monotonic() - began, 3)
            self._progress.say(f"{name}: done in {self.seconds[name]:.1f} s")
        else:
            self.seconds[name] = None
            self._progress.say(f"{name}: already done")
        shutil.rmtree(self.checkpoint(), ignore_errors=True)
        self._folders[name] = folder
        self._metrics[name] = json.loads((folder / METRICS).read_bytes())

    def checkpoint(self) -> Path:
        """Where the running stage may keep what a later process goes on from; it is gone once the stage is done.

        A stage that depends on anything else has another place.
        """
        return self.directory / CHECKPOINTS / self._key[:16]

    def tidy(self) -> None:
        """Remove stages and checkpoints of an earlier recipe that this run does not have."""
        shutil.rmtree(self.directory / CHECKPOINTS, ignore_errors=True)
        for folder in (self.directory / "stages").iterdir():
            if folder not in self._folders.values() and (folder / disk.DONE).is_file():
                shutil.rmtree(folder, ignore_errors=True)

    def path(self, stage: str, file: str) -> Path:
        """An artefact of a finished stage."""
        return self._folders[stage] / file

    def has(self, stage: str) -> bool:
        """Whether the stage is part of this run and finished."""
        return stage in self._folders

    def metrics(self, stage: str) -> dict[str, Any]:
        """What a finished stage measured."""
        return self._metrics[stage]

    def write(self, state: str, **more: Any) -> None:
        """Put the state of the run into run.json."""
        content = {
            "state": state,
            "started": self._started,
            "updated": _now(),
            "seconds": self.seconds,
            **more,
            **self._about,
        }
        disk.write_file(self.directory / "run.json", encode(content))


def digest(value: object) -> str:
    """SHA-256 of a value's canonical JSON."""
    return hashlib.sha256(
        json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()
    ).hexdigest()


def encode(value: object) -> bytes:
    """A value as JSON that people can read; the same value gives the same bytes."""
    return (json.dumps(value, indent=1, allow_nan=False) + "\n").encode()


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")
