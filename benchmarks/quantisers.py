"""Edgekit's presets and the quantisers of ONNX Runtime and NNCF, all from one float net and one calibration set.

Each peer reads the float ONNX file, prepared by its own tool where it has one, with its own weights per channel, and
calibrates on the same items, one at a time. Preprocessing stays in float for all. What is "symmetric":

- edgekit and ``onnxruntime symmetric``: signed, zero point 0 everywhere; what TensorRT takes.
- ``nncf symmetric``: zero point 0, but unsigned where no value is below 0, behind a ReLU or a softmax, so with twice
  the steps there, which TensorRT does not take; NNCF 3.4 refuses to have them signed. It is its default for whatever
  is no transformer; its ranges are means over items.
- ``nncf unsigned``: the same, with the largest values for ranges and without bias correction, by which some nets gain
  much: the best that was found for NNCF, and not what it does unasked.
- all others are asymmetric. ``onnxruntime default`` is that tool as it comes: one scale for each weight.

ONNX Runtime's integer kernels saturate at 16 bits on an x86 processor without VNNI: a perceptron lost nine points so,
by no fault of the quantiser. There, the files of peers run as they are written, as pairs around float operators.
NNCF halves the range of the first layer's weights against the same saturation, and is told that there is none.
"""

from __future__ import annotations

import importlib.util
import io
import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray
from trained import Case

import edgekit as ek
from edgekit import device
from edgekit.data import Split
from edgekit.graph import Graph
from edgekit.train.metrics import predict

Run = Callable[..., tuple[NDArray[Any], ...]]
PLAIN, PRESET = "edgekit plain", "edgekit balanced"
SIGNED = ("onnxruntime symmetric", "onnxruntime percentile")
SYMMETRIC = (*SIGNED, "nncf symmetric")
FINER = ("onnxruntime default", "onnxruntime u8", "nncf mixed", "nncf unsigned")  # zero points, or unsigned


def installed(method: str) -> bool:
    """Whether what a method calls is installed."""
    package = method.split()[0]
    return importlib.util.find_spec(package) is not None


def own(case: Case, preset: str) -> tuple[Run, Graph]:
    """Edgekit's integers."""
    calibration = [tuple(torch.from_numpy(array) for array in item) for item in case.calibration.items()]
    result = ek.quantize(case.graph, calibration, ek.QuantConfig(preset=preset))
    integer = ek.lower(result.graph)
    return predict(integer), integer


def session(path: Path) -> Run:
    """A file in ONNX Runtime: with every optimisation, or as float pairs where its integer kernels would saturate."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    if saturates():
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level, options.intra_op_num_threads = 3, 1
    runner = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    names = [value.name for value in runner.get_inputs()]
    return lambda *arrays: tuple(runner.run(None, dict(zip(names, arrays, strict=True))))


def saturates() -> bool:
    """Whether ONNX Runtime's INT8 loses products on this processor."""
    return device.is_x86() and not device.has_vnni()


def by_onnx_runtime(case: Case, file: Path, **options: Any) -> Path:
    """``quant_pre_process``, then ``quantize_static``; the quantised file."""
    from onnxruntime.quantization import CalibrationDataReader, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self._items = iter(feeds(case.net.inputs[0].name, case.features))

        def get_next(self) -> dict[str, Any] | None:
            return next(self._items, None)

    prepared, quantised = (file.with_name(f"{file.stem}.{step}.onnx") for step in ("prepared", "onnxruntime"))
    with quiet():
        quant_pre_process(file, prepared)
        quantize_static(prepared, quantised, Reader(), **options)
    return quantised


def by_nncf(case: Case, file: Path, *, mixed: bool = False, unasked: bool = True) -> Path:
    """``nncf.quantize`` for this processor; not ``unasked``, without what cost some nets most. The quantised file."""
    import nncf
    import onnx
    from nncf.quantization import advanced_parameters, range_estimator

    logging.getLogger("nncf").setLevel(logging.ERROR)
    advanced = advanced_parameters.AdvancedQuantizationParameters()
    advanced.overflow_fix = advanced_parameters.OverflowFix.DISABLE
    if not unasked:
        advanced.disable_bias_correction = True
        advanced.activations_range_estimator_params = range_estimator.RangeEstimatorParametersSet.MINMAX
    items = feeds(case.net.inputs[0].name, case.features)
    with quiet():
        model = nncf.quantize(
            onnx.load(file),
            nncf.Dataset(items),
            preset=nncf.QuantizationPreset.MIXED if mixed else nncf.QuantizationPreset.PERFORMANCE,
            target_device=nncf.TargetDevice.CPU,
            subset_size=len(items),
            model_type=nncf.ModelType.TRANSFORMER if case.transformer else None,
            advanced_parameters=advanced,
        )
    quantised = file.with_name(f"{file.stem}.nncf.onnx")
    onnx.save(model, quantised)
    return quantised


def feeds(name: str, split: Split) -> list[dict[str, NDArray[Any]]]:
    """Calibration items as ONNX files read them."""
    return [{name: item[0]} for item in split.items()]


@contextmanager
def quiet() -> Iterator[None]:
    """Without the tools' progress bars and advice."""
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(logging.NOTSET)


def peers(case: Case, file: Path) -> dict[str, Callable[[], Path]]:
    """What makes each peer's file, by name; ``file`` is the float net without its preprocessing."""
    symmetric = {"ActivationSymmetric": True, "WeightSymmetric": True}
    return {
        "onnxruntime symmetric": lambda: by_onnx_runtime(case, file, per_channel=True, extra_options=symmetric),
        "onnxruntime percentile": lambda: by_onnx_runtime(
            case,
            file,
            per_channel=True,
            extra_options=symmetric,
            calibrate_method=_enum("CalibrationMethod").Percentile,
        ),
        "onnxruntime default": lambda: by_onnx_runtime(case, file),
        "onnxruntime u8": lambda: by_onnx_runtime(
            case, file, per_channel=True, activation_type=_enum("QuantType").QUInt8
        ),
        "nncf symmetric": lambda: by_nncf(case, file),
        "nncf mixed": lambda: by_nncf(case, file, mixed=True),
        "nncf unsigned": lambda: by_nncf(case, file, unasked=False),
    }


def _enum(name: str) -> Any:
    import onnxruntime.quantization

    return getattr(onnxruntime.quantization, name)
