"""The parts of ahead-of-time export against their oracles: Triton's own specialisation, NVIDIA's occupancy, ptxas."""

from __future__ import annotations

import itertools
import subprocess
from pathlib import Path
from typing import Any

import aot_kernels
import pytest
import torch

from edgekit.errors import UnsupportedError
from edgekit.export.triton_aot import architectures, machine_code, ptx
from edgekit.export.triton_aot.specialise import specialise
from edgekit.kernels.launch import Launch

triton = pytest.importorskip("triton")

OCCUPANCY = r"""
#include <stddef.h>
#include <stdio.h>
#include "cuda_occupancy.h"
int main(void) {
  int major, minor, blocks, threads_of_device, shared_of_device, threads, registers, shared;
  (void)blocks;
  while (scanf("%d %d %d %d %d %d %d", &major, &minor, &threads_of_device, &shared_of_device, &threads, &registers,
               &shared) == 7) {
    cudaOccDeviceProp device = {0};
    cudaOccFuncAttributes function = {0};
    cudaOccDeviceState state = {0};
    cudaOccResult result;
    device.computeMajor = major, device.computeMinor = minor;
    device.maxThreadsPerBlock = 1024, device.maxThreadsPerMultiprocessor = threads_of_device;
    device.regsPerBlock = 65536, device.regsPerMultiprocessor = 65536, device.warpSize = 32;
    device.sharedMemPerBlock = 49152, device.sharedMemPerMultiprocessor = (size_t)shared_of_device;
    device.sharedMemPerBlockOptin = (size_t)shared_of_device - 1024, device.reservedSharedMemPerBlock = 1024;
    device.numSms = 1;
    function.maxThreadsPerBlock = 1024, function.numRegs = registers, function.numBlockBarriers = 1;
    function.shmemLimitConfig = FUNC_SHMEM_LIMIT_OPTIN;
    function.maxDynamicSharedSizeBytes = (size_t)shared_of_device - 1024;
    state.carveoutConfig = SHAREDMEM_CARVEOUT_MAX_SHARED;
    if (cudaOccMaxActiveBlocksPerMultiprocessor(&result, &device, &function, &state, threads, (size_t)shared))
      return 1;
    printf("%d\n", result.activeBlocksPerMultiprocessor);
  }
  return 0;
}
"""
TEXT = """.version 8.5
.target sm_87
.address_size 64
.visible .entry work(
	.param .u64 .ptr .global .align 1 work_param_0,
	.param .u64 .ptr .global .align 1 work_param_1,
	.param .u32 work_param_2,
	.param .u32 work_param_3,
	.param .f32 work_param_4,
	.param .u64 .ptr .global .align 1 work_param_5,
	.param .u64 .ptr .global .align 1 work_param_6
)
.reqntid 64
{
	.reg .b32 	%r<9>;
	.reg .b64 	%rd<9>;
	ld.param.b64 	%rd1, [work_param_0];
	ld.param.b64 	%rd2, [work_param_1];
	ld.param.b32 	%r1, [work_param_2];
	ld.param.s32 	%rd3, [work_param_3];
	ld.param.b32 	%r2, [work_param_4];
	add.s64 	%rd4, %rd1, %rd3;
	ld.global.b32 	%r3, [%rd4];
	add.s32 	%r4, %r3, %r1;
	add.rn.f32 	%r5, %r4, %r2;
	st.global.b32 	[%rd2], %r5;
	ret;
}
"""


def work(x, out, number, other, ratio, flag, size):
    """Only its parameters matter."""


def jit(**options: Any) -> Any:
    """Compiled and not interpreted, whatever this process was started with."""
    work.__annotations__ = {"size": triton.language.constexpr}
    return triton.runtime.jit.JITFunction(work, **options)


def launch(kernel: Any, **changed: Any) -> Launch:
    x = torch.empty(64, dtype=torch.int8, device="meta")
    arguments = {"x": x, "out": x.view(torch.int32), "number": 3, "other": 5, "ratio": 1.0, "flag": 7} | changed
    return Launch(kernel, arguments, {"size": 8}, (1,), 4)


@pytest.mark.parametrize("number", [0, 1, 2, 15, 16, 17, 48, -16, -1, 2**31 - 1, 2**31, -(2**31), 2**31 + 16, 2**62])
def test_integers_are_specialised_as_triton_does(number: int) -> None:
    native = pytest.importorskip("triton._C.libtriton").native_specialize_impl
    type_, known = native(triton.backends.compiler.BaseBackend, number, False, True, True)
    found = specialise(launch(jit(), number=number))
    assert found.signature["number"] == type_
    assert ("number" in found.constants) == (type_ == "constexpr")
    assert (found.attributes.get((2,)) is not None) == (known == "D")


