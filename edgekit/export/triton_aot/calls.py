"""Which calls of which operators are compiled: layers of real networks that the operators list, or a user's shapes.

A call is an operator with tensors on torch's "meta" device, which have sizes and no values. A user writes one as
``linear_s8:x=1x512,weight=1000x512,bias=1000,multiplier=1000,lo=0``: sizes for tensors and for lists of integers,
numbers for the rest, ``none`` for what is left out; arguments with a default may be missing. In a JSON file it is
``{"operator": "linear_s8", "name": "head", "x": [1, 512], ...}``, and the file holds a list of these.

Images, and filters with them, lie ``layout=channels_last``, in which their kernels are fast, or ``layout=contiguous``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from edgekit.errors import EdgekitError, InputError, UsageError, did_you_mean
from edgekit.ops import OPS, OpSpec
from edgekit.ops.dispatch import TRITON

LAYOUTS = {"channels_last": torch.channels_last, "contiguous": torch.contiguous_format}
IMAGES = ("conv2d_s8", "conv_transpose2d_s8", "avg_pool_s8", "max_pool_s8")
EXAMPLE = "Write it like linear_s8:x=1x512,weight=1000x512,bias=1000,multiplier=1000."


@dataclass(frozen=True)
class Call:
    """One call of an operator.

    Attributes:
        name: a word of C, unique among the calls that are compiled together.
        spec: the operator.
        arguments: by name, in the order of the schema; tensors are dense, or ``torch.channels_last``, and on "meta".
    """

    name: str
    spec: OpSpec
    arguments: Mapping[str, Any]

    @property
    def inputs(self) -> dict[str, Tensor]:
        """The tensors among the arguments."""
        return {name: value for name, value in self.arguments.items() if isinstance(value, Tensor)}


def with_kernels() -> tuple[OpSpec, ...]:
    """The operators that have a Triton kernel."""
    return tuple(spec for spec in OPS if TRITON in spec.tiers)


def layers(operators: Sequence[str] | None = None) -> tuple[Call, ...]:
    """The calls that operators list as layers of real networks; of all operators by default."""
    specs = with_kernels() if operators is None else [_spec(name) for name in operators]
    return tuple(
        Call(_word(f"{spec.name} {case.name}"), spec, _on_meta(spec, case.args, _layout(spec)))
        for spec in specs
        for case in spec.cases()
        if case.layer
    )


def chosen(shapes: Iterable[str | Mapping[str, Any]]) -> tuple[Call, ...]:
    """The calls that a user asks for.

    Args:
        shapes: each a text or a mapping as the module describes, or the path of a JSON file of mappings.

    Raises:
        UsageError: an operator without a kernel, an argument that it does not have or that is missing, sizes that
            do not fit each other, or a name that two calls have.
        InputError: the file cannot be read.
    """
    calls = [_call(fields) for shape in shapes for fields in _fields(shape)]
    refuse_equal_names(calls)
    return tuple(calls)


def refuse_equal_names(calls: Sequence[Call]) -> None:
    """UsageError where two calls have one name."""
    names = [call.name for call in calls]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise UsageError(f"two calls are named {twice[0]}.", fix='Give each a "name" of its own, in a JSON file.')


def _fields(shape: str | Mapping[str, Any]) -> list[Mapping[str, Any]]:
    if not isinstance(shape, str):
        return [shape]
    if shape.endswith(".json"):
        return _read(Path(shape))
    operator, colon, rest = shape.partition(":")
    if not colon:
        raise UsageError(f"{shape!r} names no operator and sizes.", fix=EXAMPLE)
    fields: dict[str, Any] = {"operator": operator}
    for part in rest.split(","):
        name, equals, value = part.partition("=")
        if not equals or name in fields:
            raise UsageError(f"{part!r} of {shape!r} is not one ARGUMENT=VALUE.", fix=EXAMPLE)
        fields[name] = value
    return [fields]


def _read(path: Path) -> list[Mapping[str, Any]]:
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path} cannot be read as JSON.", f"{error}.") from error
    if not isinstance(found, list) or not all(isinstance(fields, dict) for fields in found):
        raise InputError(f"{path} does not hold a list of calls.", fix='Write [{"operator": "linear_s8", ...}].')
    return found


def _call(fields: Mapping[str, Any]) -> Call:
    spec = _spec(str(fields.get("operator", "")))
    given = {name: value for name, value in fields.items() if name not in ("operator", "name", "layout")}
    names = [argument.name for argument in _schema(spec)]
    for name in given:
        if name not in names:
            fix = f"It has {', '.join(names)}."
            raise UsageError(f"{spec.name} has no argument {name}.{did_you_mean(name, names)}", fix=fix)
    dtypes = _dtypes(spec)
    values = tuple(_value(spec, argument, given, dtypes.get(argument.name)) for argument in _schema(spec))
    try:
        spec.shape(*values)
    except EdgekitError as error:
        raise error.at(f"shapes of {spec.name}") from error
    parts = [*(_as_text(given[name]) for name in names if name in given), str(fields.get("layout", ""))]
    named = str(fields.get("name", "")) or "_".join(filter(None, parts))
    return Call(_word(f"{spec.name} {named}"), spec, _on_meta(spec, values, _layout(spec, fields.get("layout"))))


def _spec(name: str) -> OpSpec:
    specs = {spec.name: spec for spec in with_kernels()}
    if name not in specs:
        fix = f"There is one for {', '.join(specs)}."
        raise UsageError(f"there is no Triton kernel {name!r}.{did_you_mean(name, specs)}", fix=fix)
    return specs[name]


def _schema(spec: OpSpec) -> Sequence[Any]:
    arguments: Sequence[Any] = getattr(torch.ops.edgekit, spec.name).default._schema.arguments
    return arguments


def _dtypes(spec: OpSpec) -> dict[str, torch.dtype]:
    """Of the tensors, by argument, as the operator's own cases have them."""
    found: dict[str, torch.dtype] = {}
    for case in spec.cases():
        for argument, value in zip(_schema(spec), case.args, strict=False):
            if isinstance(value, Tensor):
                found.setdefault(argument.name, value.dtype)
    return found


