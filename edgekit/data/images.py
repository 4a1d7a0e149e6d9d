"""A folder of images, decoded by Pillow, as uint8 [N, channels, height, width]; at most 4 GiB of them."""

from __future__ import annotations

import struct
import warnings
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgekit.data.folders import listing
from edgekit.data.source import Source, allocate
from edgekit.data.split import Split
from edgekit.errors import DataError, MissingDependency
from edgekit.options import ImagesConfig, TaskKind

if TYPE_CHECKING:
    from torch import nn

FORMATS = {"BMP": (".bmp",), "JPEG": (".jpg", ".jpeg"), "PNG": (".png",), "PPM": (".pgm", ".ppm")}
MAX_PIXELS = 2**26  # of one file: 192 MiB as RGB; a few kilobytes can claim far more
# What Pillow's decoders raise on damaged files, found by flipping bytes.
_BROKEN = (OSError, SyntaxError, ValueError, EOFError, TypeError, IndexError, OverflowError, struct.error, zlib.error)


def read_images(config: ImagesConfig, base: Path, _: TaskKind) -> Source:
    """Read the images of all classes, turned as their EXIF says and resized by antialiased bilinear interpolation.

    Raises:
        DataError: the folder has another form, or a file is no image, damaged, too large, or has more than 8 bits a
            channel; names the file.
    """
    found = listing(base / str(config.path), [suffix for group in FORMATS.values() for suffix in group], "images")
    _check_channels(config)
    height, width = config.size
    pixels = allocate(str(config.path), (len(found.files), config.channels, height, width), np.uint8)
    for place, path in enumerate(found.files):
        pixels[place] = _pixels(path, config)
    parts = [Split((pixels[at],), (found.labels[at],)) for at in (slice(found.train), slice(found.train, None))]

    def preprocess(train: Split) -> nn.Module:
        from edgekit.data.preprocess import scale_image

        return scale_image(train.inputs[0], config.mean, config.std)

    return Source(
        parts[0],
        parts[1] if found.train < len(found.files) else None,
        found.classes,
        preprocess=preprocess,
        facts={"kind": "images", "size": [height, width], "channels": config.channels},
    )


def _check_channels(config: ImagesConfig) -> None:
    for name, values in (("mean", config.mean), ("std", config.std)):
        if values is not None and len(values) != config.channels:
            raise DataError(f"`data.images.{name}` has {len(values)} values for {config.channels} channels.")


def _pixels(path: Path, config: ImagesConfig) -> NDArray[np.uint8]:
    try:
        from PIL import Image, ImageOps
    except ImportError as error:
        raise MissingDependency("Images need Pillow.", fix="pip install 'edgekit[train]'") from error
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what matters is refused below
            with Image.open(path, formats=tuple(FORMATS)) as image:
                _check(path, image)
                upright = ImageOps.exif_transpose(image).convert("L" if config.channels == 1 else "RGB")
                resized = upright.resize(config.size[::-1], Image.Resampling.BILINEAR)
    except (*_BROKEN, Image.DecompressionBombError) as error:
        raise DataError(f"{path} cannot be read as an image: {error}.", fix="Replace it or remove it.") from error
    pixels = np.asarray(resized, dtype=np.uint8)
    return pixels[None] if config.channels == 1 else np.moveaxis(pixels, 2, 0)


def _check(path: Path, image: Any) -> None:
    if image.width * image.height > MAX_PIXELS:
        raise DataError(
            f"{path} has {image.width} x {image.height} pixels; the limit is {MAX_PIXELS:,}.",
            fix="Make it smaller.",
        )
    if image.mode[0] in "IF":  # Pillow would cut these off at 255
        raise DataError(f"{path} has more than 8 bits a channel (mode {image.mode}).", fix="Convert it to 8 bits.")
