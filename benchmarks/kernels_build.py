"""Compile the kernels with a clock around each: ``csrc`` without the engine, ``native/timed_call.cc`` for ``call.cc``.

Objects are kept in ``build/kernels_cpu``, named by what they were made of. The flags are those of every build.
"""

from __future__ import annotations

import ctypes
import hashlib
import importlib.machinery
import importlib.util
import os
import shutil
import subprocess
import sysconfig
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
NATIVE, BUILD = ROOT / "benchmarks" / "native", ROOT / "build" / "kernels_cpu"
FLAGS = (ROOT / "csrc" / "compile_flags.txt").read_text().split()
REPLACED = {"call.cc", "bind_engine.cc"}
MOST = 100_000  # samples


class NoCompiler(Exception):
    """There is nothing to build with, or it failed; the text says which."""


class Timed:
    """The operators of ``edgekit._C``, each call of which is timed inside.

    Attributes:
        operators: the module; its functions take what those of ``edgekit._C`` take.
    """

    def __init__(self, library: Path) -> None:
        loader = importlib.machinery.ExtensionFileLoader("_C", str(library))
        spec = importlib.util.spec_from_file_location("_C", library, loader=loader)
        assert spec is not None
        self.operators: ModuleType = importlib.util.module_from_spec(spec)
        loader.exec_module(self.operators)
        self._c = ctypes.CDLL(str(library))
        self._c.timing_kernel.restype = ctypes.c_char_p
        self._c.timing_samples.restype = ctypes.c_size_t

    def set(self, samples: int, seconds: float, evicted: int) -> None:
        """How many samples, for how long at most, and how much is written to empty the caches before a cold one."""
        self._c.timing_set(ctypes.c_size_t(samples), ctypes.c_double(seconds), ctypes.c_size_t(evicted))

    def kernel(self) -> str:
        """The function that ran last."""
        name: bytes = self._c.timing_kernel()
        return name.decode()

    def samples(self) -> dict[str, list[float]]:
        """Seconds, of the last call, with its arguments in the caches and out of them."""
        return {name: self._samples(cold) for cold, name in enumerate(("warm", "cold"))}

    def _samples(self, cold: int) -> list[float]:
        room = (ctypes.c_double * MOST)()
        return list(room[: self._c.timing_samples(cold, room, ctypes.c_size_t(MOST))])

    def limit(self, instruction: str) -> float:
        """Multiply-accumulates a second of an instruction that this processor has."""
        rate: float = self.operators.instruction_rate(instruction)
        return rate

    def instructions(self) -> dict[str, str]:
        """What each tier of this processor multiplies bytes with."""
        rows = self.operators.instructions()
        return {row["isa"]: row["name"] for row in rows if row["available"] and row["operands"] == "int8"}

    def copy(self, size: int) -> dict[str, list[float]]:
        """Seconds of a copy of ``size`` bytes."""
        self._c.timing_copy(ctypes.c_size_t(size))
        return self.samples()


def build() -> Timed:
    """Compile what has changed, link, load.

    Raises:
        NoCompiler: there is none, or the sources do not compile here.
    """
    compiler = os.environ.get("CXX") or shutil.which("g++") or shutil.which("clang++") or shutil.which("c++")
    if compiler is None or importlib.util.find_spec("pybind11") is None:
        raise NoCompiler("no C++ compiler" if compiler is None else "pybind11 is not installed")
    import pybind11

    includes = [ROOT / "csrc", NATIVE, pybind11.get_include(), sysconfig.get_paths()["include"]]
    command = [compiler, "-std=c++17", *FLAGS, "-fPIC", *(f"-I{path}" for path in includes)]
    sources = [path for path in (ROOT / "csrc").glob("*.cc") if path.name not in REPLACED]
    sources += [*(ROOT / "csrc" / "cpu").glob("*.cc"), *NATIVE.glob("*.cc")]
    BUILD.mkdir(parents=True, exist_ok=True)
    headers = b"".join(path.read_bytes() for path in sorted((ROOT / "csrc").rglob("*.[hd]*")) if path.is_file())
    headers += b"".join(path.read_bytes() for path in sorted(NATIVE.glob("*.h")))
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        objects = list(pool.map(lambda source: _object(command, source, headers), sorted(sources)))
    name = hashlib.sha256("".join(path.name for path in objects).encode()).hexdigest()[:16]
    library = BUILD / f"{name}.so"
    if not library.exists():
        _run([compiler, "-shared", "-o", str(library), *map(str, objects), "-lpthread"])
    return Timed(library)


def _object(command: list[str], source: Path, headers: bytes) -> Path:
    made_of = repr(command).encode() + source.read_bytes() + headers
    path = BUILD / f"{source.stem}-{hashlib.sha256(made_of).hexdigest()[:16]}.o"
    if not path.exists():
        part = path.with_suffix(f".{os.getpid()}")
        _run([*command, "-c", str(source), "-o", str(part)])
        part.replace(path)
    return path


def _run(command: list[Any]) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise NoCompiler(f"{command[-3]}: {done.stderr.strip()[-300:]}")
