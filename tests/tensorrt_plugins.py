"""Import a generated plugin module under TensorRT's own Python bindings and print what its functions give, as JSON.

A script of its own, for a process whose ``tensorrt`` is the real bindings over stub libraries. What they lack, the
registry of plugins and the builder of expressions, stands in as a double.
Usage: tensorrt_plugins.py DIRECTORY
"""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

import tensorrt as trt


class Registry:
    """Takes creators and gives them back."""

    def __init__(self) -> None:
        self.creators: dict[tuple[str, str], Any] = {}

    def register_creator(self, creator: Any, namespace: str) -> bool:
        self.creators[namespace, creator.name] = creator
        return True

    def get_creator(self, name: str, version: str, namespace: str) -> Any:
        assert version == "1"
        return self.creators[namespace, name]


class Constant:
    """An expression that is a number."""

    def __init__(self, value: int) -> None:
        self.value = value

    def is_constant(self) -> bool:
        return True

    def get_constant_value(self) -> int:
        return self.value


class Builder:
    """Makes constants."""

    def constant(self, value: int) -> Constant:
        return Constant(value)


REGISTRY = Registry()
trt.get_plugin_registry = lambda: REGISTRY
import tensorrt.plugin as trtp  # noqa: E402  (it asks for the registry)
from tensorrt_bindings.plugin import _lib, _tensor  # noqa: E402

_tensor.SymIntExpr._exprBuilder = Builder()


def number(expression: Any) -> int:
    return expression._expr.get_constant_value()


def called(definition: Any, sizes: list[list[int]], types: list[str]) -> dict[str, Any]:
    """What describing, autotuning and the kernel function give for inputs of these sizes and types."""
    inputs = [trtp.from_shape_expr(tuple(size), getattr(trt, t)) for size, t in zip(sizes, types, strict=True)]
    outputs = definition.register_func(*inputs)
    (combination,) = [one for c in definition.autotune_func(*inputs, outputs) for one in c._get_combinations()]
    symbol, text, launch, integers = definition.aot_impl_func(*inputs, outputs, 0)
    assert isinstance(launch, trtp.KernelLaunchParams)
    assert isinstance(integers, trtp.SymIntExprs)
    assert all(isinstance(integer, trtp.SymInt32) for integer in integers)
    return {
        "outputs": [[number(size) for size in output.shape_expr] for output in outputs],
        "types": [str(one) for one in combination.types],
        "layouts": [str(one) for one in combination.layouts],
        "symbol": symbol,
        "text": text,
        "grid": [number(launch.grid_x), number(launch.grid_y), number(launch.grid_z)],
        "block": [number(launch.block_x), number(launch.block_y), number(launch.block_z)],
        "shared": number(launch.shared_mem),
        "integers": [number(integer) for integer in integers],
    }


def refusal(definition: Any, sizes: list[list[int]], types: list[str]) -> str:
    """What the kernel function says to inputs of other sizes."""
    try:
        called(definition, [[size[0] + 1, *size[1:]] for size in sizes], types)
    except ValueError as error:
        return str(error)
    return ""


def main(directory: Path) -> None:
    spec = importlib.util.spec_from_file_location("plugins", directory / "tensorrt_plugin.py")
    assert spec is not None
    assert spec.loader is not None
    spec.loader.exec_module(importlib.util.module_from_spec(spec))
    manifest = json.loads((directory / "manifest.json").read_text())
    found = {}
    for call in manifest["calls"]:
        definition = _lib.QDP_REGISTRY.get(call["tensorrt_plugin"])
        if definition is None:
            continue
        tensors = [argument for argument in call["arguments"] if "sizes" in argument]
        sizes, types = [tensor["sizes"] for tensor in tensors], [tensor["type"] for tensor in tensors]
        found[call["name"]] = called(definition, sizes, types) | {"refusal": refusal(definition, sizes, types)}
    adds = trt.INetworkDefinition.add_plugin.__doc__
    print(json.dumps({"version": trt.__version__, "plugins": found, "takes_aot": "aot: bool" in adds}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
