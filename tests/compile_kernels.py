"""Compile every Triton kernel for Jetson Orin without a GPU and print its PTX and Triton IR as JSON.

A script of its own, because under TRITON_INTERPRET=1, which the tests set, there is nothing to compile.
"""

from __future__ import annotations

import json

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from edgekit.kernels.linear_s8 import linear_s8_kernel
from edgekit.kernels.quantize_s8 import quantize_s8_kernel

QUANTIZE = {"x": "*fp32", "scale": "*fp32", "out": "*i8", "elements": "i32", "channels": "i32", "channel_stride": "i32"}
LINEAR = {"x": "*i8", "weight": "*i8", "bias": "*i32", "multiplier": "*fp32", "out": "*i8"}
SIZES = {"rows": "i32", "features": "i32", "fan_in": "i32"}
BOUNDS = {"lo": "fp32", "hi": "fp32"}
TILE = {"tile_rows": 32, "tile_features": 32, "tile_depth": 128}
KERNELS = {
    "quantize_s8 per tensor": (quantize_s8_kernel, {**QUANTIZE, **BOUNDS}, {"per_channel": False, "block": 1024}),
    "quantize_s8 per channel": (quantize_s8_kernel, {**QUANTIZE, **BOUNDS}, {"per_channel": True, "block": 1024}),
    "linear_s8": (linear_s8_kernel, {**LINEAR, **SIZES, **BOUNDS}, TILE),
}


def compile_for_orin(
    kernel: triton.JITFunction, arguments: dict[str, str], constants: dict[str, object]
) -> dict[str, str]:
    """PTX and Triton IR of one specialisation."""
    source = ASTSource(
        fn=kernel, signature={**arguments, **dict.fromkeys(constants, "constexpr")}, constexprs=constants
    )
    compiled = triton.compile(source, target=GPUTarget("cuda", 87, 32), options={"enable_fp_fusion": False})
    return {"ptx": compiled.asm["ptx"], "ttir": compiled.asm["ttir"]}


if __name__ == "__main__":
    print(json.dumps({name: compile_for_orin(*parts) for name, parts in KERNELS.items()}))
