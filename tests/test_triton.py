"""The Triton tier: equal to the reference by the byte, in the interpreter or on a GPU."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import pytest
import torch
from torch import Tensor
from triton_sweeps import SWEEPS

from edgekit.errors import UsageError
from edgekit.ops import OPS, OpSpec, dispatch, linear_s8, numerics, quantize_s8, samples
from edgekit.ops.spec import Case, results

pytest.importorskip("triton")
pytestmark = pytest.mark.usefixtures("poisoned_empty")

from edgekit.export.triton_aot.calls import IMAGES  # noqa: E402  # after the skip
from edgekit.kernels import launch  # noqa: E402

TRITON = [spec for spec in OPS if "triton" in spec.tiers]
SHARE = 10  # of each sweep, every tenth shape runs by default: interpreted, the whole takes a minute for some operators


def size(args: tuple[Any, ...]) -> int:
    return sum(arg.numel() for arg in args if isinstance(arg, Tensor))


def assert_tier_is_reference(spec: OpSpec, case: Case, device: str) -> None:
    args = [arg.to(device) if isinstance(arg, Tensor) else arg for arg in case.args]
    with dispatch.force("triton"):
        tier = getattr(torch.ops.edgekit, spec.name)(*args)
    for one, want in zip(results(tier), results(spec.reference(*case.args)), strict=True):
        got = one.cpu()
        assert (got.dtype, got.shape) == (want.dtype, want.shape), case.name
        assert torch.equal(got, want), f"{case.name}: {int((got != want).sum())} of {want.numel()} differ"


@pytest.mark.skipif(torch.cuda.is_available(), reason="the kernels are compiled for the GPU here, not interpreted")
@pytest.mark.parametrize("spec", TRITON, ids=lambda spec: spec.name)
def test_interpreted(spec: OpSpec) -> None:
    small = [case for case in spec.cases() if not case.layer and size(case.args) < 100_000]
    for case in small + list(SWEEPS[spec.name]())[::SHARE]:
        assert_tier_is_reference(spec, case, "cpu")


@pytest.mark.skipif(torch.cuda.is_available(), reason="the kernels are compiled for the GPU here, not interpreted")
@pytest.mark.parametrize("name", IMAGES)
def test_plans_of_images_channels_last(name: str) -> None:
    """As they are compiled ahead of time, without what the launcher does before."""
    spec, module = next(spec for spec in OPS if spec.name == name), import_module(f"edgekit.kernels.{name}")
    for case in (case for case in spec.cases() if not case.layer):
        args = [samples.channels_last(arg) if isinstance(arg, Tensor) and arg.dim() == 4 else arg for arg in case.args]
        out = spec.shape(*args)
        launch.run(module.plan(*args, out=out))
        assert torch.equal(out, spec.reference(*case.args)), case.name


@pytest.mark.slow
@pytest.mark.skipif(torch.cuda.is_available(), reason="the kernels are compiled for the GPU here, not interpreted")
@pytest.mark.parametrize("spec", TRITON, ids=lambda spec: spec.name)
def test_interpreted_on_the_whole_sweep(spec: OpSpec) -> None:
    for case in SWEEPS[spec.name]():
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
        for got, want in zip(
            results(getattr(torch.ops.edgekit, spec.name)(*args)), results(spec.reference(*case.args)), strict=True
        ):
            assert torch.equal(got.cpu().nan_to_num(), want.nan_to_num()), case.name


def test_heuristics_cover_every_size_and_device() -> None:
    from edgekit.kernels import linear_s8 as linear
    from edgekit.kernels import quantize_s8 as quantize

    for capability in ((7, 2), (7, 5), (8, 7), (9, 0), (12, 0)):
        for n in (1, 16, 17, 1 << 10, 1 << 20):
            tile = linear.heuristic(n, n, n, capability)
            powers = (tile.rows, tile.columns, tile.depth, tile.warps, quantize.heuristic(n, capability).block)
            assert all(value & (value - 1) == 0 for value in powers)
            assert min(tile.rows, tile.columns) >= 16
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
