"""Read torch's 500 translations to ONNX once: it parses their source on every export, which takes as long as that.

Importing this is enough.
"""

from __future__ import annotations

import copy
import functools

from torch.onnx._internal.exporter._registration import ONNXRegistry

_read = functools.cache(ONNXRegistry.from_torchlib)


def _from_torchlib(opset_version: int = 18) -> ONNXRegistry:
    registry = copy.copy(_read(opset_version))
    registry.functions = {target: list(found) for target, found in registry.functions.items()}
    return registry


ONNXRegistry.from_torchlib = staticmethod(_from_torchlib)  # type: ignore[method-assign, assignment]
