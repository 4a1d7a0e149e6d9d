"""What INT8 files weigh, and how many of the products in them are integer: every net that ships, every target.

    python benchmarks/files.py [--only resnet18] [--json benchmarks/results/files.json]

Goals: the int8 file of a convolutional net of a million parameters or more is at most 0.27 of the float file, for each
target; at least 99 % of the products are integer in the golden. Beside it stands the share that ONNX Runtime itself
computes from integers: in edgekit's file, and in the file of its own ``quantize_static`` (per channel, u8 activations).
Nets have their published arguments; images are 64 pixels wide where 224 are usual, which changes no file by a byte of
weights. Weights and calibration are random: nothing here says how accurate a net is.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from quantisers import quiet
from share import int8_share, runtime_share
from torch import Tensor

import edgekit as ek
from edgekit import device, disk, targets
from edgekit.errors import EdgekitError
from edgekit.graph import Graph, cost
from edgekit.models import MODELS, example, example_inputs
from edgekit.targets import onnx_target

SAMPLES = 32
LARGE, RATIO, SHARE = 1_000_000, 0.27, 0.99
CONVOLUTIONAL = ("resnet8", "resnet18", "resnet50", "ds_cnn", "mobilenet_v1", "mobilenet_v2", "tcn", "text_cnn")
SMALLER = {"resnet18": {"size": 64}, "resnet50": {"size": 64}, "mobilenet_v2": {"size": 64}}


@dataclass(frozen=True)
class Row:
    """One net: sizes of its files in bytes, by target, and shares of integer products; refusals by step."""

    net: str
    parameters: int
    float_bytes: int = 0
    int8_bytes: dict[str, int] = field(default_factory=dict)
    opset: dict[str, int] = field(default_factory=dict)
    golden_share: float | None = None
    runtime_share: float | None = None
    peer_share: float | None = None
    refused: dict[str, str] = field(default_factory=dict)

    @property
    def ratios(self) -> dict[str, float]:
        """Int8 over float file, by target."""
        return {target: size / self.float_bytes for target, size in self.int8_bytes.items()}

    @property
    def missed(self) -> list[str]:
        """The goals that this net misses."""
        large = self.net in CONVOLUTIONAL and self.parameters >= LARGE
        heavy = [f"{target} {ratio:.3f}" for target, ratio in self.ratios.items() if large and ratio > RATIO]
        few = [] if self.golden_share is None or self.golden_share >= SHARE else [f"share {self.golden_share:.3f}"]
        return heavy + few + list(self.refused)


def measure(name: str, folder: Path) -> Row:
    """Capture, quantise, lower, and write every file."""
    torch.manual_seed(0)
    sizes = SMALLER.get(name, {})
    model, inputs = example(name, **sizes)
    graph = ek.capture(model.eval(), inputs)
    items = [example_inputs(name, 1, seed, **sizes) for seed in range(SAMPLES)]
    quantised = ek.quantize(graph, items).graph
    sized: dict[str, Any] = {"int8_bytes": {}, "opset": {}, "refused": {}}
    sized["float_bytes"] = ek.export_onnx(graph, folder / "float.onnx", inputs=inputs).bytes
    for target in targets.names():
        try:
            report = ek.export_onnx(quantised, folder / f"{target}.onnx", target, inputs=inputs)
            sized["int8_bytes"][target], sized["opset"][target] = report.bytes, report.opset
        except EdgekitError as error:
            sized["refused"][target] = str(error)
    sized["golden_share"] = int8_share(graph, ek.lower(quantised))
    first = [value.numpy() for value in items[0]]
    if "onnxruntime" in sized["int8_bytes"]:
        sized["runtime_share"] = runtime_share(folder / "onnxruntime.onnx", first)
    try:
        sized["peer_share"] = runtime_share(_by_onnx_runtime(folder / "float.onnx", graph, items), first)
    except Exception as error:  # a peer's bug is a cell of the table, not the end of it
        print(f"{name}: quantize_static: {type(error).__name__}: {error}")
    return Row(name, cost.total_parameters(graph), **sized)


def _by_onnx_runtime(file: Path, graph: Graph, items: list[tuple[Tensor, ...]]) -> Path:
    from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            names = [value.name for value in graph.inputs]
            self._items = iter([{n: x.numpy() for n, x in zip(names, item, strict=True)} for item in items])

        def get_next(self) -> dict[str, Any] | None:
            return next(self._items, None)

    prepared, written = file.with_name("prepared.onnx"), file.with_name("peer.onnx")
    with quiet():
        quant_pre_process(file, prepared)
        quantize_static(prepared, written, Reader(), per_channel=True, activation_type=QuantType.QUInt8)
    return written


def line(row: Row) -> str:
    """One net as text."""
    ratios = "".join(f"{row.ratios[t]:13.3f}" if t in row.ratios else f"{'refused':>13}" for t in targets.names())
    parts = (row.golden_share, row.runtime_share, row.peer_share)
    shares = "".join(f"{'-':>9}" if part is None else f"{100 * part:9.1f}" for part in parts)
    missed = f"  MISSED: {'; '.join(row.missed)}" if row.missed else ""
    return f"{row.net:16}{row.parameters:>12,}{row.float_bytes / 1000:>11,.0f}{ratios}{shares}{missed}"


def main() -> int:
    """Prints the table; 1 where a goal is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--only", choices=list(MODELS), help="one net")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    options = parser.parse_args()
    heads = "".join(f"{target:>13}" for target in targets.names())
    print(f"{'net':16}{'parameters':>12}{'float kB':>11}{heads}{'golden %':>9}{'ORT %':>9}{'its own %':>9}")
    found = []
    for name in [options.only] if options.only else MODELS:
        with tempfile.TemporaryDirectory() as folder:
            found.append(measure(name, Path(folder)))
        print(line(found[-1]), flush=True)
    if options.json:
        rows = [asdict(row) | {"ratios": row.ratios, "missed": row.missed} for row in found]
        opsets = {target: onnx_target(target).opset for target in targets.names()}
        result = {"benchmark": "files", "opsets": opsets, "rows": rows, "device": device.describe()}
        disk.write_file(options.json, (json.dumps(result, indent=1) + "\n").encode())
    return 1 if any(row.missed for row in found) else 0


if __name__ == "__main__":
    sys.exit(main())
