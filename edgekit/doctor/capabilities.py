"""What works on a machine, as rules over facts: each says what it found, and what mends it where something does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

from edgekit import targets
from edgekit.doctor.machine import Machine
from edgekit.doctor.sensors import READERS, UNASKED, Sensor
from edgekit.doctor.software import Software, parse

Status = Literal["ready", "untested", "missing", "unsupported"]

FAILED: Final = ("missing", "unsupported")
JOIN_GROUPS: Final = "sudo usermod -aG video,render $USER, then log in again"
VNNI: Final = {"avx512_vnni", "avx_vnni"}


@dataclass(frozen=True)
class Capability:
    """One thing that edgekit does, on this machine.

    Attributes:
        name: what it does.
        status: ``ready``: all that it needs is there. ``untested``: the same, on a kind of machine that the project
            never ran it on. ``missing``: something is not there. ``unsupported``: edgekit cannot do it here.
        detail: what was found.
        fix: what mends it, a command where there is one; None where there is nothing to do.
        needed: whether this kind of machine is of no use without it.
    """

    name: str
    status: Status
    detail: str
    fix: str | None = None
    needed: bool = False

    @property
    def failed(self) -> bool:
        """Whether it is needed and cannot be had as things are."""
        return self.needed and self.status in FAILED


@dataclass(frozen=True)
class Facts:
    """What the rules look at."""

    machine: Machine
    software: Software
    sensors: tuple[Sensor, ...]


def judge(machine: Machine, software: Software, sensors: tuple[Sensor, ...]) -> tuple[Capability, ...]:
    """Judges every capability.

    A computer needs what ``edgekit run`` does: training, ONNX export, ONNX Runtime. A board that models are brought to
    needs the runtime they are written for: TensorRT on a Jetson, ONNX Runtime elsewhere.
    """
    facts = Facts(machine, software, sensors)
    return tuple(rule(facts) for rule in RULES)


def capture_and_train(facts: Facts) -> Capability:
    """Capture, prune, quantise, train: everything that handles a graph."""
    name, needed = "capture and train", not facts.machine.is_board
    if lack := _lack(facts.software, "numpy", "torch"):
        return Capability(name, "missing", lack, _extra(facts, "train"), needed)
    torch = facts.software.packages["torch"] or ""
    if facts.machine.is_board:
        unsure = "; whether it has kernels for this GPU is not checked here" if facts.machine.is_jetson else ""
        return Capability(name, "untested", f"torch {torch}{unsure}")
    unused = "; a CPU build, the GPU is not used" if facts.machine.driver and "+cpu" in torch else ""
    return Capability(name, "ready", f"torch {torch}{unused}", needed=needed)


def cpp_kernels(facts: Facts) -> Capability:
    """The compiled operators; without them the reference in torch runs, slowly."""
    name, fault = "C++ kernels", facts.software.extension
    if fault is not None:
        fix = "install a C++17 compiler (sudo apt-get install g++) and install edgekit again"
        return Capability(name, "missing", f"edgekit._C: {fault}; INT8 operators run in PyTorch, slowly", fix)
    if facts.machine.architecture == "x86_64":
        return Capability(name, "ready", "edgekit._C is built for this Python")
    return Capability(name, "untested", "edgekit._C is there; `make test` proves its results on this processor")


def triton_kernels(facts: Facts) -> Capability:
    """The operators on an NVIDIA GPU."""
    name = "Triton kernels"
    if (absent := _no_gpu(facts.machine)) is not None:
        return Capability(name, "missing", absent[0], absent[1])
    old = [version for version in facts.machine.compute_capability if parse(version) < (8, 0)]
    if old:
        return Capability(name, "unsupported", f"compute capability {old[0]}: Triton's INT8 products need 8.0")
    if lack := _lack(facts.software, "torch", "triton"):
        return Capability(name, "missing", lack, _extra(facts, "gpu"))
    found = f"triton {facts.software.packages['triton']}"
    return Capability(name, "untested", f"{found}; `pytest -m gpu` proves its results on this GPU")


def onnx_export(facts: Facts) -> Capability:
    """Writing ONNX files."""
    name, needed = "ONNX export", not facts.machine.is_board
    if lack := _lack(facts.software, "torch", "onnx", "onnxscript"):
        return Capability(name, "missing", lack, _extra(facts, "onnx"), needed)
    return Capability(
        name, "ready", f"onnx {facts.software.packages['onnx']}: {', '.join(targets.names())}", needed=needed
    )


def onnx_runtime(facts: Facts) -> Capability:
    """Running ONNX files on the CPU."""
    name, needed = "ONNX Runtime", not facts.machine.is_jetson
    if lack := _lack(facts.software, "onnxruntime"):
        return Capability(name, "missing", lack, "pip install 'onnxruntime>=1.23'", needed)
    found = f"onnxruntime {facts.software.packages['onnxruntime']}"
    if facts.machine.is_board:
        return Capability(name, "untested", found, needed=needed)
    return Capability(name, "ready", found, needed=needed)


def exact_int8(facts: Facts) -> Capability:
    """Whether ONNX Runtime gives the bytes of the integer graph."""
    name, flags = "ONNX Runtime INT8, exact", facts.machine.cpu_flags
    if lack := _lack(facts.software, "onnxruntime"):
        return Capability(name, "missing", lack, "pip install 'onnxruntime>=1.23'")
    if VNNI & set(flags):
        return Capability(name, "ready", "the processor has VNNI: the bytes are those of the integer graph")
    if facts.machine.architecture == "x86_64":
        why = "no VNNI: sums of two products saturate at int16, so bytes and accuracy may differ from the integer graph"
        return Capability(name, "unsupported", why)
    return Capability(name, "untested", "byte equality was tested on x86 with VNNI only")


def tensorrt_engine(facts: Facts) -> Capability:
    """Building an engine from an exported file."""
    needed, machine = facts.machine.is_jetson, facts.machine
    status, detail, fix = _unsupported_jetpack(machine) or _no_engine(facts) or _wrong_version(facts) or _engine(facts)
    return Capability("TensorRT engine", status, detail, fix, needed)


def energy(facts: Facts) -> Capability:
    """Millijoules beside milliseconds."""
    readable = [sensor for sensor in facts.sensors if sensor.fault is None]
    ours = [sensor for sensor in readable if sensor.kind in READERS]
    if ours:
        return Capability("energy", "ready", f"{ours[0].kind}: {ours[0].source}")
    if any(sensor.kind in READERS and sensor.fault == UNASKED for sensor in facts.sensors):
        return Capability("energy", "untested", UNASKED)
    if readable:
        rails = ", ".join(f"{sensor.rail} ({sensor.kind})" for sensor in readable)
        return Capability("energy", "unsupported", f"this version of edgekit has no reader for what is here: {rails}")
    fix = "pip install 'edgekit[gpu]'" if facts.machine.driver and not facts.software.usable("nvidia-ml-py") else None
    faults = "; ".join(f"{sensor.rail} ({sensor.kind}): {sensor.fault}" for sensor in facts.sensors)
    return Capability("energy", "missing", faults or "there is no sensor that edgekit knows: reports say so", fix)


RULES: Final[tuple[Callable[[Facts], Capability], ...]] = (
    capture_and_train,
    cpp_kernels,
    triton_kernels,
    onnx_export,
    onnx_runtime,
    exact_int8,
    tensorrt_engine,
    energy,
)

_Finding = tuple[Status, str, str | None]


def _extra(facts: Facts, extra: str) -> str:
    """How an extra that brings torch is installed: on a Jetson pip must not choose, or replace, the wheel of torch."""
    if facts.machine.is_jetson and not facts.software.usable("torch"):
        return f"install the PyTorch wheel that NVIDIA publishes for this JetPack, then pip install 'edgekit[{extra}]'"
    return f"pip install 'edgekit[{extra}]'"


def _lack(software: Software, *names: str) -> str | None:
    return "; ".join(fault for name in names if (fault := software.lack(name))) or None


def _no_gpu(machine: Machine) -> tuple[str, str | None] | None:
    """Why no CUDA program can run, and what mends it."""
    if machine.gpu_nodes == "denied":
        return "this user may not open the GPU", JOIN_GROUPS
    if machine.driver is not None or machine.is_jetson:
        return None
    if machine.gpu_on_bus:
        fix = "sudo ubuntu-drivers install (on Ubuntu; elsewhere your distribution's NVIDIA driver package)"
        return "there is an NVIDIA GPU without a driver", fix
    return "there is no NVIDIA GPU here", None


def _unsupported_jetpack(machine: Machine) -> _Finding | None:
    """TensorRT 8 cannot take what edgekit writes, whatever else is installed."""
    row = machine.device
    if row is None or not row.is_jetson:
        return None
    stack = machine.stack or row.stacks[0]
    newer = next((other for other in row.stacks if other.onnx is not None), None)
    if stack.onnx is not None or (machine.stack is None and newer is not None):
        return None
    line = f"JetPack {machine.jetpack}" if machine.jetpack else stack.title
    what = f"{line} brings TensorRT {stack.tensorrt}, without strongly typed networks"
    if newer is None:
        return (
            "unsupported",
            f"{what}; there is no newer line for {row.title}. Its CPU runs the file for onnxruntime",
            None,
        )
    fix = f"flash {newer.title} (TensorRT {newer.tensorrt}) with NVIDIA SDK Manager"
    return "unsupported", what, fix


def _no_engine(facts: Facts) -> _Finding | None:
    if (absent := _no_gpu(facts.machine)) is not None:
        return "missing", *absent
    if facts.software.packages["tensorrt"] is not None:
        return None
    if not facts.machine.is_jetson:
        return "missing", "tensorrt is not installed", "pip install 'edgekit[tensorrt]'"
    library = facts.software.libnvinfer
    if library is None:
        return "missing", "tensorrt is not installed", "sudo apt-get install nvidia-jetpack"
    fix = "sudo apt-get install python3-libnvinfer, and make virtual environments with --system-site-packages"
    return "missing", f"libnvinfer {library} is there, its Python package is not", fix


def _wrong_version(facts: Facts) -> _Finding | None:
    version, stack = facts.software.packages["tensorrt"] or "", facts.machine.stack
    if lack := facts.software.lack("tensorrt"):
        return "unsupported", f"{lack}, which has no strongly typed networks or lacks what edgekit writes", None
    if _target(version) not in targets.names():
        return "unsupported", f"edgekit does not know TensorRT {version}", None
    if facts.machine.is_jetson and stack is not None and _line(_target(version)) != _line(stack.onnx or ""):
        return _beside_jetpack(facts.machine, stack, version)
    return None


def _beside_jetpack(machine: Machine, stack: targets.Stack, version: str) -> _Finding:
    """A TensorRT other than the one that this JetPack line brings."""
    rows = machine.device.stacks if machine.device is not None else ()
    line = next((row for row in rows if _line(row.onnx or "") == _line(_target(version))), None)
    what = f"TensorRT {version} is installed, and Jetson Linux {machine.l4t} brings {stack.tensorrt}"
    if line is None:
        return "unsupported", f"{what}; this board runs no other", None
    status: Status = "untested" if line.name.startswith(stack.name) else "unsupported"
    return status, f"{what}; {_target(version)} needs {line.title}", None


def _engine(facts: Facts) -> _Finding:
    version = facts.software.packages["tensorrt"] or ""
    reads = f"TensorRT {version} reads what `edgekit export --target {_target(version)}` writes"
    return "untested", f"{reads}; the project has built no engine on such a machine", None


def _target(version: str) -> str:
    """The narrowest target that a version belongs to: ``tensorrt-10.3`` for 10.3.0, ``tensorrt-10`` for 10.13."""
    known = [name for name in targets.names() if f"tensorrt-{version}.".startswith(f"{name}.")]
    return max(known, key=len, default=f"tensorrt-{version.partition('.')[0]}")


def _line(target: str) -> str:
    """Without what comes behind the point: versions that read each other's files."""
    return target.partition(".")[0]
