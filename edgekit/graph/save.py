"""A graph on disk: one safetensors file, the nodes as JSON in its metadata. No pickle, and nothing in the file is run.

``torch.export.load`` is not used: an edited archive makes it run code. Here only operators of the namespaces ``aten`` and ``edgekit``
and four integer functions can be named, every value is one of a closed set of kinds, and a wrong file is a :class:`GraphFileError`.
"""

from __future__ import annotations

import json
import operator
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_bytes
from torch import Tensor, fx, nn

from edgekit import disk
from edgekit.errors import GraphFileError
from edgekit.graph import edit
from edgekit.graph.graph import Graph, TensorInfo, propagate_shapes

FORMAT = 1
MAX_JSON = 16 * 2**20  # bytes of node list; the largest nets of the field stay below 2 MiB
_FUNCTIONS = {f.__name__: f for f in (operator.getitem, operator.add, operator.mul, operator.sub, operator.floordiv)}
_NAMESPACES = ("aten", "edgekit")
_DTYPES = {str(value).removeprefix("torch."): value for value in vars(torch).values() if isinstance(value, torch.dtype)}
_SOURCE = ("stack_trace",)


def save(graph: Graph, path: Path) -> None:
    """Write ``graph`` to ``path`` atomically. The same graph gives the same bytes."""
    disk.write_file(path, serialise(graph))


def serialise(graph: Graph) -> bytes:
    """The bytes that :func:`save` writes."""
    tensors: dict[str, Tensor] = {}
    shared: dict[str, str] = {}
    first: dict[int, str] = {}
    for node in graph.nodes:
        if node.op == "get_attr":
            name, value = str(node.target), edit.get_tensor(graph.module, node)
            if first.setdefault(id(value), name) == name:
                tensors[name] = value.detach().contiguous()
            else:
                shared[name] = first[id(value)]
    document = {
        "format": FORMAT,
        "inputs": [[i.name, i.shape, _dtype_name(i.dtype)] for i in graph.inputs],
        "outputs": graph.output_names,
        "attention_dropout": graph.attention_dropout,
        "notes": graph.notes,
        "training": graph.module.training,
        "parameters": sorted(name for name, _ in graph.named_parameters()),
        "shared": shared,
        "nodes": [_encode_node(node) for node in graph.nodes],
    }
    return to_bytes(tensors, metadata={"edgekit.graph": json.dumps(document, separators=(",", ":"), allow_nan=False)})


def load(path: Path) -> Graph:
    """Read a graph; shapes are propagated again.

    Raises:
        GraphFileError: for a file that is not there, is not safetensors, is damaged, or names something that is not allowed.
    """
    try:
        document, tensors = _read(path)
        return _build(document, tensors)
    except GraphFileError:
        raise
    except (OSError, SafetensorError) as error:
        raise GraphFileError(
            f"{path} cannot be read: {error}.", fix="Give a .safetensors file that edgekit wrote."
        ) from error
    except (
        KeyError,
        ValueError,
        TypeError,
        AttributeError,
        IndexError,
        AssertionError,
        RecursionError,
        RuntimeError,
    ) as error:
        raise GraphFileError(f"{path} does not hold a sound edgekit graph: {type(error).__name__}: {error}.") from error


