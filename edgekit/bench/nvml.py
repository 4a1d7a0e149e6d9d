"""The energy counter of an NVIDIA GPU, read through nvidia-ml-py.

Only ``nvmlDeviceGetTotalEnergyConsumption`` is used: NVML's power reading is an average over up to a second, so it
would put energy of before the window into it. The counter covers the whole board of the GPU, idle power included.
"""

from __future__ import annotations

import importlib
from typing import Any

from edgekit.bench.rail import CounterRail, NoRail, Rail
from edgekit.errors import DeviceError

SOURCE = "nvmlDeviceGetTotalEnergyConsumption"


def open_rail() -> Rail | NoRail:
    """The counter of the only GPU, or the reason why none can be read."""
    try:
        nvml = importlib.import_module("pynvml")
    except ImportError:
        return NoRail("no NVIDIA energy counter: the package nvidia-ml-py is not installed")
    try:
        nvml.nvmlInit()
        return _only_gpu(nvml)
    except nvml.NVMLError as error:
        return NoRail(f"no NVIDIA energy counter: {error}")


def _only_gpu(nvml: Any) -> Rail | NoRail:
    count = nvml.nvmlDeviceGetCount()
    if count != 1:
        # CUDA and NVML number GPUs differently, so with several of them a reading could be another one's.
        return NoRail(f"no NVIDIA energy counter: NVML sees {count} GPUs and cannot tell which one ran the model")
    handle = nvml.nvmlDeviceGetHandleByIndex(0)
    if _is_partitioned(nvml, handle):
        return NoRail("no NVIDIA energy counter: the GPU is partitioned (MIG) and its counter covers all partitions")
    nvml.nvmlDeviceGetTotalEnergyConsumption(handle)
    name = nvml.nvmlDeviceGetName(handle)
    return CounterRail(f"GPU 0 ({name})", SOURCE, "cuda", lambda: _read(nvml, handle))


def _is_partitioned(nvml: Any, handle: Any) -> bool:
    try:
        current, _ = nvml.nvmlDeviceGetMigMode(handle)
    except nvml.NVMLError_NotSupported:
        return False
    return bool(current == nvml.NVML_DEVICE_MIG_ENABLE)


def _read(nvml: Any, handle: Any) -> float:
    try:
        return float(nvml.nvmlDeviceGetTotalEnergyConsumption(handle))
    except nvml.NVMLError as error:
        raise DeviceError(f"the energy counter of the GPU was lost: {error}.") from error
