"""Who runs a net, each from the float model by its own tools, in every setting that may be its fastest.

A setting is a file with options for ``engine_worker.py``. Peers never see a file of edgekit's: ONNX comes from
``torch.onnx``, OpenVINO's format from its own converter, bytes from ONNX Runtime's and NNCF's own quantisers, and
LiteRT's files are those that came with the trained nets. All quantisers calibrate on the same items.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from engine_nets import Missing, Prepared
from quantisers import quiet, saturates

import edgekit as ek

OWN = "edgekit"


@dataclass(frozen=True)
class Setting:
    """One way to run a net.

    Attributes:
        label: in tables.
        engine: that loads the file; a word of ``engine_worker.ENGINES``.
        make: writes the file where it is told to.
        suffix: of the file.
        options: for the engine.
        integer: computes in bytes, so that its answer may differ more from the float net's.
        golden: the bytes that the answer must be, where it must be bytes.
    """

    label: str
    engine: str
    make: Callable[[Path], None]
    suffix: str
    options: dict[str, Any] = field(default_factory=dict)
    integer: bool = False
    golden: Callable[[], Any] | None = None


def edgekit(net: Prepared, isa: str | None) -> Iterator[Setting]:
    """The native engine, which must answer what the integer graph does in torch."""
    graph = ek.capture(net.module, net.item)
    integer = ek.lower(ek.quantize(graph, net.calibration, ek.QuantConfig()).graph)

    def golden() -> Any:
        with torch.inference_mode():
            return integer(net.item).numpy()

    yield Setting("balanced", OWN, lambda path: _native(integer, path), ".ekm", {"isa": isa}, True, golden)


def _native(integer: Any, path: Path) -> None:
    ek.export_native(integer, path)


def onnxruntime_float(net: Prepared) -> Iterator[Setting]:
    """The file as torch writes it."""
    need("onnxruntime")
    yield Setting("torch.onnx", "onnxruntime", lambda path: to_onnx(net, path), ".onnx")


def onnxruntime_int8(net: Prepared) -> Iterator[Setting]:
    """Unsigned activations, signed weights by channel: pairs around float operators, and integer operators."""
    need("onnxruntime")
    from onnxruntime.quantization import QuantFormat

    ways: dict[str, dict[str, Any]] = {
        "QDQ": {"quant_format": QuantFormat.QDQ},
        "QOperator": {"quant_format": QuantFormat.QOperator},
    }
    if net.net.kind == "transformer":
        ways["QDQ of products"] = {"quant_format": QuantFormat.QDQ, "op_types_to_quantize": ["MatMul", "Gemm"]}
    for label, options in ways.items():
        yield Setting(label, "onnxruntime", _static(net, options), ".onnx", integer=True)
    if net.net.kind == "transformer":
        yield Setting("dynamic", "onnxruntime", lambda path: _dynamic(net, path), ".onnx", integer=True)


def openvino_float(net: Prepared) -> Iterator[Setting]:
    """Computed in float32 even where the processor has a shorter float; from torch, and from the ONNX file."""
    need("openvino")
    exact = {"INFERENCE_PRECISION_HINT": "f32"}
    yield Setting("from torch", "openvino", lambda path: _save(_converted(net), path), ".xml", exact)
    yield Setting("from ONNX", "openvino", lambda path: to_onnx(net, path), ".onnx", exact)


def openvino_int8(net: Prepared) -> Iterator[Setting]:
    """NNCF's two presets for this processor; what stays float is computed as OpenVINO likes."""
    need("openvino", "nncf")
    for preset in ("PERFORMANCE", "MIXED"):
        yield Setting(f"NNCF {preset.lower()}", "openvino", _nncf(net, preset), ".xml", integer=True)


def litert_float(net: Prepared) -> Iterator[Setting]:
    """The net's own float file."""
    return _litert(net.net.floats, integer=False)


def litert_int8(net: Prepared) -> Iterator[Setting]:
    """The net's own int8 file; it takes and gives bytes, which saves it the rounding that all others do."""
    return _litert(net.net.bytes, integer=True)


