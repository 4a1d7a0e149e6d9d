"""How long ``import edgekit`` and ``edgekit --help`` take in a fresh process; the bound is 0.3 s each, in the median.

    python benchmarks/imports.py [--json FILE]

Ends with 1 if a bound is missed.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from edgekit import device, disk
from edgekit.bench.clock import interleave
from edgekit.bench.statistics import summarise

ROOT = Path(__file__).resolve().parents[1]
BOUND_S = 0.3
COMMANDS = {
    "python alone": ("-c", "pass"),
    "import edgekit": ("-c", "import edgekit"),
    "edgekit --help": ("-m", "edgekit", "--help"),
}


def process(arguments: tuple[str, ...]) -> Callable[[], None]:
    """A call that starts a fresh interpreter and waits for it."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = (sys.executable, *arguments)

    def run() -> None:
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=environment, cwd=ROOT)

    return run


def main() -> int:
    """Prints one line for each command; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    parser.add_argument("--samples", type=int, default=15)
    options = parser.parse_args()
    series = interleave({name: process(args) for name, args in COMMANDS.items()}, warmup=2, min_samples=options.samples)
    stats = {name: summarise(samples) for name, samples in series.items()}
    medians = {name: found.percentiles_us[50] / 1e6 for name, found in stats.items()}
    print(f"{'fresh process':<16}{'median s':>10}{'min s':>10}{'max s':>10}{'spread':>9}   bound {BOUND_S} s")
    for name, found in stats.items():
        verdict = "met" if medians[name] < BOUND_S else "MISSED"
        figures = "".join(f"{value:>10.3f}" for value in (medians[name], found.min_us / 1e6, found.max_us / 1e6))
        print(f"{name:<16}{figures}{found.spread:>9.1%}   {verdict}")
    if options.json:
        result = {"benchmark": "imports", "bound_s": BOUND_S, "median_s": medians, "device": device.describe()}
        disk.write_file(options.json, (json.dumps(result, indent=2) + "\n").encode())
    return 0 if max(medians.values()) < BOUND_S else 1


if __name__ == "__main__":
    sys.exit(main())
