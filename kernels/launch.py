"""A launch of a Triton kernel, described before it is made.

``plan`` of every kernel file gives the launches of one call. On a device they are run at once; ahead of time the same
descriptions, made of tensors on torch's "meta" device, say what to compile. So there is one place that chooses the
grid, the constants and the configuration of a kernel.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

Capability = tuple[int, int]
_MULTIPROCESSORS = {(0, 0): 1, (7, 2): 8, (8, 7): 16, (11, 0): 20}  # the interpreter, Xavier, Orin, Thor


@dataclass(frozen=True)
class Launch:
    """One launch.

    Attributes:
        kernel: what ``triton.jit`` made.
        arguments: by parameter, in the kernel's order: tensors (their addresses are passed), integers, floats.
        constants: the ``tl.constexpr`` parameters.
        grid: programs along each axis.
        warps: warps per program.
        stages: loads in flight.
    """

    kernel: Any
    arguments: Mapping[str, Tensor | int | float]
    constants: Mapping[str, int | bool]
    grid: tuple[int, ...]
    warps: int
    stages: int = 1

    def run(self) -> None:
        """Launch on the current stream; multiplications and additions stay apart."""
        self.kernel[self.grid](
            **self.arguments,
            **self.constants,
            num_warps=self.warps,
            num_stages=self.stages,
            enable_fp_fusion=False,
        )


def run(launches: Iterable[Launch]) -> None:
    """Launch one after the other."""
    for launch in launches:
        launch.run()


def capability_of(tensor: Tensor) -> Capability:
    """Compute capability of the device that ``tensor`` is on; (0, 0) in the interpreter."""
    return torch.cuda.get_device_capability(tensor.device) if tensor.is_cuda else (0, 0)


def multiprocessors(capability: Capability) -> int:
    """Of a Jetson as it is built; of others their order of magnitude, which suffices to choose a configuration."""
    return _MULTIPROCESSORS.get(capability, 128)
