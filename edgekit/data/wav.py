"""Not read yet."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgekit.data.source import Source
from edgekit.errors import UnsupportedError
from edgekit.options import TaskKind


def read_wav(config: Any, base: Path, kind: TaskKind) -> Source:
    """Refuse."""
    raise UnsupportedError("This reader is not built yet.")
