"""Which packages are installed, by their metadata alone: importing torch takes a second, and a broken one may crash."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

from edgekit import device
from edgekit.doctor.machine import children, printable

# The extras of pyproject.toml; a test compares the two.
MINIMUM = {
    "numpy": "1.26",
    "torch": "2.9",
    "onnx": "1.18",
    "onnxscript": "0.5",
    "onnxruntime": "1.23",
    "triton": "3.6",
    "tensorrt": "10.3",
    "nvidia-ml-py": "12",
}

DISTRIBUTIONS = {name: device.PACKAGES.get(name, (name,)) for name in MINIMUM}


@dataclass(frozen=True)
class Software:
    """What is installed.

    Attributes:
        python: version of Python; None for another machine's files.
        packages: version of each package of :data:`MINIMUM`; None where it is not installed.
        libnvinfer: version of TensorRT's library, which may be there without its Python package.
        extension: why the C++ kernels cannot be used; None if they can.
    """

    python: str | None
    packages: dict[str, str | None]
    libnvinfer: str | None
    extension: str | None

    def usable(self, *names: str) -> bool:
        """Whether all of these packages are installed and new enough."""
        return all(self.lack(name) is None for name in names)

    def lack(self, name: str) -> str | None:
        """What is wrong with a package, in words; None if nothing is."""
        version = self.packages[name]
        if version is None:
            return f"{name} is not installed"
        old = parse(version) < parse(MINIMUM[name])
        return f"{name} {version} is older than {MINIMUM[name]}" if old else None


def look(root: Path, live: bool) -> Software:
    """Looks in this Python's path, or where Debian and pip put packages under ``root``."""
    folders = [] if live else _folders(root)
    return Software(
        python=".".join(map(str, sys.version_info[:3])) if live else None,
        packages={
            name: _installed(names) if live else _recorded(names, folders) for name, names in DISTRIBUTIONS.items()
        },
        libnvinfer=_libnvinfer(root),
        extension=_extension([Path(__file__).parents[1]] if live else [folder / "edgekit" for folder in folders], live),
    )


def parse(version: str) -> tuple[int, ...]:
    """The leading numbers of a version: ``2.13.0+cpu`` is (2, 13, 0); empty where there is none."""
    numbers = re.match(r"[0-9]{1,9}(\.[0-9]{1,9}){0,9}", version)
    return tuple(map(int, numbers[0].split("."))) if numbers else ()


def _folders(root: Path) -> list[Path]:
    homes = children(root / "usr/lib", "python3*") + children(root / "usr/local/lib", "python3*")
    return [folder for home in homes for folder in children(home, "*-packages")]


def _installed(distributions: Sequence[str]) -> str | None:
    """Version in this Python's own path."""
    for name in distributions:
        try:
            version: str | None = metadata.version(name)
        except (OSError, ImportError, ValueError, KeyError, TypeError):  # none, or a metadata file that is broken
            continue
        if version:
            return printable(version)
    return None


def _recorded(distributions: Sequence[str], folders: Sequence[Path]) -> str | None:
    """Version under a copied root, whose files may be anything: importlib.metadata would read an endless one."""
    for name in distributions:
        for folder in folders:
            for info in children(folder, f"{name.replace('-', '_')}-*-info", most=8):
                text = device.read_text(info / "METADATA") or device.read_text(info / "PKG-INFO") or ""
                if version := re.search(r"^Version: ([0-9][0-9A-Za-z.+!_-]{0,60})$", text, re.MULTILINE):
                    return version[1]
    return None


def _libnvinfer(root: Path) -> str | None:
    """The longest version among the names of the library: its links carry shorter ones."""
    names = [
        file.name
        for folder in children(root / "usr/lib", "*-linux-gnu")
        for file in children(folder, "libnvinfer.so.*")
    ]
    versions = [name.removeprefix("libnvinfer.so.") for name in names]
    return max(
        (version for version in versions if re.fullmatch(r"[0-9]{1,4}(\.[0-9]{1,4}){0,3}", version)),
        key=parse,
        default=None,
    )


def _extension(folders: Sequence[Path], live: bool) -> str | None:
    files = [file.name for folder in folders for file in children(folder, "_C.*so")]
    if live:
        if find_spec("edgekit._C") is not None:
            return None
        return f"it was built for another Python: {', '.join(files)}" if files else "it was not built"
    return None if files else "it was not built"
