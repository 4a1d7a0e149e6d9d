"""``tensorrt_plugin.py``: the calls as Quick Deployable Plugins of TensorRT, with their kernels ahead of time.

TensorRT runs one kernel for a plugin and passes inputs, 32-bit integers and outputs; everything else is compiled in.
So a call has a plugin where it is one launch without workspace. Attributes would not reach the engine: there are none.
The signatures are checked by ``tensorrt.plugin`` when the module is imported, and want annotations that are classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from edgekit.errors import UnsupportedError
from edgekit.export.triton_aot import ptx
from edgekit.export.triton_aot.planned import PlannedCall, PlannedLaunch

NAMESPACE = "edgekit"
DATA_TYPES = {  # what AutoTuneCombination calls them, and tensorrt's name
    torch.int8: ("INT8", "int8"), torch.int32: ("INT32", "int32"), torch.int64: ("INT64", "int64"),
    torch.float32: ("FP32", "float32"), torch.float16: ("FP16", "float16"), torch.bool: ("BOOL", "bool"),
}  # fmt: skip
TAKEN = ("outputs", "tactic", "stream")

MODULE = '''"""Kernels of edgekit as plugins of TensorRT {since} or later, for {title}.

Import this module before a network is built; ``network.add_plugin(trtp.op.{namespace}.<name>(...), aot=True)``
adds one. The engine holds the kernel and needs no Python. Each is for the sizes in its name.
Made by edgekit; not run on a device.
"""

from pathlib import Path
from typing import List, Tuple

import tensorrt as trt
import tensorrt.plugin as trtp

HERE = Path(__file__).resolve().parent


def _expect(plugin, tensors, sizes):
    """Refuse other sizes than those that the kernel was compiled for."""
    for tensor, want in zip(tensors, sizes):
        dims = list(tensor.shape_expr)
        if not all(dim.is_constant for dim in dims) or tuple(dim.constant_value() for dim in dims) != want:
            raise ValueError(f"{{plugin}} was compiled for inputs of sizes {{sizes}}, all of them fixed")


def _integers(*values):
    """Arguments of the kernel between its inputs and its outputs."""
    arguments = trtp.SymIntExprs(len(values))
    for place, value in enumerate(values):
        arguments[place] = trtp.SymInt32(value)
    return arguments
'''

PLUGIN = """

@trtp.register("{namespace}::{name}")
def {name}_describe(
    {inputs},
) -> {outputs_type}:
    return {outputs}


@trtp.autotune("{namespace}::{name}")
def {name}_autotune(
    {inputs},
    outputs: {outputs_type},
) -> List[trtp.AutoTuneCombination]:
    return [trtp.AutoTuneCombination("{types}", "LINEAR")]


@trtp.aot_impl("{namespace}::{name}")
def {name}_kernel(
    {inputs},
    outputs: {outputs_type},
    tactic: int,
) -> Tuple[str, str, trtp.KernelLaunchParams, trtp.SymIntExprs]:
    _expect("{name}", ({names},), {sizes})
    launch = trtp.KernelLaunchParams(
        grid_x={grid[0]}, grid_y={grid[1]}, grid_z={grid[2]}, block_x={threads}, shared_mem={shared}
    )
    return "{symbol}", (HERE / "{file}").read_text(), launch, _integers({integers})
"""


@dataclass(frozen=True)
class Plugin:
    """A call as a plugin.

    Attributes:
        name: behind the namespace.
        file: of the kernel's text.
        text: PTX with the parameters that TensorRT passes.
        code: its part of the Python module.
    """

    name: str
    file: str
    text: str
    code: str


def plugin(planned: PlannedCall) -> Plugin:
    """The plugin of a call; UnsupportedError says why it can have none."""
    if len(planned.launches) != 1:
        raise UnsupportedError(f"it takes {len(planned.launches)} launches, and a plugin is one.")
    if any(buffer.role == "workspace" for buffer in planned.buffers):
        raise UnsupportedError("it needs workspace, and a plugin has none.")
    if not planned.call.inputs:
        raise UnsupportedError("it reads no tensor.")
    if not all(buffer.tensor.is_contiguous() for buffer in planned.buffers):
        raise UnsupportedError("its images lie channels last, and those of a plugin do not: ask for layout=contiguous.")
    wrong = [buffer.name for buffer in planned.buffers if buffer.tensor.dtype not in DATA_TYPES]
    if wrong:
        raise UnsupportedError(f"{wrong[0]} is of a type that TensorRT does not have.")
    launch, file = planned.launches[0], f"{planned.call.name}_tensorrt.ptx"
    text, integers = _rewritten(planned, launch)
    return Plugin(planned.call.name, file, text, _code(planned, launch, file, integers))


def _rewritten(planned: PlannedCall, launch: PlannedLaunch) -> tuple[str, list[int]]:
    """The kernel's text with inputs, integers and outputs, and the values of the integers."""
    places: dict[int, int] = {}
    integers: dict[int, int] = {}
    numbers: dict[int, int | float] = {}
    read = ptx.read_parameters(launch.kernel.ptx)
    for place, (argument, pointer) in enumerate(launch.arguments):
        if pointer is not None and place in read:
            if pointer.buffer in places or pointer.offset:
                raise UnsupportedError("it passes one tensor twice or in part, and a plugin passes each once.")
            places[pointer.buffer] = place
        elif isinstance(argument.value, int) and argument.type == "i32":
            integers[place] = argument.value
        elif not isinstance(argument.value, Tensor):
            numbers[place] = argument.value
    inputs = [places.get(number) for number, buffer in enumerate(planned.buffers) if buffer.role == "input"]
    outputs = [places.get(number) for number, buffer in enumerate(planned.buffers) if buffer.role == "output"]
    text = ptx.with_parameters(launch.kernel.ptx, [*inputs, *integers, *outputs], numbers)
    return text, list(integers.values())


def _code(planned: PlannedCall, launch: PlannedLaunch, file: str, integers: Sequence[int]) -> str:
    inputs = {_parameter(name): tensor for name, tensor in planned.call.inputs.items()}
    results = [buffer.tensor for buffer in planned.buffers if buffer.role == "output"]
    described = [f"trtp.from_shape_expr({tuple(t.shape)}, trt.{DATA_TYPES[t.dtype][1]})" for t in results]
    return PLUGIN.format(
        namespace=NAMESPACE,
        name=planned.call.name,
        inputs=",\n    ".join(f"{name}: trtp.TensorDesc" for name in inputs),
        names=", ".join(inputs),
        outputs_type=f"Tuple[{', '.join(['trtp.TensorDesc'] * len(results))}]",
        outputs=f"({', '.join(described)},)",
        types=", ".join(DATA_TYPES[buffer.tensor.dtype][0] for buffer in planned.buffers),
        sizes=tuple(tuple(tensor.shape) for tensor in inputs.values()),
        grid=launch.grid,
        threads=launch.kernel.entry.threads,
        shared=launch.kernel.shared,
        symbol=launch.kernel.entry.symbol,
        file=file,
        integers=", ".join(map(str, integers)),
    )


def _parameter(name: str) -> str:
    return f"{name}_" if name in TAKEN else name


def module(title: str, since: str, plugins: Sequence[Plugin]) -> str:
    """The Python module of these plugins."""
    head = MODULE.format(title=title, since=since, namespace=NAMESPACE)
    return head + "".join(one.code for one in plugins)