def _read(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    if not path.is_file():
        raise GraphFileError(f"{path} is not a file.", fix="Give a .safetensors file that edgekit wrote.")
    with safe_open(path, framework="pt") as file:
        text = (file.metadata() or {}).get("edgekit.graph")
        if text is None:
            raise GraphFileError(
                f"{path} holds weights but no graph.", fix="Write it with Graph.save or `edgekit train`."
            )
        if len(text) > MAX_JSON:
            raise GraphFileError(f"{path} holds a node list of {len(text)} bytes, over the limit of {MAX_JSON}.")
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  safe_open is no mapping
    document = json.loads(text)
    if document.get("format") != FORMAT:
        raise GraphFileError(
            f"{path} has format {document.get('format')!r}; this version reads {FORMAT}.", fix="Use a newer edgekit."
        )
    return document, tensors


def _build(document: dict[str, Any], tensors: dict[str, Tensor]) -> Graph:
    root, parameters = nn.Module(), set(document["parameters"])
    for name, value in tensors.items():
        edit.set_tensor(root, name, nn.Parameter(value) if name in parameters else value)  # type: ignore[arg-type]
    for name, original in document["shared"].items():
        edit.set_tensor(root, name, edit.get_by_path(root, original))  # type: ignore[arg-type]
    nodes: dict[str, fx.Node] = {}
    structure = fx.Graph()
    for entry in document["nodes"]:
        nodes[entry["name"]] = _decode_node(structure, entry, nodes)
    module = fx.GraphModule(root, structure)
    module.training = bool(document["training"])
    inputs = tuple(TensorInfo(name, tuple(shape), _DTYPES[dtype]) for name, shape, dtype in document["inputs"])
    graph = Graph(
        module, inputs, tuple(document["outputs"]), dict(document["attention_dropout"]), tuple(document["notes"])
    )
    module.graph.lint()
    propagate_shapes(graph)
    return graph


def _encode_node(node: fx.Node) -> dict[str, Any]:
    entry = {
        "op": node.op,
        "name": node.name,
        "target": _encode_target(node),
        "args": [_encode(value) for value in node.args],
        "kwargs": {key: _encode(value) for key, value in node.kwargs.items()},
    }
    return entry | {key: node.meta[key] for key in _SOURCE if node.meta.get(key)}


def _decode_node(structure: fx.Graph, entry: dict[str, Any], nodes: dict[str, fx.Node]) -> fx.Node:
    if entry["op"] not in ("placeholder", "get_attr", "call_function", "output"):
        raise GraphFileError(f"node {entry['name']} has the kind {entry['op']!r}, which is not allowed.")
    target = _decode_target(entry["op"], entry["target"])
    args = tuple(_decode(value, nodes) for value in entry["args"])
    kwargs = {key: _decode(value, nodes) for key, value in entry["kwargs"].items()}
    node = structure.create_node(entry["op"], target, args, kwargs, name=entry["name"])
    node.meta.update({key: entry[key] for key in _SOURCE if key in entry})
    return node


def _encode_target(node: fx.Node) -> str:
    if node.op != "call_function":
        return str(node.target)
    if isinstance(node.target, torch._ops.OpOverload) and node.target.namespace in _NAMESPACES:
        return str(node.target)
    name = getattr(node.target, "__name__", "")
    if _FUNCTIONS.get(name) is node.target:
        return name
    raise GraphFileError(f"{edit.describe(node)} cannot be saved: only aten and edgekit operators can.")


def _decode_target(op: str, target: str) -> Any:
    if op != "call_function":
        return target
    if target in _FUNCTIONS:
        return _FUNCTIONS[target]
    namespace, name, overload = target.split(".")
    if namespace not in _NAMESPACES:
        raise GraphFileError(f"the file names the operator {target}, which is not allowed.")
    found = getattr(getattr(getattr(torch.ops, namespace), name), overload)
    if not isinstance(found, torch._ops.OpOverload):
        raise GraphFileError(f"{target} is not an operator.")
    return found


def _encode(value: Any) -> Any:
    """JSON of one argument: plain values as they are, everything else as an object with one key that names its kind."""
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
    for kind, type_ in (
        ("dtype", torch.dtype),
        ("device", torch.device),
        ("layout", torch.layout),
        ("memory_format", torch.memory_format),
    ):
        if isinstance(value, type_):
            return {kind: str(value).removeprefix("torch.")}
    raise GraphFileError(f"an argument of type {type(value).__name__} cannot be saved.")


def _decode(value: Any, nodes: dict[str, fx.Node]) -> Any:
    if not isinstance(value, dict):
        return value
    ((kind, inner),) = value.items()
    if kind == "node":
        return nodes[inner]
    if kind == "float":
        return float.fromhex(inner)
    if kind in ("list", "tuple"):
        items = [_decode(v, nodes) for v in inner]
        return items if kind == "list" else tuple(items)
    if kind == "slice":
        return slice(*[_decode(v, nodes) for v in inner])
    if kind == "dtype":
        return _DTYPES[inner]
    if kind == "device":
        return torch.device(inner)
    if kind == "layout":
        return {"strided": torch.strided}[inner]
    if kind == "memory_format":
        return {
            "contiguous_format": torch.contiguous_format,
            "channels_last": torch.channels_last,
            "preserve_format": torch.preserve_format,
        }[inner]
    raise GraphFileError(f"the file holds a value of the unknown kind {kind!r}.")


def _dtype_name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
