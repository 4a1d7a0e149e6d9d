"""Triton kernels on a GPU, beside what torch and its libraries offer for the same work, and against measured limits.

    python benchmarks/gpu.py [--only conv2d_s8] [--seconds 0.3] [--budget 200] [--out FILE]

INT8 products beside ``torch._int_mm``, which leaves int32; convolutions beside cuDNN in float16, channels-last, on the
layers of ResNet-50; what moves bytes beside a copy of as many. Each result is checked first, and a wrong one is not
timed. Needs numpy, torch and triton, no package of the command line. README.md says what the columns are.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from gpu_cases import Comparison, comparisons

from edgekit import disk
from edgekit.bench.kernels import peak
from edgekit.bench.kernels.run import describe
from edgekit.bench.kernels.series import median
from edgekit.bench.kernels.stopwatch import STATES, CudaStopwatch, series
from edgekit.bench.kernels.verdict import in_turn

RESULTS = Path(__file__).parent / "results"
GOAL = 0.9  # of the peer's speed, or of the rate of a copy
HEADER = (
    f"{'kernel':16} {'case':26} {'warm us':>9} {'cold us':>9} {'of peak':>7} {'of copy':>7}"
    "  times as fast as the peer, warm / cold"
)
Row = dict[str, Any]


def rows(rates: tuple[peak.Rate, ...], options: argparse.Namespace) -> Iterator[Row]:
    """One row for each comparison; a failure is a row too and stops nothing."""
    watch, ends = CudaStopwatch(), time.monotonic() + options.budget
    for name, make in comparisons(options.only):
        if time.monotonic() > ends:
            yield {"kernel": name, "case": "-", "group": "-", "status": f"not measured: {options.budget:g} s are spent"}
            continue
        try:
            comparison = make()
            yield measured(comparison, watch, rates, options.seconds)
            del comparison
        except Exception as error:  # the other rows go on
            reason = f"failed: {type(error).__name__}: {error}".splitlines()[0]
            yield {"kernel": name, "case": "-", "group": "-", "status": reason}
        torch.cuda.empty_cache()


def measured(comparison: Comparison, watch: CudaStopwatch, rates: tuple[peak.Rate, ...], seconds: float) -> Row:
    """Check, then time in turn with the peers, warm and cold."""
    row: Row = {name: getattr(comparison, name) for name in ("group", "kernel", "case", "goal")}
    row["cost"] = asdict(comparison.cost)
    if wrong := comparison.check():
        return {**row, "status": f"wrong: {wrong}, not timed"}
    peers, missing = usable(comparison)
    calls = {"edgekit": comparison.own, **peers}
    for state in STATES:
        cold = state == "cold"
        row[state] = figures(comparison, series(watch, calls, seconds * len(calls), cold=cold), rates)
        copy_us = peak.copy_us(watch, comparison.cost.bytes, seconds / 2, cold=cold)
        row[state]["of_copy"] = copy_us / row[state]["parties"]["edgekit"]["us"]
    if wrong := comparison.check():
        return {**row, "status": f"wrong after it was timed: {wrong}"}
    return {**row, "status": "ok", "missing": missing}


def usable(comparison: Comparison) -> tuple[dict[str, Any], dict[str, str]]:
    """The peers that take this call, and why the others do not."""
    found, missing = {}, {}
    for name, call in comparison.peers.items():
        try:
            call()
            found[name] = call
        except RuntimeError as error:
            missing[name] = str(error).splitlines()[0]
    return found, missing


def figures(comparison: Comparison, taken: dict[str, list[int]], rates: tuple[peak.Rate, ...]) -> Row:
    """Medians, work over time, and the ratio to each peer."""
    medians = {name: median(ns) for name, ns in taken.items()}
    own, cost = medians["edgekit"], comparison.cost
    limit = peak.best(rates, "cuda", "int8")
    return {
        "parties": {name: {**asdict(one), "half_width": one.half_width} for name, one in medians.items()},
        "gmacs_per_s": cost.macs / own.us / 1e3 if cost.macs else None,
        "gb_per_s": cost.bytes / own.us / 1e3,
        "of_peak": cost.macs / own.us * 1e6 / limit if cost.macs and limit else None,
        "against": {
            name: in_turn(taken["edgekit"], taken[name], own, medians[name], name).to_json()
            for name in taken
            if name != "edgekit"
        },
    }


def reached(row: Row) -> float | None:
    """The share of the goal's speed: cold for what moves bytes, warm for products."""
    if row["status"] != "ok" or not row["goal"]:
        return None
    if row["goal"] == "copy":
        share: float = row["cold"]["of_copy"]
        return share
    against = row["warm"]["against"].get(row["goal"])
    return against["ratio"] if against else None


def line(row: Row) -> str:
    """A row as text."""
    name = f"{row['kernel']:16} {row['case'][:26]:26}"
    if row["status"] != "ok":
        return f"{name} {row['status']}"
    warm, cold = row["warm"], row["cold"]
    times = " ".join(f"{state['parties']['edgekit']['us']:9.1f}" for state in (warm, cold))
    limit = f"{'-':>7}" if warm["of_peak"] is None else f"{warm['of_peak']:7.0%}"
    peers = [
        f"{peer} {one['ratio']:.2f} {one['word']} / {cold['against'][peer]['ratio']:.2f}"
        for peer, one in warm["against"].items()
    ]
    peers += [f"{peer}: {reason}" for peer, reason in row["missing"].items()]
    share = reached(row)
    goal = "" if share is None else f"  goal {'met' if share >= GOAL else 'missed'}"
    return f"{name} {times} {limit} {cold['of_copy']:7.0%}  {'; '.join(peers)}{goal}"


def main() -> int:
    """Print the table as it grows, and write JSON; 1 where any row is wrong or failed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--only", help="one operator")
    parser.add_argument("--seconds", type=float, default=0.3, help="for each median, at most")
    parser.add_argument("--budget", type=float, default=200.0, help="seconds after which no further row is begun")
    parser.add_argument("--out", type=Path, help="default: results/gpu-NAME.json")
    options = parser.parse_args()
    if not torch.cuda.is_available():
        print("not measured on a GPU: there is no CUDA device")
        return 0
    torch.backends.cudnn.benchmark = True
    machine, rates = describe(), peak.cuda()
    print(f"{machine['gpu']['name']}, torch {torch.__version__}", *map(str, rates), HEADER, sep="\n")
    out = options.out or RESULTS / f"gpu-{re.sub(r'[^a-z0-9]+', '-', machine['gpu']['name'].lower())}.json"
    document = {"benchmark": "gpu", "machine": machine, "peaks": [rate.to_json() for rate in rates], "goal": GOAL}
    found: list[Row] = []
    for row in rows(rates, options):
        found.append(row)
        print(line(row), flush=True)
        disk.write_file(out, (json.dumps({**document, "rows": found}, indent=1) + "\n").encode())
    shares = [share for row in found if (share := reached(row)) is not None]
    print(f"{sum(share >= GOAL for share in shares)} of {len(shares)} goals met; written to {out}")
    return int(any(row["status"].startswith(("wrong", "failed")) for row in found))


if __name__ == "__main__":
    sys.exit(main())
