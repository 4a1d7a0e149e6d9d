"""Compile calls of every Triton operator without a GPU and print what came out as JSON.

A script of its own, because under TRITON_INTERPRET=1, which the tests set, there is nothing to compile.
Usage: compile_kernels.py TARGET,TARGET first|all|planted
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import torch
from planted_kernels import greedy, wide

from edgekit.errors import EdgekitError
from edgekit.export.triton_aot import calls
from edgekit.export.triton_aot.compile import Kernel, check_registers, compile_kernel
from edgekit.export.triton_aot.planned import Planner
from edgekit.export.triton_aot.specialise import specialise
from edgekit.export.triton_aot.target import Target, resolve
from edgekit.kernels.launch import Launch


def described(kernel: Kernel) -> dict[str, Any]:
    """What the tests look at."""
    cores = kernel.instructions.tensor_core if "mma" in kernel.ptx else {}  # disassembling takes its time
    found = {"ptx": kernel.ptx, "ttir": kernel.ttir, "shared": kernel.shared, "tensor_core": cores}
    return {**found, **asdict(kernel.resources)}


def compiled(target: Target, every: bool) -> Iterator[tuple[str, Any]]:
    """The kernels of each call, or the error that stands in their place."""
    planner = Planner(target)
    for spec in calls.with_kernels():
        try:
            layers = calls.layers([spec.name])
            for call in layers if every else layers[:1]:
                yield (
                    f"{target.name} {call.name}",
                    {
                        "operator": spec.name,
                        "kernels": [described(kernel) for kernel in planner.plan(call).kernels],
                    },
                )
        except (EdgekitError, ImportError) as error:
            yield f"{target.name} {spec.name}", {"operator": spec.name, "error": str(error), "kernels": []}


def planted(target: Target, launch: Launch) -> Any:
    """What the checks say of a launch that should not pass."""
    try:
        found = compile_kernel(specialise(launch), target)
        check_registers(target, [found], strict=True)
        return described(found)
    except EdgekitError as error:
        return {"code": error.code, "error": str(error)}


if __name__ == "__main__":
    targets, what = resolve(sys.argv[1].split(",")), sys.argv[2]
    if what == "planted":
        x = torch.empty(1 << 20, dtype=torch.int8, device="meta")
        sums = torch.empty(1 << 14, dtype=torch.int32, device="meta")
        faults = {
            "wide": Launch(wide, {"x": sums, "out": sums}, {}, (1,), warps=1),
            "greedy": Launch(greedy, {"x": x, "out": sums, "depth": 8192}, {}, (1,), warps=8, stages=8),
        }
        print(json.dumps({name: planted(targets[0], launch) for name, launch in faults.items()}))
    else:
        print(json.dumps(dict(pair for target in targets for pair in compiled(target, what == "all"))))
