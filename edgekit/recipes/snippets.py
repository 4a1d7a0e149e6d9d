"""Lines of text for the recipe `text`: Python, its type stubs, C++, CMake and English.

They come from files that a machine with edgekit has: the standard library, the installed packages, the system's headers
and licences. The snippets of a file all stand on one side of the split, and no snippet stands anywhere twice.
"""

from __future__ import annotations

import os
import sys
import sysconfig
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import numpy as np

from edgekit.errors import DataError

KINDS = {
    "cmake": (".cmake", "CMakeLists.txt"),
    "cpp": (".h", ".hpp", ".cuh", ".cc", ".cpp"),
    "english": (".rst", ".md", "METADATA", "LICENSE", "LICENSE.txt", "COPYING", "GPL-3", "LGPL-2.1", "MPL-2.0"),
    "python": (".py",),
    "stubs": (".pyi",),
}
SYSTEM = ("/usr/include", "/usr/share/common-licenses")
MAX_FILE_BYTES = 500_000
MAX_OF_A_FOLDER = 25  # generated code: torch has thousands of headers that differ in a name
SHORTEST, LONGEST = 96, 256  # characters


def make(folder: Path, train: int = 2000, test: int = 300, lines: int = 5, files: int = 400, seed: int = 0) -> None:
    """Write `folder/train/KIND.txt` and `folder/test/KIND.txt`, a snippet on each line.

    Args:
        folder: empty.
        train, test: snippets of each kind, at most; a quarter of that at least.
        lines: that a snippet is joined from.
        files: read of each kind, at most; those with the first quarter of the snippets are for the test.
        seed: of the choice of files and snippets; another machine has other files.

    Raises:
        DataError: this machine has too few files of a kind.
    """
    rng, seen = np.random.default_rng(seed), set[str]()
    for side in ("train", "test"):
        (folder / side).mkdir()
    for kind, paths in _find().items():
        chosen = [paths[i] for i in rng.permutation(len(paths))[:files]]
        of_a_file = -(-4 * (train + test) // max(len(chosen), 1))  # more than needed, and no file outweighs the others
        pools = [list(_snippets(path, lines, of_a_file, rng, seen)) for path in chosen]
        sizes = np.cumsum([len(pool) for pool in pools])
        held_out = int((sizes < sizes[-1:] / 4).sum()) + 1
        for side, count, part in (("test", test, pools[:held_out]), ("train", train, pools[held_out:])):
            pool = list(chain.from_iterable(part))
            if len(pool) < count / 4:
                raise DataError(
                    f"This machine has {len(pool)} snippets of {kind} for {side}, far from {count}.",
                    fix=f"Ask for fewer, or install packages with {', '.join(KINDS[kind])} files.",
                )
            kept = "".join(f"{pool[i]}\n" for i in np.sort(rng.permutation(len(pool))[:count]))
            (folder / side / f"{kind}.txt").write_text(kept, "utf-8")


def _find() -> dict[str, list[Path]]:
    """Files of each kind in the order of their paths."""
    packages = [path for path in sys.path if path.endswith("-packages")]
    roots = dict.fromkeys([sysconfig.get_path("stdlib"), *packages, *SYSTEM])
    found: dict[str, dict[Path, None]] = {kind: {} for kind in KINDS}
    for root in roots:
        for place, folders, names in os.walk(root):
            folders[:] = sorted(set(folders) - {"site-packages", "dist-packages"})
            for kind, endings in KINDS.items():
                fitting = [Path(place, name) for name in sorted(names) if _is(name, endings)]
                found[kind].update(dict.fromkeys(fitting[:MAX_OF_A_FOLDER]))  # the packages may be in the library
    return {kind: list(paths) for kind, paths in found.items()}


def _is(name: str, endings: tuple[str, ...]) -> bool:
    return any(name.endswith(end) if end.startswith(".") else name == end for end in endings)


def _snippets(path: Path, lines: int, most: int, rng: np.random.Generator, seen: set[str]) -> Iterator[str]:
    """At most ``most`` of a file's snippets that were not `seen`, in order; nothing of a file that is no text."""
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            return
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError):
        return
    if path.name == "METADATA":
        text = text.partition("\n\n")[2]  # what follows the header
    words = [" ".join(line.split()) for line in text.splitlines()]
    full = [line for line in words if line.isprintable() and line]
    starts = np.arange(0, len(full), lines)
    for start in np.sort(rng.permutation(starts)[:most]):
        snippet = " ".join(full[start : start + lines])[:LONGEST].rstrip()
        if len(snippet) >= SHORTEST and snippet not in seen:
            seen.add(snippet)
            yield snippet
