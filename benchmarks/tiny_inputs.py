"""Inputs for the four nets of MLPerf Tiny, made here from a seed, as the features that each net was trained on.

No evaluation data comes with the nets. Sounds are spoken by espeak-ng or come from the motor of the recipe `anomaly`;
images are cut from scikit-learn's two photographs. Calibration and test share no speaker, no sound and no pixel.
"""

from __future__ import annotations

import tempfile
import wave
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.fft import dct
from sklearn.datasets import load_sample_images

from edgekit import recipe, userfile
from edgekit.errors import DataError

CALIBRATION, TEST = 256, 1000
RATE = 16000
LOUDEST_DB = 10.0  # of the anomaly net's calibration items; its int8 file reads from -85 to 15 dB
Items = NDArray[np.float32]
Values = NDArray[np.float64]


def words() -> tuple[Items, Items]:
    """MFCC [N, 1, 49, 10] of spoken words, twelve speakers for calibration and 36 for the test.

    30 ms windows every 20 ms, 40 mel bands of the magnitude from 20 to 4000 Hz, ``log(x + 1e-6)``, cosine transform:
    what the net's training script takes.
    """
    mel = _triangles(np.linspace(_htk(20.0), _htk(4000.0), 42), _htk(np.fft.rfftfreq(512, 1 / RATE)))
    spoken = _sounds("keywords.py", speakers=48, takes=3)
    features = []
    for _, sound in sorted(spoken, key=lambda named: named[0].split("_")[0]):
        spectrum = np.abs(np.fft.rfft(_frames(sound / np.abs(sound).max(), 480, 320), 512))
        features.append(dct(np.log(spectrum @ mel.T + 1e-6), type=2)[None, :, :10] / np.sqrt(2 * 40))
    return _halves(np.stack(features), 12 * 36, seed=0)


def machines() -> tuple[Items, Items]:
    """Five frames of 128 log-mel bands in dB, [N, 640], of a motor that is sound or faulty.

    64 ms windows every 32 ms, bands of equal area (Slaney's) up to 8 kHz: what the net's training script takes.
    """
    corners = _from_slaney(np.linspace(0, _slaney(RATE / 2), 130))
    mel = _triangles(corners, np.fft.rfftfreq(1024, 1 / RATE)) * (2 / (corners[2:] - corners[:-2]))[:, None]
    powers = [np.abs(np.fft.rfft(_frames(sound, 1024, 512))) ** 2 for _, sound in _sounds("machine.py", normal=1000)]
    levels = np.stack([10 * np.log10(power[10:15] @ mel.T + 1e-10).reshape(-1) for power in powers])
    calibration, test = _halves(levels, 300, seed=1)
    shift = np.float32(LOUDEST_DB - calibration.max())
    return calibration + shift, test + shift


def photographs(size: int, top: float) -> tuple[Items, Items]:
    """Cuts of photographs, [N, 3, size, size] from 0 to ``top``: calibration from left halves, test from right ones."""
    rng = np.random.default_rng(size)
    images = [Image.fromarray(image) for image in load_sample_images().images]

    def cut(right: bool) -> Items:
        image = images[rng.integers(len(images))]
        half, height = image.width // 2, image.height
        side = int(rng.integers(size, height + 1)) if height > size else height
        side = min(side, half)
        left, upper = int(rng.integers(half - side + 1)) + half * right, int(rng.integers(height - side + 1))
        taken = image.crop((left, upper, left + side, upper + side)).resize((size, size), Image.Resampling.BILINEAR)
        return np.asarray(taken, np.float32).transpose(2, 0, 1) * np.float32(top / 255)

    return np.stack([cut(False) for _ in range(CALIBRATION)]), np.stack([cut(True) for _ in range(TEST)])


def _halves(features: Values, border: int, seed: int) -> tuple[Items, Items]:
    """Some of what stands before ``border`` to calibrate, some of the rest to test."""
    rng, items = np.random.default_rng(seed), features.astype(np.float32)
    first, rest = rng.permutation(border)[:CALIBRATION], border + rng.permutation(len(items) - border)[:TEST]
    return items[first], items[rest]


def _sounds(file: str, **arguments: Any) -> list[tuple[str, Values]]:
    """Names and samples from -1 to 1 of what a recipe's generator makes."""
    make, _ = userfile.find(file, "make", recipe.SHIPPED, DataError)
    with tempfile.TemporaryDirectory() as folder:
        make(Path(folder), **arguments)
        return [(path.stem, _read(path)) for path in sorted(Path(folder).rglob("*.wav"))]


def _read(path: Path) -> Values:
    with wave.open(str(path), "rb") as file:
        return np.frombuffer(file.readframes(file.getnframes()), "<i2") / 2.0**15


def _frames(sound: Values, window: int, hop: int) -> Values:
    """Frames [frames, window] under a periodic Hann window."""
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(window) / window)
    framed: Values = np.lib.stride_tricks.sliding_window_view(sound, window)[::hop] * hann
    return framed


def _triangles(corners: Values, places: Values) -> Values:
    """How much each place counts in each band [bands, places], both on one axis."""
    rising = (places - corners[:-2, None]) / np.diff(corners)[:-1, None]
    falling = (corners[2:, None] - places) / np.diff(corners)[1:, None]
    return np.asarray(np.clip(np.minimum(rising, falling), 0, None))


def _htk(hertz: Any) -> Any:
    return 1127.0 * np.log1p(np.asarray(hertz) / 700.0)


def _slaney(hertz: float) -> float:
    """Linear up to 1 kHz, which is 15, then 27 steps to every factor of 6.4."""
    return hertz * 3 / 200 if hertz < 1000 else 15 + 27 * float(np.log(hertz / 1000) / np.log(6.4))


def _from_slaney(mel: Values) -> Values:
    return np.where(mel < 15, mel * 200 / 3, 1000 * np.exp((mel - 15) * np.log(6.4) / 27))
