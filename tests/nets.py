"""Small nets that between them hold every way of writing a model that capture, pruning and quantisation must know."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

import edgekit as ek
from edgekit.graph import Graph


class ResidualNet(nn.Module):
    """Batch norm, ReLU6 in place, padding "same", a skip, dropout, both kinds of pool. [N, 3, 12, 12] to [N, 5]."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding="same", bias=False)
        self.stem_norm = nn.BatchNorm2d(8)
        self.branch = nn.Conv2d(8, 8, 3, padding=1)
        self.branch_norm = nn.BatchNorm2d(8)
        self.wide = nn.Conv2d(8, 12, 3, stride=2)
        self.dropout = nn.Dropout(0.25)
        self.head = nn.Linear(12, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu6(self.stem_norm(self.stem(x)), inplace=True)
        x = functional.max_pool2d(x, 2)
        x = torch.relu(self.branch_norm(self.branch(x)) + x)
        x = functional.avg_pool2d(functional.relu(self.wide(x)), 2)
        return self.head(self.dropout(functional.adaptive_avg_pool2d(x, 1).flatten(1)))


class DepthwiseNet(nn.Module):
    """Depthwise convolutions, multiplier 1 and 2, between pointwise ones. [N, 3, 10, 10] to [N, 4]."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 3, stride=2, bias=False)
        self.stem_norm = nn.BatchNorm2d(6)
        self.depthwise = nn.Conv2d(6, 6, 3, padding=1, groups=6, bias=False)
        self.depthwise_norm = nn.BatchNorm2d(6)
        self.pointwise = nn.Conv2d(6, 8, 1)
        self.doubling = nn.Conv2d(8, 16, 3, padding=1, groups=8)
        self.last = nn.Conv2d(16, 8, 1)
        self.head = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu(self.stem_norm(self.stem(x)))
        x = functional.relu6(self.depthwise_norm(self.depthwise(x)))
        x = functional.relu(self.doubling(functional.relu(self.pointwise(x))))
        return self.head(self.last(x).mean((2, 3)))


class Perceptron(nn.Module):
    """Flatten and three linear layers with batch norm on features. [N, 2, 4, 3] to [N, 5]."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Flatten(), nn.Linear(24, 16), nn.BatchNorm1d(16), nn.ReLU(inplace=True),
            nn.Linear(16, 12), nn.Sigmoid(), nn.Dropout(0.5), nn.Linear(12, 5),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


class FlattenNet(nn.Module):
    """A convolution whose whole image goes into a linear layer through ``view``. [N, 2, 6, 6] to [N, 3]."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(2, 6, 3)
        self.hidden = nn.Linear(6 * 4 * 4, 10)
        self.head = nn.Linear(10, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.tanh(self.convolution(x))
        return self.head(functional.leaky_relu(self.hidden(x.view(x.size(0), -1))))


class TwoInputs(nn.Module):
    """Two inputs by name, a dict of two outputs. [N, 2, 5, 5] and [N, 4]."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(2, 6, 3)
        self.features = nn.Linear(4, 6)
        self.classes = nn.Linear(6, 3)
        self.distance = nn.Linear(6, 1)

    def forward(self, image: Tensor, state: Tensor) -> dict[str, Tensor]:
        x = functional.relu(self.convolution(image)).mean((2, 3)) + self.features(state)
        return {"classes": self.classes(x), "distance": self.distance(functional.relu(x))}


class SqueezeExcite(nn.Module):
    """A residual stage whose channels are scaled by a gate [N, C, 1, 1]. [N, 3, 8, 8] to [N, 4]."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.squeeze = nn.Conv2d(8, 4, 1)
        self.excite = nn.Conv2d(4, 8, 1)
        self.last = nn.Conv2d(8, 6, 3)
        self.head = nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.silu(self.stem(x))
        gate = functional.relu(self.squeeze(functional.adaptive_avg_pool2d(x, 1)))
        x = x * torch.sigmoid(self.excite(gate)) + 0.5
        return self.head(functional.hardswish(self.last(x)).mean((2, 3)))


class Recurrent(nn.Module):
    """Two layers of GRU with dropout between them. [N, T, 5] to [N, 3]."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(5, 8)
        self.gru = nn.GRU(8, 6, num_layers=2, batch_first=True, dropout=0.5)
        self.head = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.gru(torch.relu(self.embed(x)))[0][:, -1])


