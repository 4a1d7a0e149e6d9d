"""How much faster a net becomes at half of its multiply-accumulates, against what can be gained at all.

    python benchmarks/prune_speed.py [--nets resnet18 mobilenet_v2] [--cuts all inside] [--keep 0.5] [--rounds 21]
                                     [--json FILE]

Each net is pruned to the share of multiply-accumulates with widths rounded for the runtime, once by cutting ``all``
widths and once ``inside`` its residual blocks alone (``keep_residual``), and runs before and after in turns, on one
thread, with one input: in ONNX Runtime in float and INT8, and in the native engine. ``possible`` is the sum over layers
of the larger of two times, before over after: products at the highest rate of this core, bytes at the rate of a copy of
that size, both measured here. A dense net is held against its products alone, a net of depthwise layers against that.
Layers that gain nothing are listed, with what the engine's profile says of them.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ratios import Ratio, against_best
from torch import fx

import edgekit as ek
from edgekit import device, disk
from edgekit.bench.kernels import peak
from edgekit.graph import Graph, cost, edit
from edgekit.models import MODELS, example
from edgekit.runtime import Runner

BLOCK_S = 0.05  # of calls, the median of which is one sample
GOAL = 0.9  # of what is possible
DEPTHWISE = {"mobilenet_v2", "mobilenet_v1", "ds_cnn"}
NOTHING = 1.1  # times faster: a layer below that gains nothing
CUTS = {"all": False, "inside": True}  # whether the channels between residual blocks stay
VALUE_BYTES = {"float": 4, "int8": 1}


@dataclass(frozen=True)
class Party:
    """A runtime: which widths it wants, what it computes with, and what writes its file."""

    name: str
    round_to: str
    kind: str
    suffix: str
    export: Callable[[Graph, Path], object]


PARTIES = (
    Party("onnxruntime float", "onnxruntime", "float", ".onnx", ek.export_onnx),
    Party("onnxruntime int8", "onnxruntime", "int8", ".onnx", ek.export_onnx),
    Party("edgekit int8", "native", "int8", ".ekm", ek.export_native),
)


@dataclass(frozen=True)
class Row:
    """One net in one runtime.

    Attributes:
        cut: a key of :data:`CUTS`.
        fewer: multiply-accumulates before over after.
        possible: the bound on the speed-up.
        share: of the goal's bound that the speed-up is.
        layers: (name, microseconds before, after, products before over after) of those that gain nothing.
    """

    net: str
    cut: str
    party: str
    before_us: float
    after_us: float
    speed_up: Ratio
    fewer: float
    possible: float
    share: float
    layers: list[tuple[str, float, float, float]]


def products_per_second(kind: str) -> float:
    """Of this core: its fastest instruction on such operands."""
    rate = peak.best(peak.of_device("cpu"), "cpu", {"int8": "int8", "float": "float32"}[kind])
    if rate is None:
        raise SystemExit(f"nothing was measured: no limit of {kind} products is known here")
    return rate


@cache
def bytes_per_second(power: int) -> float:
    """Read and written, by a copy that touches two to the ``power`` bytes."""
    source = np.ones(1 << power >> 1, np.uint8)
    target = np.zeros_like(source)
    return (1 << power) / min(seconds(lambda: np.copyto(target, source)) for _ in range(5))


def seconds(call: Callable[[], object]) -> float:
    """Median of calls over :data:`BLOCK_S`."""
    taken: list[float] = []
    while sum(taken) < BLOCK_S:
        began = time.perf_counter()
        call()
        taken.append(time.perf_counter() - began)
    return statistics.median(taken)


def least_seconds(graph: Graph, kind: str) -> float:
    """The bound: over the calls of the integer form, the larger of the time of products and of bytes."""
    return sum(
        max(cost.macs(graph, node) / products_per_second(kind), _seconds_of_bytes(_bytes(node, kind)))
        for node in graph.nodes
        if edit.operator_name(node).startswith("edgekit.")
    )


def _seconds_of_bytes(count: int) -> float:
    return count / bytes_per_second(min(max(count.bit_length(), 16), 26))


def _bytes(node: fx.Node, kind: str) -> int:
    """Of what a call reads and writes; tensors of values and weights count what the kind takes, the rest is small."""
    tensors = [node, *node.all_input_nodes]
    shapes = [tuple(n.meta["val"].shape[1:]) if n.op != "get_attr" else tuple(n.meta["val"].shape) for n in tensors]
    return VALUE_BYTES[kind] * sum(int(np.prod([int(d) for d in shape])) for shape in shapes)


def measured(net: str, cut: str, party: Party, keep: float, rounds: int, folder: Path) -> Row:
    """Prune, export, take turns."""
    torch.manual_seed(0)
    model, (x,) = example(net, seed=0, **MODELS[net].sizes)
    items = list(torch.randn(8, *x.shape[1:], generator=torch.Generator().manual_seed(1)).split(1))
    before = ek.capture(model.eval(), torch.cat([x, x]))
    after = ek.prune(before, target_macs=keep, round_to=party.round_to, keep_residual=CUTS[cut]).graph
    runners, integers = [], []
    for state, graph in (("before", before), ("after", after)):
        path = folder / f"{net} {party.name} {state}{party.suffix}"
        quantised = ek.quantize(graph, items, config=ek.QuantConfig(allow_few=True)).graph
        party.export(quantised if party.kind == "int8" else graph, path)
        runners.append(ek.load(path, threads=1))
        integers.append(ek.lower(quantised))
    item = items[0].numpy()
    times: tuple[list[float], list[float]] = ([], [])
    for runner in runners:
        seconds(lambda runner=runner: runner.run(item))  # warm
    for _ in range(rounds):
        for runner, taken in zip(runners, times, strict=True):
            taken.append(seconds(lambda runner=runner: runner.run(item)))
    ratio = against_best(times[1], {"before": times[0]})
    fewer = cost.total_macs(before) / cost.total_macs(after)
    bounds = [least_seconds(graph, party.kind) for graph in integers]
    possible = bounds[0] / bounds[1]
    goal = possible if net in DEPTHWISE else fewer
    return Row(
        net, cut, party.name, *(1e6 * statistics.median(taken) for taken in times), ratio, fewer, possible,
        ratio.ratio / goal, list(gain_nothing(runners, item)),
    )  # fmt: skip


def gain_nothing(runners: list[Runner], item: Any) -> Iterator[tuple[str, float, float, float]]:
    """Layers with products that are hardly faster than before, by the profile of the native engine."""
    if not all(hasattr(runner, "profile") for runner in runners):
        return
    profiles = [[runner.profile(item) for runner in runners] for _ in range(20)]  # type: ignore[attr-defined]
    layers = [
        {
            each[0].name: (each[0].macs, statistics.median(one.seconds for one in each))
            for each in zip(*own, strict=True)
        }
        for own in zip(*profiles, strict=True)
    ]
    for name, (macs, taken) in layers[0].items():
        left, now = layers[1].get(name, (0, 0.0))
        if macs and left and taken / now < NOTHING:
            yield name, 1e6 * taken, 1e6 * now, macs / left


def line(row: Row) -> str:
    """A row as text."""
    verdict = "" if row.speed_up.verdict == "steady" else f"  {row.speed_up.verdict}"
    met = "met" if row.share >= GOAL else "missed"
    return (
        f"{row.net:14} {row.cut:7} {row.party:18} {row.before_us / 1e3:8.2f} {row.after_us / 1e3:8.2f} {row.fewer:7.2f}"
        f" {row.possible:9.2f} {row.speed_up.ratio:9.2f} {row.share:7.2f} {met}{verdict}"
    )


def main() -> None:
    """Print the table as it grows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nets", nargs="+", default=["resnet18", "mobilenet_v2"], choices=sorted(MODELS))
    parser.add_argument("--cuts", nargs="+", default=list(CUTS), choices=list(CUTS))
    parser.add_argument("--parties", nargs="+", default=[party.name for party in PARTIES])
    parser.add_argument("--keep", type=float, default=0.5, help="share of the multiply-accumulates")
    parser.add_argument("--rounds", type=int, default=21)
    parser.add_argument("--core", type=int, default=max(os.sched_getaffinity(0)))
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    os.sched_setaffinity(0, [options.core])
    print(
        f"{'net':14} {'cut':7} {'runtime':18} {'ms':>8} {'pruned':>8} {'fewer x':>7} {'possible':>9} {'speed-up':>9}"
        f" {'share':>7}"
    )
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for net in options.nets:
            for cut, party in itertools.product(options.cuts, PARTIES):
                if party.name not in options.parties:
                    continue
                row = measured(net, cut, party, options.keep, options.rounds, Path(folder))
                rows.append(row)
                print(line(row), flush=True)
                for name, taken, now, fewer in row.layers:
                    print(f"    {name:24} {taken:8.1f} us, now {now:8.1f} us, of {fewer:.2f} x fewer products")
    if options.json:
        found = {"benchmark": "prune_speed", "keep": options.keep, "device": device.describe()}
        disk.write_file(
            options.json, (json.dumps(found | {"rows": [asdict(r) for r in rows]}, indent=1) + "\n").encode()
        )


if __name__ == "__main__":
    main()
