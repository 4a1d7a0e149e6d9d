"""The float nets that engines are compared on, their inputs, and what each is expected to show.

Five nets with random weights come from ``reference_nets.py``, the four trained ones of MLPerf Tiny from its float
files; neither belongs to the project. All run with a batch of one. The trained nets that end in a softmax keep it here,
because their files do.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

SHARED = Path(__file__).resolve().parents[2] / "shared"
REFERENCE, TINY = SHARED / "tools" / "reference_nets.py", SHARED / "data" / "mlperf_tiny"
ITEMS = 32  # to calibrate with
Arrays = NDArray[Any]


class Missing(Exception):
    """What a row needs is not on this machine; the text is the row's."""


@dataclass(frozen=True)
class Net:
    """A float net.

    Attributes:
        make: the module, and items [N, ...] of which the first runs and the others calibrate.
        goals: by threads, how many times faster than the best peer; threads without one are held against the floor.
        kind: ``cnn`` or ``transformer``, for quantisers that ask.
        floats, bytes: the net's own files in LiteRT's format, where it has them.
    """

    make: Callable[[], tuple[nn.Module, Tensor]]
    goals: Mapping[int, float] = field(default_factory=dict)
    kind: str = "cnn"
    floats: Path | None = None
    bytes: Path | None = None


def _module(path: Path) -> ModuleType:
    if not path.exists():
        raise Missing(f"{path} is not there")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _reference(name: str) -> tuple[nn.Module, Tensor]:
    nets = _module(REFERENCE)
    torch.manual_seed(0)
    factory, shape = nets.MODELS[name]
    model: nn.Module = nets.randomize_batch_norm(factory()).eval()
    generator = torch.Generator().manual_seed(1)
    if name == "encoder":
        return model, torch.randint(0, 8192, (ITEMS + 1, *shape[1:]), generator=generator)
    return model, torch.randn(ITEMS + 1, *shape[1:], generator=generator)


def _tiny(name: str) -> tuple[nn.Module, Tensor]:
    if not TINY.is_dir():
        raise Missing(f"{TINY} is not there")
    if importlib.util.find_spec("ai_edge_litert") is None:
        raise Missing("ai-edge-litert, which reads the float file, is not installed")
    import tiny
    from tflite import TfliteNet

    row = tiny.NETS[name]
    calibration, test = row.inputs()
    model: nn.Module = TfliteNet(TINY / row.float_file)
    if name != "anomaly":
        model = nn.Sequential(model, nn.Softmax(-1))
    return model.eval(), torch.from_numpy(np.concatenate([test[:1], calibration[:ITEMS]]))


def _trained(name: str, goal: float, floats: str, ints: str) -> Net:
    return Net(lambda: _tiny(name), {1: goal}, floats=TINY / floats, bytes=TINY / ints)


NETS = {
    "resnet18": Net(lambda: _reference("resnet18"), {1: 1.0, 2: 1.0}),
    "resnet50": Net(lambda: _reference("resnet50"), {1: 1.0, 2: 1.0}),
    "mobilenet_v2": Net(lambda: _reference("mobilenet_v2"), {1: 1.5, 2: 1.5}),
    "ds_cnn": Net(lambda: _reference("ds_cnn"), {1: 3.0, 2: 3.0}),
    "encoder": Net(lambda: _reference("encoder"), {1: 1.2, 2: 1.2}, kind="transformer"),
    "tiny-anomaly": _trained("anomaly", 1.5, "ad01_fp32.tflite", "ad01_int8.tflite"),
    "tiny-kws": _trained("kws", 2.0, "kws_ref_model_float32.tflite", "kws_ref_model.tflite"),
    "tiny-resnet": _trained("resnet", 1.25, "pretrainedResnet.tflite", "pretrainedResnet_quant.tflite"),
    "tiny-vww": _trained("vww", 2.0, "vww_96_float.tflite", "vww_96_int8.tflite"),
}


@dataclass(frozen=True)
class Prepared:
    """A net ready for every party.

    Attributes:
        folder: for files of this net.
        module: in evaluation mode.
        item: the one input that runs, batch of one.
        calibration: items that quantisers see, each a batch of one.
        want: what the float net makes of ``item``.
    """

    net: Net
    folder: Path
    module: nn.Module
    item: Tensor
    calibration: list[Tensor]
    want: Arrays


def prepare(name: str, folder: Path) -> Prepared:
    """Make a net and what it should answer; ``folder`` is there afterwards, and the net's own.

    Raises:
        Missing: a file or a package is.
    """
    module, items = NETS[name].make()
    folder.mkdir(parents=True)
    with torch.inference_mode():
        want = module(items[:1])
    return Prepared(NETS[name], folder, module, items[:1].clone(), list(items[1:].split(1)), want.numpy())
