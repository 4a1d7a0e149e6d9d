"""Shift and noise: one transformation of images, for training batches and for the varied test set."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edgekit.data.split import Split
from edgekit.errors import DataError

Images = NDArray[np.float32]


def augment(
    images: Images, rng: np.random.Generator, *, shift: int = 1, noise: float = 1.0, levels: int = 16
) -> Images:
    """Shift every image by whole pixels, add Gaussian noise and clip to [0, 1].

    Args:
        images: float32 [N, C, H, W] with values in [0, 1].
        rng: where the randomness comes from.
        shift: largest shift along each axis, either way; zeros come in.
        noise: standard deviation of the noise, in levels.
        levels: how many levels the range [0, 1] has.

    Raises:
        DataError: these are not images.
    """
    if images.ndim != 4:
        raise DataError(
            f"Items of shape {list(images.shape[1:])} cannot be shifted.",
            "Augmentation is for images, [N, C, H, W].",
            "Set `augment: false` in the recipe.",
        )
    shifted = _shift(images, rng.integers(-shift, shift + 1, (len(images), 2)), shift)
    shifted += rng.standard_normal(images.shape, np.float32) * np.float32(noise / levels)
    return np.clip(shifted, 0, 1, out=shifted)


def vary(split: Split, items: int, shift: int, noise: float, levels: int, seed: int) -> Split:
    """Make a larger held-out set from a held-out set: its items in turn, each time shifted and with noise anew.

    Every item is used equally often, to within one. Arguments as :func:`augment`; the same seed gives the same set.

    Raises:
        DataError: the items are not images of the range [0, 1].
    """
    images = split.inputs[0]
    if len(split.inputs) != 1 or images.ndim != 4 or images.min() < 0 or images.max() > 1:
        raise DataError(
            "A varied test set was asked for, but the items are not images [C, H, W] with values in [0, 1].",
            fix="Remove `data.varied` from the recipe, or scale the images.",
        )
    turns = np.arange(items) % len(split)
    varied = augment(images[turns], np.random.default_rng(seed), shift=shift, noise=noise, levels=levels)
    return Split((varied,), split.take(turns).targets)


def _shift(images: Images, offsets: NDArray[np.int64], largest: int) -> Images:
    """Move image n by ``offsets[n]`` (down, right)."""
    count, _, height, width = images.shape
    padded = np.pad(images, ((0, 0), (0, 0), (largest, largest), (largest, largest)))
    rows = np.arange(height) + largest - offsets[:, :1]
    columns = np.arange(width) + largest - offsets[:, 1:]
    moved = padded[np.arange(count)[:, None, None], :, rows[:, :, None], columns[:, None, :]]
    return np.ascontiguousarray(np.moveaxis(moved, 3, 1))
