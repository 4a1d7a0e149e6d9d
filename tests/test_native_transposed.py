"""Transposed convolutions in plans: plain ones where there are fast kernels for it, and the golden's bytes always."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import edgekit as ek
from edgekit.export.native.compile import compile_plan
from edgekit.graph import Graph

PLAIN, OWN = {"conv2d_s8"}, {"conv2d_s8", "conv_transpose2d_s8"}


class Decoder(nn.Module):
    """A convolution, and a transposed one behind it."""

    def __init__(self, channels: int = 4, filters: int = 6, **geometry: Any) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, channels, 3, padding=1)
        self.up = nn.ConvTranspose2d(channels, filters, **geometry)

    def forward(self, x: Tensor) -> Tensor:
        return self.up(torch.relu(self.first(x)))


class Skip(Decoder):
    """Its result is written into a concatenation, as in a U-Net."""

    def __init__(self) -> None:
        super().__init__(kernel_size=2, stride=2)
        self.last = nn.Conv2d(9, 3, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        small = nn.functional.max_pool2d(x, 2)
        return self.last(torch.cat([super().forward(small), x], 1))


def golden(model: nn.Module, x: Tensor) -> Graph:
    graph = ek.capture(model.eval(), x)
    return ek.lower(ek.quantize(graph, [x], config=ek.QuantConfig(allow_few=True)).graph)


NETS: dict[str, tuple[nn.Module, set[str]]] = {
    "doubling": (Decoder(kernel_size=2, stride=2), PLAIN),
    "overlapping": (Decoder(kernel_size=4, stride=2, padding=1), PLAIN),
    "output padding": (Decoder(kernel_size=3, stride=2, padding=1, output_padding=1), PLAIN),
    "stride of one axis": (Decoder(kernel_size=(3, 4), stride=(1, 3), padding=(1, 0)), PLAIN),
    "dilated": (Decoder(kernel_size=3, stride=1, padding=2, dilation=2), PLAIN),
    "dilated and strided": (Decoder(kernel_size=3, stride=2, padding=3, dilation=3), PLAIN),
    "groups": (Decoder(filters=8, kernel_size=4, stride=2, padding=1, groups=2), PLAIN),
    "depthwise": (Decoder(filters=4, kernel_size=4, stride=2, padding=1, groups=4), PLAIN),
    "a stride wider than the window": (Decoder(kernel_size=2, stride=3), OWN),
    "padding that begins inside": (Decoder(kernel_size=1, stride=1, padding=1), OWN),
    "into a concatenation": (Skip(), PLAIN),
}


@pytest.mark.parametrize("name", NETS)
def test_the_plan_gives_the_golden_bytes(name: str, tmp_path: Path) -> None:
    model, words = NETS[name]
    x = torch.randn(1, 3, 6, 8)
    integer = golden(model, torch.cat([x, -x]))
    plan = compile_plan(integer).plan
    assert {operation.word for operation in plan.operations if "conv" in operation.word} == words
    assert "copy" not in {operation.word for operation in plan.operations}
    ek.export_native(integer, tmp_path / "net.ekm")
    (got,) = ek.load(tmp_path / "net.ekm").run(x.numpy())
    assert torch.equal(torch.from_numpy(got), integer(x))
