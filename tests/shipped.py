"""Generators of the recipes that ship, and what they need of a machine."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from edgekit import recipe, userfile
from edgekit.errors import DataError


def make(file: str, folder: Path, **args: object) -> Path:
    """Fill a new folder by the generator in ``file``."""
    folder.mkdir(parents=True)
    function, _ = userfile.find(file, "make", recipe.SHIPPED, DataError)
    function(folder, **args)
    return folder


def need_espeak() -> None:
    """Skip where nothing speaks; where all has to be there, fail."""
    if shutil.which("espeak-ng") is None:
        reason = "no espeak-ng on this machine: apt-get install espeak-ng"
        pytest.fail(reason) if os.environ.get("CI") == "true" else pytest.skip(reason)
