"""Spectral features of sounds as modules of buffers: log-mel bands, and the cepstral coefficients made of them.

Framing, window and discrete Fourier transform are one convolution whose weights are fixed; the sum of squares over
real and imaginary part is part of the mel matrix. So everything runs where a CNN does.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from edgekit.errors import DataError

LOWEST_HZ = 20.0
FLOOR = 1e-10  # of the power in a band, where a sine of full scale has 0.25: 94 dB below it, or silence
_VALUES = 2**22  # samples of a batch while statistics are taken
Matrix = NDArray[np.float64]


class LogMel(nn.Module):
    """Sounds, float32 [N, samples], to normalised natural logarithms of power in mel bands, [N, 1, frames, bands].

    Frames begin at every ``hop``-th sample as long as a whole window is left. The window is Hann's (periodic), the
    spectrum is divided by its sum. Bands are triangles in Hz whose corners are evenly spaced in mel (HTK:
    ``2595 log10(1 + f / 700)``) from 20 Hz to half the rate.
    """

    kernel: Tensor
    mel: Tensor
    shift: Tensor
    scale: Tensor

    def __init__(self, rate: int, window: int, hop: int, bands: int) -> None:
        """Take rate in Hz, window and hop in samples; DataError for a band so narrow that no frequency lies in it."""
        super().__init__()
        self._hop = hop
        triangles = mel_triangles(rate, window, bands)
        heard = np.flatnonzero(triangles.any(axis=0))
        self.register_buffer("kernel", _kernel(_fourier(window, heard)))
        self.register_buffer("mel", _pointwise(np.concatenate([triangles[:, heard]] * 2, axis=1)))
        self.register_buffer("shift", torch.zeros(1, bands, 1, 1))
        self.register_buffer("scale", torch.ones(1, bands, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Return the features."""
        return ((self.bands(x) - self.shift) * self.scale).permute(0, 2, 3, 1)

    def bands(self, x: Tensor) -> Tensor:
        """The logarithms before they are normalised, [N, bands, 1, frames]."""
        spectrum = nn.functional.conv2d(x.unsqueeze(1).unsqueeze(1), self.kernel, stride=(1, self._hop))
        return nn.functional.conv2d(spectrum * spectrum, self.mel).clamp(min=FLOOR).log()


class Mfcc(LogMel):
    """Sounds, float32 [N, samples], to normalised cepstral coefficients, [N, 1, frames, coefficients].

    The first coefficients of the orthonormal discrete cosine transform (type II) of the log-mel bands.
    """

    cosine: Tensor

    def __init__(self, rate: int, window: int, hop: int, bands: int, coefficients: int) -> None:
        super().__init__(rate, window, hop, bands)
        self.register_buffer("cosine", _pointwise(_cosine(bands, coefficients)))
        self.register_buffer("shift", torch.zeros(1, coefficients, 1, 1))
        self.register_buffer("scale", torch.ones(1, coefficients, 1, 1))

    def bands(self, x: Tensor) -> Tensor:
        """The coefficients before they are normalised, [N, coefficients, 1, frames]."""
        return nn.functional.conv2d(super().bands(x), self.cosine)


def learn_spectrum(
    x: NDArray[np.float32], rate: int, window: int, hop: int, bands: int, coefficients: int | None = None
) -> LogMel:
    """Make the module and take mean and deviation of each band over all frames of training items, float32 [N, samples].

    Args:
        x: the sounds.
        rate: in Hz.
        window, hop: length and distance of frames in samples.
        bands: of the mel filter bank.
        coefficients: of the MFCC, or None for log-mel bands.
    """
    form = (rate, window, hop, bands)
    module = LogMel(*form) if coefficients is None else Mfcc(*form, coefficients)
    count = 0
    total, squares = torch.zeros_like(module.shift).double(), torch.zeros_like(module.shift).double()
    step = max(1, _VALUES // x.shape[1])
    for start in range(0, len(x), step):
        values = module.bands(torch.from_numpy(x[start : start + step])).double()
        total += values.sum((0, 3), keepdim=True)
        squares += (values**2).sum((0, 3), keepdim=True)
        count += len(values) * values.shape[3]
    mean = total / count
    spread = (squares / count - mean**2).clamp(min=0).sqrt()
    module.shift.copy_(mean)
    module.scale.copy_(1 / torch.where(spread > 1e-4, spread, 1.0))  # a band that is silent everywhere
    return module


def mel_triangles(rate: int, window: int, bands: int) -> Matrix:
    """Return how much each frequency of the transform counts in each band, [bands, window // 2 + 1].

    Raises:
        DataError: no frequency lies in some band.
    """
    low, high = (2595 * np.log10(1 + hertz / 700) for hertz in (LOWEST_HZ, rate / 2))
    corners = 700 * (10 ** (np.linspace(low, high, bands + 2) / 2595) - 1)
    frequencies = np.arange(window // 2 + 1) * rate / window
    rising = (frequencies - corners[:-2, None]) / np.diff(corners)[:-1, None]
    falling = (corners[2:, None] - frequencies) / np.diff(corners)[1:, None]
    triangles: Matrix = np.clip(np.minimum(rising, falling), 0, None)
    empty = np.flatnonzero(~triangles.any(axis=1))
    if len(empty):
        raise DataError(
            f"Band {empty[0]} of {bands} is so narrow that no frequency of a window of {window} samples lies in it.",
            fix="Use fewer `data.wav.bands` or a longer `window_ms`.",
        )
    return triangles


def _fourier(window: int, frequencies: NDArray[np.intp]) -> Matrix:
    """Window times cosine and sine of each frequency over the window's sum, [2 frequencies, window]."""
    time = np.arange(window)
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * time / window)
    angles = 2 * np.pi * (frequencies[:, None] * time % window) / window
    rows: Matrix = np.concatenate([np.cos(angles), np.sin(angles)]) * hann / hann.sum()
    return rows


def _cosine(bands: int, coefficients: int) -> Matrix:
    angles = np.pi * np.arange(coefficients)[:, None] * (np.arange(bands) + 0.5) / bands
    scale = np.where(np.arange(coefficients) == 0, 1.0, 2.0)[:, None]
    return np.cos(angles) * np.sqrt(scale / bands)


def _kernel(rows: Matrix) -> Tensor:
    """Rows [out, width] as a convolution along the last axis of an image of one channel and one line."""
    return torch.from_numpy(rows.astype(np.float32))[:, None, None, :].contiguous()


def _pointwise(rows: Matrix) -> Tensor:
    """Rows [out, in] as a convolution across channels."""
    return torch.from_numpy(rows.astype(np.float32))[:, :, None, None].contiguous()
