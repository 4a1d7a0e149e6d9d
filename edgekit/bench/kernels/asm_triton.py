"""The code of a Triton kernel for a GPU that need not be here: PTX, or the machine code of NVIDIA's assembler.

Kernels are compiled in a process of their own (this file, run as a program), since a process that interprets Triton
kernels cannot compile them.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from edgekit.bench.kernels.asm import Assembly
from edgekit.errors import EdgekitError, MissingDependency, UnsupportedError, UsageError
from edgekit.ops import OpSpec, dispatch

LANGUAGES = ("ptx", "sass")


def triton(spec: OpSpec, target: str, language: str = "ptx") -> Assembly:
    """The code of every kernel that an operator launches for its layer-sized cases.

    Args:
        spec: the operator.
        target: a device such as ``orin``, or an architecture such as ``sm_90``.
        language: ``ptx`` or ``sass``.

    Raises:
        UsageError: no such target or language, or the operator has no Triton kernel.
        MissingDependency: Triton is not installed.
        UnsupportedError: the kernels do not compile for the target.
    """
    from edgekit.export.triton_aot.target import resolve

    if language not in LANGUAGES:
        raise UsageError(f"{language!r} is no language of a GPU.", fix=f"It is one of {', '.join(LANGUAGES)}.")
    if dispatch.TRITON not in spec.tiers:
        raise UsageError(f"{spec.name} has no Triton kernel.", fix="Give a C++ tier instead of a target.")
    if find_spec("triton") is None:
        raise MissingDependency("triton is not installed.", fix="`pip install edgekit[gpu]`.")
    resolve([target])
    command = [sys.executable, "-m", __name__, spec.name, target, language]
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        said = (done.stderr.strip().splitlines() or ["nothing was said"])[-1]
        raise UnsupportedError(f"{spec.name} does not compile for {target}.", said, "`edgekit doctor` may say why.")
    return Assembly(spec.name, dispatch.TRITON, language, json.loads(done.stdout))


def compiled(operator: str, target: str, language: str) -> dict[str, str]:
    """Code by kernel; only in a process that does not interpret kernels."""
    from edgekit.export.triton_aot.calls import layers
    from edgekit.export.triton_aot.planned import Planner
    from edgekit.export.triton_aot.target import resolve

    planner = Planner(resolve([target])[0])
    for call in layers([operator]):
        planner.plan(call)
    return {kernel.name: kernel.ptx if language == "ptx" else sass(kernel.cubin) for kernel in planner.kernels}


def sass(cubin: bytes) -> str:
    """Machine code as text, by the disassembler that Triton ships."""
    from edgekit import disk
    from edgekit.export.triton_aot.machine_code import tool

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "kernel.cubin"
        disk.write_file(path, cubin)
        done = subprocess.run([tool("nvdisasm"), "-c", str(path)], capture_output=True, text=True, check=False)
    if done.returncode:
        raise UnsupportedError("nvdisasm cannot read what the assembler made.", done.stderr.strip())
    return done.stdout


def main(arguments: Sequence[str]) -> int:
    """Operator, target and language; prints JSON."""
    try:
        sys.stdout.write(json.dumps(compiled(*arguments)))
    except EdgekitError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
