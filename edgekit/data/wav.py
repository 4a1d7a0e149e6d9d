"""A folder of sounds as float32 [N, rate * seconds] from -1 to 1; at most 4 GiB of them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from edgekit.data.folders import Listing, listing
from edgekit.data.riff import read_riff
from edgekit.data.source import Preprocess, Source, allocate
from edgekit.data.split import Split
from edgekit.errors import DataError
from edgekit.options import TaskKind, WavConfig

if TYPE_CHECKING:
    from torch import nn


def read_wav(config: WavConfig, base: Path, _: TaskKind) -> Source:
    """Read the sounds of all classes; shorter ones end in silence, longer ones are cut, stereo becomes the mean.

    Raises:
        DataError: the folder has another form, or a file is no PCM sound of the rate, damaged or empty; names it.
    """
    found = listing(base / str(config.path), (".wav",), "wav")
    length = round(config.rate * config.seconds)
    if not length:
        raise DataError("`data.wav.seconds` is less than one sample.", fix="Give longer items.")
    sounds = allocate(str(config.path), (len(found.files), length), np.float32)
    for place, path in enumerate(found.files):
        samples = read_riff(path, config.rate, length)
        sounds[place, : len(samples)] = samples
    parts = [Split((sounds[at],), (found.labels[at],)) for at in (slice(found.train), slice(found.train, None))]
    groups = _groups(found, config.group_separator) if config.group_separator else None
    return Source(
        parts[0],
        parts[1] if found.train < len(found.files) else None,
        found.classes,
        None if groups is None else groups[: found.train],
        _preprocess(config, length),
        test_groups=None if groups is None or found.train == len(found.files) else groups[found.train :],
        facts={"kind": "wav", "rate": config.rate, "seconds": config.seconds, "features": config.features},
    )


def _groups(found: Listing, separator: str) -> NDArray[np.int64]:
    """Number the groups in the order of their names, which stand before the first separator of a file's name."""
    for path in found.files:
        if separator not in path.stem or path.stem.startswith(separator):
            raise DataError(
                f"{path} names no group before {separator!r}.",
                fix="Call it like anna_01.wav, or leave `data.wav.group_separator` out.",
            )
    names = [path.stem.partition(separator)[0] for path in found.files]
    places = {name: place for place, name in enumerate(sorted(set(names)))}
    return np.array([places[name] for name in names], np.int64)


def _preprocess(config: WavConfig, length: int) -> Preprocess | None:
    if config.features == "none":
        return None
    window, hop = (round(config.rate * ms / 1000) for ms in (config.window_ms, config.hop_ms))
    coefficients = config.coefficients if config.features == "mfcc" else None
    if not 2 <= window <= length or not hop:
        raise DataError(
            f"A window of {window} samples every {hop} does not fit a sound of {length}.",
            fix="Change `window_ms` or `hop_ms` of `data.wav`.",
        )
    if coefficients is not None and coefficients > config.bands:
        raise DataError(f"{config.bands} bands cannot give {coefficients} coefficients.", fix="Ask for fewer.")

    def preprocess(train: Split) -> nn.Module:
        from edgekit.data.spectrum import learn_spectrum

        return learn_spectrum(train.inputs[0], config.rate, window, hop, config.bands, coefficients)

    return preprocess
