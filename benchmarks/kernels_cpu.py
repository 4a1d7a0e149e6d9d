"""Every C++ kernel on layers of real nets, caches warm and cold, against the limits of this core in the same run.

    python benchmarks/kernels_cpu.py [--only conv2d_s8] [--isa avx2] [--samples 30] [--seconds 0.3] [--out FILE]

The clock stands inside, around the kernel alone: weights packed, images laid out, one thread. Each result is compared
with the reference first, and a wrong one is not timed. README.md beside this file says what the columns are.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from kernels_build import NoCompiler, Timed, build
from torch import Tensor

from edgekit import device, disk
from edgekit.ops import OPS, Case, OpSpec, conv2d_s8, linear_s8
from edgekit.ops.spec import Result, results

RESULTS = Path(__file__).parent / "results"
EVICTED = 128 << 20  # bytes: more than the caches of one core and what it shares

# Rows, fan-in and features of 1x1 convolutions and linear layers, as products of matrices.
PRODUCTS = (
    *((3136, 64, 64), (3136, 64, 256), (784, 512, 128), (196, 1024, 256), (49, 2048, 512), (1, 2048, 1000)),
    *((3136, 24, 144), (196, 384, 64), (196, 96, 576), (49, 960, 160), (49, 320, 1280)),
)
# Channels, results, height and width, kernel, stride, groups.
CONVOLUTIONS = (
    ("stem 7x7 224 3>64", 3, 64, 224, 7, 2, 1),
    ("stem 3x3 224 3>32", 3, 32, 224, 3, 2, 1),
    ("3x3 56 64", 64, 64, 56, 3, 1, 1),
    ("3x3 28 128", 128, 128, 28, 3, 1, 1),
    ("3x3 14 256", 256, 256, 14, 3, 1, 1),
    ("3x3 7 512", 512, 512, 7, 3, 1, 1),
    ("3x3/2 56 64>128", 64, 128, 56, 3, 2, 1),
    ("1x1 56 64>256", 64, 256, 56, 1, 1, 1),
    ("1x1/2 56 256>512", 256, 512, 56, 1, 2, 1),
    ("1x1 14 96>576", 96, 576, 14, 1, 1, 1),
    ("depthwise 112 32", 32, 32, 112, 3, 1, 32),
    ("depthwise/2 112 96", 96, 96, 112, 3, 2, 96),
    ("depthwise 56 144", 144, 144, 56, 3, 1, 144),
    ("depthwise 14 384", 384, 384, 14, 3, 1, 384),
    ("depthwise 7 960", 960, 960, 7, 3, 1, 960),
    ("depthwise 24 64", 64, 64, 24, 3, 1, 64),
)
HEADER = (
    f"{'kernel':30} {'case':28} {'warm us':>9} {'cold us':>9} {'GMAC/s':>8} {'of limit':>8} {'cold':>6}"
    f" {'GB/s':>7} {'of copy':>8} {'cold':>6} {'x ref':>7}  status"
)
Row = dict[str, Any]


def cases(spec: OpSpec) -> Iterator[Case]:
    """The layer-sized cases of an operator, and the layers of ResNet and MobileNet."""
    yield from (case for case in spec.cases() if case.layer)
    if spec.name == "linear_s8":
        for rows, fan_in, features in PRODUCTS:
            yield linear_s8.case(f"{rows}x{fan_in}x{features}", (rows,), fan_in, features)
    if spec.name == "conv2d_s8":
        for name, channels, features, size, kernel, stride, groups in CONVOLUTIONS:
            window = {"stride": (stride, stride), "padding": (kernel // 2, kernel // 2), "groups": groups}
            yield conv2d_s8.case(name, (1, channels, size, size), features, (kernel, kernel), **window)


def rows(timed: Timed, options: argparse.Namespace) -> Iterator[Row]:
    """One row for each kernel of the table and each case; a failure is a row too and stops nothing."""
    specs, plain = {spec.name: spec for spec in OPS}, dict[tuple[str, str], float]()
    for kernel in timed.operators.kernels():
        spec = specs[kernel["op"]]
        if options.only not in (None, spec.name) or options.isa not in (None, kernel["isa"]):
            continue
        named = {"op": spec.name, "isa": kernel["isa"], "kernel": kernel["function"]}
        if not kernel["available"]:
            yield {**named, "case": "-", "status": f"not measured: this processor has no {kernel['isa']}"}
            continue
        for case in cases(spec):
            try:
                row = measured(timed, spec, kernel, case, options)
            except Exception as error:  # the other rows go on
                row = {"status": f"failed: {type(error).__name__}: {error}"}
            if row["status"] == "ok":
                us = row["warm"]["us"]
                if kernel["isa"] == "ref":
                    plain[spec.name, case.name] = us
                row["times_ref"] = plain[spec.name, case.name] / us if (spec.name, case.name) in plain else None
            yield {**named, "case": case.name, **row}


def measured(timed: Timed, spec: OpSpec, kernel: Row, case: Case, options: argparse.Namespace) -> Row:
    """Check, then time with the limits beside it."""
    timed.set(0, 0.0, 0)
    run(timed, spec, kernel["isa"], case)
    if timed.kernel() != kernel["function"]:
        return {"status": f"not measured: it leaves this case to {timed.kernel()}"}
    got = run(timed, spec, kernel["isa"], case)
    if not all(
        torch.equal(one, want) for one, want in zip(results(got), results(spec.reference(*case.args)), strict=True)
    ):
        return {"status": "wrong: differs from the reference, not timed"}
    cost, instructions = spec.cost(*case.args), timed.instructions()
    before = {name: timed.limit(name) for name in instructions.values()}
    timed.set(options.samples, options.seconds, EVICTED)
    run(timed, spec, kernel["isa"], case)
    taken = timed.samples()
    copied = timed.copy(max(cost.bytes // 2, 64))
    limit = {name: max(rate, timed.limit(name)) for name, rate in before.items()}
    # The plain tier is held against the best of the machine.
    own = instructions.get(kernel["isa"], max(limit, key=lambda name: limit[name], default=""))
    row: Row = {
        "status": "ok",
        "macs": cost.macs,
        "bytes": cost.bytes,
        "limit": own,
        "macs_per_s_limit": limit.get(own),
    }
    for state, samples in taken.items():
        seconds, copy = statistics.median(samples), statistics.median(copied[state])
        low, high = statistics.quantiles(samples, n=4)[::2]
        row[state] = {
            "us": 1e6 * seconds,
            "least_us": 1e6 * min(samples),
            "n": len(samples),
            "spread": (high - low) / seconds,
            "gmacs": cost.macs / seconds / 1e9 if cost.macs else None,
            "of_limit": cost.macs / seconds / limit[own] if cost.macs and limit.get(own) else None,
            "gb_per_s": cost.bytes / seconds / 1e9,
            "of_copy": copy / seconds,
        }
    return row


def run(timed: Timed, spec: OpSpec, isa: str, case: Case) -> Result:
    """One call through the timed operators."""
    out = spec.shape(*case.args)
    views = [arg.detach().contiguous().numpy() if isinstance(arg, Tensor) else arg for arg in case.args]
    into = tuple(one.numpy() for one in out) if isinstance(out, tuple) else out.numpy()
    getattr(timed.operators, spec.name)(*views, out=into, isa=isa)
    return out


def line(row: Row) -> str:
    """A row as text."""
    name = f"{row['kernel']:30} {row['case']:28}"
    if row["status"] != "ok":
        return f"{name} {row['status']}"
    warm, cold = row["warm"], row["cold"]
    products = " ".join(
        (
            f"{'-':>8}" if warm["gmacs"] is None else f"{warm['gmacs']:8.2f}",
            percent(warm["of_limit"], 8),
            percent(cold["of_limit"], 6),
        )
    )
    memory = f"{warm['gb_per_s']:7.2f} {percent(warm['of_copy'], 8)} {percent(cold['of_copy'], 6)}"
    unsteady = f"; spread {warm['spread']:.1%}" if warm["spread"] > 0.025 else ""
    times = "-" if row["times_ref"] is None else f"{row['times_ref']:.1f}"
    return f"{name} {warm['us']:9.1f} {cold['us']:9.1f} {products} {memory} {times:>7}  ok{unsteady}"


def percent(share: float | None, width: int) -> str:
    """A share, or a dash."""
    return f"{'-':>{width}}" if share is None else f"{share:{width}.0%}"


def main() -> int:
    """Print the table as it grows; 1 where any row is wrong."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--only", choices=[spec.name for spec in OPS], help="one operator")
    parser.add_argument("--isa", help="one tier")
    parser.add_argument("--samples", type=int, default=30, help="of each state of the caches")
    parser.add_argument("--seconds", type=float, default=0.3, help="that these may take")
    parser.add_argument("--core", type=int, default=min(os.sched_getaffinity(0)))
    parser.add_argument("--out", type=Path, help="default: results/kernels-cpu-FINGERPRINT.json")
    options = parser.parse_args()
    torch.set_num_threads(1)
    machine = device.describe()
    try:
        timed = build()
    except NoCompiler as error:
        print(f"nothing was measured: {error}")
        return 0
    os.sched_setaffinity(0, [options.core])
    rates = {name: timed.limit(name) / 1e9 for name in timed.instructions().values()}
    said = ", ".join(f"{name} {rate:.0f} GMAC/s" for name, rate in rates.items())
    print(
        f"{machine['cpu']}, fingerprint {machine['fingerprint']}, limits of core {options.core}: {said or 'none known'}"
    )
    if "avx512vnni" not in timed.operators.isa_flags():
        print("No AVX-512 VNNI: these are figures of this machine, and say nothing about the goals.")
    print(HEADER)
    found = []
    for row in rows(timed, options):
        found.append(row)
        print(line(row), flush=True)
    document = {"benchmark": "kernels_cpu", "environment": machine, "isa": timed.operators.isa_flags()}
    document |= {"core": options.core, "gmacs_limits": rates, "evicted_bytes": EVICTED, "rows": found}
    out = options.out or RESULTS / f"kernels-cpu-{machine['fingerprint']}.json"
    disk.write_file(out, (json.dumps(document, indent=1) + "\n").encode())
    print(f"written to {out}")
    return int(any(row["status"].startswith(("wrong", "failed")) for row in found))


if __name__ == "__main__":
    sys.exit(main())
