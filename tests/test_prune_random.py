"""Whatever net is drawn, the pruned graph computes what the masked one does."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from masking import check_against_mask
from torch import Tensor, nn
from torch.nn import functional

import edgekit as ek


def gated(x: Tensor, gate: nn.Module) -> Tensor:
    return x * torch.sigmoid(gate(functional.adaptive_avg_pool2d(x, 1)))


class Random(nn.Module):
    """Blocks drawn by hypothesis, then a head; every block takes and gives [N, C, H, W]."""

    def __init__(self, blocks: list[tuple[Any, ...]], head: str, seed: int) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.blocks, self.head = blocks, head
        self.layers = nn.ModuleList()
        width = 3
        for kind, *options in blocks:
            self.layers.append(layer := self.make(kind, width, *options))
            width = getattr(layer, "width", width)
        probe = self.body(torch.zeros(2, 3, 12, 12))
        self.hidden = nn.Linear(probe.flatten(1).shape[1] if head == "flatten" else width, 6)
        self.last = nn.Linear(6, 3)
        for layer in self.modules():
            if isinstance(layer, nn.BatchNorm2d):
                layer.running_mean.normal_(std=0.3)
                layer.running_var.uniform_(0.5, 2)

    @staticmethod
    def make(kind: str, width: int, *options: Any) -> nn.Module:
        if kind == "convolution":
            outputs, kernel, stride, norm, bias = options
            layer = nn.Sequential(nn.Conv2d(width, outputs, kernel, stride, kernel // 2, bias=bias))
            layer.width = outputs
            if norm:
                layer.append(nn.BatchNorm2d(outputs))
            return layer
        if kind == "depthwise":
            layer = nn.Sequential(nn.Conv2d(width, width * options[0], 3, padding="same", groups=width))
            layer.width = width * options[0]
            return layer
        if kind == "residual":
            middle = options[0]
            return nn.Sequential(
                nn.Conv2d(width, middle, 3, padding=1), nn.ReLU(), nn.Conv2d(middle, width, 1), nn.BatchNorm2d(width)
            )
        if kind == "gate":
            return nn.Sequential(nn.Conv2d(width, 2, 1), nn.ReLU(), nn.Conv2d(2, width, 1))
        return {"max": nn.MaxPool2d, "average": nn.AvgPool2d}[kind](2, ceil_mode=True)

    def body(self, x: Tensor) -> Tensor:
        for (kind, *_), layer in zip(self.blocks, self.layers, strict=True):
            if kind == "residual":
                x = functional.relu(layer(x) + x)
            elif kind == "gate":
                x = gated(x, layer)
            else:
                x = functional.hardswish(layer(x)) if kind == "convolution" else layer(x)
        return x

    def forward(self, x: Tensor) -> Tensor:
        x = self.body(x)
        x = x.flatten(1) if self.head == "flatten" else x.mean((2, 3))
        return self.last(torch.relu(self.hidden(x)))


BLOCKS = st.one_of(
    st.tuples(
        st.just("convolution"), st.integers(1, 9), st.sampled_from((1, 3)), st.integers(1, 2), st.booleans(),
        st.booleans(),
    ),
    st.tuples(st.just("depthwise"), st.integers(1, 3)),
    st.tuples(st.just("residual"), st.integers(1, 8)),
    st.tuples(st.just("gate")),
    st.tuples(st.sampled_from(("max", "average"))),
)  # fmt: skip
NETS = st.builds(
    Random, st.lists(BLOCKS, min_size=1, max_size=5), st.sampled_from(("flatten", "mean")), st.integers(0, 9)
)


def check_random_net(model: Random, ratio: float) -> None:
    x = torch.randn(3, 3, 12, 12, generator=torch.Generator().manual_seed(4))
    graph = ek.capture(model, x)
    report = check_against_mask(graph, ratio, (x,))
    # Nothing here is unknown: besides the classes, only what meets the image itself stays.
    reasons = {reason for _, reason in report.not_pruned}
    assert all(any(word in r for word in ("model output", "model input", "groups", "fixed size")) for r in reasons), (
        reasons
    )


@given(NETS, st.sampled_from((0.25, 0.5, 0.99)))
@settings(max_examples=25, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
def test_random_nets(model: Random, ratio: float) -> None:
    check_random_net(model, ratio)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@given(NETS, st.floats(0.05, 0.99))
@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
def test_many_random_nets(model: Random, ratio: float) -> None:
    check_random_net(model, ratio)
