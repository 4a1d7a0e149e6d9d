"""What a device computes before the model: modules of buffers, no parameters, that become part of the exported graph.

They use plain operators alone (convolution, multiply, compare, log), which ONNX Runtime and TensorRT have; a spectrum
is a convolution with the window and the discrete Fourier transform as its fixed weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn


class Deployed(nn.Module):
    """A model behind its preprocessing: what is exported.

    The first input goes through ``preprocess``; further ones reach the model as they are.

    Args:
        preprocess: of the first input.
        model: reads what it gives.
        features: return ``(output, features)``, for reconstruction, whose output is held against the features.
    """

    def __init__(self, preprocess: nn.Module, model: nn.Module, features: bool = False) -> None:
        super().__init__()
        self.preprocess, self.model, self._features = preprocess, model, features

    def forward(self, input: Tensor, *more: Tensor) -> Any:
        """Return the model's output, or it and the features."""
        features = self.preprocess(input)
        output = self.model(features, *more)
        return (output, features) if self._features else output


class Standardize(nn.Module):
    """Raw columns of a table, float32 [N, columns], to features, float32 [N, features].

    Numbers become ``(x - shift) * scale``, NaN first the median; a column of words, whose values are places in its
    list, becomes one value 0 or 1 for each word. Numbers stand first, then the words, each in the order of columns.
    """

    numbers: Tensor
    shift: Tensor
    scale: Tensor
    median: Tensor | None
    words: Tensor
    codes: Tensor

    def __init__(
        self,
        shift: NDArray[np.floating[Any]],
        scale: NDArray[np.floating[Any]],
        median: NDArray[np.floating[Any]] | None = None,
        words: Sequence[int] = (),
    ) -> None:
        """Take one value for each column of numbers.

        Args:
            shift, scale, median: of the columns of numbers, in order; without a median NaN stays NaN.
            words: of each column how many words it has, 0 for numbers; all numbers by default.
        """
        super().__init__()
        counts = np.array(words or [0] * len(shift), dtype=np.int64)
        place = np.arange(len(counts))
        self.register_buffer("numbers", torch.from_numpy(place[counts == 0]))
        for name, value in (("shift", shift), ("scale", scale), ("median", median)):
            self.register_buffer(name, None if value is None else _float32(value))
        self.register_buffer("words", torch.from_numpy(np.repeat(place, counts)))
        codes = [np.arange(count) for count in counts]
        self.register_buffer("codes", _float32(np.concatenate(codes)))
        self._all_numbers = not counts.any()

    def forward(self, x: Tensor) -> Tensor:
        """Return the features."""
        numbers = x if self._all_numbers else x.index_select(1, self.numbers)
        if self.median is not None:
            numbers = torch.where(torch.isnan(numbers), self.median, numbers)
        numbers = (numbers - self.shift) * self.scale
        if self._all_numbers:
            return numbers
        return torch.cat([numbers, (x.index_select(1, self.words) == self.codes).to(x.dtype)], 1)


class ScaleImage(nn.Module):
    """Images, uint8 [N, C, H, W], to float32: ``(x / 255 - mean) / std`` for each channel."""

    shift: Tensor
    scale: Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.register_buffer("shift", _float32(255 * np.array(mean)).reshape(-1, 1, 1))
        self.register_buffer("scale", _float32(1 / (255 * np.array(std))).reshape(-1, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Return the scaled images."""
        return (x.to(torch.float32) - self.shift) * self.scale


def standardize(
    x: NDArray[np.float32],
    words: Sequence[int],
    *,
    scale: Literal["standard", "minmax", "none"] = "standard",
    median: bool = False,
) -> Standardize:
    """Learn shift, scale and median of a table's columns of numbers from training items, float32 [N, columns].

    A column that never changes is only shifted. Statistics leave NaN out; a column of nothing else becomes 0.
    """
    numbers = np.flatnonzero(np.array(words) == 0)
    columns = [_present(x[:, place]) for place in numbers]
    shift, spread = np.zeros(len(numbers)), np.ones(len(numbers))
    if scale == "standard":
        shift, spread = np.array([c.mean() for c in columns]), np.array([c.std() for c in columns])
    elif scale == "minmax":
        shift = np.array([c.min() for c in columns])
        spread = np.array([c.max() for c in columns]) - shift
    medians = np.array([np.median(column) for column in columns]) if median else None
    return Standardize(shift, 1 / _nonzero(spread, shift), medians, words)


def scale_image(x: NDArray[np.uint8], mean: Sequence[float] | None, std: Sequence[float] | None) -> ScaleImage:
    """Take mean and deviation of each channel, in units of the range [0, 1], from training items, uint8 [N, C, H, W].

    A channel that never changes is only shifted.
    """
    counts = np.stack([np.bincount(x[:, channel].ravel(), minlength=256) for channel in range(x.shape[1])])
    levels = np.arange(256) / 255
    share = counts / counts.sum(axis=1, keepdims=True)
    own_mean = share @ levels
    own_std = np.sqrt(share @ levels**2 - own_mean**2 if std is None else np.ones(len(share)))
    deviation = _nonzero(own_std, own_mean).tolist() if std is None else std
    return ScaleImage(own_mean.tolist() if mean is None else mean, deviation)


def _present(column: NDArray[np.float32]) -> NDArray[np.float64]:
    found = column[~np.isnan(column)].astype(np.float64)
    return found if len(found) else np.zeros(1)


def _nonzero(spread: NDArray[np.float64], near: NDArray[np.float64]) -> NDArray[np.float64]:
    """The spread, or 1 where it is nothing but the rounding of values as large as ``near``."""
    return np.where(spread > 1e-9 * np.abs(near), spread, 1.0)


def _float32(values: Any) -> Tensor:
    return torch.from_numpy(np.asarray(values, dtype=np.float32))
