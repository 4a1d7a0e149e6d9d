"""Small nets that INT8 must carry, each with its quantised graph: what lowering and export are tested on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor, nn
from torch.nn import functional

import edgekit as ek
from edgekit.graph import Graph

CALIBRATION = 64


class Written(nn.Module):
    """A net written as one function of its layers and one input."""

    def __init__(self, function: Callable[[nn.ModuleDict, Tensor], object], **layers: nn.Module) -> None:
        super().__init__()
        self.layers = nn.ModuleDict(layers)
        self.function = function

    def forward(self, x: Tensor) -> object:
        return self.function(self.layers, x)


def conv(inputs: int, outputs: int, kernel: int = 3, **options: object) -> nn.Conv2d:
    """A convolution that keeps the size of the image, unless told otherwise."""
    return nn.Conv2d(inputs, outputs, kernel, **({"padding": kernel // 2} | options))  # type: ignore[arg-type]


class Block(nn.Module):
    """Two convolutions with batch norm and a skip."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        self.first = conv(inputs, outputs, stride=stride, bias=False)
        self.first_norm = nn.BatchNorm2d(outputs)
        self.second = conv(outputs, outputs)
        self.second_norm = nn.BatchNorm2d(outputs)
        self.skip = nn.Identity() if inputs == outputs else nn.Conv2d(inputs, outputs, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        y = functional.relu(self.first_norm(self.first(x)))
        return functional.relu(self.second_norm(self.second(y)) + self.skip(x))


def residual() -> nn.Module:
    """Five 3x3 and one 1x1 convolution, two skips, one of them a convolution."""
    stem = nn.Sequential(conv(3, 8, bias=False), nn.BatchNorm2d(8), nn.ReLU())
    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.2), nn.Linear(12, 5))
    return nn.Sequential(stem, Block(8, 8), Block(8, 12, stride=2), head)


def depthwise() -> nn.Module:
    """ReLU6 behind pointwise and depthwise convolutions, one with two filters a channel."""
    layers = [conv(4, 8, 1), nn.ReLU6(), conv(8, 16, groups=8, stride=2), nn.ReLU6(), conv(16, 6, 1)]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())


def perceptron() -> nn.Module:
    """Three linears with GELU and ReLU between them."""
    return nn.Sequential(
        nn.Flatten(), nn.Linear(30, 24), nn.GELU(), nn.Linear(24, 16, bias=False), nn.ReLU(), nn.Linear(16, 7)
    )


def geometry() -> nn.Module:
    """Strides, dilation, groups, a kernel and a padding that are not square."""
    uneven = nn.Conv2d(6, 4, (1, 3), (2, 1), (0, 2))
    layers = [conv(4, 8, stride=2, groups=2), nn.ReLU(), conv(8, 6, dilation=2, padding=2), nn.ReLU(), uneven]
    return nn.Sequential(*layers)


def tables() -> nn.Module:
    """Functions that become tables."""
    return nn.Sequential(conv(3, 6), nn.Tanh(), conv(6, 6), nn.Hardswish(), conv(6, 4), nn.Sigmoid())


def two_outputs() -> nn.Module:
    """A map and a vector from one trunk."""

    def function(layers: nn.ModuleDict, x: Tensor) -> tuple[Tensor, Tensor]:
        trunk = functional.relu(layers["trunk"](x))
        return layers["map"](trunk), layers["vector"](trunk.mean((2, 3)))

    return Written(function, trunk=conv(3, 8), map=conv(8, 2, 1), vector=nn.Linear(8, 3))


def preactivation() -> nn.Module:
    """Sums that a ReLU and the next sum both read."""

    def function(layers: nn.ModuleDict, x: Tensor) -> Tensor:
        x = layers["stem"](x)
        x = layers["first"](functional.relu(x)) + x
        return layers["second"](functional.relu(x)) + x

    return Written(function, stem=conv(3, 6), first=conv(6, 6), second=conv(6, 6))


def sequence() -> nn.Module:
    """Linears on every step of a sequence, with and without bias."""
    return nn.Sequential(nn.Linear(6, 10), nn.ReLU(), nn.Linear(10, 5, bias=False))


def reshaped() -> nn.Module:
    """Features that become an image, by the size of the batch."""

    def function(layers: nn.ModuleDict, x: Tensor) -> Tensor:
        return layers["convolution"](layers["features"](x).view(x.size(0), 3, 2, 4))

    return Written(function, features=nn.Linear(10, 24), convolution=conv(3, 4))


@dataclass(frozen=True)
class Net:
    """A net, the shape of one item, how many convolutions and linears it has."""

    model: Callable[[], nn.Module]
    shape: tuple[int, ...]
    convolutions: int = 0
    linears: int = 0


NETS = {
    "residual": Net(residual, (3, 8, 8), 6, 1),
    "depthwise": Net(depthwise, (4, 7, 9), 3),
    "perceptron": Net(perceptron, (2, 3, 5), 0, 3),
    "geometry": Net(geometry, (4, 13, 11), 3),
    "average": Net(lambda: nn.Sequential(conv(3, 8), nn.ReLU(), nn.AvgPool2d(3, 2, 1)), (3, 9, 9), 1),
    "maximum": Net(lambda: nn.Sequential(conv(3, 8), nn.ReLU(), nn.MaxPool2d(3, 2, 1), conv(8, 4)), (3, 9, 9), 2),
    "tables": Net(tables, (3, 6, 6), 3),
    "two-outputs": Net(two_outputs, (3, 6, 6), 2, 1),
    "preactivation": Net(preactivation, (3, 6, 6), 3),
    "sequence": Net(sequence, (7, 6), 0, 2),
    "reshaped": Net(reshaped, (10,), 1, 1),
}


def build(model: nn.Module) -> nn.Module:
    """The net with weights and batch norm statistics that are not those of a fresh layer, in inference mode."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for value in model.parameters():
            fan_in = value[0].numel() if value.dim() > 1 else 4
            value.copy_(torch.randn(value.shape, generator=generator) / fan_in**0.5)
        for layer in model.modules():
            if isinstance(layer, (nn.BatchNorm1d, nn.BatchNorm2d)) and layer.track_running_stats:
                layer.weight.uniform_(0.5, 1.5, generator=generator)
                layer.running_mean.normal_(std=0.3, generator=generator)  # type: ignore[union-attr]
                layer.running_var.uniform_(0.5, 2, generator=generator)  # type: ignore[union-attr]
    return model.eval()


def items(shape: tuple[int, ...], count: int = CALIBRATION, seed: int = 0, spread: float = 1.0) -> Tensor:
    """Normal inputs."""
    return torch.randn(count, *shape, generator=torch.Generator().manual_seed(seed)) * spread


@cache
def _float(name: str) -> Graph:
    net = NETS[name]
    return ek.capture(build(net.model()), items(net.shape, 2))


@cache
def _quantised(name: str) -> Graph:
    return ek.quantize(_float(name), [items(NETS[name].shape)]).graph


def float_graph(name: str) -> Graph:
    """The float graph of a net, a copy of one's own."""
    return _float(name).copy()


def quantised(name: str) -> Graph:
    """Its quantised graph, a copy of one's own."""
    return _quantised(name).copy()


def quantise(model: nn.Module, *shape: int, **options: object) -> Graph:
    """Quantise a net of the test's own."""
    values = items(shape)
    return ek.quantize(ek.capture(build(model), values), [values], ek.QuantConfig(**options)).graph  # type: ignore[arg-type]


def tensors(output: Tensor | tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Outputs as a tuple."""
    return (output,) if isinstance(output, Tensor) else tuple(output)
