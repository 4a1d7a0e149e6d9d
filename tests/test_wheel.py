"""What users install: the wheel holds all that a run needs, and works where the repository is not."""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
NOT_SOURCES = shutil.ignore_patterns(
    ".venv", ".git", "build", "dist", "runs", "*.egg-info", "*.so", "__pycache__", ".*_cache"
)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel built from a copy of the sources, so that nothing built earlier can slip in but the extension itself."""
    folder = tmp_path_factory.mktemp("wheel")
    copy_sources(folder)
    built = folder / "source" / "build" / f"lib.{sysconfig.get_platform()}-{sys.implementation.cache_tag}" / "edgekit"
    built.mkdir(parents=True)
    for extension in (ROOT / "edgekit").glob("_C.*.so"):
        shutil.copyfile(extension, built / extension.name)  # newer than all sources: it is not compiled again
    return build(folder)


def copy_sources(folder: Path) -> None:
    shutil.copytree(ROOT, folder / "source", ignore=NOT_SOURCES, symlinks=True)


def build(folder: Path) -> Path:
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "-q", "-w", str(folder), "."]
    subprocess.run(command, cwd=folder / "source", check=True)
    (found,) = folder.glob("edgekit-*.whl")
    return found


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_wheel_of_the_sources_alone_works(tmp_path: Path) -> None:
    copy_sources(tmp_path)
    wheel = build(tmp_path)
    test_the_wheel_holds_packages_kernels_extension_and_data(wheel)
    test_the_wheel_works_where_the_repository_is_not(wheel, tmp_path)


def test_the_wheel_holds_packages_kernels_extension_and_data(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    sources = {p.relative_to(ROOT).as_posix() for p in (ROOT / "edgekit").rglob("*.py")}
    kernels = {f"edgekit/{p.relative_to(ROOT).as_posix()}" for p in (ROOT / "kernels").glob("*.py")}
    data = {
        p.relative_to(ROOT).as_posix()
        for p in (ROOT / "edgekit").rglob("*")
        if p.suffix in (".yaml", ".j2", ".css", ".toml", ".c", ".h")
    }
    assert sources | kernels | data | {"edgekit/py.typed", "edgekit/_C.pyi"} <= names
    assert any(name.startswith("edgekit/_C.") and name.endswith(".so") for name in names)
    assert not [name for name in names if name.startswith(("tests/", "benchmarks/", "csrc/"))]


def test_the_wheel_works_where_the_repository_is_not(wheel: Path, tmp_path: Path) -> None:
    zipfile.ZipFile(wheel).extractall(tmp_path / "site")
    code = (
        "import edgekit, edgekit.recipe as r, edgekit.targets as t, edgekit._C as c, edgekit.kernels\n"
        "assert edgekit.__file__.startswith(str(__import__('pathlib').Path('site').resolve())), edgekit.__file__\n"
        "assert r.load('digits').name == 'digits' and t.names() and c.kernels()"
    )
    environment = {"PYTHONPATH": str(tmp_path / "site"), "PATH": "/usr/bin:/bin"}
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, check=True)
