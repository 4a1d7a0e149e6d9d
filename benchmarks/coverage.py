"""Every net that ships through every step of the road: what works, what is refused and where, and nothing else.

    python benchmarks/coverage.py [--only vit] [--full] [--json benchmarks/results/coverage.json]

A cell is a figure, or a typed refusal that names operator and source line, printed below the table. Anything else, a
crash or a wrong number, ends the benchmark with 1. Nets are small with their structure kept; ``--full`` takes the
published sizes. Weights and inputs are random: figures of signal to noise show that the integers are right, not how
accurate a trained net would be.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

import edgekit as ek
from edgekit import device, disk
from edgekit.data import Split
from edgekit.errors import EdgekitError
from edgekit.graph import Graph
from edgekit.models import MODELS, example, example_inputs
from edgekit.options import TrainConfig
from edgekit.sqnr import sqnr_db
from edgekit.train import train
from edgekit.train.objectives import Objective, Tensors

ROOT = Path(__file__).resolve().parents[1]
SAMPLES = 32
TOLERANCE = 1e-4  # float32 sums in another order, relative to 1 + |value|
ENOUGH_DB = 15.0  # random weights, up to fifty layers of 8 bits
SHARE = 0.99  # of the products, so that a float fallback cannot pass for INT8


class WrongNumber(Exception):
    """A step that ran and gave something else than it must."""


class NothingDone(Exception):
    """A step that found nothing to do, in short, and why."""


@dataclass(frozen=True)
class Cell:
    """One net at one step: ``ok`` with a figure, ``nothing`` or ``refused`` with a reason, ``WRONG`` or ``CRASH``."""

    step: str
    status: str
    figure: str
    reason: str
    seconds: float


class Road:
    """The steps for one net, in order; each stores what the next ones need."""

    def __init__(self, name: str, sizes: dict[str, Any], folder: Path) -> None:
        torch.manual_seed(0)
        self.model, self.example = example(name, seed=0, **sizes)
        self.inputs = example_inputs(name, SAMPLES, seed=1, **sizes)
        self.folder, self.graph, self.file = folder, None, folder / "float.onnx"

    def capture(self) -> str:
        """The graph computes what the module does, for another batch than it was captured with."""
        self.graph = ek.capture(self.model.eval(), self.example)
        with torch.no_grad():
            _same(_list(self.model(*self.inputs)), outputs(self.graph, self.inputs))
        return f"{sum(1 for node in self.graph.nodes if node.op == 'call_function')} calls"

    def train(self) -> str:
        """Steps of AdamW bring the loss down."""
        split = Split(tuple(x.numpy() for x in self.inputs), (np.zeros(SAMPLES, np.int64),))
        config = TrainConfig(epochs=6, learning_rate=2e-3, batch_size=SAMPLES // 2, optimizer="adamw")
        losses = train(self._graph, split, config, 0, objective=Objective(_towards_one, {})).report.losses
        if not losses[-1] < losses[0]:
            raise WrongNumber(f"the loss goes from {losses[0]:g} to {losses[-1]:g}")
        return f"loss x {losses[-1] / losses[0]:.2f}"

    def prune(self) -> str:
        """Half of the channels; the smaller net runs."""
        result = ek.prune(self._graph, 0.5)
        _finite(outputs(result.graph, self.inputs))
        found = result.report
        if not found.layers:
            raise NothingDone("nothing to cut", "; ".join(reason for _, reason in found.not_pruned))
        return f"MACs / {found.macs_before / max(found.macs_after, 1):.2f}"

    def quantize(self) -> str:
        """The golden near the float net, nearly all in integers; ONNX Runtime's bytes where these can be promised."""
        calibration = [tuple(x[i : i + 1] for x in self.inputs) for i in range(SAMPLES)]
        result = ek.quantize(self._graph, calibration=calibration)
        quantised, share = result.graph, result.report.int8_macs
        pairs = zip(outputs(self._graph, self.inputs), outputs(ek.lower(quantised), self.inputs), strict=True)
        noise = min(value for a, b in pairs if (value := sqnr_db(a.numpy(), b.numpy())) is not None)
        if noise < ENOUGH_DB:
            raise WrongNumber(f"the golden is {noise:.1f} dB from the float net")
        if share is not None and share < SHARE:
            raise WrongNumber(f"only {share:.1%} of the products are integer")
        ek.export_onnx(quantised, self.folder / "int8.onnx", inputs=self.inputs)
        return f"{noise:.0f} dB, {share or 0:.0%}".replace("%", " %")

    def save(self) -> str:
        """A saved graph loads to the same bits."""
        path = self.folder / "graph.safetensors"
        self._graph.save(path)
        pairs = zip(outputs(self._graph, self.inputs), outputs(Graph.load(path), self.inputs), strict=True)
        if not all(torch.equal(a, b) for a, b in pairs):
            raise WrongNumber("the loaded graph gives other bits")
        return _size(path)

    def export(self) -> str:
        """Float ONNX, which ``export_onnx`` itself runs against the graph."""
        ek.export_onnx(self._graph, self.file, inputs=self.inputs)
        return _size(self.file)

    def bench(self) -> str:
        """Median time of one inference in ONNX Runtime."""
        item = tuple(x[:1].numpy() for x in self.inputs)
        result = ek.bench(ek.load(self.file), inputs=item, warmup=3, min_samples=20, min_seconds=0.2)
        return f"{result.to_json()['latency_us']['p50']:,.0f} us"

    @property
    def _graph(self) -> Graph:
        if self.graph is None:
            raise WrongNumber("there is no graph")
        return self.graph


