"""The table of the nets that ship: what builds each, what it reads, and where it was published."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from edgekit.errors import ModelError, did_you_mean
from edgekit.models.autoencoder import autoencoder
from edgekit.models.decoder import Decoder
from edgekit.models.ds_cnn import DSCNN
from edgekit.models.encoder import Encoder
from edgekit.models.mlp import mlp
from edgekit.models.mobilenet_v1 import MobileNetV1
from edgekit.models.mobilenet_v2 import MobileNetV2
from edgekit.models.recurrent import gru_classifier, lstm_classifier
from edgekit.models.resnet import resnet18, resnet50
from edgekit.models.resnet8 import ResNet8
from edgekit.models.tcn import TCN
from edgekit.models.text_cnn import TextCNN
from edgekit.models.two_tower import TwoTower
from edgekit.models.vit import ViT

Values = Mapping[str, Any]


@dataclass(frozen=True)
class Floats:
    """An input of float32 values: its name, and its shape behind the batch in numbers and names of arguments."""

    name: str
    shape: tuple[int | str, ...]

    def draw(self, values: Values, batch: int, generator: torch.Generator) -> Tensor:
        """Normal values, [batch, *shape]."""
        return torch.randn(batch, *dimensions(self, values), generator=generator, device="cpu")


@dataclass(frozen=True)
class Tokens:
    """An input of int64 token ids, [N, length]: its name, and the names of the arguments that bound it."""

    name: str
    shape: tuple[int | str, ...] = ("length",)
    below: str = "vocabulary"

    def draw(self, values: Values, batch: int, generator: torch.Generator) -> Tensor:
        """Ids of equal probability, [batch, *shape]."""
        shape = (batch, *dimensions(self, values))
        return torch.randint(values[self.below], shape, generator=generator, device="cpu")


def dimensions(read: Floats | Tokens, values: Values) -> tuple[int, ...]:
    """The shape of an input behind the batch, in numbers."""
    return tuple(values[d] if isinstance(d, str) else d for d in read.shape)


@dataclass(frozen=True)
class Entry:
    """One net.

    Args:
        build: takes keyword arguments, all with defaults, and gives the net.
        reads: its inputs, in the order of ``forward``.
        source: the paper, by authors and year.
        sizes: dimensions of the inputs that the net leaves open, each with the published or a usual value.
        small: arguments and sizes with which the net keeps its structure and tests are quick.
    """

    build: Callable[..., nn.Module]
    reads: tuple[Floats | Tokens, ...]
    source: str
    sizes: Mapping[str, int] = field(default_factory=dict)
    small: Mapping[str, Any] = field(default_factory=dict)

    @property
    def defaults(self) -> dict[str, Any]:
        """The arguments of the net with their defaults."""
        return {p.name: p.default for p in inspect.signature(self.build).parameters.values()}


_IMAGE = Floats("image", ("in_channels", "size", "size"))
_TOKENS = Tokens("tokens")
_SERIES = Floats("series", ("length", "features"))
_TEXT = {"vocabulary": 40, "length": 12, "width": 16}

MODELS: dict[str, Entry] = {
    "mlp": Entry(mlp, (Floats("row", ("inputs",)),), "Rumelhart et al. 1986", small={"inputs": 12, "hidden": 16}),
    "resnet8": Entry(ResNet8, (_IMAGE,), "MLPerf Tiny 2021", {"size": 32}, {"width": 8, "size": 8}),
    "resnet18": Entry(resnet18, (_IMAGE,), "He et al. 2016", {"size": 224}, {"width": 8, "classes": 10, "size": 32}),
    "resnet50": Entry(resnet50, (_IMAGE,), "He et al. 2016", {"size": 224}, {"width": 8, "classes": 10, "size": 32}),
    "ds_cnn": Entry(
        DSCNN,
        (Floats("spectrogram", ("in_channels", "length", "coefficients")),),
        "MLPerf Tiny 2021; Zhang et al. 2017",
        {"length": 49, "coefficients": 10},
        {"width": 16, "length": 13, "coefficients": 6},
    ),
    "mobilenet_v1": Entry(
        MobileNetV1, (_IMAGE,), "MLPerf Tiny 2021; Howard et al. 2017", {"size": 96}, {"width": 0.125, "size": 32}
    ),
    "mobilenet_v2": Entry(
        MobileNetV2, (_IMAGE,), "Sandler et al. 2018", {"size": 224}, {"width": 0.25, "classes": 10, "size": 32}
    ),
    "autoencoder": Entry(
        autoencoder, (Floats("frames", ("inputs",)),), "MLPerf Tiny 2021", small={"inputs": 40, "hidden": 16, "code": 4}
    ),
    "tcn": Entry(
        TCN,
        (Floats("series", ("in_channels", "length")),),
        "Bai et al. 2018",
        {"length": 64},
        {"width": 8, "length": 20},
    ),
    "gru_classifier": Entry(gru_classifier, (_SERIES,), "Cho et al. 2014", {"length": 49}, {"hidden": 8, "length": 9}),
    "lstm_classifier": Entry(
        lstm_classifier, (_SERIES,), "Hochreiter and Schmidhuber 1997", {"length": 49}, {"hidden": 8, "length": 9}
    ),
    "text_cnn": Entry(TextCNN, (_TOKENS,), "Kim 2014", small=_TEXT),
    "encoder": Entry(Encoder, (_TOKENS,), "Devlin et al. 2019", small=_TEXT),
    "decoder": Entry(Decoder, (_TOKENS,), "Radford et al. 2019", small=_TEXT),
    "vit": Entry(ViT, (_IMAGE,), "Dosovitskiy et al. 2021", small={"size": 16, "width": 16}),
    "two_tower": Entry(
        TwoTower, (_IMAGE, _TOKENS), "Radford et al. 2021", {"size": 32}, {"size": 8, "channels": 8, "width": 16}
    ),
}


def names() -> tuple[str, ...]:
    """Return the names of the nets that ship."""
    return tuple(MODELS)


def find(name: str) -> Entry:
    """Return the entry of a net, or raise a :class:`ModelError` that names the nearest."""
    if name not in MODELS:
        raise ModelError(f"There is no model {name!r}.{did_you_mean(name, MODELS)}", fix=f"Known: {', '.join(MODELS)}.")
    return MODELS[name]


def check(name: str, given: Values, known: Values) -> None:
    """Refuse an argument that is not in ``known``, or no positive int where its default is one."""
    for key, value in given.items():
        if key not in known:
            close = did_you_mean(key, known)
            raise ModelError(f"{name} takes no argument {key!r}.{close}", fix=f"It takes: {', '.join(known)}.")
        counts = type(known[key]) is int
        if counts and (type(value) is not int or value < 1):
            raise ModelError(f"{name} takes no {key}={value!r}.", fix="Give a whole number, 1 or more.")
