"""Time of the analysis and of the cut, against Torch-Pruning on ResNet-50; and how it grows with the graph.

    python benchmarks/prune_time.py [--rounds 7] [--json FILE]

Both halve every group by the L1 norm, one thread, in turns. Timed are analysis, scores, choice and cut; not timed is
what only one of them does: capture before it and new shapes after it here. The peer's graph is built once, as its
pruner does. ``chains`` are residual blocks one after the other, up to thousands of operators.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import operator
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn

import edgekit as ek
from edgekit import device, disk, models
from edgekit.graph import Graph
from edgekit.prune import couple
from edgekit.prune.scores import scores
from edgekit.prune.select import Rule, gone, select
from edgekit.prune.surgery import cut

GOAL = 1.5  # times the peer's time, at most
BLOCKS = (20, 50, 100, 200, 400)


class Chain(nn.Module):
    """Residual blocks of one width: ten operators each."""

    def __init__(self, blocks: int, width: int = 16) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, width, 3, padding=1)
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(width, 2 * width, 1, bias=False), nn.BatchNorm2d(2 * width), nn.ReLU(),
                nn.Conv2d(2 * width, 2 * width, 3, padding=1, groups=2 * width, bias=False),
                nn.BatchNorm2d(2 * width), nn.ReLU(), nn.Conv2d(2 * width, width, 1, bias=False),
                nn.BatchNorm2d(width),
            )
            for _ in range(blocks)
        )  # fmt: skip
        self.head = nn.Linear(width, 4)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits."""
        x = self.stem(x)
        for block in self.blocks:
            x = torch.relu(block(x) + x)
        logits: Tensor = self.head(x.mean((2, 3)))
        return logits


def own(graph: Graph) -> Callable[[], None]:
    """Analysis, scores, choice and cut of a copy; new shapes are left out."""
    copy = graph.copy()

    def run() -> None:
        coupling = couple(copy)
        victims = select(coupling, scores(copy, coupling.groups, "l1"), 0.5, Rule())
        with mock.patch.object(Graph, "refresh", lambda subject: subject):
            cut(copy, coupling, gone(victims))

    return run


def peer(model: nn.Module, x: Tensor) -> Callable[[], None]:
    """The same by Torch-Pruning."""
    import torch_pruning as tp

    def run() -> None:
        last = [module for module in model.modules() if isinstance(module, nn.Linear)][-1]
        importance = tp.importance.GroupMagnitudeImportance(p=1)
        tp.pruner.MagnitudePruner(model, x, importance=importance, pruning_ratio=0.5, ignored_layers=[last]).step()

    return run


def seconds(run: Callable[[], None]) -> float:
    """Of one run on one thread: of the processor, so that other programs do not count."""
    began = time.process_time()
    run()
    return time.process_time() - began


def against_peer(rounds: int) -> dict[str, Any]:
    """Seconds of each round on ResNet-50."""
    x = torch.randn(2, 3, 224, 224)
    graph = ek.capture(models.create("resnet50").eval(), x)
    there = importlib.util.find_spec("torch_pruning") is not None
    taken: dict[str, list[float]] = {"edgekit": [], "torch_pruning": []}
    for round_ in range(rounds + 1):
        once = {"edgekit": seconds(own(graph))}
        if there:
            once["torch_pruning"] = seconds(peer(models.create("resnet50").eval(), x[:1]))
        if round_:  # the first one warms up
            for name, value in once.items():
                taken[name].append(value)
    return taken


def chains() -> list[dict[str, float]]:
    """Operators and seconds of longer and longer nets."""
    found = []
    for blocks in BLOCKS:
        graph = ek.capture(Chain(blocks).eval(), torch.randn(2, 3, 8, 8))
        nodes = sum(node.op == "call_function" for node in graph.nodes)
        found.append({"operators": nodes, "seconds": min(seconds(own(graph)) for _ in range(2))})
    return found


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    taken = against_peer(options.rounds)
    for name, values in taken.items():
        said = f"{statistics.median(values):6.2f} s" if values else "not installed: not measured"
        print(f"ResNet-50  {name:14} {said}")
    if taken["torch_pruning"]:
        ratio = statistics.median(map(operator.truediv, taken["edgekit"], taken["torch_pruning"]))
        print(f"ratio {ratio:.2f}, at most {GOAL}: {'met' if ratio <= GOAL else 'missed'}")
    longer = chains()
    for row in longer:
        print(f"{row['operators']:5.0f} operators {row['seconds']:6.2f} s")
    if options.json:
        found = {"benchmark": "prune_time", "device": device.describe(), "resnet50_seconds": taken, "chains": longer}
        disk.write_file(options.json, (json.dumps(found, indent=1) + "\n").encode())


if __name__ == "__main__":
    main()
