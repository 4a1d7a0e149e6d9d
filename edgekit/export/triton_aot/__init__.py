"""Triton kernels compiled ahead of time: :func:`export_kernels` writes them with a launcher in C, and no Python.

For each target a directory: PTX, machine code where the device's CUDA takes it, tables and a launcher over the CUDA
driver, a program that times every call, plugins for a TensorRT that has them, and ``manifest.json``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgekit import disk
from edgekit.errors import OutputError, UnsupportedError, UsageError
from edgekit.export.triton_aot import calls as calls_
from edgekit.export.triton_aot import compile as compiler
from edgekit.export.triton_aot import machine_code, manifest, plugin, tables
from edgekit.export.triton_aot.planned import PlannedCall, Planner
from edgekit.export.triton_aot.target import PLUGINS_SINCE, Target, resolve

__all__ = ["KernelReport", "export_kernels"]
RUNTIME = Path(__file__).with_name("runtime")
KEY = "kernels compiled ahead of time"


@dataclass(frozen=True)
class KernelReport:
    """What was written: the directory, and the content of each target's ``manifest.json`` by the target's name."""

    directory: str
    targets: Mapping[str, Mapping[str, Any]]

    def to_json(self) -> dict[str, Any]:
        """The report as plain JSON values."""
        return {"directory": self.directory, "targets": dict(self.targets)}

    def __str__(self) -> str:
        return "\n".join(_table(name, content) for name, content in self.targets.items())


def export_kernels(
    directory: str | Path,
    targets: Sequence[str] = ("agx-orin",),
    *,
    kernels: Sequence[str] | None = None,
    shapes: Sequence[str | Mapping[str, Any]] = (),
    strict: bool = False,
) -> KernelReport:
    """Compile kernels without a GPU and write one directory for each target.

    Args:
        directory: to make; it appears whole or not at all.
        targets: devices (``orin``, ``orin:jetpack-7.2``) or architectures (``sm_90``).
        kernels: operators whose layer cases are compiled; all that have a kernel, unless ``shapes`` says which.
        shapes: further calls, as :mod:`edgekit.export.triton_aot.calls` describes.
        strict: a kernel that does not fit into registers is an error instead of a warning.

    Raises:
        MissingDependency: Triton is not installed.
        UsageError: no such target, operator or argument; Triton interprets kernels in this process.
        OutputError: the directory is not empty or cannot be written.
        UnsupportedError: a device, or a call that does not compile for one.
        GateError: with ``strict``, registers spill.
    """
    path, found = Path(directory), resolve(targets)
    _refuse_content(path)
    for target in found:
        compiler.ptx_of(target)  # says before any work that Triton is missing or too old
    listed = calls_.layers(kernels) if kernels or not shapes else ()
    chosen = (*listed, *calls_.chosen(shapes))
    calls_.refuse_equal_names(chosen)
    if not chosen:
        raise UsageError("nothing is to be compiled.", fix="Name a kernel that lists layers, or give shapes.")
    written = {target.name: _files(target, chosen, strict) for target in found}
    with disk.commit(path, KEY) as folder:
        for name, (files, _) in written.items():
            (folder / name).mkdir()
            for file, data in files.items():
                disk.write_file(folder / name / file, data)
    return KernelReport(str(path), {name: content for name, (_, content) in written.items()})


def _refuse_content(path: Path) -> None:
    if path.exists() and not (path.is_dir() and not any(path.iterdir())):
        raise OutputError(f"{path} is there and not an empty directory.", fix="Choose a new or empty directory.")


def _files(target: Target, chosen: Sequence[calls_.Call], strict: bool) -> tuple[dict[str, bytes], dict[str, Any]]:
    """The files of one target by name, and the content of its manifest."""
    planner = Planner(target)
    planned = [planner.plan(call) for call in chosen]
    compiler.check_registers(target, planner.kernels, strict=strict)
    files = {path.name: path.read_bytes() for path in sorted(RUNTIME.iterdir()) if path.is_file()}
    files["kernels.h"] = tables.header(target, planned).encode()
    files["kernels.c"] = tables.source(planned, planner.kernels).encode()
    cubin, reason = _machine_code(target)
    for kernel in planner.kernels:
        files[f"{kernel.name}.ptx"] = kernel.ptx.encode()
        if cubin:
            files[f"{kernel.name}.cubin"] = kernel.cubin
    plugins = _plugins(target, planned, files)
    content = manifest.manifest(target, planned, planner.kernels, files, plugins, reason)
    files["manifest.json"] = json.dumps(content, indent=1, sort_keys=True).encode() + b"\n"
    return files, content


def _machine_code(target: Target) -> tuple[bool, str]:
    """Whether the assembler's machine code is for the device's CUDA, and a sentence about it."""
    version, major = compiler.assembler(target.capability).version, target.cuda[0]
    if int(version.split(".")[0]) == major:
        return True, f"by ptxas {version}; drivers of CUDA {major} load machine code of the same major version."
    why = f"left out: Triton's ptxas is {version} and the device has CUDA {major}"
    return False, f"{why}; its driver compiles the PTX when it is loaded."


def _plugins(target: Target, planned: Sequence[PlannedCall], files: dict[str, bytes]) -> dict[str, str]:
    """Add the plugin module and its kernels; by call, the plugin's name or why there is none."""
    if not target.has_plugins:
        since = ".".join(map(str, PLUGINS_SINCE))
        reason = f"none: plugins need TensorRT {since}, and {target.title} has {target.tensorrt}."
        return dict.fromkeys((call.call.name for call in planned), reason)
    found, said = [], {}
    for call in planned:
        try:
            found.append(_checked_plugin(call, target))
            said[call.call.name] = f"{plugin.NAMESPACE}::{found[-1].name}"
        except UnsupportedError as error:
            said[call.call.name] = f"none: {error.what}"
    files |= {one.file: one.text.encode() for one in found}
    since = ".".join(map(str, PLUGINS_SINCE))
    files["tensorrt_plugin.py"] = plugin.module(target.title, since, found).encode()
    return said


def _checked_plugin(call: PlannedCall, target: Target) -> plugin.Plugin:
    """A plugin whose text the assembler takes and fits into registers like the kernel that it is made of."""
    found = plugin.plugin(call)
    suffix = "a" if target.capability >= 90 else ""
    path = compiler.assembler(target.capability).path
    needs = machine_code.resources(machine_code.assemble(found.text, path, f"sm_{target.capability}{suffix}"))
    if needs.stack > call.launches[0].kernel.resources.stack:
        raise UnsupportedError("with its numbers compiled in it spills registers.")
    return found


def _table(name: str, content: Mapping[str, Any]) -> str:
    head = f"{name}: {len(content['calls'])} calls, {len(content['kernels'])} kernels, {content['target']['title']}"
    rows = [
        f"  {k['name']:<44} {k['registers']:>3} registers, {k['shared_bytes']:>6} bytes shared, "
        f"{k['stack_bytes']} spilled, occupancy {k['occupancy']['share']:.0%} by {k['occupancy']['limit']}, "
        f"{sum(k['tensor_core_instructions'].values())} tensor-core instructions"
        for k in content["kernels"]
    ]
    return "\n".join([head, *rows, "  not run on a device"])
