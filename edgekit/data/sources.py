"""Which reader reads what: the one table from a recipe's ``data`` to a :class:`Source`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from edgekit.data.digits import digits
from edgekit.data.generate import generated
from edgekit.data.images import read_images
from edgekit.data.npz import npz
from edgekit.data.own import read_own
from edgekit.data.source import Source
from edgekit.data.table import read_table
from edgekit.data.text import read_text
from edgekit.data.wav import read_wav
from edgekit.options import DataConfig, TaskKind

Reader = Callable[[Any, Path, TaskKind], Source]


def read(config: DataConfig, base: Path, kind: TaskKind) -> tuple[str, Source]:
    """Return how the recipe names its data, and the data.

    Args:
        config: the recipe's ``data``.
        base: the folder in which a relative path starts.
        kind: of the task; a table's target column is a class or a value.

    Raises:
        DataError: what was read cannot be used; names the file and the place in it.
    """
    key = next(key for key in READERS if getattr(config, key) is not None)
    section = getattr(config, key)
    if config.generate is None:
        return _name(section), READERS[key](section, base, kind)
    folder = generated(config.generate, base)
    path = folder / "table.csv" if key == "csv" else folder
    return _name(config.generate), READERS[key](section.model_copy(update={"path": str(path)}), base, kind)


def _named(source: str, base: Path, _: TaskKind) -> Source:
    return Source(digits()) if source == "digits" else npz(base / source)


def _name(section: Any) -> str:
    if isinstance(section, str):
        return section
    return str(section.path) if hasattr(section, "path") else f"{section.file}: {section.object}"


READERS: dict[str, Reader] = {
    "source": _named,
    "csv": read_table,
    "images": read_images,
    "wav": read_wav,
    "text": read_text,
    "dataset": read_own,
}
