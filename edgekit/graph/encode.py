"""One node of a graph as JSON values and back. Reading trusts nothing: fx writes Python code from names it is given."""

from __future__ import annotations

import keyword
import operator
from collections.abc import Collection
from typing import Any

import torch
from torch import fx

from edgekit.errors import GraphFileError
from edgekit.graph import edit, notes

FUNCTIONS = {f.__name__: f for f in (operator.getitem, operator.add, operator.mul, operator.sub, operator.floordiv)}
DTYPES = {str(value).removeprefix("torch."): value for value in vars(torch).values() if isinstance(value, torch.dtype)}
_CONSTANTS: dict[str, dict[str, Any]] = {
    "dtype": DTYPES,
    "layout": {"strided": torch.strided},
    "memory_format": {
        "contiguous_format": torch.contiguous_format,
        "channels_last": torch.channels_last,
        "channels_last_3d": torch.channels_last_3d,
        "preserve_format": torch.preserve_format,
    },
}
_KINDS = {
    torch.dtype: "dtype", torch.device: "device", torch.layout: "layout", torch.memory_format: "memory_format",
}  # fmt: skip
_NAMESPACES = ("aten", "edgekit")
_REACH_OUT = ("aten::from_file",)  # operators that open files; those of TorchScript alone are refused as a whole
_SOURCE = "stack_trace"


def encode_node(node: fx.Node) -> dict[str, Any]:
    """Kind, name, target, arguments, notes and source line of a node.

    Raises:
        GraphFileError: for an operator or an argument that has no spelling here.
    """
    entry = {
        "op": node.op,
        "name": node.name,
        "target": _encode_target(node),
        "args": [_encode(value) for value in node.args],
        "kwargs": {key: _encode(value) for key, value in node.kwargs.items()},
    }
    return entry | notes.encode(node) | ({_SOURCE: node.meta[_SOURCE]} if node.meta.get(_SOURCE) else {})


def decode_node(
    structure: fx.Graph, entry: dict[str, Any], nodes: dict[str, fx.Node], stored: Collection[str]
) -> fx.Node:
    """Append the node that ``entry`` describes to ``structure``.

    Args:
        structure: the graph under construction.
        entry: what :func:`encode_node` returned.
        nodes: all nodes before this one by name.
        stored: paths of tensors, all that a ``get_attr`` may read.

    Raises:
        GraphFileError: for anything that :func:`encode_node` would not have written.
    """
    operation, target = entry["op"], _decode_target(entry["op"], entry["target"], stored)
    args = tuple(_decode(value, nodes) for value in entry["args"])
    kwargs = {_identifier(key): _decode(value, nodes) for key, value in entry["kwargs"].items()}
    if operation != "call_function" and (kwargs or len(args) != (operation == "output")):
        raise GraphFileError(f"the {operation} node {entry['name']!r} has arguments that it cannot have.")
    node = structure.create_node(operation, target, args, kwargs, name=_identifier(entry["name"]))
    source = entry.get(_SOURCE, "")
    if not isinstance(source, str):
        raise GraphFileError(f"the source line of node {node.name} is no text.")
    if source:
        node.meta[_SOURCE] = source
    notes.decode(node, entry)
    return node


def check_path(path: str) -> None:
    """Refuse a tensor path that could name anything but a tensor's place in a tree of modules.

    Raises:
        GraphFileError: for a path with quotes, an empty, dunder or unprintable part, or the name of a Module's member.
    """
    for part in path.split("."):
        wild = not part or part.startswith("__") or not part.isprintable() or any(mark in part for mark in "\"'\\")
        if wild or part in _MEMBERS:
            raise GraphFileError(f"{path!r} cannot be the name of a tensor.")


_MEMBERS = frozenset(dir(torch.nn.Module())) | frozenset(dir(fx.GraphModule(torch.nn.Module(), fx.Graph())))


def _identifier(name: Any) -> str:
    if not isinstance(name, str) or not name.isidentifier() or keyword.iskeyword(name):
        raise GraphFileError(f"{name!r} is no name.")
    return name


def _encode_target(node: fx.Node) -> str:
    if node.op != "call_function":
        return str(node.target)
    if isinstance(node.target, torch._ops.OpOverload) and node.target.namespace in _NAMESPACES:
        return str(node.target)
    name = getattr(node.target, "__name__", "")
    if FUNCTIONS.get(name) is node.target:
        return name
    raise GraphFileError(f"{edit.describe(node)} cannot be saved: only aten and edgekit operators can.")


def _decode_target(operation: str, target: Any, stored: Collection[str]) -> Any:
    if operation == "call_function":
        return FUNCTIONS[target] if target in FUNCTIONS else _decode_operator(target)
    if operation == "get_attr" and target in stored:
        return target
    if operation == "placeholder" or (operation == "output" and target == "output"):
        return _identifier(target)
    raise GraphFileError(f"a node of kind {operation!r} with the target {target!r} is not allowed.")


def _decode_operator(target: str) -> torch._ops.OpOverload:
    namespace, name, overload = target.split(".")
    if namespace not in _NAMESPACES or f"{namespace}::{name}" in _REACH_OUT:
        raise GraphFileError(f"the file names the operator {target}, which is not allowed.")
    found = getattr(getattr(getattr(torch.ops, namespace), _identifier(name)), _identifier(overload))
    # TorchScript's own operators, which work on lists, text and files, have no kernel in the dispatcher.
    if not isinstance(found, torch._ops.OpOverload) or not torch._C._dispatch_has_kernel(
        f"{found._schema}".split("(")[0]
    ):
        raise GraphFileError(f"{target} is not an operator on tensors.")
    return found


def _encode(value: Any) -> Any:
    """Plain values as they are, everything else as an object with one key that names its kind."""
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return {"float": value.hex()}
    if isinstance(value, fx.Node):
        return {"node": value.name}
    if isinstance(value, (tuple, list)):
        return {"list" if isinstance(value, list) else "tuple": [_encode(v) for v in value]}
    if isinstance(value, slice):
        return {"slice": [_encode(v) for v in (value.start, value.stop, value.step)]}
    if type(value) in _KINDS:
        return {_KINDS[type(value)]: str(value).removeprefix("torch.")}
    raise GraphFileError(f"an argument of type {type(value).__name__} cannot be saved.")


def _decode(value: Any, nodes: dict[str, fx.Node]) -> Any:
    if value is None or isinstance(value, (bool, int, str)):
        return value
    ((kind, inner),) = value.items()
    if kind == "node":
        return nodes[inner]
    if kind == "float":
        return float.fromhex(inner)
    if kind in ("list", "tuple", "slice"):
        items = [_decode(v, nodes) for v in inner]
        return items if kind == "list" else tuple(items) if kind == "tuple" else slice(*items)
    return torch.device(inner) if kind == "device" else _CONSTANTS[kind][inner]