STEPS: dict[str, Callable[[Road], str]] = {
    "capture": Road.capture,
    "train": Road.train,
    "prune": Road.prune,
    "INT8": Road.quantize,
    "save/load": Road.save,
    "ONNX": Road.export,
    "bench": Road.bench,
}


def cells(name: str, full: bool) -> Iterator[Cell]:
    """Every step of one net; a failure stops no other step."""
    sizes = {} if full else dict(MODELS[name].small)
    with tempfile.TemporaryDirectory() as folder:
        road = Road(name, sizes, Path(folder))
        for step, work in STEPS.items():
            began = time.monotonic()
            status, figure, reason = _attempt(work, road)
            yield Cell(step, status, figure, reason, round(time.monotonic() - began, 2))


def _attempt(work: Callable[[Road], str], road: Road) -> tuple[str, str, str]:
    try:
        return "ok", work(road), ""
    except EdgekitError as error:
        return "refused", "", _from_here(str(error))
    except NothingDone as error:
        return "nothing", str(error.args[0]), _from_here(str(error.args[1]))
    except WrongNumber as error:
        return "WRONG", "", str(error)
    except Exception as error:  # the point of the table: whatever is no refusal is a crash, named as such
        return "CRASH", "", f"{type(error).__name__}: {error}"


def _from_here(reason: str) -> str:
    """A reason with the source lines of this checkout as they are called in it."""
    return reason.replace(f"{ROOT}/", "")


def outputs(graph: Graph, inputs: tuple[Tensor, ...]) -> list[Tensor]:
    """Every output of a graph, in inference mode."""
    with torch.no_grad():
        return _list(graph(*inputs))


def _list(result: Any) -> list[Tensor]:
    return [result] if isinstance(result, Tensor) else list(result.values() if isinstance(result, dict) else result)


def _same(expected: list[Tensor], got: list[Tensor]) -> None:
    _finite(got)
    if not all(torch.allclose(a, b, TOLERANCE, TOLERANCE) for a, b in zip(expected, got, strict=True)):
        raise WrongNumber("the graph does not compute what the module does")


def _finite(values: list[Tensor]) -> None:
    if not all(bool(torch.isfinite(value).all()) for value in values):
        raise WrongNumber("values are not finite")


def _towards_one(results: Tensors, _: Tensors, __: Tensors) -> Tensor:
    """A loss that any net can learn to lower, whatever its outputs mean."""
    return torch.stack([(result - 1).square().mean() for result in results]).sum()


def _size(path: Path) -> str:
    return f"{path.stat().st_size / 1000:,.0f} kB"


def main() -> int:
    """Prints the table; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--only", choices=list(MODELS), help="one net")
    parser.add_argument("--full", action="store_true", help="the published sizes instead of small ones")
    parser.add_argument("--json", type=Path, help="also write the cells to this file")
    options = parser.parse_args()
    torch.set_num_threads(1)
    found: dict[str, list[Cell]] = {}
    print(f"{'net':16}" + "".join(f"{step:>15}" for step in STEPS))
    for name in [options.only] if options.only else MODELS:
        found[name] = list(cells(name, options.full))
        print(f"{name:16}" + "".join(f"{cell.figure or cell.status:>15}" for cell in found[name]), flush=True)
    failed = [(name, cell) for name, row in found.items() for cell in row if cell.status != "ok"]
    for name, cell in failed:
        print(f"\n{name}, {cell.step}: {cell.status}: {cell.reason}")
    counts = Counter(cell.status for row in found.values() for cell in row)
    broken = counts["WRONG"] + counts["CRASH"]
    spoken = f"{counts['nothing']} with nothing to do, {counts['refused']} refused by name, {broken} wrong or crashed"
    print(f"\n{counts['ok']} cells ok, {spoken}")
    if options.json:
        rows = {name: [asdict(cell) for cell in row] for name, row in found.items()}
        result = {"benchmark": "coverage", "full": options.full, "device": device.describe(), "nets": rows}
        disk.write_file(options.json, (json.dumps(result, indent=1) + "\n").encode())
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
