"""Data that a user's function makes: kept in the user's cache, made anew when its file or arguments change."""

from __future__ import annotations

import os
from pathlib import Path

from edgekit import disk, userfile
from edgekit.errors import DataError, OutputError
from edgekit.options import UserObject


def generated(maker: UserObject, base: Path) -> Path:
    """Return a folder that ``maker`` filled, now or in an earlier run; the content is checked by its hashes.

    The function is called as ``function(folder, **args)`` with an empty folder. The cache is
    ``$XDG_CACHE_HOME/edgekit/generated``, by default below ``~/.cache``.

    Raises:
        DataError: there is no such function, it fails, or it leaves the folder empty; nothing is kept then.
        OutputError, ResourceError: the cache cannot be written.
    """
    if not (base / maker.file).is_file():
        userfile.find(maker.file, maker.object, base, DataError)  # says what is wrong
    key = userfile.digest(maker.file, base, {"object": maker.object, "args": maker.args})
    folder = _cache() / key[:16]
    if disk.completed(folder, key) is None:
        _fill(maker, base, folder, key)
    return folder


def _fill(maker: UserObject, base: Path, folder: Path, key: str) -> None:
    function, what = userfile.find(maker.file, maker.object, base, DataError)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"{folder.parent} cannot be made: {error.strerror}.", fix="Set XDG_CACHE_HOME to a folder of yours."
        ) from error
    disk.sweep(folder.parent)
    with disk.commit(folder, key) as empty:
        userfile.call(function, f"{what} cannot make data", DataError, _FIX, empty, **maker.args)
        _check(what, empty)


_FIX = "It is called with an empty folder (pathlib.Path) and `data.generate.args`."


def _check(what: str, folder: Path) -> None:
    paths = list(folder.rglob("*"))
    if not any(path.is_file() for path in paths):
        raise DataError(f"{what} left its folder empty.", fix="Write files below the folder that it is called with.")
    strange = [path for path in paths if path.is_symlink() or not (path.is_file() or path.is_dir())]
    if strange:
        raise DataError(
            f"{what} made {strange[0].relative_to(folder)}, which is no plain file.",
            fix="Copy what a link leads to; make no pipes or devices.",
        )


def _cache() -> Path:
    """The XDG base directory specification: a relative ``$XDG_CACHE_HOME`` is to be ignored."""
    home = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return (home if home.is_absolute() else Path.home() / ".cache") / "edgekit" / "generated"
