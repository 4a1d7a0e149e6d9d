"""The nets that ship have the published parameters, multiply-accumulates and layers; trained weights fit into them."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from edgekit import models

TRAINED = Path(__file__).parents[2] / "shared" / "data" / "mlperf_tiny"

BASE = {"width": 768, "depth": 12, "heads": 12}


@pytest.mark.parametrize(
    ("name", "arguments", "count", "millions"),
    [
        ("resnet18", {}, 11_689_512, 1814),  # torchvision's model pages, as the next two and vit_b_16
        ("resnet50", {}, 25_557_032, 4089),
        ("mobilenet_v2", {}, 3_504_872, 301),
        ("mobilenet_v2", {"width": 1.4}, None, 582),  # the table of the reference code, as the next two
        ("mobilenet_v2", {"width": 0.75}, None, 209),
        ("mobilenet_v2", {"width": 0.35}, None, 59),
        ("mobilenet_v1", {"width": 1.0, "classes": 1000, "size": 224}, 4_231_976, 569),  # the paper's table 8
        # BERT base without the vectors of two sentences, with a classifier for 2 classes
        ("encoder", {"vocabulary": 30522, "length": 512, **BASE}, 109_482_240 - 2 * 768 + 2 * 769, None),
        ("decoder", {"vocabulary": 50257, "length": 1024, **BASE}, 124_439_808, None),  # GPT-2 small
        # the class vector is part of the first position vector
        ("vit", {"size": 224, "patch": 16, "classes": 1000, **BASE}, 86_567_656 - 768, 17564),
    ],
)
def test_the_counts_are_the_published_ones(
    name: str, arguments: dict[str, Any], count: int | None, millions: int | None
) -> None:
    row = models.describe(name, **arguments)
    assert count is None or row.parameters == count
    assert millions is None or round(row.macs / 1e6) == millions


@pytest.mark.parametrize(
    ("name", "count", "macs"),
    [
        ("tcn", (8 + 7 * 32) * 32 * 3 + 8 * 2 * 32 + 9 * 32 + 33 * 4, ((8 + 7 * 32) * 3 + 8) * 32 * 64 + 32 * 4),
        ("gru_classifier", 3 * 64 * (10 + 64 + 2) + 65 * 12, 49 * 3 * 64 * (10 + 64) + 64 * 12),
        ("lstm_classifier", 4 * 64 * (10 + 64 + 2) + 65 * 12, 49 * 4 * 64 * (10 + 64) + 64 * 12),
        (
            "encoder",
            (256 + 64) * 64 + 128 + 2 * (12 * 64 * 64 + 13 * 64) + 65 * 64 + 65 * 2,
            2 * 64 * (12 * 64 * 64 + 2 * 64 * 64) + 64 * 64 + 64 * 2,
        ),
    ],
)
def test_the_counts_are_those_by_hand(name: str, count: int, macs: int) -> None:
    """Transformer blocks: 12 width^2 weights, 9 width biases, 2 layer norms; 2 T width products at each step."""
    row = models.describe(name)
    assert (row.parameters, row.macs) == (count, macs)


@pytest.mark.parametrize(
    ("name", "keras", "macs"),
    [
        ("resnet8", 78_666, 12_501_632),
        ("ds_cnn", 24_908, 2_656_768),
        ("mobilenet_v1", 221_794, 7_489_664),
        ("autoencoder", 269_992, 264_192),
    ],
)
def test_the_nets_of_mlperf_tiny_have_their_counts(name: str, keras: int, macs: int) -> None:
    """Keras counts the mean and variance of a batch norm, and a bias in front of it that edgekit leaves out."""
    norms = [m for m in models.create(name).modules() if isinstance(m, (nn.BatchNorm1d, nn.BatchNorm2d))]
    row = models.describe(name)
    assert row.parameters + 3 * sum(norm.num_features for norm in norms) == keras
    assert row.macs == macs


class Flat:
    """A table of a FlatBuffer, read by the numbers of its fields; enough of the format for a TFLite file."""

    def __init__(self, data: bytes, at: int) -> None:
        self.data, self.at = data, at
        self.fields = at - self._int("i", at)

    def _int(self, code: str, at: int) -> int:
        return int(struct.unpack_from("<" + code, self.data, at)[0])

    def _field(self, number: int) -> int | None:
        """Where a field is stored, or None where it has its default value."""
        entry = 4 + 2 * number
        offset = self._int("H", self.fields + entry) if entry < self._int("H", self.fields) else 0
        return self.at + offset if offset else None

    def scalar(self, number: int, code: str) -> int:
        at = self._field(number)
        return 0 if at is None else self._int(code, at)

    def array(self, number: int, dtype: str) -> np.ndarray:
        at = self._field(number)
        if at is None:
            return np.empty(0, dtype)
        at += self._int("I", at)
        return np.frombuffer(self.data, dtype, self._int("I", at), at + 4)

    def table(self, number: int) -> Flat:
        at = self._field(number)
        assert at is not None
        return Flat(self.data, at + self._int("I", at))

    def tables(self, number: int) -> list[Flat]:
        at = self._field(number)
        assert at is not None
        at += self._int("I", at)
        places = range(at + 4, at + 4 + 4 * self._int("I", at), 4)
        return [Flat(self.data, place + self._int("I", place)) for place in places]


@dataclass(frozen=True)
class Layer:
    """A convolution or linear layer in torch's layout: weight, bias, and shape of the output without the batch."""

    weight: Tensor
    bias: Tensor
    output: tuple[int, ...]


CONVOLUTION, DEPTHWISE, LINEAR = 3, 4, 9  # of BuiltinOperator in TFLite's schema
FLOAT32 = 0  # of TensorType


