"""A folder of classes, ``CLASS/file`` or ``train/CLASS/file`` and ``test/CLASS/file``, listed in sorted order."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgekit.data.split import Labels
from edgekit.errors import DataError

MAX_FILES = 2_000_000


@dataclass(frozen=True)
class Listing:
    """Files with their labels, the training files first.

    Attributes:
        files: all of them.
        labels: the place of each file's class in ``classes``, int64 [N].
        classes: names of all class folders, sorted.
        train: how many of ``files`` stand below ``train``; all of them where there are no such folders.
    """

    files: tuple[Path, ...]
    labels: Labels
    classes: tuple[str, ...]
    train: int


def listing(root: Path, suffixes: Iterable[str], key: str) -> Listing:
    """List the files of all classes; names that begin with a dot are left out.

    Args:
        root: the folder.
        suffixes: of the files, lower case, such as ``.png``.
        key: how the recipe calls the kind of data, for messages.

    Raises:
        DataError: there is no such folder, no class, an empty class, a file of another kind in a class, or a link that
            leads out of the folder.
    """
    reader = _Folder(root, tuple(suffixes), key)
    sides = reader.sides()
    found = [[(path, name) for name, folder in reader.classes(side) for path in reader.files(folder)] for side in sides]
    pairs = [pair for side in found for pair in side]
    classes = tuple(sorted({name for _, name in pairs}))
    places = {name: place for place, name in enumerate(classes)}
    if len(pairs) > MAX_FILES:
        raise DataError(f"{root} holds {len(pairs):,} files; the limit is {MAX_FILES:,}.", fix="Use fewer.")
    labels = np.fromiter((places[name] for _, name in pairs), np.int64, len(pairs))
    return Listing(tuple(path for path, _ in pairs), labels, classes, len(found[0]))


class _Folder:
    """A folder of which nothing outside is read."""

    def __init__(self, root: Path, suffixes: tuple[str, ...], key: str) -> None:
        if not root.is_dir():
            raise DataError(
                f"There is no folder {root}.", fix=f"Check `data.{key}.path`; a relative path starts at the recipe."
            )
        self._root, self._real, self._suffixes, self._key = root, root.resolve(), suffixes, key

    def sides(self) -> list[Path]:
        """The folders train and test where these are all folders there are, else the root."""
        folders = {entry.name: entry for entry in self._entries(self._root) if entry.is_dir()}
        return [folders["train"], folders["test"]] if set(folders) == {"train", "test"} else [self._root]

    def classes(self, side: Path) -> list[tuple[str, Path]]:
        """Names and folders of the classes."""
        entries = self._entries(side)
        stray = [entry for entry in entries if not entry.is_dir() and entry.suffix.lower() in self._suffixes]
        if stray:
            raise DataError(f"{stray[0]} stands in no class folder.", fix="Put it in the folder of its class.")
        folders = [(entry.name, entry) for entry in entries if entry.is_dir()]
        if not folders:
            raise DataError(f"{side} has no class folders.", fix=f"Put the files in {side}/CLASS/.")
        return folders

    def files(self, folder: Path) -> list[Path]:
        """The files of one class."""
        files = self._entries(folder)
        for path in files:
            if path.suffix.lower() not in self._suffixes or not path.is_file():
                raise DataError(
                    f"{path} is no file for `data.{self._key}`.",
                    f"Names end in {', '.join(self._suffixes)}.",
                    "Move it out of the class folder.",
                )
        if not files:
            raise DataError(f"{folder} has no items.", fix="Remove the class, or give it items.")
        return files

    def _entries(self, folder: Path) -> list[Path]:
        try:
            names = sorted(name for name in os.listdir(folder) if not name.startswith("."))
        except OSError as error:
            raise DataError(f"{folder} cannot be read: {error.strerror}.") from error
        entries = [folder / name for name in names]
        for entry in entries:
            if entry.is_symlink() and not self._is_inside(entry):
                raise DataError(
                    f"{entry} is a link that leads out of {self._root}.", fix="Copy what it leads to into the folder."
                )
        return entries

    def _is_inside(self, link: Path) -> bool:
        try:
            return link.resolve(strict=True).is_relative_to(self._real)
        except (OSError, RuntimeError):  # it leads nowhere, or round in a circle
            return False
