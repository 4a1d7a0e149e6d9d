"""Caches of the processor: how large the last one is, and how to empty all of them."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np

from edgekit import device

LINE = 64  # bytes
UNKNOWN = 64 << 20  # where the kernel does not say how large the caches are
_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}


def last_level_bytes(root: Path = device.ROOT) -> int | None:
    """Bytes of the largest cache of the first core; None where the kernel does not say."""
    sizes = []
    for level in range(10):
        line = device.read_line(root / f"sys/devices/system/cpu/cpu0/cache/index{level}/size") or ""
        found = re.fullmatch(r"(\d{1,9})([KMG]?)", line, re.ASCII)
        if found:
            sizes.append(int(found[1]) * _UNITS[found[2]])
    return max(sizes, default=None)


def evictor(size: int | None = None) -> Callable[[], None]:
    """A function that walks a buffer and writes to every line of it, so that nothing else is left in the caches.

    Args:
        size: bytes; twice the last cache by default.
    """
    lines = np.zeros((size or 2 * (last_level_bytes() or UNKNOWN)) // LINE * LINE, np.uint8)[::LINE]

    def evict() -> None:
        np.add(lines, 1, out=lines)

    return evict
