"""A realistic ``results.json``: made-up times, judged by edgekit's own statistics."""

from typing import Any

import numpy as np

from edgekit.bench.clock import Samples
from edgekit.bench.power import Energy
from edgekit.bench.result import BenchResult
from edgekit.bench.statistics import compare, histogram, judge, summarise

ENVIRONMENT = {
    "machine": "x86_64",
    "board": None,
    "cpu": "Imaginary CPU 9000",
    "cores": 2,
    "cpu_flags": ["avx2", "fma", "avx512f", "avx512_vnni"],
    "memory_gib": 24,
    "os": "Debian GNU/Linux 12 (bookworm)",
    "governor": None,
    "turbo": True,
    "python": "3.11.7",
    "packages": {"numpy": "2.4.6", "torch": "2.13.0+cpu", "onnxruntime": "1.32.0", "tensorrt": None},
    "fingerprint": "0123456789ab",
}
LAYERS = ("stem", "block1.conv1", "block1.conv2", "block2.conv1", "block2.conv2", "block2.skip", "block3.conv1", "head")


def times(median_us: float, seed: int = 0, n: int = 4000, tail: float = 0.04) -> tuple[int, ...]:
    draw = np.random.default_rng(seed)
    us = median_us * (1 + 0.008 * draw.standard_normal(n) + tail * draw.exponential(0.3, n))
    return tuple(int(value * 1e3) for value in us)


def bench_json(
    name: str, median_us: float, seed: int = 0, base: tuple[str, float] | None = None, **change: Any
) -> dict[str, Any]:
    """A measurement as it stands in ``results.json``; ``base`` names the model it was timed in turn with."""
    ns = times(median_us, seed, tail=change.pop("tail", 0.04))
    samples = Samples(ns, 0, change.pop("seconds", 12) * 10**9, 30, 10)
    stats = summarise(samples)
    header = {"device": ENVIRONMENT["cpu"], "fingerprint": ENVIRONMENT["fingerprint"], "n": stats.n, "warmup": 10}
    result = BenchResult(
        name=name,
        runtime="onnxruntime",
        threads=1,
        batch=1,
        statistics=stats,
        histogram=histogram(samples),
        energy=Energy(reason="no NVIDIA energy counter: NVML Shared Library Not Found"),
        verdict=judge(stats),
        header=header,
        speedup=None if base is None else compare(ns, times(base[1], seed + 1)),
        against=None if base is None else base[0],
    )
    return {**result.to_json(), **change}


def variant(
    name: str, stage: str, accuracy: tuple[float, float], f1: float | None = None, **fields: Any
) -> dict[str, Any]:
    return {
        "name": name,
        "stage": stage,
        "artefact": f"stages/06-export/{name}.onnx",
        "runtime": "onnxruntime",
        "metrics": {"test": {"accuracy": accuracy[0], "f1": f1}, "varied": {"accuracy": accuracy[1], "f1": None}},
        "unmeasured": {"varied": {"f1": "it was not asked for"}},
        "bench": None,
        "not_measured": None,
        **fields,
    }


