"""Files of other machines, and what the doctor says of them."""

from __future__ import annotations

import shutil
from pathlib import Path

from edgekit import doctor

BOARDS = Path(__file__).parent / "boards"
NAMES = sorted(folder.name for folder in BOARDS.iterdir() if folder.is_dir())


def copied(folder: Path, board: str) -> Path:
    """A copy of a board's files that a test may break."""
    return Path(shutil.copytree(BOARDS / board, folder / board))


def examine(board: str) -> doctor.Examination:
    return doctor.examine(BOARDS / board)


def status(found: doctor.Examination) -> dict[str, str]:
    return {one.name: one.status for one in found.capabilities}


def one(found: doctor.Examination, name: str) -> doctor.Capability:
    return next(capability for capability in found.capabilities if capability.name == name)
