"""Build ``edgekit._C`` from ``csrc``; everything else is in pyproject.toml.

Without a C++17 compiler the package installs all the same, and says so here and again at the first use of an operator.
"""

from __future__ import annotations

import sys
from glob import glob
from pathlib import Path

from pybind11.setup_helpers import ParallelCompile, Pybind11Extension, build_ext
from setuptools import Extension, setup
from setuptools.errors import BaseError, CCompilerError

# One baseline for every file, of CMake too; a kernel that wants more says so by function attributes. No contraction,
# because INT8 is exact.
FLAGS = Path("csrc/compile_flags.txt").read_text().split()

PROGRAM = {"csrc/engine/ekrun.cc", "csrc/engine/npy.cc"}  # of its own, built by CMake

NO_COMPILER = """
edgekit: the C++ kernels were NOT built, so operators will run on the slow torch reference.
Install a C++17 compiler (on Debian and Ubuntu: apt-get install g++) and install edgekit again.
"""


class BuildOptional(build_ext):
    """Go on without the extension, but never quietly."""

    def build_extension(self, ext: Extension) -> None:
        try:
            super().build_extension(ext)
        except (BaseError, CCompilerError):
            sys.stderr.write(NO_COMPILER)
            raise  # setuptools reports it and goes on, since the extension is optional


extension = Pybind11Extension(
    "edgekit._C",
    sorted(set(glob("csrc/*.cc") + glob("csrc/cpu/*.cc") + glob("csrc/engine/*.cc")) - PROGRAM),
    depends=sorted(glob("csrc/**/*.h", recursive=True) + glob("csrc/**/*.def", recursive=True)),
    cxx_std=17,
    extra_compile_args=FLAGS,
    optional=True,
)

ParallelCompile().install()
setup(ext_modules=[extension], cmdclass={"build_ext": BuildOptional})
