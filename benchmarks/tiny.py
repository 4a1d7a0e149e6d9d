"""The four trained nets of MLPerf Tiny: edgekit's error against float beside that of the int8 files they come with.

    python benchmarks/tiny.py [--data ../shared/data/mlperf_tiny] [--only kws] [--json benchmarks/results/tiny.json]

Float weights are read from the reference's own float files, whose logits LiteRT confirms to 1e-4 of their range. Its
int8 files are asymmetric and were calibrated on the data of the competition; edgekit and the other quantisers see 256
inputs made here, and all are tested on 1000 others. Skips, with a reason, where files or LiteRT are absent.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import quantisers
import tiny_inputs
import torch
from share import int8_share
from tiny_inputs import Items
from trained import Case

import edgekit as ek
from edgekit import device, disk
from edgekit.data import Split
from edgekit.errors import MissingDependency
from edgekit.options import TaskConfig
from edgekit.sqnr import sqnr_db
from edgekit.train.metrics import BATCH, predict
from edgekit.train.objectives import objective

DATA = Path(__file__).resolve().parents[2] / "shared" / "data" / "mlperf_tiny"
CLASSES = 12  # outputs that are more than this many are no classes
SAME = 1e-4  # of the range of logits: float32 sums in another order


@dataclass(frozen=True)
class Net:
    """Files of one net, what makes its inputs, and what these are in a few words."""

    float_file: str
    int8_file: str
    inputs: Callable[[], tuple[Items, Items]]
    said: str


NETS = {
    "kws": Net("kws_ref_model_float32.tflite", "kws_ref_model.tflite", tiny_inputs.words, "MFCC of espeak-ng's words"),
    "vww": Net(
        "vww_96_float.tflite",
        "vww_96_int8.tflite",
        lambda: tiny_inputs.photographs(96, 1.0),
        "96x96 cuts of scikit-learn's photographs",
    ),
    "resnet": Net(
        "pretrainedResnet.tflite",
        "pretrainedResnet_quant.tflite",
        lambda: tiny_inputs.photographs(32, 255.0),
        "32x32 cuts of scikit-learn's photographs",
    ),
    "anomaly": Net("ad01_fp32.tflite", "ad01_int8.tflite", tiny_inputs.machines, "log-mel bands of a generated motor"),
}


def rows(net: Net, data: Path) -> Iterator[dict[str, Any]]:
    """The reference's int8 file, edgekit's presets, then the peers, each against the float file."""
    from tflite import LiteRT, TfliteNet

    model, (calibration, test) = TfliteNet(data / net.float_file).eval(), net.inputs()
    graph = ek.capture(model, torch.from_numpy(calibration[:2]))
    want = logits(predict(graph), test)
    oracle = LiteRT(data / net.float_file)(test)
    gap = float(np.abs(want - oracle).max() / np.abs(oracle).max())
    if gap > SAME and not model.hybrid:
        raise AssertionError(f"{net.float_file}: the module is {gap:g} of the range from LiteRT")
    yield compared("reference float", want, oracle) | {"int8_weights": model.hybrid}
    yield compared("reference int8", want, LiteRT(data / net.int8_file)(test))
    case = _case(graph, calibration, test)
    for name, preset in ((quantisers.PLAIN, "plain"), (quantisers.PRESET, "balanced")):
        run, integer = quantisers.own(case, preset)
        yield compared(name, want, logits(run, test)) | {"int8_macs": int8_share(graph, integer)}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "float.onnx"
        ek.export_onnx(graph, file)
        for name, make in quantisers.peers(case, file).items():
            if quantisers.installed(name):
                yield compared(name, want, logits(quantisers.session(make()), test))


def _case(graph: Any, calibration: Items, test: Items) -> Case:
    seen, held_out = (Split((items,), (np.zeros(len(items), np.int64),)) for items in (calibration, test))
    judge = objective(TaskConfig(), None, 2)
    return Case("tiny", graph, graph, seen, seen, held_out, held_out, judge, transformer=False)


def logits(run: quantisers.Run, items: Items) -> Items:
    """The first output on all items."""
    return np.concatenate([run(items[start : start + BATCH])[0] for start in range(0, len(items), BATCH)])


def compared(name: str, want: Items, got: Items) -> dict[str, Any]:
    """Signal to noise of the logits, and how often the largest stands where the float net's does."""
    same = float((want.argmax(1) == got.argmax(1)).mean()) if want.shape[1] <= CLASSES else None
    return {"method": name, "sqnr_db": sqnr_db(want, got), "same_top": same}


def main() -> int:
    """Prints a line for each net and quantiser; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", type=Path, default=DATA, help="where the .tflite files are")
    parser.add_argument("--only", choices=NETS)
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if not options.data.is_dir() or importlib.util.find_spec("ai_edge_litert") is None:
        print(f"skipped: needs the .tflite files in {options.data} and `pip install ai-edge-litert`")
        return 0
    found: dict[str, Any] = {}
    print(f"{'net':10} {'quantiser':24} {'SQNR dB':>9} {'same top %':>11}")
    for name in [options.only] if options.only else NETS:
        try:
            found[name] = {"inputs": NETS[name].said, "rows": []}
            for row in rows(NETS[name], options.data):
                found[name]["rows"].append(row)
                same = "-" if row["same_top"] is None else f"{100 * row['same_top']:.2f}"
                print(f"{name:10} {row['method']:24} {row['sqnr_db']:9.1f} {same:>11}", flush=True)
        except MissingDependency as error:
            print(f"{name:10} skipped: {error}")
    if options.json:
        items = {"calibration": tiny_inputs.CALIBRATION, "test": tiny_inputs.TEST}
        result = {"benchmark": "tiny", "items": items, "nets": found, "device": device.describe()}
        disk.write_file(options.json, (json.dumps(result, indent=1) + "\n").encode())
    return 0


if __name__ == "__main__":
    sys.exit(main())
