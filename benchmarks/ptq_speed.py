"""Time and memory of calibration on ResNet-50, against the forward passes that it cannot do without.

    python benchmarks/ptq_speed.py [--samples 64] [--batch 8] [--rounds 5] [--json ptq.json]

``forward`` runs the float graph over the samples; ``calibrate`` does the same and finds the range of every tensor that
is to be quantised, ``calibrate all`` with a histogram of each for any observer. ``collect`` and ``quantize`` are the
calls of a user, from the captured graph on; ONNX Runtime's and NNCF's are the whole of theirs, minmax each. They take
turns. Each also runs in a process of its own, for its peak memory. The net is in ../shared/tools/reference_nets.py:
without it there is nothing to measure. Peers that are missing are said so.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import operator
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import edgekit as ek
from edgekit import device, disk, quant
from edgekit.graph import Graph
from edgekit.quant.record import Extremes, Record
from edgekit.quant.watch import Sees, watch

NETS = Path(__file__).parents[2] / "shared" / "tools" / "reference_nets.py"
Job = Callable[[], object]


def resnet50() -> nn.Module:
    """ResNet-50 with random weights and the batch norm statistics of a trained net."""
    spec = importlib.util.spec_from_file_location("reference_nets", NETS)
    assert spec is not None
    assert spec.loader is not None
    nets = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(nets)
    torch.manual_seed(0)
    model: nn.Module = nets.randomize_batch_norm(nets.MODELS["resnet50"][0]()).eval()
    return model


def prepared(samples: int, batch: int) -> tuple[Graph, list[Tensor]]:
    """The captured graph, and the calibration items."""
    x = torch.randn(samples, 3, 224, 224, generator=torch.Generator().manual_seed(1))
    return ek.capture(resnet50(), x[:2]), list(x.split(batch))


def own(name: str, graph: Graph, items: list[Tensor]) -> Job:
    """What is timed of edgekit."""
    config, folded = ek.QuantConfig(allow_few=True), quant.prepare(graph)
    observed = quant.plan(folded).observed

    def forward() -> None:
        with torch.no_grad():
            for item in items:
                folded(item)

    def look(make: Callable[[], Sees]) -> None:
        seen = {named: make() for named in dict.fromkeys(observed.values())}
        watch(folded, {node: seen[named] for node, named in observed.items()}, items)

    jobs: dict[str, Job] = {
        "forward": forward,
        "calibrate": lambda: look(Extremes),
        "calibrate all": lambda: look(Record),
        "collect": lambda: quant.collect(graph, items, config),
        "quantize": lambda: ek.quantize(graph, items, config),
    }
    return jobs[name]


def of_onnxruntime(graph: Graph, items: list[Tensor]) -> Job:
    """quantize_static with Q/DQ, on the float file that edgekit writes."""
    from onnxruntime import quantization

    folder = Path(tempfile.mkdtemp())
    ek.export_onnx(graph, folder / "float.onnx")

    class Reader(quantization.CalibrationDataReader):  # type: ignore[misc]
        """Hands out the items one after the other."""

        def __init__(self) -> None:
            self._rest = iter(items)

        def get_next(self) -> dict[str, Any] | None:
            """The next item, or None at the end."""
            return next(({graph.inputs[0].name: item.numpy()} for item in self._rest), None)

    def run() -> None:
        files = str(folder / "float.onnx"), str(folder / "int8.onnx")
        quantization.quantize_static(*files, Reader(), quant_format=quantization.QuantFormat.QDQ, per_channel=True)

    return run


def of_nncf(graph: Graph, items: list[Tensor]) -> Job:
    """NNCF's post-training quantisation of the same file, as it comes."""
    import nncf
    import onnx

    with tempfile.TemporaryDirectory() as folder:
        ek.export_onnx(graph, Path(folder) / "float.onnx")
        model = onnx.load(Path(folder) / "float.onnx")
    fed = [{graph.inputs[0].name: item.numpy()} for item in items]
    return lambda: nncf.quantize(model, nncf.Dataset(fed), subset_size=len(fed))


OWN = ("forward", "calibrate", "calibrate all", "collect", "quantize")
PEERS: dict[str, Callable[[Graph, list[Tensor]], Job]] = {"onnxruntime": of_onnxruntime, "nncf": of_nncf}


def job(name: str, samples: int, batch: int) -> Job:
    """One of them, ready to run."""
    graph, items = prepared(samples, batch)
    return own(name, graph, items) if name in OWN else PEERS[name](graph, items)


def peak(name: str, samples: int, batch: int) -> int:
    """Peak memory in bytes of a process that runs a job once."""
    command = [sys.executable, __file__, "--samples", str(samples), "--batch", str(batch), "--alone", name]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return int(done.stdout.split()[-1])


def _own_peak() -> int:
    """Of this program alone: what ``getrusage`` says includes the process that started it."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))


def measure(samples: int, batch: int, rounds: int) -> dict[str, Any]:
    """Seconds of every round, in turns, and peak memory; a peer that is missing is named as such."""
    graph, items = prepared(samples, batch)
    there = [name for name in PEERS if importlib.util.find_spec(name) is not None]
    jobs = {name: own(name, graph, items) for name in OWN} | {name: PEERS[name](graph, items) for name in there}
    seconds: dict[str, list[float]] = {name: [] for name in jobs}
    for _ in range(rounds):
        for name, run in jobs.items():
            began = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - began)
    memory = {name: peak(name, samples, batch) for name in jobs}
    ratios = {name: statistics.median(map(operator.truediv, seconds[name], seconds["forward"])) for name in jobs}
    missing = [name for name in PEERS if name not in there]
    facts = {"net": "resnet50", "samples": samples, "batch": batch, "threads": torch.get_num_threads()}
    facts["device"] = device.describe()["cpu"]
    return {**facts, "seconds": seconds, "to_forward": ratios, "peak_bytes": memory, "missing": missing}


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--samples", type=int, default=64)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--alone", choices=[*OWN, *PEERS], help="run one job and print the peak memory")
    chosen = parser.parse_args()
    if not NETS.exists():
        sys.exit(f"{NETS} is not there: nothing was measured.")
    if chosen.alone:
        job(chosen.alone, chosen.samples, chosen.batch)()
        print(_own_peak())
        return
    found = measure(chosen.samples, chosen.batch, chosen.rounds)
    for name, ratio in found["to_forward"].items():
        middle, memory = statistics.median(found["seconds"][name]), found["peak_bytes"][name] / 2**20
        print(f"{name:13} {middle:7.2f} s  {ratio:5.2f} x forward  peak {memory:6.0f} MiB")
    for name in found["missing"]:
        print(f"{name:13} not installed: not measured")
    if chosen.json:
        disk.write_file(chosen.json, json.dumps(found, indent=1).encode())


if __name__ == "__main__":
    main()