def _value(spec: OpSpec, argument: Any, given: Mapping[str, Any], dtype: torch.dtype | None) -> Any:
    if argument.name not in given:
        if argument.has_default_value():
            return argument.default_value
        what = f"{spec.name} needs {argument.name}"
        raise UsageError(f"{what}: {argument.type}.", fix=EXAMPLE)
    value, kind = given[argument.name], str(argument.type).removeprefix("Optional[").removesuffix("]")
    if value is None or value == "none":
        return None
    try:
        return _converted(value, kind, dtype)
    except (TypeError, ValueError, RuntimeError) as error:
        what = f"{argument.name}={_as_text(value)} of {spec.name} is no {argument.type}"
        raise UsageError(f"{what}.", f"{error}.", EXAMPLE) from error


def _converted(value: Any, kind: str, dtype: torch.dtype | None) -> Any:
    if kind == "Tensor":
        return torch.empty(_sizes(value), dtype=dtype, device="meta")
    if kind.startswith("List[int"):
        return _sizes(value)
    if kind == "bool":
        return {"true": True, "false": False}[value] if isinstance(value, str) else bool(value)
    if kind == "int":
        return int(value)
    if kind == "float":
        return float(value)
    raise ValueError("only tensors, numbers and lists of integers can be written")


def _sizes(value: Any) -> list[int]:
    parts = value.split("x") if isinstance(value, str) else [value] if isinstance(value, int) else value
    return [int(part) for part in parts]


def _layout(spec: OpSpec, wanted: object = None) -> torch.memory_format:
    """Of the tensors of four dimensions that an operator takes.

    Raises:
        UsageError: for a word that is no layout, or another than "contiguous" where no images are.
    """
    if wanted is None:
        return torch.channels_last if spec.name in IMAGES else torch.contiguous_format
    known = LAYOUTS if spec.name in IMAGES else {"contiguous": torch.contiguous_format}
    if wanted not in known:
        raise UsageError(f"{spec.name} has no layout {wanted!r}.", fix=f"It has {' and '.join(known)}.")
    return known[str(wanted)]


def _on_meta(spec: OpSpec, values: Sequence[Any], layout: torch.memory_format) -> dict[str, Any]:
    """Arguments by name, every tensor as the launcher of the kernel would see it."""

    def moved(value: Any) -> Any:
        if not isinstance(value, Tensor):
            return value
        return value.to("meta").contiguous(memory_format=layout if value.dim() == 4 else torch.contiguous_format)

    schema = _schema(spec)
    given = [*values, *(argument.default_value for argument in schema[len(values) :])]
    return {argument.name: moved(value) for argument, value in zip(schema, given, strict=True)}


def _as_text(value: Any) -> str:
    return "x".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)


def _word(text: str) -> str:
    return re.sub(r"\W+", "_", text, flags=re.ASCII).strip("_")
