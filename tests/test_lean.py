"""Importing edgekit, and asking the command line for help, loads nothing heavy; the oldest Python reads every file."""

from __future__ import annotations

import glob
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
HEAVY = {
    "edgekit._C", "matplotlib", "numpy", "onnx", "onnxruntime", "onnxscript", "pydantic", "safetensors", "scipy",
    "sklearn", "tensorrt", "torch", "triton", "yaml",
}  # fmt: skip


def loaded_by(code: str, python: str = sys.executable) -> set[str]:
    """Run code in a fresh process from another folder and return the modules it loaded."""
    tell = "\nimport sys; print('LOADED', *sorted(sys.modules))"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    result = subprocess.run(
        [python, "-c", code + tell], env=environment, cwd="/", capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    return set(result.stdout.rpartition("LOADED ")[2].split())


def test_import_is_lean() -> None:
    assert loaded_by("import edgekit") & HEAVY == set()


# The help of one verb may load pydantic: typer itself does where it is installed.
@pytest.mark.parametrize(
    ("arguments", "allowed"), [(["--help"], set()), (["--version"], set()), (["run", "--help"], {"pydantic"})]
)
def test_help_is_lean(arguments: list[str], allowed: set[str]) -> None:
    code = f"""
import contextlib, sys
sys.argv = ['edgekit', *{arguments!r}]
from edgekit.cli import main
with contextlib.suppress(SystemExit):
    main()
"""
    assert loaded_by(code) & HEAVY <= allowed


def test_the_modules_loaded_are_seen() -> None:
    assert "numpy" in loaded_by("import numpy")


def test_an_unknown_name_is_an_attribute_error() -> None:
    loaded_by(
        "import edgekit\ntry:\n    edgekit.nothing\nexcept AttributeError:\n    pass\nelse:\n    raise SystemExit(1)"
    )


def test_a_public_name_loads_only_what_it_needs() -> None:
    assert (
        loaded_by("import edgekit as ek; ek.QuantConfig()") & {"torch", "onnx", "onnxruntime", "triton", "numpy"}
        == set()
    )


def oldest_python() -> str:
    """Return a Python 3.10 that runs, or skip."""
    homes = sorted(glob.glob(os.path.expanduser("~/.pyenv/versions/3.10*/bin/python")))
    for candidate in [shutil.which("python3.10"), *homes]:
        if candidate and _version(candidate) == "3.10":
            return candidate
    pytest.skip("no Python 3.10 on this machine; the checkers target it all the same")


def _version(python: str) -> str:
    code = "import sys; print('%d.%d' % sys.version_info[:2])"
    return subprocess.run([python, "-c", code], capture_output=True, text=True, check=False).stdout.strip()


def test_the_lean_import_works_on_the_oldest_python() -> None:
    """No package is installed there: what ``import edgekit`` needs is the standard library."""
    code = "import edgekit, edgekit.errors, edgekit.device, edgekit.disk, edgekit.callable; assert edgekit.__version__"
    assert loaded_by(code, oldest_python()) & HEAVY == set()


def test_the_oldest_python_compiles_every_file() -> None:
    files = [str(path) for folder in ("edgekit", "kernels") for path in (ROOT / folder).rglob("*.py")]
    code = f"for path in {files!r}:\n    compile(open(path, encoding='utf-8').read(), path, 'exec')"
    loaded_by(code, oldest_python())
