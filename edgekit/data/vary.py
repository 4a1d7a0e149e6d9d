"""Shift and noise: one transformation of images or sounds, for training batches and for the varied test set."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekit.data.split import Split
from edgekit.errors import DataError

Items = NDArray[Any]
Floats = NDArray[np.float32]

MIN_SAMPLES = 800  # of a sound: 100 ms at 8 kHz; shorter rows of numbers are taken as tables
MAX_SHIFT = 1600  # samples: 100 ms at 16 kHz
LOUDNESS = 0.05  # of the noise, over that of the sound: 26 dB below it


def augment(items: Items, rng: np.random.Generator, *, shift: int = 1, noise: float = 1.0, levels: int = 16) -> Items:
    """Shift every image or sound, add Gaussian noise and clip; the type stays.

    Images move by whole pixels, and the noise is in levels. Sounds move by up to 100 ms of a sound of a second (a tenth
    of an item, at most 1,600 samples), and the noise is a twentieth of each one's own root mean square.

    Args:
        items: images [N, C, H, W], float32 in [0, 1] or uint8; or sounds, float32 [N, samples] in [-1, 1].
        rng: where the randomness comes from.
        shift: largest shift of images along each axis, either way; zeros come in.
        noise: standard deviation of the noise in images, in levels; of that in sounds, in twentieths.
        levels: how many levels the range of images has.

    Raises:
        DataError: these are neither images nor sounds, which have at least 800 samples.
    """
    if items.ndim == 2 and items.dtype == np.float32 and items.shape[1] >= MIN_SAMPLES:
        return _augment_sounds(items, rng, noise)
    if items.ndim != 4 or items.dtype not in (np.float32, np.uint8):
        raise DataError(
            f"Items of shape {list(items.shape[1:])}, {items.dtype}, cannot be shifted.",
            f"Augmentation is for images, [N, C, H, W], and for sounds, [N, samples] of at least {MIN_SAMPLES}.",
            "Set `augment: false` in the recipe.",
        )
    images = items if items.dtype == np.float32 else items / np.float32(255)
    shifted = _shift(images, rng.integers(-shift, shift + 1, (len(images), 2)), shift)
    shifted += rng.standard_normal(images.shape, np.float32) * np.float32(noise / levels)
    np.clip(shifted, 0, 1, out=shifted)
    return shifted if items.dtype == np.float32 else np.rint(shifted * 255).astype(np.uint8)


def vary(split: Split, items: int, shift: int, noise: float, levels: int, seed: int) -> Split:
    """Make a larger held-out set from a held-out set: its items in turn, each time shifted and with noise anew.

    Every item is used equally often, to within one. Arguments as :func:`augment`; the same seed gives the same set.

    Raises:
        DataError: the items are not images, uint8 or of the range [0, 1].
    """
    images = split.inputs[0]
    top = 255 if images.dtype == np.uint8 else 1
    if len(split.inputs) != 1 or images.ndim != 4 or images.min() < 0 or images.max() > top:
        raise DataError(
            "A varied test set was asked for, but the items are not images [C, H, W], uint8 or in [0, 1].",
            fix="Remove `data.varied` from the recipe, or scale the images.",
        )
    turns = np.arange(items) % len(split)
    varied = augment(images[turns], np.random.default_rng(seed), shift=shift, noise=noise, levels=levels)
    return Split((varied,), split.take(turns).targets)


def _shift(images: Floats, offsets: NDArray[np.int64], largest: int) -> Floats:
    """Move image n by ``offsets[n]`` (down, right)."""
    count, _, height, width = images.shape
    padded = np.pad(images, ((0, 0), (0, 0), (largest, largest), (largest, largest)))
    rows = np.arange(height) + largest - offsets[:, :1]
    columns = np.arange(width) + largest - offsets[:, 1:]
    moved = padded[np.arange(count)[:, None, None], :, rows[:, :, None], columns[:, None, :]]
    # A copy: what numpy calls contiguous with one channel is channels last to torch, whose strided 1x1 convolutions of
    # fewer than eight such channels write past their memory on AVX2 (torch 2.13).
    moved_first: Floats = np.moveaxis(moved, 3, 1).copy()
    return moved_first


def _augment_sounds(sounds: Floats, rng: np.random.Generator, noise: float) -> Floats:
    """Move every sound later or earlier, with silence coming in, and add noise as loud as itself allows."""
    count, length = sounds.shape
    largest = min(length // 10, MAX_SHIFT)
    moved = rng.standard_normal(sounds.shape, np.float32)
    moved *= np.sqrt(np.mean(sounds**2, axis=1, keepdims=True)) * np.float32(noise * LOUDNESS)
    for place, offset in enumerate(rng.integers(-largest, largest + 1, count).tolist()):
        begin, end = max(offset, 0), length + min(offset, 0)
        moved[place, begin:end] += sounds[place, begin - offset : end - offset]
    return np.clip(moved, -1, 1, out=moved)
