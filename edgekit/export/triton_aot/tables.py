"""``kernels.h`` and ``kernels.c``: the tables that ``runtime/launcher.c`` launches by."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from edgekit.export.triton_aot.compile import Kernel
from edgekit.export.triton_aot.planned import Buffer, PlannedCall, PlannedLaunch, Pointer
from edgekit.export.triton_aot.ptx import HIDDEN
from edgekit.export.triton_aot.specialise import DIVISOR, Argument
from edgekit.export.triton_aot.target import Target

TYPES = {"i32": "EDGEKIT_INT32", "i64": "EDGEKIT_INT64", "fp32": "EDGEKIT_FLOAT32"}


def header(target: Target, calls: Sequence[PlannedCall]) -> str:
    """``kernels.h``: one number for every call, one for every buffer of it, and how each call is launched."""
    entries = ",\n".join(f"  EDGEKIT_CALL_{call.call.name} = {number}" for number, call in enumerate(calls))
    lines = [
        f"/* kernels.h: the calls that were compiled for {target.title}. */",
        "#ifndef EDGEKIT_KERNELS_H\n#define EDGEKIT_KERNELS_H\n",
        '#include "launcher.h"\n',
        "#ifdef __cplusplus\n" + 'extern "C" {\n#endif\n',
        f"#define EDGEKIT_CAPABILITY {target.capability}\n",
        f"enum {{\n{entries}\n}};\n",
        "\n".join(_described(call) for call in calls),
        f"extern const unsigned edgekit_call_count; /* {len(calls)} */",
        f"extern const edgekit_call edgekit_calls[{len(calls)}];\n",
        "#ifdef __cplusplus\n}\n#endif\n#endif\n",
    ]
    return "\n".join(lines)


def _described(call: PlannedCall) -> str:
    places = ",\n".join(f"  EDGEKIT_{call.call.name}_{buffer.name} = {n}" for n, buffer in enumerate(call.buffers))
    launches = "\n".join(_launch_in_words(launch) for launch in call.launches)
    return f"/* {call.call.name}\n{launches} */\nenum {{\n{places}\n}};\n"


def _launch_in_words(launch: PlannedLaunch) -> str:
    kernel, grid = launch.kernel, " x ".join(map(str, launch.grid))
    return f" *   {grid} blocks of {kernel.entry.threads} threads, {kernel.shared} bytes shared: {kernel.name}"


def source(calls: Sequence[PlannedCall], kernels: Sequence[Kernel]) -> str:
    """``kernels.c``: the tables themselves."""
    parts = ['#include "kernels.h"\n', *(_kernel(kernel) for kernel in kernels), *(_call(call) for call in calls)]
    rows = ",\n".join("  " + _row(call) for call in calls)
    parts.append(f"const unsigned edgekit_call_count = {len(calls)};")
    parts.append(f"const edgekit_call edgekit_calls[{len(calls)}] = {{\n{rows}\n}};\n")
    return "\n".join(parts)


def _kernel(kernel: Kernel) -> str:
    values = f'"{kernel.name}", "{kernel.entry.symbol}", {kernel.entry.threads}, {kernel.shared}'
    return f"static const edgekit_kernel {kernel.name} = {{{values}}};"


def _call(call: PlannedCall) -> str:
    name = call.call.name
    numbers = {kernel.name: number for number, kernel in enumerate(call.kernels)}
    arguments = [_arguments(f"{name}_arguments_{n}", launch) for n, launch in enumerate(call.launches)]
    steps = [
        f"{{{numbers[launch.kernel.name]}, {{{', '.join(map(str, launch.grid))}}}, "
        f"{len(launch.arguments) + HIDDEN}, {name}_arguments_{n}}}"
        for n, launch in enumerate(call.launches)
    ]
    pointers = [f"&{kernel.name}" for kernel in call.kernels]
    return "\n".join(
        [
            "",
            _array("edgekit_buffer", f"{name}_buffers", map(_buffer, call.buffers)),
            _array("edgekit_kernel* const", f"{name}_kernels", pointers),
            *arguments,
            _array("edgekit_launch_step", f"{name}_launches", steps),
        ]
    )


def _row(call: PlannedCall) -> str:
    name = call.call.name
    counts = f"{len(call.buffers)}, {len(call.kernels)}, {len(call.launches)}"
    return f'{{"{name}", {counts}, {name}_buffers, {name}_kernels, {name}_launches}}'


def _array(type_: str, name: str, rows: Iterable[str]) -> str:
    body = ",\n".join(f"  {row}" for row in rows)
    return f"static const {type_} {name}[] = {{\n{body}\n}};"


def _buffer(buffer: Buffer) -> str:
    type_ = str(buffer.tensor.dtype).removeprefix("torch.")
    return f'{{"{buffer.name}", "{type_}", EDGEKIT_{buffer.role.upper()}, {buffer.bytes}u}}'


def _arguments(name: str, launch: PlannedLaunch) -> str:
    rows = [_argument(argument, pointer) for argument, pointer in launch.arguments]
    hidden = [f'{{"scratch memory {number}", EDGEKIT_NULL, 0, 0, 1, 0, 0}}' for number in range(HIDDEN)]
    return _array("edgekit_argument", name, [*rows, *hidden])


def _argument(argument: Argument, pointer: Pointer | None) -> str:
    if pointer is not None:
        aligned = DIVISOR if argument.aligned else argument.value.element_size()  # type: ignore[union-attr]
        return f'{{"{argument.name}", EDGEKIT_POINTER, {pointer.buffer}, {pointer.offset}u, {aligned}, 0, 0}}'
    if isinstance(argument.value, float):
        return f'{{"{argument.name}", EDGEKIT_FLOAT32, 0, 0, 1, 0, {_float(argument.value)}}}'
    return f'{{"{argument.name}", {TYPES[argument.type]}, 0, 0, 1, {_integer(argument.value)}, 0}}'


def _float(value: float) -> str:
    """A hexadecimal float is exact; C has no word for the rest."""
    if value != value or value in (float("inf"), float("-inf")):
        words = {"nan": "0.0f / 0.0f", "inf": "1.0f / 0.0f", "-inf": "-1.0f / 0.0f"}
        return words[str(value)]
    return f"{value.hex()}f"


def _integer(value: object) -> str:
    """As 64 bits; the smallest of them is no literal of C."""
    return "INT64_MIN" if value == -(2**63) else f"INT64_C({value})"
