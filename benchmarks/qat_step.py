"""What quantisation-aware training costs on a CPU: steps of ResNet-18, and the operator alone beside torch's own.

    python benchmarks/qat_step.py [--rounds 15] [--batch 16] [--size 64] [--threads N] [--json qat.json]

A step is a forward pass, a backward pass and SGD with momentum. ``float`` is the net that the quantised graph stands
for, batch norm folded; ``edgekit`` has fake_quantize in it, ``learned`` trains the scales too, and ``torch`` has
``torch.fake_quantize_per_tensor_affine`` and its sibling for channels at the same places. They take turns; a ratio is
the median over rounds, of wall time and of processor time of all threads. The goal is 1.6 times a float step.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Sequence
from functools import cache
from operator import truediv
from pathlib import Path
from typing import Any

import torch
from ratios import spread
from torch import Tensor
from torch.nn import functional

import edgekit as ek
from edgekit import device, disk, models
from edgekit.graph import Graph, edit, patterns
from edgekit.train import step_sizes

Job = Callable[[], object]
Times = dict[str, list[tuple[float, float]]]  # wall and processor seconds of every round

GOAL = 1.6
ELEMENTS = 1 << 20
CHANNELS = 256


@cache
def zero_points(count: int) -> Tensor:
    """As torch's operators want them."""
    return torch.zeros(count, dtype=torch.int32)


def torchs(x: Tensor, scale: Tensor, axis: int | None = None, lo: int = -128, hi: int = 127) -> Tensor:
    """The fake quantisation of torch, called as edgekit's."""
    if axis is None:
        return torch.fake_quantize_per_tensor_affine(x, scale.reshape(1), zero_points(1), lo, hi)
    return torch.fake_quantize_per_channel_affine(x, scale, zero_points(len(scale)), axis, lo, hi)


def with_torchs(graph: Graph) -> Graph:
    """A copy in which torch's operator stands at the same places."""
    graph = graph.copy()
    for node in edit.calls(graph.module):
        if node.target is patterns.FAKE_QUANTIZE:
            node.target = torchs
    graph.module.recompile()
    return graph


def step(graph: Graph, x: Tensor, targets: Tensor) -> Job:
    """One training step of a graph."""
    optimizer = torch.optim.SGD([p for _, p in graph.named_parameters()], 1e-4, 0.9)

    def run() -> None:
        optimizer.zero_grad()
        functional.cross_entropy(graph(x), targets).backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    return run


def steps(batch: int, size: int) -> dict[str, Job]:
    """The variants of a training step."""
    torch.manual_seed(0)
    x, targets = torch.randn(batch, 3, size, size), torch.arange(batch) % 10
    captured = ek.capture(models.create("resnet18", classes=10), x)
    found = ek.quantize(captured, [x], ek.QuantConfig(allow_few=True))
    learned = found.graph.copy()
    step_sizes.learn(learned)
    graphs = {
        "float": found.reference,
        "edgekit": found.graph,
        "learned": learned,
        "torch": with_torchs(found.graph),
    }
    return {name: step(graph, x, targets) for name, graph in graphs.items()}


def calls(operator: Callable[..., Tensor], axis: int | None) -> tuple[Job, Job]:
    """Forward pass and backward pass of one operator, on weights or activations of a million values."""
    x = torch.randn(CHANNELS, ELEMENTS // CHANNELS, generator=torch.Generator().manual_seed(1)).requires_grad_()
    scale, incoming = torch.full((1 if axis is None else CHANNELS,), 0.03), torch.ones_like(x)
    result = operator(x, scale, axis, -127, 127)
    return (
        lambda: operator(x, scale, axis, -127, 127),
        lambda: torch.autograd.grad(result, x, incoming, retain_graph=True),
    )


def operators() -> dict[str, dict[str, Job]]:
    """By what is timed, edgekit's and torch's."""
    rows: dict[str, dict[str, Job]] = {}
    for place, axis in (("per tensor", None), ("per channel", 0)):
        own, theirs = calls(torch.ops.edgekit.fake_quantize, axis), calls(torchs, axis)
        for name, first, second in zip(("forward", "backward"), own, theirs, strict=True):
            rows[f"{name} {place}"] = {"edgekit": first, "torch": second}
    return rows


def rounds(jobs: dict[str, Job], count: int) -> Times:
    """Every job in every round, after one that is not counted."""
    times: Times = {name: [] for name in jobs}
    for number in range(count + 1):
        for name, job in jobs.items():
            wall, processor = time.perf_counter(), time.process_time()
            job()
            if number:
                times[name].append((time.perf_counter() - wall, time.process_time() - processor))
    return times


def summary(times: Times, base: str) -> dict[str, Any]:
    """Medians in milliseconds, and of the ratios of rounds to ``base``, with their spread."""
    rows = {}
    for name, measured in times.items():
        row: dict[str, Any] = {}
        for kind, own, others in zip(
            ("wall", "processor"), zip(*measured, strict=True), zip(*times[base], strict=True), strict=True
        ):
            row[kind] = _row(own, others)
        rows[name] = row
    return rows


def _row(own: Sequence[float], base: Sequence[float]) -> dict[str, float]:
    ratios = list(map(truediv, own, base))
    return {"ms": statistics.median(own) * 1e3, "ratio": statistics.median(ratios), "spread": spread(ratios)}


def table(title: str, rows: dict[str, Any]) -> str:
    """The rows of one comparison as text."""
    lines = [f"{title:24} {'wall ms':>9} {'ratio':>7} {'spread':>7} {'cpu ms':>9} {'ratio':>7} {'spread':>7}"]
    for name, row in rows.items():
        figures = "".join(f" {one['ms']:9.2f} {one['ratio']:7.2f} {one['spread']:7.3f}" for one in row.values())
        lines.append(f"  {name:22}{figures}")
    return "\n".join(lines)


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--threads", type=int, help="of torch; all cores by default")
    parser.add_argument("--json", type=Path)
    chosen = parser.parse_args()
    if chosen.threads:
        torch.set_num_threads(chosen.threads)
    machine = device.describe()
    threads = torch.get_num_threads()
    print(f"{machine['cpu']}, fingerprint {machine['fingerprint']}, torch {torch.__version__}, {threads} threads")
    found = summary(rounds(steps(chosen.batch, chosen.size), chosen.rounds), "float")
    print(table(f"step, {chosen.batch}x3x{chosen.size}x{chosen.size}", found))
    ratio = found["edgekit"]["processor"]["ratio"]
    print(f"edgekit costs {ratio:.2f} float steps of processor time: {'met' if ratio <= GOAL else 'missed'} ({GOAL})")
    single = {name: summary(rounds(jobs, 4 * chosen.rounds), "torch") for name, jobs in operators().items()}
    for name, rows in single.items():
        print(table(name, rows))
    if chosen.json:
        facts = {"net": "resnet18", "batch": chosen.batch, "size": chosen.size, "threads": threads, "goal": GOAL}
        document = {"benchmark": "qat_step", "environment": machine, **facts, "step": found, "operators": single}
        disk.write_file(chosen.json, json.dumps(document, indent=1).encode())


if __name__ == "__main__":
    main()
