"""edgekit: from a PyTorch model to the smallest, fastest INT8 artefact that still meets its accuracy, with proof.

Importing this package imports nothing else: every public name is loaded when it is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from edgekit import debug as debug
    from edgekit import models as models
    from edgekit.bench import bench as bench
    from edgekit.debug import compare as compare
    from edgekit.debug import diagnose as diagnose
    from edgekit.debug import explain as explain
    from edgekit.export import export_kernels as export_kernels
    from edgekit.export import export_native as export_native
    from edgekit.export import export_onnx as export_onnx
    from edgekit.fuse.lower import lower as lower
    from edgekit.graph import Graph as Graph
    from edgekit.graph.capture import capture as capture
    from edgekit.options import QuantConfig as QuantConfig
    from edgekit.pipeline import run as run
    from edgekit.prune import prune as prune
    from edgekit.quant import quantize as quantize
    from edgekit.runtime import load as load

_HOME = {
    "Graph": "edgekit.graph",
    "QuantConfig": "edgekit.options",
    "bench": "edgekit.bench",
    "capture": "edgekit.graph",
    "compare": "edgekit.debug",
    "debug": "edgekit",
    "diagnose": "edgekit.debug",
    "explain": "edgekit.debug",
    "export_kernels": "edgekit.export",
    "export_native": "edgekit.export",
    "export_onnx": "edgekit.export",
    "load": "edgekit.runtime",
    "lower": "edgekit.fuse",
    "models": "edgekit",
    "prune": "edgekit.prune",
    "quantize": "edgekit.quant",
    "run": "edgekit.pipeline",
}
__all__ = ["__version__", *_HOME]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'edgekit' has no attribute {name!r}")
    home = importlib.import_module(_HOME[name])
    if f"edgekit.{name}" == _HOME[name]:
        return home  # the package of this name is callable: edgekit.callable
    return importlib.import_module(f"edgekit.{name}") if home.__name__ == "edgekit" else getattr(home, name)


def __dir__() -> list[str]:
    return sorted(__all__)
