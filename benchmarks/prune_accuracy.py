"""Accuracy against multiply-accumulates: ResNet-8 on digits, for every score of channels, after the same recovery.

    python benchmarks/prune_accuracy.py [--scores l2 taylor] [--fewer 2 4 8] [--seeds 3] [--keep-residual]
                                        [--json FILE] [--plot FILE]

The net is trained and recovered as the recipe ``digits`` says, cut in one shot to a share of its multiply-accumulates,
and judged on the recipe's 5,400 varied items, which nothing was trained or chosen on. Seeds change the weights, the
order and the split; each figure is a mean over them, with the lowest and highest. Goal: within one point of the float
net at a quarter of the multiply-accumulates.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import torch

from edgekit import device, disk, preflight
from edgekit.graph import cost
from edgekit.options import PruneConfig
from edgekit.preflight import Job
from edgekit.stages import cut_channels, fit
from edgekit.train import predict

SCORES = get_args(PruneConfig.model_fields["importance"].annotation)
GOAL_FEWER, GOAL_POINTS = 4.0, 1.0
Row = dict[str, Any]


def accuracy(job: Job, graph: Any) -> float:
    """In percent, on the varied items."""
    return 100 * float(job.measure(predict(graph))["metrics"]["varied"]["accuracy"])


def rows(seed: int, scores: list[str], fewer: list[float], keep_residual: bool) -> Iterator[Row]:
    """The float net, then each score at each size."""
    job = preflight.prepare("digits", (f"seed={seed}",))
    torch.set_num_threads(job.recipe.threads)
    options, varied = job.recipe.prune, job.data.varied
    assert options is not None
    assert options.recover is not None
    assert varied is not None
    graph = fit(job, job.graph, job.recipe.train, seed).graph
    base = {"seed": seed, "items": len(varied)}
    yield base | {"score": "float", "fewer": 1.0, "cut": None, "accuracy": accuracy(job, graph)}
    for times in fewer:
        for score in scores:
            wanted = {"ratio": None, "target_macs": 1 / times, "importance": score, "keep_residual": keep_residual}
            changed = options.model_copy(update=wanted)
            cut = cut_channels(job, graph, changed).graph
            reached = cost.total_macs(graph) / cost.total_macs(cut)
            recovered = fit(job, cut, options.recover, seed + 1).graph
            found = {"cut": accuracy(job, cut), "accuracy": accuracy(job, recovered)}
            yield base | {"score": score, "fewer": reached, "asked": times} | found


def plot(found: list[Row], path: Path) -> None:
    """One line for each score: means, and what the seeds span."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "prune_accuracy"
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 4.5))
    level = statistics.mean(row["accuracy"] for row in found if row["score"] == "float")
    axes.axhline(level, color="black", linewidth=0.8, label="float, not pruned")
    axes.axhline(level - GOAL_POINTS, color="black", linewidth=0.8, linestyle=":", label="one point less")
    for score in dict.fromkeys(row["score"] for row in found if row["score"] != "float"):
        points = grouped([row for row in found if row["score"] == score])
        axes.plot([p[0] for p in points], [p[1] for p in points], marker="o", markersize=3, label=score)
    axes.set_xscale("log", base=2)
    axes.set_xlabel("times fewer multiply-accumulates")
    axes.set_ylabel(f"accuracy, % of {found[0]['items']} items")
    axes.legend(fontsize=8)
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None})


def grouped(found: list[Row]) -> list[tuple[float, float, float, float]]:
    """(times fewer, mean, lowest, highest accuracy) by size."""
    sizes = sorted({row["asked"] for row in found})
    by_size = [[row for row in found if row["asked"] == size] for size in sizes]
    return [
        (statistics.mean(row["fewer"] for row in these), statistics.mean(values), min(values), max(values))
        for these in by_size
        for values in [[row["accuracy"] for row in these]]
    ]


def main() -> None:
    """Print rows as they come, then the means."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scores", nargs="+", choices=SCORES, default=list(SCORES))
    parser.add_argument("--fewer", nargs="+", type=float, default=[2.0, 4.0, 8.0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--keep-residual", action="store_true", help="cut inside residual blocks alone")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--plot", type=Path)
    options = parser.parse_args()
    found = []
    for seed in range(options.seeds):
        for row in rows(seed, options.scores, options.fewer, options.keep_residual):
            found.append(row)
            cut = "" if row["cut"] is None else f", {row['cut']:.2f} % before recovery"
            print(f"seed {seed}  {row['score']:12} {row['fewer']:5.2f} x  {row['accuracy']:.2f} %{cut}", flush=True)
    level = statistics.mean(row["accuracy"] for row in found if row["score"] == "float")
    for score in options.scores:
        for fewer, mean, low, high in grouped([row for row in found if row["score"] == score]):
            goal = ""
            if abs(fewer - GOAL_FEWER) < 0.3:
                goal = "  within a point" if level - mean <= GOAL_POINTS else "  missed"
            print(f"{score:12} {fewer:5.2f} x  {mean:.2f} % ({low:.2f} to {high:.2f}), float {level:.2f} %{goal}")
    if options.json:
        document = {
            "benchmark": "prune_accuracy",
            "keep_residual": options.keep_residual,
            "device": device.describe(),
            "rows": found,
        }
        disk.write_file(options.json, (json.dumps(document, indent=1) + "\n").encode())
    if options.plot:
        plot(found, options.plot)


if __name__ == "__main__":
    main()
