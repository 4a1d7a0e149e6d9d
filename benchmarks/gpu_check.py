"""Everything that needs a GPU, in one command: tests on the device, memory checks, benchmarks; under nine minutes.

    make gpu            # or: python3 benchmarks/gpu_check.py [--steps tests sanitizer benchmark] [--out FOLDER]

Runs from a checkout and installs nothing: numpy, torch and triton are needed; pytest and compute-sanitizer are used
where they are there. Every step has its time; one that fails or runs out of it does not keep the next from running.
JSON goes to ``results/``. Without a GPU it says so and ends with 0.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parents[1]
HERE = ROOT / "benchmarks"
sys.path.insert(0, str(ROOT))

from edgekit import disk  # noqa: E402  # the checkout's, installed or not
from edgekit.bench.kernels.run import describe  # noqa: E402

TESTS_S, SANITIZER_S, BENCHMARK_S = 230.0, 60.0, 220.0
LAST_S = 25.0  # before its end a benchmark begins no further row


@dataclass(frozen=True)
class Step:
    """One command.

    Attributes:
        name: of the step.
        command: what is run; empty where it cannot be.
        seconds: it may take.
        reason: why it cannot be run.
    """

    name: str
    command: tuple[str, ...]
    seconds: float
    reason: str = ""


@dataclass(frozen=True)
class Outcome:
    """What became of a step: ``ok``, ``failed``, ``out of time`` or ``not run``, and how long it took."""

    name: str
    status: str
    seconds: float
    command: str
    reason: str = ""


def steps(out: Path) -> tuple[Step, ...]:
    """Everything there is, in order."""
    return tests(), sanitizer(), benchmark(out)


def tests() -> Step:
    """The tests that are marked for a GPU; without pytest every case of every operator with a Triton kernel."""
    if find_spec("pytest") is None:
        command = (sys.executable, str(HERE / "gpu_tests.py"), "--seconds", f"{TESTS_S - LAST_S:g}")
        return Step("tests", command, TESTS_S)
    files = sorted(str(path) for path in (ROOT / "tests").glob("test_triton*.py"))
    parallel = ("-n", str(min(8, os.cpu_count() or 1))) if find_spec("xdist") is not None else ()
    # No options of pyproject.toml: it asks for plugins that may not be here.
    command = (sys.executable, "-m", "pytest", "-o", "addopts=", "-q", "-m", "gpu and not slow", *parallel, *files)
    return Step("tests", command, TESTS_S)


def sanitizer() -> Step:
    """Reads and writes out of bounds, which masks forgot; on small cases, since it is slow."""
    found = shutil.which("compute-sanitizer")
    if found is None:
        return Step("sanitizer", (), SANITIZER_S, "compute-sanitizer is not installed")
    small = (sys.executable, str(HERE / "gpu_tests.py"), "--small", "--seconds", f"{SANITIZER_S - LAST_S:g}")
    return Step("sanitizer", (found, "--tool", "memcheck", "--error-exitcode", "9", *small), SANITIZER_S)


def benchmark(out: Path) -> Step:
    """The table of gpu.py."""
    options = ("--budget", f"{BENCHMARK_S - LAST_S:g}", "--out", str(out / f"gpu-{gpu_name()}.json"))
    return Step("benchmark", (sys.executable, str(HERE / "gpu.py"), *options), BENCHMARK_S)


def gpu_name() -> str:
    """A word for file names."""
    return "-".join(torch.cuda.get_device_name().lower().split()) if torch.cuda.is_available() else "none"


def carry_out(step: Step) -> Outcome:
    """Run a step, its output going where ours does."""
    command = " ".join(step.command)
    print(f"== {step.name}: {command or step.reason}", flush=True)
    if not step.command:
        return Outcome(step.name, "not run", 0.0, command, step.reason)
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    environment |= {"PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")]), "PYTHONUNBUFFERED": "1"}
    if step.name == "sanitizer":  # every tensor at the end of its own memory, so that one byte too far is seen
        environment["PYTORCH_NO_CUDA_MEMORY_CACHING"] = "1"
    began = time.monotonic()
    try:
        done = subprocess.run(step.command, cwd=ROOT, env=environment, timeout=step.seconds, check=False)
        status = "ok" if done.returncode == 0 else "failed"
        reason = "" if done.returncode == 0 else f"exit code {done.returncode}"
    except subprocess.TimeoutExpired:
        status, reason = "out of time", f"{step.seconds:g} s"
    return Outcome(step.name, status, time.monotonic() - began, command, reason)


def main(arguments: Sequence[str] | None = None) -> int:
    """Carry out the steps; 1 where one failed or ran out of time."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--steps", nargs="+", choices=("tests", "sanitizer", "benchmark"), help="all by default")
    parser.add_argument("--out", type=Path, default=HERE / "results", help="folder for JSON")
    options = parser.parse_args(arguments)
    if not torch.cuda.is_available():
        print("not measured on a GPU: there is no CUDA device")
        return 0
    disk.make_directory(options.out)
    chosen = [step for step in steps(options.out) if options.steps is None or step.name in options.steps]
    outcomes = [carry_out(step) for step in chosen]
    document = {"benchmark": "gpu_check", "machine": describe(), "steps": [asdict(outcome) for outcome in outcomes]}
    out = options.out / f"gpu-check-{gpu_name()}.json"
    disk.write_file(out, (json.dumps(document, indent=1) + "\n").encode())
    for outcome in outcomes:
        print(f"{outcome.name:10} {outcome.status:12} {outcome.seconds:6.1f} s  {outcome.reason}")
    print(f"written to {out}")
    return int(any(outcome.status in ("failed", "out of time") for outcome in outcomes))


if __name__ == "__main__":
    sys.exit(main())