class Attention(nn.Module):
    """Self-attention with dropout on its weights, and a feed-forward part. [N, 6, 8] to [N, 3], weights if needed."""

    def __init__(self, need_weights: bool = False) -> None:
        super().__init__()
        self.need_weights = need_weights
        self.attention = nn.MultiheadAttention(8, 2, dropout=0.5, batch_first=True)
        self.norm = nn.LayerNorm(8)
        self.hidden = nn.Linear(8, 16)
        self.head = nn.Linear(16, 3)

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        attended, weights = self.attention(x, x, x, need_weights=self.need_weights)
        y = self.head(functional.gelu(self.hidden(self.norm(x + attended))).mean(1))
        return (y, weights) if self.need_weights else y


class Tied(nn.Module):
    """One weight under two names, and one layer that runs twice. [N, 6] to [N, 6]."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(6, 6)
        self.second = nn.Linear(6, 6)
        self.second.weight = self.first.weight
        self.twice = nn.Linear(6, 6)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.first(x))
        x = torch.relu(self.twice(torch.relu(self.twice(x))))
        return self.second(x)


class DataDependent(nn.Module):
    """A branch on a tensor's value between two parts that can be captured. [N, 4] to [N, 2]."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(4, 8), nn.ReLU())
        self.head = nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.body(x)
        if x.sum() > 0:
            x = -x
        return self.head(x)


class Written(nn.Module):
    """A model whose forward is one function of the model and ``x``, with layers by name."""

    def __init__(self, function: Callable[..., Any], **layers: nn.Module) -> None:
        super().__init__()
        self.function = function
        for name, layer in layers.items():
            self.add_module(name, layer)

    def forward(self, x: Tensor) -> Any:
        return self.function(self, x)


class AsksTraining(nn.Module):
    """Python code that asks ``self.training``. [N, 4] to [N, 4]."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.layer(x)
        return x * 2 if self.training else x


@dataclass(frozen=True)
class Net:
    """A net and inputs for it."""

    model: Callable[[], nn.Module]
    shapes: tuple[tuple[int, ...], ...]

    def build(self) -> nn.Module:
        """The net in inference mode, its batch norm statistics not those of a fresh layer."""
        torch.manual_seed(1)
        model = self.model()
        for layer in model.modules():
            if isinstance(layer, (nn.BatchNorm1d, nn.BatchNorm2d)):
                nn.init.uniform_(layer.weight, 0.5, 1.5)
                nn.init.normal_(layer.bias, std=0.3)
                layer.running_mean.normal_(std=0.3)
                layer.running_var.uniform_(0.5, 2.0)
        return model.eval()

    def inputs(self, batch: int = 4, seed: int = 0) -> tuple[Tensor, ...]:
        """Normal values; ``batch`` is the first dimension of each."""
        generator = torch.Generator().manual_seed(seed)
        return tuple(torch.randn(batch, *shape, generator=generator) for shape in self.shapes)


CONVOLUTIONAL = {
    "residual": Net(ResidualNet, ((3, 12, 12),)),
    "depthwise": Net(DepthwiseNet, ((3, 10, 10),)),
    "perceptron": Net(Perceptron, ((2, 4, 3),)),
    "flatten": Net(FlattenNet, ((2, 6, 6),)),
    "two-inputs": Net(TwoInputs, ((2, 5, 5), (4,))),
    "squeeze-excite": Net(SqueezeExcite, ((3, 8, 8),)),
}
SEQUENTIAL = {
    "recurrent": Net(Recurrent, ((7, 5),)),
    "attention": Net(Attention, ((6, 8),)),
    "attention-weights": Net(lambda: Attention(need_weights=True), ((6, 8),)),
    "tied": Net(Tied, ((6,),)),
}
NETS = CONVOLUTIONAL | SEQUENTIAL


def tensors(output: Tensor | tuple[Tensor, ...] | dict[str, Tensor]) -> tuple[Tensor, ...]:
    """The output of a model or Graph as a flat tuple."""
    if isinstance(output, Tensor):
        return (output,)
    return tuple(output.values()) if isinstance(output, dict) else tuple(output)


def same(a: Any, b: Any) -> bool:
    """Whether two outputs are equal to the bit, tensor by tensor."""
    left, right = tensors(a), tensors(b)
    return len(left) == len(right) and all(torch.equal(x, y) for x, y in zip(left, right, strict=True))


@cache
def graph_of(name: str) -> Graph:
    """The graph of a net, captured once from an example of batch 1; not to be edited."""
    return ek.capture(NETS[name].build(), NETS[name].inputs(batch=1))


def captured(name: str) -> tuple[nn.Module, Graph]:
    """A net and a graph of it that a test may edit."""
    return NETS[name].build(), graph_of(name).copy()
