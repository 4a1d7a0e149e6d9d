"""Softmax and the norms, each alone behind a linear or convolution."""

from __future__ import annotations

from collections.abc import Callable

import lowering
import pytest
import torch
from lowering import Case, Layers, Table
from quantised import conv
from torch import Tensor, nn
from torch.nn import functional

STEPS = torch.arange(7)


def behind(operators: str, function: Callable[[Tensor], Tensor]) -> Case:
    """Behind a linear, [N, 7, 6]."""

    def net(layers: Layers, x: Tensor) -> Tensor:
        return function(layers["a"](x))

    return Case(net, f"linear_s8 {operators}", lambda: {"a": nn.Linear(6, 6)}, (7, 6))


def layer(operator: str, make: Callable[[], nn.Module], image: bool = False) -> Case:
    """A norm with weights of its own."""
    product = "conv2d_s8" if image else "linear_s8"
    return Case(
        lambda layers, x: layers["norm"](layers["a"](x)),
        f"{product} {operator}",
        lambda: {"a": conv(4, 4) if image else nn.Linear(6, 6), "norm": make()},
        (4, 8, 6) if image else (7, 6),
    )


CASES = {
    "softmax": behind("softmax_s8", lambda x: x.softmax(-1)),
    "softmax over time": behind("transpose softmax_s8 transpose", lambda x: x.softmax(1)),
    "softmax with a mask": behind(
        "softmax_s8", lambda x: x.masked_fill((STEPS[:, None] < torch.arange(6)), -torch.inf).softmax(-1)
    ),
    "softmax with an added mask": behind(
        "softmax_s8", lambda x: (x + torch.zeros(7, 6).masked_fill(STEPS[:, None] < torch.arange(6), -1e9)).softmax(-1)
    ),
    "softmax where it is allowed": behind(
        "softmax_s8", lambda x: torch.where(STEPS[:, None] >= torch.arange(6), x, -1e4).softmax(2)
    ),
    "softmax over part of time": behind(
        "transpose softmax_s8 transpose", lambda x: x.masked_fill((STEPS > 4)[:, None], -1e9).softmax(1)
    ),
    "l2": behind("l2_norm_s8", lambda x: functional.normalize(x, dim=-1)),
    "l2 over time": behind("transpose l2_norm_s8 transpose", lambda x: functional.normalize(x)),
    "layer norm": layer("layer_norm_s8", lambda: nn.LayerNorm(6)),
    "layer norm of two axes": layer("layer_norm_s8", lambda: nn.LayerNorm([7, 6])),
    "layer norm without a bias": layer("layer_norm_s8", lambda: nn.LayerNorm(6, bias=False)),
    "layer norm alone": layer("layer_norm_s8", lambda: nn.LayerNorm(6, 1e-3, elementwise_affine=False)),
    "rms norm": layer("rms_norm_s8", lambda: nn.RMSNorm(6)),
    "rms norm alone": layer("rms_norm_s8", lambda: nn.RMSNorm(6, 1e-3, elementwise_affine=False)),
    "group norm": layer("group_norm_s8", lambda: nn.GroupNorm(2, 4), image=True),
    "group norm alone": layer("group_norm_s8", lambda: nn.GroupNorm(4, 4, affine=False), image=True),
    "instance norm": layer("group_norm_s8", lambda: nn.InstanceNorm2d(4), image=True),
    "instance norm with weights": layer("group_norm_s8", lambda: nn.InstanceNorm2d(4, affine=True), image=True),
}
TABLE = Table(CASES)


@pytest.mark.parametrize("name", CASES)
def test_structure(name: str) -> None:
    assert TABLE.operators(name) == CASES[name].operators.split()


@pytest.mark.parametrize("name", CASES)
def test_numbers(name: str) -> None:
    lowering.check_numbers(TABLE, name)


@lowering.needs_vnni
def test_onnx_runtime_is_one_step_off_at_most() -> None:
    lowering.check_file(TABLE, steps=1)
    lowering.check_targets(TABLE)


@pytest.mark.slow
def test_kept_in_float_they_are_islands_and_the_net_runs_whole() -> None:
    lowering.check_islands(TABLE, "layer_norm", "masked_softmax", "softmax", "group_norm")


def test_a_row_that_is_hidden_whole_is_zero() -> None:
    """Where float would give not a number."""
    hidden = Table(
        {"hidden": behind("softmax_s8", lambda x: x.masked_fill((STEPS == 3)[:, None], -torch.inf).softmax(-1))}
    )
    golden = hidden.lowered.graph(*hidden.inputs())
    assert not golden[:, 3].any()
    assert bool((golden[:, 4:].sum(-1) > 0.9).all())