PEERS: dict[str, Callable[[Prepared], Iterator[Setting]]] = {
    "onnxruntime int8": onnxruntime_int8,
    "onnxruntime fp32": onnxruntime_float,
    "openvino int8": openvino_int8,
    "openvino fp32": openvino_float,
    "litert int8": litert_int8,
    "litert fp32": litert_float,
}
PACKAGES = ("onnxruntime", "openvino", "nncf", "ai-edge-litert")


def need(*packages: str) -> None:
    """Refuse where a package is not installed."""
    for package in packages:
        if importlib.util.find_spec(package) is None:
            raise Missing(f"{package} is not installed: pip install 'edgekit[bench]'")


def versions() -> dict[str, str | None]:
    """Of the peers."""
    found = {one.metadata["Name"].lower(): one.version for one in importlib.metadata.distributions()}
    return {package: found.get(package) for package in PACKAGES}


def to_onnx(net: Prepared, path: Path) -> None:
    """Write the float net as torch exports it, weights inside."""
    with quiet():
        torch.onnx.export(net.module, (net.item,), path, input_names=["x"], dynamo=True, external_data=False)


def _static(net: Prepared, options: dict[str, Any]) -> Callable[[Path], None]:
    from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self._items = iter(net.calibration)

        def get_next(self) -> dict[str, Any] | None:
            return next(({"x": item.numpy()} for item in self._items), None)

    def make(path: Path) -> None:
        types = {"activation_type": QuantType.QUInt8, "weight_type": QuantType.QInt8}
        with quiet():  # without VNNI, ONNX Runtime's own advice is seven bits of weight
            quantize_static(_float(net), path, Reader(), per_channel=True, reduce_range=saturates(), **types, **options)

    return make


def _dynamic(net: Prepared, path: Path) -> None:
    from onnxruntime.quantization import quantize_dynamic

    with quiet():
        quantize_dynamic(_float(net), path, per_channel=True, reduce_range=saturates())


def _float(net: Prepared) -> Path:
    """The float file after ONNX Runtime's own preparation, which folds what can be folded."""
    from onnxruntime.quantization.shape_inference import quant_pre_process

    raw, ready = net.folder / "float.onnx", net.folder / "prepared.onnx"
    if not ready.exists():
        to_onnx(net, raw)
        quant_pre_process(raw, ready, skip_symbolic_shape=True)
        onnx.checker.check_model(onnx.load(ready))
    return ready


def _converted(net: Prepared) -> Any:
    import openvino

    with quiet(), torch.no_grad():
        return openvino.convert_model(net.module, example_input=net.item, input=[tuple(net.item.shape)])


def _save(model: Any, path: Path) -> None:
    import openvino

    openvino.save_model(model, path, compress_to_fp16=False)


def _nncf(net: Prepared, preset: str) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        import nncf
        from nncf.quantization import advanced_parameters

        logging.getLogger("nncf").setLevel(logging.ERROR)
        fix = advanced_parameters.OverflowFix.ENABLE if saturates() else advanced_parameters.OverflowFix.DISABLE
        with quiet():
            quantised = nncf.quantize(
                _converted(net),
                nncf.Dataset([item.numpy() for item in net.calibration]),
                preset=getattr(nncf.QuantizationPreset, preset),
                target_device=nncf.TargetDevice.CPU,
                subset_size=len(net.calibration),
                model_type=nncf.ModelType.TRANSFORMER if net.net.kind == "transformer" else None,
                advanced_parameters=advanced_parameters.AdvancedQuantizationParameters(overflow_fix=fix),
            )
            _save(quantised, path)

    return make


def _litert(file: Path | None, integer: bool) -> Iterator[Setting]:
    if file is None:
        raise Missing("no file of this net in LiteRT's format")
    if importlib.util.find_spec("ai_edge_litert") is None:
        raise Missing("ai-edge-litert is not installed: pip install 'edgekit[bench]'")
    data = np.frombuffer(file.read_bytes(), np.uint8)
    for label, delegates in (("XNNPACK", True), ("built-in kernels", False)):
        yield Setting(label, "litert", data.tofile, ".tflite", {"delegates": delegates}, integer)