def trained_layers(file: str) -> Iterator[Layer]:
    """The layers of a float TFLite file in order; the field numbers are those of TFLite's schema."""
    path = TRAINED / file
    if not path.is_file():
        pytest.skip(f"no trained file {path}")
    data = path.read_bytes()
    model = Flat(data, struct.unpack_from("<I", data)[0])
    graph, buffers = model.tables(2)[0], model.tables(4)
    codes = [max(code.scalar(0, "b"), code.scalar(3, "i")) for code in model.tables(1)]
    tensors = graph.tables(0)

    def value(index: int) -> Tensor:
        """A float32 constant, or an int8 one times the scales of its channels."""
        tensor = tensors[index]
        shape, stored = tensor.array(0, "<i4"), buffers[tensor.scalar(2, "I")].array(0, "u1")
        if tensor.scalar(1, "b") == FLOAT32:
            return torch.tensor(stored.view("<f4")).reshape(*shape)
        scheme = tensor.table(4)
        scales, axis = torch.tensor(scheme.array(2, "<f4")), scheme.scalar(6, "i")
        along = [-1 if dimension == axis else 1 for dimension in range(len(shape))]
        return torch.tensor(stored.view("i1")).reshape(*shape) * scales.reshape(along if len(scales) > 1 else ())

    for call in graph.tables(3):
        code, inputs, outputs = codes[call.scalar(0, "I")], call.array(1, "<i4"), call.array(2, "<i4")
        if code in (CONVOLUTION, DEPTHWISE, LINEAR):
            weight, shape = value(inputs[1]), tensors[outputs[0]].array(0, "<i4").tolist()
            order = {CONVOLUTION: (0, 3, 1, 2), DEPTHWISE: (3, 0, 1, 2), LINEAR: (0, 1)}[code]
            yield Layer(weight.permute(order), value(inputs[2]), (shape[-1], *shape[1:-1]))


def trained(name: str, file: str) -> nn.Module:
    """The net with the weights of the file; every layer must have the file's shapes. Batch norm is left with the bias.

    Convolutions pad as TensorFlow does, unevenly where the stride does not fit.
    """
    model, layers = models.create(name).eval(), trained_layers(file)
    pending: list[Tensor] = []

    def fill(module: nn.Module, inputs: tuple[Tensor]) -> tuple[Tensor]:
        layer = next(layers)
        assert module.weight.shape == layer.weight.shape
        module.weight.data = layer.weight
        if module.bias is None:
            pending.append(layer.bias)
        else:
            module.bias.data = layer.bias
        module.expected = layer.output
        if isinstance(module, nn.Conv2d):
            module.padding = (0, 0)
            return (pad_as_tensorflow(inputs[0], module),)
        return inputs

    def shift(module: nn.Module, inputs: tuple[Tensor]) -> None:
        module.weight.data.fill_(math.sqrt(1 + module.eps))
        module.bias.data = pending.pop()

    def compare(module: nn.Module, inputs: tuple[Tensor], output: Tensor) -> None:
        assert tuple(output.shape[1:]) == module.expected

    for module in model.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            module.register_forward_pre_hook(fill)
            module.register_forward_hook(compare)
        elif isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)):
            module.register_forward_pre_hook(shift)
    model.left = layers
    return model


def pad_as_tensorflow(x: Tensor, layer: nn.Conv2d) -> Tensor:
    pads: list[int] = []
    for size, kernel, stride in zip(x.shape[2:], layer.kernel_size, layer.stride, strict=True):
        total = max(0, (-(-size // stride) - 1) * stride + kernel - size)
        pads = [total // 2, total - total // 2, *pads]
    return functional.pad(x, pads)


@pytest.mark.parametrize(
    ("name", "file", "shape", "expected"),
    [
        (
            "resnet8",
            "pretrainedResnet.tflite",
            (32, 32, 3),
            (0.1291996, 0.0000398, 0.0014023, 0.0547792, 0.8039094, 0.0002001, 0.0044623, 0.0038983, 0.0020468),
        ),
        (
            "ds_cnn",
            "kws_ref_model_float32.tflite",
            (49, 10, 1),
            (0.0587806, 0.0565808, 0.0123526, 0.0222959, 0.0296445, 0.0524008, 0.0097906, 0.0673324, 0.0585556),
        ),
        ("mobilenet_v1", "vww_96_float.tflite", (96, 96, 3), (0.972648, 0.027352)),
        (
            "autoencoder",
            "ad01_fp32.tflite",
            (640,),
            (-34.790554, -19.0816765, -10.4250507, -5.8128242, -3.0380523, 1.6059378, -0.7347407, -2.2735064),
        ),
    ],
)
def test_the_nets_of_mlperf_tiny_compute_what_the_trained_files_do(
    name: str, file: str, shape: tuple[int, ...], expected: tuple[float, ...]
) -> None:
    """The expected values are those of LiteRT on sin(0), sin(1), ... in the file's layout; float sums differ a bit.

    It would compute with the int8 weights of one file in 8 bits: they were made float32 first.
    """
    model = trained(name, file)
    x = torch.from_numpy(np.sin(np.arange(math.prod(shape))).astype(np.float32)).reshape(1, *shape)
    with torch.no_grad():
        y = model(x.permute(0, 3, 1, 2) if len(shape) == 3 else x)
    if name != "autoencoder":
        y = y.softmax(1)
    assert next(model.left, None) is None
    torch.testing.assert_close(y[0, : len(expected)], torch.tensor(expected), rtol=1e-4, atol=1e-6)
