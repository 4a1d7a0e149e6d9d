"""Every operator on every tier that this machine runs, at the sizes of real layers, against torch's float operator.

    python benchmarks/ops.py [--only conv2d_s8] [--json ops.json] [--seconds 3]

Each row is checked against the reference before it is timed, and a wrong one is not timed. Tier and float operator take
turns in one loop, on one thread; the ratio is the median of float time over tier time, above 1 where the tier is
faster. Caches are warm. On a CUDA device the ``triton`` rows are timed there, the float operator beside them.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from edgekit import device
from edgekit.bench.clock import interleave
from edgekit.bench.statistics import compare, judge, summarise
from edgekit.ops import OPS, Case, OpSpec, dispatch
from edgekit.ops.spec import Result, results

# What torch does in float for the same layer; the integer operator's further arguments go to ``_``.
FLOAT: dict[str, Callable[..., Tensor]] = {
    "quantize_s8": lambda x, scale, *_: x / scale.reshape(-1, *[1] * (x.dim() - 1)),
    "dequantize": lambda x, scale, *_: x * scale,
    "fake_quantize": lambda x, scale, *_: x / scale.reshape(-1, *[1] * (x.dim() - 1)),
    "fake_quantize_backward": lambda gradient, x, *_: torch.where(x.abs() < 1, gradient, 0.0),
    "group_scores": lambda weight, axis: weight.movedim(axis, 0).flatten(1).square().sum(1),
    "observe": lambda x: x.abs().max(),
    "linear_s8": lambda x, weight, bias, *_: functional.linear(x, weight, bias),
    "conv2d_s8": lambda x, weight, bias, _, *window: functional.conv2d(x, weight, bias, *window[:4]),
    "conv_transpose2d_s8": lambda x, weight, bias, _, *window: functional.conv_transpose2d(
        x, weight, bias, *window[:5]
    ),
    "matmul_s8": lambda a, b, *_: a @ b,
    "add_s8": lambda a, b, *_: a + b,
    "mul_s8": lambda a, b, *_: a * b,
    "sum_s8": lambda x, dim, keepdim, *_: x.sum(dim, keepdim),
    "lut_s8": lambda x, *_: torch.sigmoid(x),
    "avg_pool_s8": lambda x, _, *window: functional.avg_pool2d(x, *window[:5]),
    "max_pool_s8": lambda x, *window: functional.max_pool2d(x, *window),
    "softmax_s8": lambda x, *_: torch.softmax(x, -1),
    "layer_norm_s8": lambda x, gain, offset, *_: functional.layer_norm(x, gain.shape, gain, offset),
    "rms_norm_s8": lambda x, gain, *_: functional.rms_norm(x, gain.shape, gain),
    "l2_norm_s8": lambda x, *_: functional.normalize(x, dim=-1),
    "group_norm_s8": lambda x, groups, gain, offset, *_: functional.group_norm(x, groups, gain, offset),
    "gru_s8": lambda *args: torch.ops.edgekit.gru(*args[:4], *args[4].chunk(3), *args[5].chunk(3), args[-1]),
    "lstm_s8": lambda *args: torch.ops.edgekit.lstm(*args[:6], *args[6].chunk(4), *args[7].chunk(4), args[-1])[0],
}
HEADER = f"{'operator':20} {'tier':10} {'case':28} {'us':>10} {'GOPS':>8} {'GB/s':>8} {'x float':>8}  verdict"


def rows(only: str | None, seconds: float) -> Iterator[dict[str, Any]]:
    """One row per operator, tier and layer-sized case; a failure is a row too and stops nothing."""
    for spec in OPS:
        for tier in dispatch.available(spec) if only in (None, spec.name) else ():
            for case in spec.cases():
                if case.layer and not (tier == dispatch.TRITON and not torch.cuda.is_available()):
                    yield {"op": spec.name, "tier": tier, "case": case.name, **measure_row(spec, tier, case, seconds)}


def measure_row(spec: OpSpec, tier: str, case: Case, seconds: float) -> dict[str, Any]:
    """Check, then time in turn with torch's float operator."""
    on_gpu = tier == dispatch.TRITON
    args = [arg.cuda() if on_gpu and isinstance(arg, Tensor) else arg for arg in case.args]
    floats = [arg.float() if isinstance(arg, Tensor) else arg for arg in args]
    operator, baseline = getattr(torch.ops.edgekit, spec.name), FLOAT[spec.name]
    with dispatch.force(tier):
        got, want = results(operator(*args)), results(spec.reference(*case.args))
        if not all(torch.equal(one.cpu(), other) for one, other in zip(got, want, strict=True)):
            return {"status": "wrong: differs from the reference, not timed"}
        calls = {"own": lambda: finish(operator(*args), on_gpu), "float": lambda: finish(baseline(*floats), on_gpu)}
        samples = interleave(calls, warmup=5, min_samples=30, min_seconds=seconds, max_seconds=10 * seconds)
    statistics, cost = summarise(samples["own"]), spec.cost(*case.args)
    median_us, verdict = statistics.percentiles_us[50], judge(statistics)
    return {
        "status": "ok",
        "latency_us": median_us,
        "spread": statistics.spread,
        "n": statistics.n,
        "gops": 2 * cost.macs / median_us / 1e3 if cost.macs else None,
        "gb_per_s": cost.bytes / median_us / 1e3,
        "speedup_over_float": compare(samples["own"].ns, samples["float"].ns).ratio,
        "verdict": verdict.level,
        "reasons": list(verdict.reasons),
    }


def finish(result: Result, on_gpu: bool) -> Result:
    """Wait for the device: a call ends when its result is there."""
    if on_gpu:
        torch.cuda.synchronize()
    return result


def line(row: dict[str, Any]) -> str:
    """One row as text."""
    name = f"{row['op']:20} {row['tier']:10} {row['case']:28}"
    if row["status"] != "ok":
        return f"{name} {row['status']}"
    gops = "-" if row["gops"] is None else f"{row['gops']:.2f}"
    figures = f"{row['latency_us']:10.1f} {gops:>8} {row['gb_per_s']:8.2f} {row['speedup_over_float']:8.2f}"
    return f"{name} {figures}  {row['verdict']}"


def main() -> int:
    """Print the table as it grows; 1 where any row is wrong."""
    parser = argparse.ArgumentParser(description="Time every operator on every tier.")
    parser.add_argument("--only", choices=[spec.name for spec in OPS], help="one operator")
    parser.add_argument("--json", type=Path, help="also write the rows to this file")
    parser.add_argument(
        "--seconds", type=float, default=3.0, help="shortest window per row; under 3 no verdict is valid"
    )
    options = parser.parse_args()
    torch.set_num_threads(1)
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    machine = device.describe()
    print(f"{machine['cpu']}, GPU {gpu}, fingerprint {machine['fingerprint']}, torch {torch.__version__}, 1 thread")
    print(HEADER)
    results = []
    for row in rows(options.only, options.seconds):
        results.append(row)
        print(line(row), flush=True)
    if options.json:
        document = {"benchmark": "ops", "environment": machine, "gpu": gpu, "threads": 1, "rows": results}
        options.json.write_text(json.dumps(document, indent=1) + "\n")
    return int(any(row["status"] != "ok" for row in results))


if __name__ == "__main__":
    sys.exit(main())