def results() -> dict[str, Any]:
    """The whole of it, schema 2."""
    small = {"parameters": 20_300, "macs": 212_000}
    return {
        "schema": 2,
        "edgekit": "0.1.0",
        "name": "digits",
        "created": "2026-11-23T18:48:23Z",
        "recipe": {"model": {"name": "resnet8"}, "data": {"source": "digits", "seed": 0}, "prune": {"ratio": 0.5}},
        "data": {
            "source": "digits",
            "seed": 0,
            "splits": {"train": 1001, "calibration": 256, "test": 540, "varied": 5400},
            "classes": ["zero", "one", "two"],
            "facts": {"kind": "digits", "items_read": 1797},
            "findings": [
                {"check": "class balance", "level": "ok", "message": "every class has 97 to 104 items"},
                {"check": "duplicates", "level": "warn", "message": "2 items of test are near duplicates of train"},
            ],
        },
        "task": {
            "kind": "classification",
            "primary": "accuracy",
            "metrics": {
                "accuracy": {"better": "higher", "unit": "share", "spoken": "accuracy"},
                "f1": {"better": "higher", "unit": "share", "spoken": "F1 score"},
            },
        },
        "variants": [
            variant(
                "float",
                "train",
                (0.98519, 0.97612),
                0.98411,
                bytes=318_442,
                parameters=77_706,
                macs=779_000,
                bench=bench_json("float.onnx", 41.3),
            ),
            variant(
                "pruned",
                "recover",
                (0.98333, 0.97204),
                0.98222,
                bytes=90_112,
                **small,
                bench=bench_json("pruned.onnx", 27.9, 3, tail=0.3),
            ),
            variant(
                "int8",
                "export",
                (0.98148, 0.97093),
                0.98011,
                bytes=31_280,
                **small,
                bench=bench_json("model.onnxruntime.onnx", 19.6, 5, ("float.onnx", 41.3)),
            ),
            variant(
                "int8, torch (golden)",
                "lower",
                (0.98148, 0.97093),
                0.98011,
                runtime="torch",
                bytes=24_016,
                **small,
                bench=bench_json("golden", 1875.0, 7, seconds=2.4),
            ),
            variant(
                "int8, TensorRT 10",
                "export",
                (0.98148, 0.97074),
                0.98011,
                runtime="tensorrt",
                bytes=33_904,
                **small,
                not_measured="TensorRT is not installed on this machine",
            ),
        ],
        "layers": [
            {
                "name": name,
                "operator": "linear_s8" if name == "head" else "conv2d_s8",
                "source": f"resnet.py:{20 + 3 * i}",
                "macs": 36_864 - 3_000 * i,
                "sqnr_db": sqnr,
            }
            for i, (name, sqnr) in enumerate(zip(LAYERS, (44.1, 41.8, 36.2, 38.9, 31.4, 29.7, 33.0, None), strict=True))
        ],
        "pruning": {
            "macs_before": 779_000,
            "macs_after": 212_000,
            "parameters_before": 77_706,
            "parameters_after": 20_300,
            "layers": [
                {"name": f"{name}.weight", "before": 16 << i // 3, "after": 8 << i // 3}
                for i, name in enumerate(LAYERS[:7])
            ],
            "not_pruned": [{"name": "head.weight", "reason": "its outputs are the model's classes"}],
        },
        "exports": [
            {
                "target": "onnxruntime",
                "file": "model.onnxruntime.onnx",
                "opset": 20,
                "bytes": 31_280,
                "reference": "golden",
                "differing_bytes": 0,
                "sqnr_db": None,
                "max_difference": 0.0,
                "integer_convolutions": "9 of 9",
                "validated": "ONNX Runtime 1.32.0, 540 items",
            },
            {
                "target": "tensorrt-10",
                "file": "model.tensorrt-10.onnx",
                "opset": 20,
                "bytes": 33_904,
                "reference": "integer reference with unrounded adds",
                "differing_bytes": None,
                "sqnr_db": 52.4,
                "max_difference": 0.0123,
                "integer_convolutions": None,
                "validated": "ONNX Runtime 1.32.0 in float, 540 items",
            },
        ],
        "gates": [
            {
                "name": "accuracy drop, test",
                "value": 0.37,
                "must": "at most",
                "bound": 1.0,
                "unit": "points",
                "passed": True,
            },
            {
                "name": "accuracy drop, varied",
                "value": 0.52,
                "must": "at most",
                "bound": 1.0,
                "unit": "points",
                "passed": True,
            },
            {
                "name": "MACs after pruning",
                "value": 3.67,
                "must": "at least",
                "bound": 2.0,
                "unit": "times fewer",
                "passed": True,
            },
        ],
        "environment": ENVIRONMENT,
        "stages": [
            {"name": name, "seconds": value}
            for name, value in (
                ("data", 0.9),
                ("train", 31.2),
                ("prune", 1.4),
                ("recover", 22.8),
                ("quantize", 3.1),
                ("export", 9.6),
            )
        ],
        "reproduce": ["pip install edgekit==0.1.0", "edgekit run digits -o runs/demo"],
    }


def regression() -> dict[str, Any]:
    """The same run with a value to predict: lower is better, nothing is a share."""
    content = results()
    content["task"] = {
        "kind": "regression",
        "primary": "mse",
        "metrics": {
            "mse": {"better": "lower", "unit": "value", "spoken": "mean squared error"},
            "r2": {"better": "higher", "unit": "value", "spoken": "coefficient of determination"},
        },
    }
    for number, row in enumerate(content["variants"]):
        row |= {
            "metrics": {"test": {"mse": 0.004 * (1 + 0.01 * number), "r2": -0.25 if number == 2 else 0.5}},
            "unmeasured": {},
        }
    return content
