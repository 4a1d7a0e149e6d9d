"""Accuracy and signal to noise after INT8, beside ONNX Runtime's and NNCF's own quantisers.

    python benchmarks/accuracy.py [--only resnet8] [--epochs 10] [--json accuracy.json]

All start from one float net, trained here on scikit-learn's data, and one calibration set. ``symmetric`` is the scheme
that TensorRT takes and edgekit writes; asymmetric ones may place the zero anywhere and so have twice the steps behind a
ReLU. NNCF is taken as it comes; by default it halves the range of some weights for processors without VNNI. The last
lines say how far edgekit's presets are from the best asymmetric quantiser. Peers that are not installed are said so.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import logging
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.datasets import load_breast_cancer, load_digits
from torch import Tensor, nn
from torch.nn import functional

import edgekit as ek
from edgekit import device, disk
from edgekit.errors import EdgekitError
from edgekit.fuse import sqnr_db
from edgekit.graph import Graph

CALIBRATION = 256
NNCF = "nncf symmetric", "nncf mixed"
ASYMMETRIC = "onnxruntime default", "onnxruntime u8", "nncf mixed"


@dataclass(frozen=True)
class Row:
    """One net after one quantiser: accuracy and its loss in points, and the logits' signal to noise in dB."""

    net: str
    method: str
    accuracy: float
    drop: float
    sqnr_db: float | None


@dataclass(frozen=True)
class Case:
    """A trained float net with its data."""

    name: str
    graph: Graph
    calibration: Tensor
    test: Tensor
    labels: Tensor


