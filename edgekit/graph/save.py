"""A graph on disk: one safetensors file, the nodes as JSON in its metadata. No pickle, and nothing in the file is run.

``torch.export.load`` is not used: an edited archive makes it run code. Here only tensor operators of the namespaces
``aten`` and ``edgekit`` and five integer functions can be named, none of which opens a file; every value is one of a
closed set of kinds, every name is a plain name, and a wrong file is a :class:`GraphFileError`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_bytes
from torch import Tensor, fx, nn

from edgekit import disk
from edgekit.errors import GraphFileError
from edgekit.graph import edit, encode
from edgekit.graph.graph import Graph, TensorInfo, size_at
from edgekit.graph.quiet import quiet
from edgekit.graph.shapes import ShapePropagation, propagate_shapes

FORMAT = 1
MAX_JSON = 16 * 2**20  # bytes of node list; the largest nets of the field stay below 2 MiB
MAX_SIZE = 2**62  # of any size computed from other sizes
_GIVE = "Give a .safetensors file that edgekit wrote."


def save(graph: Graph, path: Path) -> None:
    """Write ``graph`` to ``path`` atomically. The same graph gives the same bytes.

    Raises:
        GraphFileError: for a graph with an operator, argument or tensor that has no form in the file.
    """
    disk.write_file(path, serialise(graph))


def serialise(graph: Graph) -> bytes:
    """The bytes that :func:`save` writes."""
    tensors: dict[str, Tensor] = {}
    shared: dict[str, str] = {}
    first: dict[int, str] = {}
    for node in graph.nodes:
        if node.op == "get_attr":
            name, value = str(node.target), _tensor(graph, node)
            if first.setdefault(id(value), name) == name:
                tensors[name] = value
            else:
                shared[name] = first[id(value)]
    document = {
        "format": FORMAT,
        "inputs": [[i.name, i.shape, str(i.dtype).removeprefix("torch.")] for i in graph.inputs],
        "outputs": graph.output_names,
        "attention_dropout": graph.attention_dropout,
        "notes": graph.notes,
        "training": graph.module.training,
        "parameters": sorted(name for name, value in tensors.items() if isinstance(value, nn.Parameter)),
        "frozen": sorted(n for n, v in tensors.items() if isinstance(v, nn.Parameter) and not v.requires_grad),
        "shared": shared,
        "nodes": [encode.encode_node(node) for node in graph.nodes],
    }
    text = json.dumps(document, separators=(",", ":"), allow_nan=False)
    if len(text) > MAX_JSON:
        raise GraphFileError(f"the node list takes {len(text)} bytes, over the limit of {MAX_JSON}.")
    # Clones, because safetensors refuses tensors that share memory.
    plain = {name: value.detach().clone(memory_format=torch.contiguous_format) for name, value in tensors.items()}
    return to_bytes(plain, metadata={"edgekit.graph": text})


def _tensor(graph: Graph, node: fx.Node) -> Tensor:
    value = edit.get_attribute(graph.module, str(node.target))
    if not isinstance(value, Tensor):
        raise GraphFileError(f"{node.name} is a part of the graph with code of its own, which cannot be saved.")
    encode.check_path(str(node.target))
    return value


def load(path: Path) -> Graph:
    """Read a graph; shapes are propagated again.

    Raises:
        GraphFileError: for a file that is not there, is not safetensors, is damaged, or names something not allowed.
    """
    try:
        document, tensors = _read(path)
        with quiet():
            return _build(document, tensors)
    except GraphFileError:
        raise
    except (OSError, SafetensorError) as error:
        raise GraphFileError(f"{path} cannot be read: {error}.", fix=_GIVE) from error
    except Exception as error:  # torch's shape functions raise anything on arguments that nobody would write
        raise GraphFileError(f"{path} does not hold a sound edgekit graph: {type(error).__name__}: {error}.") from error


def _read(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    if not path.is_file():
        raise GraphFileError(f"{path} is not a file.", fix=_GIVE)
    with safe_open(path, framework="pt") as file:
        text = (file.metadata() or {}).get("edgekit.graph")
        if text is None:
            raise GraphFileError(
                f"{path} holds weights but no graph.", fix="Write it with Graph.save or `edgekit train`."
            )
        if len(text) > MAX_JSON:
            raise GraphFileError(f"{path} holds a node list of {len(text)} bytes, over the limit of {MAX_JSON}.")
        document = json.loads(text)
        if document.get("format") != FORMAT:
            raise GraphFileError(
                f"{path} has format {document.get('format')!r}; this version reads {FORMAT}.",
                fix="Use the edgekit that wrote it.",
            )
        # Clones, because the tensors that safetensors gives lie in the file itself.
        return document, {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118  no mapping


def _build(document: dict[str, Any], tensors: dict[str, Tensor]) -> Graph:
    root = _modules(document, tensors)
    stored = {*tensors, *document["shared"]}
    nodes: dict[str, fx.Node] = {}
    structure = fx.Graph()
    for entry in document["nodes"]:
        nodes[entry["name"]] = encode.decode_node(structure, entry, nodes, stored)
    if [node.op for node in structure.nodes].index("output") != len(structure.nodes) - 1:
        raise GraphFileError("the file has nodes behind its output.")
    inputs = tuple(
        TensorInfo(_text(name), tuple(map(_size, shape)), encode.DTYPES[dtype])
        for name, shape, dtype in document["inputs"]
    )
    module = fx.GraphModule(root, structure)
    module.training = bool(document["training"])
    names, notes = tuple(map(_text, document["outputs"])), tuple(map(_text, document["notes"]))
    dropout = {_text(name): float(p) for name, p in document["attention_dropout"].items()}
    graph = Graph(module, inputs, names, dropout, notes)
    module.graph.lint()
    propagate_shapes(graph, _Bounded)
    _check_ends(graph)
    return graph


def _modules(document: dict[str, Any], tensors: dict[str, Tensor]) -> nn.Module:
    """A tree of plain modules that holds the tensors, tied ones once."""
    root, parameters, frozen = nn.Module(), set(document["parameters"]), set(document["frozen"])
    for name, tensor in tensors.items():
        encode.check_path(name)
        value = nn.Parameter(tensor, requires_grad=name not in frozen) if name in parameters else tensor
        edit.set_tensor(root, name, value)
    for name, original in document["shared"].items():
        encode.check_path(name)
        if original not in tensors:
            raise GraphFileError(f"{name!r} shares the tensor {original!r}, which the file does not hold.")
        edit.set_tensor(root, name, edit.get_by_path(root, original))
    return root


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise GraphFileError(f"{value!r} stands where a text belongs.")
    return value


def _size(value: Any) -> int | None:
    if value is not None and (type(value) is not int or not 0 <= value < MAX_SIZE):
        raise GraphFileError(f"{value!r} is no size.")
    return value


class _Bounded(ShapePropagation):
    """Shape propagation in which integers stay small: a file could otherwise ask for numbers or lists without end."""

    def run_node(self, n: fx.Node) -> Any:
        """Run one node; arithmetic takes numbers only and gives a size."""
        if n.target not in encode.FUNCTIONS.values() or n.target is encode.FUNCTIONS["getitem"]:
            return super().run_node(n)
        operands, _ = self.fetch_args_kwargs_from_env(n)
        value = super().run_node(n) if all(isinstance(v, _NUMBERS) for v in operands) else None
        if value is None or abs(size_at(value, 2)) >= MAX_SIZE:
            raise GraphFileError(f"{n.name} does not compute a size.")
        return value


_NUMBERS = (int, float, torch.SymInt, torch.SymFloat)


def _check_ends(graph: Graph) -> None:
    """Every input and output must have one name."""
    names = [info.name for info in graph.inputs]
    if len(names) != len(set(names)) or len(names) != sum(node.op == "placeholder" for node in graph.nodes):
        raise GraphFileError(f"the inputs {names} of the file are not those of its nodes.")
    results = graph.output_nodes()
    if len(results) != len(graph.output_names) or not all(isinstance(n.meta.get("val"), Tensor) for n in results):
        raise GraphFileError("the file names other outputs than its nodes return.")
