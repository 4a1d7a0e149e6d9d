"""Layers and products of activations, each alone: one integer operator with all that is fused into it."""

from __future__ import annotations

from collections.abc import Callable

import lowering
import pytest
import torch
from lowering import Case, Layers, Table
from torch import Tensor, nn
from torch.nn import functional

pytestmark = pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
LINE = (4, 9)
VECTOR = (6,)
SEQUENCE = (7, 6)
VOLUME = (4, 5, 6, 7)
MATRIX = torch.randn(6, 5, generator=torch.Generator().manual_seed(2))


def alone(layer: Callable[[], nn.Module], operators: str, shape: tuple[int, ...] = (4, 8, 6)) -> Case:
    return Case(lambda layers, x: layers["a"](x), operators, lambda: {"a": layer()}, shape)


def behind(function: Callable[[Tensor, Tensor], Tensor], operators: str, shape: tuple[int, ...] = SEQUENCE) -> Case:
    """A function of a linear's result and its input."""
    return Case(lambda m, x: function(m["a"](x), x), f"linear_s8 {operators}", lambda: {"a": nn.Linear(6, 6)}, shape)


def dense(layers: Layers, x: Tensor) -> Tensor:
    """Batch norm behind a concatenation, as in DenseNet."""
    return layers["b"](functional.relu(layers["n"](torch.cat([layers["a"](x), x], 1))))


VOLUMES = "constant_pad_nd slice slice stack permute reshape conv2d_s8 reshape permute"
CASES = {
    "linear": alone(lambda: nn.Linear(6, 5), "linear_s8", VECTOR),
    "linear, clamped": alone(lambda: nn.Sequential(nn.Linear(6, 5, bias=False), nn.ReLU6()), "linear_s8", SEQUENCE),
    "convolution": alone(lambda: nn.Conv2d(4, 6, (1, 3), (2, 1), (0, 2), (1, 2), groups=2), "conv2d_s8"),
    "depthwise": alone(lambda: nn.Sequential(nn.Conv2d(4, 8, 3, groups=4), nn.ReLU()), "conv2d_s8"),
    "even kernel": alone(lambda: nn.Conv2d(4, 4, (4, 3), padding="same"), "constant_pad_nd conv2d_s8"),
    "batch norm": alone(lambda: nn.Sequential(nn.Conv2d(4, 6, 3, bias=False), nn.BatchNorm2d(6)), "conv2d_s8"),
    "mirrored": alone(lambda: nn.Conv2d(4, 4, 3, padding=1, padding_mode="reflect"), "pad conv2d_s8"),
    "line": alone(
        lambda: nn.Sequential(nn.Conv1d(4, 6, 3, 2, 2, 2, groups=2), nn.ReLU()), "unsqueeze conv2d_s8 squeeze", LINE
    ),
    "transposed": alone(
        lambda: nn.Sequential(nn.ConvTranspose2d(4, 6, 3, 2, 1, 1, groups=2, dilation=2), nn.ReLU()),
        "conv_transpose2d_s8",
    ),
    "transposed line": alone(
        lambda: nn.ConvTranspose1d(4, 6, 3, 2, 1, 1, bias=False), "unsqueeze conv_transpose2d_s8 squeeze", LINE
    ),
    "volume": alone(lambda: nn.Conv3d(4, 6, (2, 3, 1), (2, 1, 1), (1, 1, 0), (2, 1, 1), 2), VOLUMES, VOLUME),
    "flat volume": alone(
        lambda: nn.Sequential(nn.Conv3d(4, 6, (1, 3, 3), bias=False), nn.BatchNorm3d(6), nn.ReLU()),
        "slice stack permute reshape conv2d_s8 reshape permute",
        VOLUME,
    ),
    "norm without a layer": Case(
        dense,
        "conv2d_s8 cat conv2d_s8 conv2d_s8",
        lambda: {"a": nn.Conv2d(4, 4, 1), "n": nn.BatchNorm2d(8), "b": nn.Conv2d(8, 3, 1)},
    ),
    "norm of features": alone(
        lambda: nn.Sequential(nn.Linear(6, 6), nn.ReLU(), nn.BatchNorm1d(6)),
        "linear_s8 unsqueeze unsqueeze conv2d_s8 squeeze squeeze",
        VECTOR,
    ),
    "norm of a line": alone(
        lambda: nn.Sequential(nn.Conv1d(4, 6, 3), nn.Sigmoid(), nn.BatchNorm1d(6)),
        "unsqueeze conv2d_s8 squeeze lut_s8 unsqueeze conv2d_s8 squeeze",
        LINE,
    ),
    "matmul": behind(lambda y, x: y @ x.transpose(1, 2), "transpose matmul_s8"),
    "matmul, clamped": behind(lambda y, x: (y @ x.mT).clamp(-1, 2), "transpose matmul_s8"),
    "matmul that broadcasts": behind(
        lambda y, x: y.unsqueeze(1) @ x.mT.unsqueeze(1).expand(-1, 3, -1, -1),
        "reshape transpose reshape expand matmul_s8",
    ),
    "batched and added": behind(lambda y, x: torch.baddbmm(y, y, y.mT[:, :, :6]), "transpose slice matmul_s8 add_s8"),
    "by a stored matrix": behind(lambda y, _: y @ MATRIX, "linear_s8"),
    "by a stored matrix, and a bias": behind(lambda y, _: (y @ MATRIX + MATRIX[0]).relu(), "linear_s8"),
    "by a stored matrix of rows": behind(lambda y, _: torch.addmm(MATRIX[0], y, MATRIX), "linear_s8", VECTOR),
    "by a stored vector": behind(lambda y, _: y @ MATRIX[:, 0], "linear_s8 squeeze"),
    "by a vector": behind(lambda y, _: y @ y.mean((0, 1)), "sum_s8 unsqueeze matmul_s8 squeeze"),
}
TABLE = Table(CASES)


@pytest.mark.parametrize("name", CASES)
def test_structure(name: str) -> None:
    assert TABLE.operators(name) == CASES[name].operators.split()


@pytest.mark.parametrize("name", CASES)
def test_numbers(name: str) -> None:
    lowering.check_numbers(TABLE, name)


@lowering.needs_vnni
def test_onnx_runtime_gives_the_same_bytes() -> None:
    lowering.check_file(TABLE)
    lowering.check_targets(TABLE)


@pytest.mark.slow  # a minute, the shortest of these nets is that of the pools
def test_kept_in_float_they_are_islands_and_the_net_runs_whole() -> None:
    lowering.check_islands(TABLE, "matmul", "conv_transpose2d", "conv3d")


def test_every_product_is_an_integer_one() -> None:
    """The report says what is part of each layer."""
    assert TABLE.lowered.int8_macs == 1.0
    fused = {operator.fused for operator in TABLE.lowered.operators if operator.operator == "aten.linear"}
    assert fused == {("requantise",), ("requantise", "bias"), ("requantise", "aten.clamp"),
                     ("requantise", "aten.relu", "bias")}  # fmt: skip
