"""Time and memory of calibration on ResNet-50, against the forward passes that it cannot do without.

    python benchmarks/ptq_speed.py [--samples 64] [--batch 8] [--rounds 5] [--json ptq.json]

``forward`` runs the captured float graph over the samples; ``calibrate`` does the same and looks at every tensor that
is to be quantised; they take turns. ``quantize`` is the whole of edgekit's quantisation, ONNX Runtime's and NNCF's the
whole of theirs, minmax each. Each of these five also runs in a process of its own, for its peak memory. The net comes
from ../shared/tools/reference_nets.py; without it there is nothing to measure. Peers that are missing are said so.
"""

from __future__ import annotations

import importlib.util
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import edgekit as ek
from edgekit import quant
from edgekit.graph import Graph

NETS = Path(__file__).parents[2] / "shared" / "tools" / "reference_nets.py"
PEERS = {"onnxruntime": "onnxruntime", "nncf": "nncf"}
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
    """The float graph with batch norm folded, and the calibration items."""
    x = torch.randn(samples, 3, 224, 224, generator=torch.Generator().manual_seed(1))
    return quant.prepare(ek.capture(resnet50(), x[:2])), list(x.split(batch))


def own(name: str, graph: Graph, items: list[Tensor]) -> Job:
    """What is timed of edgekit."""

    def forward() -> None:
        with torch.no_grad():
            for item in items:
                graph(item)

    config = ek.QuantConfig(allow_few=True)
    calibrate: Job = lambda: quant.collect(graph, items, config)  # noqa: E731
    return {"forward": forward, "calibrate": calibrate, "quantize": lambda: ek.quantize(graph, items, config)}[name]


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
    """NNCF's post-training quantisation of the torch module, as it comes."""
    import nncf

    count, example = len(items), items[0][:1]
    return lambda: (
        nncf.quantize(torch.fx.GraphModule(graph.module, graph.module.graph), nncf.Dataset(items), subset_size=count)
        if example is not None
        else None
    )
