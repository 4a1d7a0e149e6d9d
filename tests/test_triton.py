"""The Triton tier: equal to the reference by the byte, in the interpreter or on a GPU, and clean code for Orin."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from triton_sweeps import SWEEPS

from edgekit.errors import UsageError
from edgekit.ops import OPS, OpSpec, dispatch, linear_s8, numerics, quantize_s8, samples
from edgekit.ops.spec import Case

pytest.importorskip("triton")
pytestmark = pytest.mark.usefixtures("poisoned_empty")

TRITON = [spec for spec in OPS if "triton" in spec.tiers]


def size(args: tuple[Any, ...]) -> int:
    return sum(arg.numel() for arg in args if isinstance(arg, Tensor))


def assert_tier_is_reference(spec: OpSpec, case: Case, device: str) -> None:
    args = [arg.to(device) if isinstance(arg, Tensor) else arg for arg in case.args]
    with dispatch.force("triton"):
        got = getattr(torch.ops.edgekit, spec.name)(*args).cpu()
    want = spec.reference(*case.args)
    assert (got.dtype, got.shape) == (want.dtype, want.shape), case.name
    assert torch.equal(got, want), f"{case.name}: {int((got != want).sum())} of {want.numel()} differ"


@pytest.mark.skipif(torch.cuda.is_available(), reason="the kernels are compiled for the GPU here, not interpreted")
@pytest.mark.parametrize("spec", TRITON, ids=lambda spec: spec.name)
def test_interpreted(spec: OpSpec) -> None:
    for case in [case for case in spec.cases() if size(case.args) < 100_000] + list(SWEEPS[spec.name]()):
        assert_tier_is_reference(spec, case, "cpu")


@pytest.mark.skipif(torch.cuda.is_available(), reason="the kernels are compiled for the GPU here, not interpreted")
@pytest.mark.parametrize(("x", "weight"), [(-128, -128), (127, -128)])
def test_the_longest_reduction_interpreted(x: int, weight: int) -> None:
    """Deep tiles, for the interpreter's sake."""
    from edgekit.kernels import linear_s8 as kernels

    args = linear_s8.worst(x, weight).args
    got = kernels.linear_s8(*args, config=kernels.Config(16, 16, 16384, 4, 1))
    assert torch.equal(got, linear_s8.reference(*args))


@pytest.mark.gpu
@pytest.mark.parametrize("spec", TRITON, ids=lambda spec: spec.name)
def test_on_the_gpu(spec: OpSpec) -> None:
    for case in [*spec.cases(), *SWEEPS[spec.name]()]:
        assert_tier_is_reference(spec, case, "cuda")


@pytest.mark.gpu
@pytest.mark.parametrize("spec", OPS, ids=lambda spec: spec.name)
@pytest.mark.filterwarnings("ignore:.*Triton kernel:RuntimeWarning")
def test_every_operator_runs_on_cuda_tensors(spec: OpSpec) -> None:
    for case in spec.cases():
        args = [arg.cuda() if isinstance(arg, Tensor) else arg for arg in case.args]
        got = getattr(torch.ops.edgekit, spec.name)(*args).cpu()
        assert torch.equal(got.nan_to_num(), spec.reference(*case.args).nan_to_num()), case.name


def test_heuristics_cover_every_size_and_device() -> None:
    from edgekit.kernels import linear_s8 as linear
    from edgekit.kernels import quantize_s8 as quantize

    for capability in ((7, 2), (7, 5), (8, 7), (9, 0), (12, 0)):
        for n in (1, 16, 17, 1 << 10, 1 << 20):
            tile = linear.heuristic(n, n, n, capability)
            powers = (tile.rows, tile.features, tile.depth, tile.warps, quantize.heuristic(n, capability).block)
            assert all(value & (value - 1) == 0 for value in powers)
            assert min(tile.rows, tile.features) >= 16
            assert tile.depth >= 32  # what one int8 mma instruction takes


def test_the_kernels_round_as_numerics_does_on_ties_and_specials() -> None:
    """A rounding that went half up or half away would show here."""
    x = samples.specials(1.0)
    with dispatch.force("triton"):
        device = "cuda" if torch.cuda.is_available() else "cpu"
        got = torch.ops.edgekit.quantize_s8(x.to(device), torch.ones(1, device=device)).cpu()
    assert torch.equal(got, numerics.quantize(x, torch.ones(1)))
    assert not torch.equal(got, (x.nan_to_num().clamp(-128, 127) + 0.5).floor().clamp(-128, 127).to(torch.int8))


def test_a_refused_call_never_reaches_a_kernel() -> None:
    with dispatch.force("triton"), pytest.raises(UsageError, match="scale must hold one value"):
        torch.ops.edgekit.quantize_s8(torch.ones(3), torch.ones(3))
    assert quantize_s8.OP in TRITON


@pytest.fixture(scope="module")
def compiled() -> dict[str, dict[str, str]]:
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    script = Path(__file__).parent / "compile_kernels.py"
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    result: dict[str, dict[str, str]] = json.loads(done.stdout)
    return result


def test_every_triton_operator_is_compiled(compiled: dict[str, dict[str, str]]) -> None:
    assert {name.split()[0] for name in compiled} == {spec.name for spec in TRITON}


def test_ptx_neither_contracts_nor_approximates(compiled: dict[str, dict[str, str]]) -> None:
    for name, code in compiled.items():
        instructions = re.findall(r"^\s*(?:@%p\d+ )?([a-z][\w.]+)", code["ptx"], re.MULTILINE)
        wrong = [word for word in instructions if re.search(r"^fma|^mad\..*f32|div\.full|approx|\.ftz", word)]
        assert not wrong, (name, wrong)
        assert "add.rn.f32" in instructions, name  # the two additions of the rounding, kept apart
    assert any("div.rn.f32" in code["ptx"] for code in compiled.values())
    assert "mma.sync.aligned.m16n8k32" in compiled["linear_s8"]["ptx"]
    assert "mul.rn.f32" in compiled["linear_s8"]["ptx"]


def test_every_address_is_64_bit(compiled: dict[str, dict[str, str]]) -> None:
    for name, code in compiled.items():
        offsets = re.findall(r"tt\.addptr .* : .*, (?:tensor<[\dx]*)?(i\d+)", code["ttir"])
        assert offsets, name
        assert set(offsets) == {"i64"}, (name, offsets)