def separable(inputs: int, outputs: int, stride: int) -> nn.Module:
    """A depthwise and a pointwise convolution, each with batch norm and ReLU6."""
    return nn.Sequential(
        *(nn.Conv2d(inputs, inputs, 3, stride, 1, groups=inputs, bias=False), nn.BatchNorm2d(inputs), nn.ReLU6()),
        *(nn.Conv2d(inputs, outputs, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU6()),
    )


def mobilenet() -> nn.Module:
    """Six separable convolutions, for 8x8 pixels."""
    sizes = [(16, 32, 1), (32, 32, 2), (32, 48, 1), (48, 48, 1), (48, 64, 2), (64, 64, 1)]
    stem = [nn.Conv2d(1, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU6()]
    return nn.Sequential(
        *stem, *(separable(*size) for size in sizes), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10)
    )


def digits() -> tuple[Tensor, Tensor]:
    """Images from 0 to 1."""
    pixels, labels = load_digits(return_X_y=True)
    return torch.from_numpy((pixels.reshape(-1, 1, 8, 8) / 16).astype(np.float32)), torch.from_numpy(labels)


def cancer() -> tuple[Tensor, Tensor]:
    """A table of 30 standardised columns."""
    values, labels = load_breast_cancer(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(values))
    values = (values - values.mean(0)) / values.std(0)
    return torch.from_numpy(values[order].astype(np.float32)), torch.from_numpy(labels[order])


NETS: dict[str, tuple[Callable[[], nn.Module], Callable[[], tuple[Tensor, Tensor]]]] = {
    "resnet8": (lambda: ek.models.create("resnet8", in_channels=1, width=8), digits),
    "mobilenet": (mobilenet, digits),
    "vit": (lambda: ek.models.create("vit", in_channels=1, classes=10, size=8, patch=2, width=32), digits),
    "cancer": (
        lambda: nn.Sequential(nn.Linear(30, 32), nn.ReLU(), nn.Linear(32, 16), nn.ReLU(), nn.Linear(16, 2)),
        cancer,
    ),
}


def trained(name: str, epochs: int) -> Case:
    """Train on two thirds of the data."""
    torch.manual_seed(0)
    create, read = NETS[name]
    model, (x, y) = create(), read()
    cut = 2 * len(x) // 3
    optimizer = torch.optim.AdamW(model.parameters(), 2e-3)
    for _ in range(epochs):
        for batch in torch.randperm(cut).split(50):
            optimizer.zero_grad()
            functional.cross_entropy(model(x[batch]), y[batch]).backward()
            optimizer.step()
    return Case(name, ek.capture(model.eval(), x[:2]), x[:CALIBRATION], x[cut:], y[cut:])


Predict = Callable[[Tensor], Tensor]


def own(case: Case, **options: Any) -> Predict:
    """Edgekit's integers."""
    return ek.lower(ek.quantize(case.graph, [case.calibration], ek.QuantConfig(**options)).graph)


def session(path: Path) -> Predict:
    """A file in ONNX Runtime."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    runner = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    name = runner.get_inputs()[0].name
    return lambda x: torch.from_numpy(runner.run(None, {name: x.numpy()})[0])


def by_onnx_runtime(case: Case, file: Path, **options: Any) -> Predict:
    """``quantize_static`` on the float file, one calibration item at a time."""
    from onnxruntime.quantization import CalibrationDataReader, quantize_static

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self._items = iter({case.graph.inputs[0].name: item.numpy()} for item in case.calibration.split(1))

        def get_next(self) -> dict[str, Any] | None:
            return next(self._items, None)

    quantised = file.with_name(f"{file.stem}.quantised.onnx")
    quantize_static(file, quantised, Reader(), **options)
    return session(quantised)


def by_nncf(case: Case, file: Path, preset: str) -> Predict:
    """``nncf.quantize`` on the float file."""
    import nncf
    import onnx

    logging.getLogger("nncf").setLevel(logging.ERROR)

    items = nncf.Dataset(case.calibration.split(1), lambda item: {case.graph.inputs[0].name: item.numpy()})
    model = nncf.quantize(onnx.load(file), items, preset=nncf.QuantizationPreset(preset), subset_size=CALIBRATION)
    quantised = file.with_name(f"{file.stem}.nncf.onnx")
    onnx.save(model, quantised)
    return session(quantised)


def methods(case: Case, file: Path) -> dict[str, Callable[[], Predict]]:
    """Every quantiser by name."""
    from onnxruntime.quantization import QuantType

    symmetric = {"ActivationSymmetric": True, "WeightSymmetric": True}
    return {
        "edgekit plain": lambda: own(case),
        "edgekit balanced": lambda: own(case, preset="balanced"),
        "edgekit equalized": lambda: own(case, equalize=True, bias_correction=True),
        "onnxruntime symmetric": lambda: by_onnx_runtime(case, file, per_channel=True, extra_options=symmetric),
        "onnxruntime default": lambda: by_onnx_runtime(case, file),
        "onnxruntime u8": lambda: by_onnx_runtime(case, file, per_channel=True, activation_type=QuantType.QUInt8),
        "nncf symmetric": lambda: by_nncf(case, file, "performance"),
        "nncf mixed": lambda: by_nncf(case, file, "mixed"),
    }


def rows(case: Case, folder: Path) -> Iterator[Row]:
    """The float net, then each quantiser that is installed."""
    file = folder / f"{case.name}.onnx"
    ek.export_onnx(case.graph, file)
    with torch.no_grad():
        want = case.graph(case.test)
        best = points(want, case.labels)
        yield Row(case.name, "float", best, 0.0, None)
        for name, make in methods(case, file).items():
            if name in NNCF and importlib.util.find_spec("nncf") is None:
                print(f"{case.name:10} {name:22} not installed: pip install nncf")
                continue
            try:
                got = make()(case.test)
            except EdgekitError as error:
                print(f"{case.name:10} {name:22} refused: {error}")
                continue
            yield Row(case.name, name, points(got, case.labels), best - points(got, case.labels), sqnr_db(want, got))


def points(logits: Tensor, labels: Tensor) -> float:
    """Accuracy in per cent."""
    return float((logits.argmax(1) == labels).double().mean()) * 100


def distance(found: list[Row]) -> Iterator[str]:
    """How far each preset is from the best asymmetric quantiser, net by net."""
    for name in dict.fromkeys(row.net for row in found):
        mine = [row for row in found if row.net == name]
        others = [row for row in mine if row.method in ASYMMETRIC]
        most, least_noise = max(row.accuracy for row in others), max(row.sqnr_db or 0 for row in others)
        for row in mine:
            if row.method.startswith("edgekit"):
                figures = f"{row.accuracy - most:+6.2f} points, {(row.sqnr_db or 0) - least_noise:+6.1f} dB"
                yield f"{name:10} {row.method:22} to the best asymmetric: {figures}"


def main() -> int:
    """Prints a line for each net and quantiser; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--only", choices=NETS)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    options = parser.parse_args()
    found: list[Row] = []
    print(f"{'net':10} {'quantiser':22} {'accuracy':>9} {'drop':>7} {'SQNR dB':>9}")
    with tempfile.TemporaryDirectory() as folder:
        for name in [options.only] if options.only else NETS:
            for row in rows(trained(name, options.epochs), Path(folder)):
                found.append(row)
                noise = "" if row.sqnr_db is None else f"{row.sqnr_db:9.1f}"
                print(f"{row.net:10} {row.method:22} {row.accuracy:9.2f} {row.drop:7.2f} {noise}", flush=True)
    print(*distance(found), sep="\n")
    if options.json:
        result = {"benchmark": "accuracy", "rows": [asdict(row) for row in found], "device": device.describe()}
        disk.write_file(options.json, (json.dumps(result, indent=2) + "\n").encode())
    return 0


if __name__ == "__main__":
    sys.exit(main())
