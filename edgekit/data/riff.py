"""One WAV file (RIFF; Microsoft's multimedia specification of 1994 and 2007), read strictly and no further than asked.

PCM of 8, 16, 24 or 32 bits and float of 32, of one or two channels.
"""

from __future__ import annotations

import os
import struct
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from edgekit.errors import DataError

Sound = NDArray[np.float32]
_PCM, _FLOAT, _EXTENSIBLE = 1, 3, 0xFFFE
_SUBFORMAT = bytes.fromhex("000000001000800000aa00389b71")  # what follows the format in the GUID of an extensible one


def read_riff(path: Path, rate: int, most: int) -> Sound:
    """Return at most the first ``most`` samples as float32 [n] from -1 to 1; two channels become their mean.

    Raises:
        DataError: the file is no such WAV file, cut off, empty or of another rate, or holds NaN or a value beyond
            -1 to 1.
    """
    try:
        with path.open("rb") as file:
            kind, channels, bits, size = _chunks(path, file, rate)
            frame = channels * bits // 8
            raw = file.read(min(size, most * frame))
    except (OSError, struct.error) as error:
        raise DataError(f"{path} is no whole WAV file: {error}.", fix=_FIX) from error
    values = _decoded(raw, kind, bits).reshape(-1, channels)
    if kind == _FLOAT and not (np.abs(values) <= 1).all():  # NaN too
        place = int((~(np.abs(values) <= 1)).any(axis=1).argmax())
        raise DataError(
            f"{path}: sample {place} is {values[place].tolist()}, not from -1 to 1.", fix="Scale the sound."
        )
    return values.mean(axis=1, dtype=np.float32) if channels > 1 else values[:, 0]


def _chunks(path: Path, file: BinaryIO, rate: int) -> tuple[int, int, int, int]:
    """Go to the samples; return their kind, channels, bits and bytes."""
    whole = os.fstat(file.fileno()).st_size
    riff, _, wave = struct.unpack("<4sI4s", file.read(12))
    if (riff, wave) != (b"RIFF", b"WAVE"):
        raise DataError(f"{path} is no WAV file.", fix=_FIX)
    form = None
    while True:
        name, size = struct.unpack("<4sI", file.read(8))
        start = file.tell()
        if start + size > whole:
            raise DataError(
                f"{path} is cut off: its {name!r} has {size:,} bytes, {whole - start:,} are there.", fix=_FIX
            )
        if name == b"fmt ":
            form = _format(path, file.read(size), rate)
        elif name == b"data":
            if form is None:
                raise DataError(f"{path} has samples before their format.", fix=_FIX)
            frame = form[1] * form[2] // 8
            if not size or size % frame:
                raise DataError(f"{path} has {size} bytes of samples, of {frame} each.", fix=_FIX)
            return (*form, size)
        file.seek(start + size + size % 2)


def _format(path: Path, chunk: bytes, rate: int) -> tuple[int, int, int]:
    kind, channels, own_rate, _, frame, bits = struct.unpack_from("<HHIIHH", chunk)
    if kind == _EXTENSIBLE and chunk[26:40] == _SUBFORMAT:
        (kind,) = struct.unpack_from("<H", chunk, 24)
    if (kind, bits) not in _FORMS or channels not in (1, 2):
        raise DataError(f"{path} has format {kind:#x} of {bits} bits, {channels} channels.", fix=_FIX)
    if frame != channels * bits // 8:
        raise DataError(f"{path} says that a sample of {channels} x {bits} bits takes {frame} bytes.", fix=_FIX)
    if own_rate != rate:
        raise DataError(
            f"{path} has {own_rate} samples a second, not {rate}.", fix="Resample it, or change `data.wav.rate`."
        )
    return kind, channels, bits


def _decoded(raw: bytes, kind: int, bits: int) -> Sound:
    """Samples from -1 to 1; those of 8 bits have no sign, those of 24 become the upper bytes of 32."""
    if bits == 24:
        widened = np.zeros((len(raw) // 3, 4), np.uint8)
        widened[:, 1:] = np.frombuffer(raw, np.uint8).reshape(-1, 3)
        raw = widened.tobytes()
    form, zero, one = _FORMS[kind, bits]
    values: Sound = (np.frombuffer(raw, form).astype(np.float32) - np.float32(zero)) / np.float32(one)
    return values


# Of each format and number of bits: numpy's type, the value of silence and what stands for 1.
_FORMS = {
    (_PCM, 8): ("u1", 128, 2**7),
    (_PCM, 16): ("<i2", 0, 2**15),
    (_PCM, 24): ("<i4", 0, 2**31),
    (_PCM, 32): ("<i4", 0, 2**31),
    (_FLOAT, 32): ("<f4", 0, 1),
}
_FIX = "Write it as PCM of 8, 16, 24 or 32 bits or float of 32, of one or two channels."
