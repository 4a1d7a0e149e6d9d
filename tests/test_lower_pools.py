"""Averages and sums, over windows and over whole axes, each alone behind a convolution."""

from __future__ import annotations

from collections.abc import Callable

import lowering
import pytest
from lowering import Case, Layers, Table
from quantised import conv
from torch import Tensor
from torch.nn import functional


def image(operators: str, function: Callable[[Tensor], Tensor], **options: float) -> Case:
    """Behind a convolution."""

    def net(layers: Layers, x: Tensor) -> Tensor:
        return function(layers["a"](x))

    return Case(net, f"conv2d_s8 {operators}", lambda: {"a": conv(4, 4)}, **options)


AXES = {"channels": (1,), "rows": (2,), "last": (-1,), "channels and rows": (1, -2), "image": (2, 3), "all": (1, 2, 3)}


def reductions() -> dict[str, Case]:
    found = {}
    for name, dims in AXES.items():
        for keep in (False, True):
            last = " flatten" if dims == (2, 3) and not keep else ""
            words = f"{name}{', kept' if keep else ''}"
            found[f"mean of {words}"] = image(f"sum_s8{last}", lambda x, d=dims, k=keep: x.mean(d, keepdim=k))
            found[f"sum of {words}"] = image("sum_s8", lambda x, d=dims, k=keep: x.sum(d, keepdim=k))
    return found


CASES = reductions() | {
    "mean over the batch": image("sum_s8", lambda x: x.mean((0, 1)), float_decibels=10),
    "mean, clamped": image("sum_s8", lambda x: functional.relu(x.mean(1))),
    "global": image("sum_s8", lambda x: functional.adaptive_avg_pool2d(x, 1)),
    "global over a line": image("flatten sum_s8", lambda x: functional.adaptive_avg_pool1d(x.flatten(2), 1)),
    "even": image("avg_pool_s8", lambda x: functional.adaptive_avg_pool2d(x, (4, 3))),
    "windows": image("avg_pool_s8", lambda x: functional.avg_pool2d(x, 3, 2, 1)),
    "windows without the padding": image(
        "avg_pool_s8", lambda x: functional.avg_pool2d(x, (3, 2), 2, 1, count_include_pad=False)
    ),
    "windows that are clamped": image("avg_pool_s8", lambda x: functional.avg_pool2d(x, 3).clamp(-0.2, 0.3)),
    "windows of a line": image(
        "flatten unsqueeze avg_pool_s8 squeeze", lambda x: functional.avg_pool1d(x.flatten(2), 3, 2, 1)
    ),
}
TABLE = Table(CASES)
GOLDEN_ONLY = Table(
    {
        "windows that hang over": image("avg_pool_s8", lambda x: functional.avg_pool2d(x, 3, 2, ceil_mode=True)),
        "windows with a divisor": image("avg_pool_s8", lambda x: functional.avg_pool2d(x, 2, divisor_override=3)),
    }
)


EACH = [pytest.param(table, name, id=name) for table in (TABLE, GOLDEN_ONLY) for name in table.cases]


@pytest.mark.parametrize(("table", "name"), EACH)
def test_structure(table: Table, name: str) -> None:
    assert table.operators(name) == table.cases[name].operators.split()


@pytest.mark.parametrize(("table", "name"), EACH)
def test_numbers(table: Table, name: str) -> None:
    lowering.check_numbers(table, name)


@lowering.needs_vnni
def test_onnx_runtime_is_one_step_off_at_most() -> None:
    lowering.check_file(TABLE, steps=1)
    lowering.check_targets(TABLE)


@pytest.mark.slow
def test_kept_in_float_they_are_islands_and_the_net_runs_whole() -> None:
    lowering.check_islands(TABLE, "mean", "sum", "avg_pool2d", "avg_pool1d")
