"""``manifest.json``: what a directory of kernels holds, what its machine code says, and what nobody checked."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from torch import Tensor

from edgekit import __version__
from edgekit.export.triton_aot import machine_code, ptx
from edgekit.export.triton_aot.architectures import architecture
from edgekit.export.triton_aot.compile import Kernel, assembler
from edgekit.export.triton_aot.planned import PlannedCall, PlannedLaunch
from edgekit.export.triton_aot.target import Target

NOT_CHECKED = (
    "Not run on a device: no result was compared and no time was measured there.",
    "Occupancy is what the resources admit by the limits of the architecture; it was not measured.",
    "That the device's driver loads the files is inferred from their versions.",
)
PLUGIN_NOT_CHECKED = (
    "No engine was built with the plugins: edgekit's tests hold such modules against TensorRT's own Python bindings.",
    "That TensorRT passes addresses that are multiples of 16 is assumed, as the kernels are compiled for them.",
)


def manifest(
    target: Target,
    calls: Sequence[PlannedCall],
    kernels: Sequence[Kernel],
    files: Mapping[str, bytes],
    plugins: Mapping[str, str],
    cubin: str,
) -> dict[str, Any]:
    """The content of the file.

    Args:
        files: of the directory, the manifest aside.
        plugins: by call, the name of its plugin or why there is none.
        cubin: why there is machine code beside the PTX, or none.
    """
    used = assembler(target.capability)
    has_plugins = "tensorrt_plugin.py" in files
    return {
        "format": 1,
        "target": {**asdict(target), "cuda": ".".join(map(str, target.cuda)), "machine_code": cubin},
        "architecture": {**asdict(architecture(target.capability)), "name": f"sm_{target.capability}"},
        "made_by": {
            "edgekit": __version__,
            "triton": _triton(),
            "ptxas": used.version,
            "nvdisasm": machine_code.tool_version("nvdisasm"),
        },
        "kernels": [_kernel(kernel, files) for kernel in kernels],
        "calls": [_call(call, plugins[call.call.name]) for call in calls],
        "files": {name: _file(files[name]) for name in sorted(files)},
        "checked": [
            "Parameters of every kernel are those that the launcher passes.",
            "Registers, spills and tensor-core instructions are read from machine code that Triton's assembler made.",
        ],
        "not_checked": [*NOT_CHECKED, *(PLUGIN_NOT_CHECKED if has_plugins else ())],
    }


def _triton() -> str:
    import triton

    version: str = triton.__version__
    return version


def _file(data: bytes) -> dict[str, Any]:
    return {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}


def _kernel(kernel: Kernel, files: Mapping[str, bytes]) -> dict[str, Any]:
    names = [name for name in (f"{kernel.name}.ptx", f"{kernel.name}.cubin") if name in files]
    return {
        "name": kernel.name,
        "symbol": kernel.entry.symbol,
        "files": names,
        "ptx_version": ptx.version(kernel.ptx),
        "threads": kernel.entry.threads,
        "warps": kernel.specialisation.warps,
        "stages": kernel.specialisation.stages,
        "shared_bytes": kernel.shared,
        "registers": kernel.resources.registers,
        "stack_bytes": kernel.resources.stack,
        "spill_instructions": kernel.instructions.spills,
        "tensor_core_instructions": kernel.instructions.tensor_core,
        "instructions": kernel.instructions.total,
        "occupancy": asdict(kernel.occupancy),
        "constants": dict(sorted(kernel.specialisation.constants.items())),
        "parameters": [f"{a.name}: {a.type}" for a in kernel.specialisation.arguments],
        "hidden_parameters": ptx.HIDDEN,
    }


def _call(planned: PlannedCall, plugin: str) -> dict[str, Any]:
    return {
        "name": planned.call.name,
        "operator": planned.call.spec.name,
        "arguments": [{"name": name, **described(value)} for name, value in planned.call.arguments.items()],
        "buffers": [{"name": b.name, "role": b.role, "bytes": b.bytes} for b in planned.buffers],
        "launches": [_launch(launch) for launch in planned.launches],
        "tensorrt_plugin": plugin,
    }


def _launch(launch: PlannedLaunch) -> dict[str, Any]:
    values = {a.name: a.value for a, pointer in launch.arguments if pointer is None}
    return {"kernel": launch.kernel.name, "grid": list(launch.grid), "values": values}


def described(value: Any) -> dict[str, Any]:
    """An argument of a call."""
    if isinstance(value, Tensor):
        layout = "contiguous" if value.is_contiguous() else "channels_last"
        return {"type": str(value.dtype).removeprefix("torch."), "sizes": list(value.shape), "layout": layout}
    return {"value": value}
