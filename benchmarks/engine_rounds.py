"""Takes turns: one process for each party, pinned to the same cores, asked one after the other, round by round."""

from __future__ import annotations

import contextlib
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from engine_parties import Setting
from numpy.typing import NDArray

from edgekit.sqnr import sqnr_db

WORKER = Path(__file__).with_name("engine_worker.py")
BLOCK = {"warmup": 2, "warmup_seconds": 0.005, "min_samples": 5, "min_seconds": 0.03, "max_seconds": 3.0}
LEAST_DB = {False: 60.0, True: 8.0}  # of a peer's answer against the float net's, in floats and in bytes
SETTLED = 0.02  # of a core, that a party's threads may still use when the next one starts
PATIENCE_S = 0.5  # for them to stop spinning
Arrays = list[NDArray[Any]]


class Failed(Exception):
    """A party cannot be timed; the text is the row's."""


@dataclass
class Party:
    """A running worker.

    Attributes:
        setting: what it runs.
        us: the median of each round's block.
        facts: what its runtime says of itself, and what its answer was checked against.
    """

    setting: Setting
    process: subprocess.Popen[str]
    log: Path
    us: list[float] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)

    def ask(self, **request: Any) -> dict[str, Any]:
        """Send a request and wait for the answer."""
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # what it said before it ended is more telling
            print(json.dumps(request), file=self.process.stdin, flush=True)
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            self.process.wait()
            said = self.log.read_text(errors="replace").strip().splitlines()
            raise Failed(f"ended with {self.process.returncode}: {said[-1] if said else 'without a word'}")
        found: dict[str, Any] = json.loads(line)
        return found

    def outputs(self, folder: Path) -> Arrays:
        """What one more call gives."""
        path = folder / "outputs.npz"
        self.ask(outputs=str(path))
        with np.load(path) as arrays:
            return [arrays[name] for name in arrays.files]

    def block(self) -> None:
        """Time a block of calls, then wait until no thread of it spins."""
        self.us.append(statistics.median(self.ask(**BLOCK)["ns"]) / 1e3)
        _settle(self.process.pid)

    def close(self) -> None:
        """End the process."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        try:
            self.process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def start(setting: Setting, file: Path, item: Path, threads: int, cores: Sequence[int]) -> Party:
    """A worker that has loaded its file and run it once.

    Raises:
        Failed: it could not.
    """
    asked = {"engine": setting.engine, "file": str(file), "item": str(item), "threads": threads}
    log = file.with_suffix(f".{threads}.log")
    command = [sys.executable, str(WORKER), json.dumps({**asked, "cores": list(cores), "options": setting.options})]
    with log.open("w") as errors:
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True)
    party = Party(setting, process, log)
    try:
        party.facts = party._answer()["facts"]
    except Failed:
        party.close()
        raise
    return party


def check(party: Party, want: NDArray[Any], folder: Path) -> None:
    """Hold an answer against the golden bytes, or against the float net's within a bound.

    Raises:
        Failed: it is wrong.
    """
    got, setting = party.outputs(folder)[0], party.setting
    if setting.golden is not None:
        if not np.array_equal(got, setting.golden()):
            raise Failed("wrong: differs from the golden bytes")
        party.facts["checked"] = "equals the golden, byte for byte"
        return
    noise = sqnr_db(want.reshape(1, -1), got.reshape(1, -1))
    if not noise >= LEAST_DB[setting.integer]:
        raise Failed(f"wrong: {noise:.1f} dB against the float net, the bound is {LEAST_DB[setting.integer]:g}")
    party.facts["checked"] = f"{noise:.1f} dB against the float net"


def rounds(parties: Mapping[str, Party], count: int) -> dict[str, str]:
    """One block of each party in every round; why those that failed on the way did, and they are left out then."""
    failed: dict[str, str] = {}
    for turn in range(count):
        names = [name for name in parties if name not in failed]
        for name in names[turn % len(names) :] + names[: turn % len(names)] if names else ():
            try:
                parties[name].block()
            except Failed as error:
                failed[name] = str(error)
    return failed


def _settle(pid: int) -> None:
    """Wait until the threads of a process rest: pools spin for a while after a call, on the next party's cores."""
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        before, began = _busy_ns(pid), time.monotonic_ns()
        time.sleep(0.005)
        if _busy_ns(pid) - before <= SETTLED * (time.monotonic_ns() - began):
            return


def _busy_ns(pid: int) -> int:
    """Processor time of all threads; 0 where the kernel does not say."""
    total = 0
    for task in Path(f"/proc/{pid}/task").glob("*/schedstat"):
        try:
            total += int(task.read_text().split()[0])
        except (OSError, IndexError):  # a thread that has just ended
            continue
    return total