@pytest.mark.parametrize("offset", [0, 1, 4, 15, 16, 32])
@pytest.mark.parametrize("dtype", [torch.int8, torch.int16, torch.int32, torch.int64, torch.float32, torch.uint8])
def test_addresses_are_specialised_as_triton_does(dtype: torch.dtype, offset: int) -> None:
    native = pytest.importorskip("triton._C.libtriton").native_specialize_impl
    here = torch.empty(64, dtype=dtype)[offset:]
    type_, known = native(triton.backends.compiler.BaseBackend, here, False, True, True)
    found = specialise(launch(jit(), x=torch.empty(64, dtype=dtype, device="meta")[offset:]))
    assert found.signature["x"] == type_
    assert (found.attributes.get((0,)) is not None) == (known == "D")


def test_what_the_kernel_does_not_want_specialised_stays() -> None:
    found = specialise(launch(jit(do_not_specialize=["number"]), number=1, other=16))
    assert found.signature["number"] == "i32"
    assert found.attributes.get((3,)) is not None
    aligned = specialise(launch(jit(do_not_specialize_on_alignment=["other"]), other=16))
    assert aligned.attributes.get((3,)) is None
    assert found.signature["size"] == "constexpr"
    assert found.constants["size"] == 8


def test_a_name_tells_kernels_apart() -> None:
    kernel = jit()
    same = {specialise(launch(kernel, number=n, ratio=r)).name for n in (3, 5, 7) for r in (1.0, 2.0)}
    assert len(same) == 1
    others = {specialise(launch(kernel, number=n)).name for n in (1, 16, 2**40)}
    assert len(same | others) == 4


def test_what_no_launch_can_pass_is_refused() -> None:
    for value in (True, 2**63):
        with pytest.raises(UnsupportedError, match="cannot be passed"):
            specialise(launch(jit(), number=value))


def test_occupancy_is_that_of_nvidias_own_header(tmp_path: Path) -> None:
    (tmp_path / "occupancy.c").write_text(OCCUPANCY)
    program = tmp_path / "occupancy"
    subprocess.run(["gcc", "-w", "-I", aot_kernels.include(), tmp_path / "occupancy.c", "-o", program], check=True)
    cases, lines, want = [], [], []
    for number, row in architectures.ARCHITECTURES.items():
        for case in itertools.product((32, 64, 128, 256, 512), (16, 31, 80, 110, 168, 255), (0, 1000, 12288, 98304)):
            cases.append((number, *case))
            lines.append(" ".join(map(str, (number // 10, number % 10, row.threads, row.shared, *case))))
            want.append(architectures.occupancy(number, *case).blocks)
    done = subprocess.run([program], input="\n".join(lines), capture_output=True, text=True, check=True)
    got = [int(line) for line in done.stdout.split()]
    assert [pair for pair in zip(cases, want, got, strict=True) if pair[1] != pair[2]] == []


def test_occupancy_names_what_limits() -> None:
    assert architectures.occupancy(87, 128, 32, 0) == architectures.Occupancy(12, 1.0, "threads")
    assert architectures.occupancy(87, 128, 255, 0).limit == "registers"
    assert architectures.occupancy(87, 128, 32, 100_000).limit == "shared memory"
    assert architectures.occupancy(87, 32, 32, 0) == architectures.Occupancy(16, 16 * 32 / 1536, "blocks")


def test_an_entry_is_read() -> None:
    found = ptx.entry(TEXT)
    assert (found.symbol, found.threads) == ("work", 64)
    assert [parameter.type for parameter in found.parameters] == ["u64", "u64", "u32", "u32", "f32", "u64", "u64"]
    assert ptx.read_parameters(TEXT) == {0, 1, 2, 3, 4}
    with pytest.raises(UnsupportedError, match="has 2 entries"):
        ptx.entry(TEXT + TEXT)


def test_numbers_take_the_place_of_parameters() -> None:
    text = ptx.with_parameters(TEXT, [0, None, 2, 1], {3: -5, 4: 127.0})
    found = ptx.entry(text)
    assert [parameter.name for parameter in found.parameters] == [
        "work_param_0", "work_unread_1", "work_param_2", "work_param_1",
    ]  # fmt: skip
    assert "mov.b64 \t%rd3, 0xFFFFFFFFFFFFFFFB;" in text  # the load extended the sign
    assert "mov.b32 \t%r2, 0x42FE0000;" in text  # 127 as float32
    assembler = machine_code.tool("ptxas")
    cubin = machine_code.assemble(text, assembler, "sm_87")
    assert machine_code.resources(cubin).stack == 0
    assert machine_code.instructions(cubin).total > 4


def test_a_parameter_that_is_read_is_not_dropped() -> None:
    with pytest.raises(UnsupportedError, match="looks at its parameter 4"):
        ptx.with_parameters(TEXT, [0, 1, 2], {3: 1})
    strange = TEXT.replace("ld.param.b32 	%r1, [work_param_2]", "ld.param.v2.b32 	{%r1, %r8}, [work_param_2]")
    with pytest.raises(UnsupportedError, match="looks at its parameter 2"):
        ptx.with_parameters(strange, [0, 1], {2: 1, 3: 1, 4: 0.0})


def test_text_that_is_none_is_refused_in_words() -> None:
    with pytest.raises(UnsupportedError, match="ptxas failed"):
        machine_code.assemble(TEXT.replace("st.global", "st.nowhere"), machine_code.tool("ptxas"), "sm_87")
