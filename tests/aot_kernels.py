"""Kernels compiled ahead of time, once for all tests: in processes of their own, without the interpreter."""

from __future__ import annotations

import atexit
import json
import os
import shutil
import subprocess
import sys
import tempfile
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from edgekit.errors import UnsupportedError
from edgekit.export.triton_aot.compile import ptx_of
from edgekit.export.triton_aot.target import resolve

TESTS = Path(__file__).parent
HEAD = {"operator": "linear_s8", "name": "head", "x": [1, 64], "weight": [10, 64], "bias": [10], "multiplier": [10]}


@cache
def has_thor() -> bool:
    """Whether the Triton that is installed knows Thor: the assembler of 3.6 does not."""
    try:
        return ptx_of(resolve(["thor"])[0]) >= 90
    except UnsupportedError:
        return False


@cache
def scratch() -> Path:
    """A directory that lasts as long as this process."""
    folder = Path(tempfile.mkdtemp(prefix="edgekit-kernels-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


@cache
def include() -> Path:
    """CUDA's headers, which Triton ships."""
    spec = find_spec("triton")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent / "backends" / "nvidia" / "include"


def environment(**changed: str) -> dict[str, str]:
    """Of processes that compile: no interpreter, and one cache of compiled kernels for all of them."""
    kept = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    return {**kept, "TRITON_CACHE_DIR": str(scratch() / "cache"), "PYTHONPATH": str(TESTS), **changed}


def output(*command: object, **changed: str) -> str:
    """Standard output of a command that succeeds."""
    words = [str(word) for word in command]
    done = subprocess.run(words, capture_output=True, text=True, check=False, env=environment(**changed))
    assert done.returncode == 0, done.stderr
    return done.stdout


def compiled(targets: str, what: str) -> dict[str, Any]:
    """What ``compile_kernels.py`` prints."""
    found: dict[str, Any] = json.loads(output(sys.executable, TESTS / "compile_kernels.py", targets, what))
    return found


@cache
def first_layers() -> dict[str, Any]:
    """The first layer case of every operator, for Orin and Thor."""
    return compiled("orin,thor" if has_thor() else "orin", "first")


def aot(folder: Path, targets: tuple[str, ...], **changed: str) -> Path:
    """The directory that the command line makes of two operators."""
    folder.mkdir(parents=True, exist_ok=True)
    shapes = folder / "shapes.json"
    shapes.write_text(json.dumps([HEAD]))
    names = [word for name in targets for word in ("--target", name)]
    verb = [sys.executable, "-m", "edgekit", "kernels", "aot", "--kernel", "quantize_s8", "--shapes", shapes]
    output(*verb, *names, "-o", folder / "kernels", **changed)
    return folder / "kernels"


@cache
def exported() -> Path:
    """Two operators for three lines of software."""
    thor = ("thor:jetpack-7.2",) if has_thor() else ()
    return aot(scratch() / "exported", ("orin", "orin:jetpack-7.2", *thor))


def manifest(folder: Path) -> dict[str, Any]:
    """The content of a target's ``manifest.json``."""
    content: dict[str, Any] = json.loads((folder / "manifest.json").read_text())
    return content
