"""Nets whose channels can be rescaled without changing what they compute, and the rescaling."""

from __future__ import annotations

import torch
from quantised import Written, build, conv, items
from torch import Tensor, nn
from torch.nn import functional

import edgekit as ek
from edgekit.graph import Graph
from edgekit.quant import seams


def depthwise(inputs: int, outputs: int, stride: int = 1) -> nn.Module:
    """A depthwise and a pointwise convolution with batch norm and ReLU behind each."""
    return nn.Sequential(
        *(conv(inputs, inputs, groups=inputs, stride=stride, bias=False), nn.BatchNorm2d(inputs), nn.ReLU()),
        *(conv(inputs, outputs, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()),
    )


def triple() -> nn.Module:
    """Convolution, depthwise convolution, convolution; nothing that adds."""
    layers = [conv(3, 6, bias=False), nn.ReLU(), conv(6, 6, groups=6, bias=False), nn.ReLU(), conv(6, 4, bias=False)]
    return nn.Sequential(*layers)


def pooled() -> nn.Module:
    """A convolution whose channels a linear reads, each four times over."""
    layers = [conv(3, 6), nn.LeakyReLU(0.2), nn.MaxPool2d(2), nn.Dropout(), nn.Flatten(), nn.Linear(6 * 4, 5)]
    return nn.Sequential(*layers)


def averaged() -> nn.Module:
    """Two filters a channel, PReLU, global mean."""
    layers = [conv(3, 6), nn.PReLU(6), conv(6, 12, groups=6), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return nn.Sequential(*layers, nn.Linear(12, 4))


def branched() -> nn.Module:
    """Two readers of one tensor, of which one gates the other."""

    def function(layers: nn.ModuleDict, x: Tensor) -> Tensor:
        y = functional.relu(layers["first"](x))
        gate = torch.sigmoid(layers["gate"](y.mean((2, 3), keepdim=True)))
        return layers["last"](y * gate)

    return Written(function, first=conv(3, 6), gate=conv(6, 6, 1), last=conv(6, 4))


def grouped() -> nn.Module:
    """Groups on both sides, and a zero border."""
    return nn.Sequential(conv(4, 8, groups=2), nn.ReLU(), nn.ZeroPad2d(1), conv(8, 6, groups=2))


def turned() -> nn.Module:
    """Channels that move to another axis on the way."""

    def function(layers: nn.ModuleDict, x: Tensor) -> Tensor:
        return layers["last"](functional.relu(layers["first"](x)).flatten(2).transpose(1, 2))

    return Written(function, first=conv(3, 6), last=nn.Linear(6, 4))


NETS = {
    "triple": triple, "pooled": pooled, "averaged": averaged, "branched": branched, "grouped": grouped,
    "turned": turned,
}  # fmt: skip
SHAPES = {"grouped": (4, 4, 4)}


def capture(name: str) -> tuple[Graph, Tensor]:
    """The float graph of a net with random weights, and inputs."""
    x = items(SHAPES.get(name, (3, 4, 4)))
    return ek.capture(build(NETS[name]()), x), x


def spread(graph: Graph, by: float, seed: int = 0) -> Graph:
    """A copy that computes the same, with the ranges of neighbouring channels up to ``by`` apart."""
    graph, generator = graph.copy(), torch.Generator().manual_seed(seed)
    for node in list(seams.sources(graph, *seams.LAYERS)):
        seam = seams.find(graph, node)
        if isinstance(seam, seams.Seam):
            exponents = torch.rand(node.meta["val"].shape[seam.places[node].axis], generator=generator) - 0.5
            seams.rescale(graph, seam, by ** exponents.double())
    return graph.refresh()
