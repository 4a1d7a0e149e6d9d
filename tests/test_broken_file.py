"""A graph file that is cut, flipped, mistyped or makes no sense is one typed error, never another, and never a hang."""

from __future__ import annotations

import json
import pickle
import random
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from edited_files import call, joined, load_edited, parts, small
from safetensors.torch import save as to_bytes
from torch import nn

from edgekit.errors import GraphFileError
from edgekit.graph import Graph
from edgekit.graph import save as file

# Files that are something else, or broken.


def test_a_missing_file_and_a_folder(tmp_path: Path) -> None:
    for path in (tmp_path / "none.safetensors", tmp_path):
        with pytest.raises(GraphFileError, match="not a file"):
            Graph.load(path)


def test_other_kinds_of_file(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(to_bytes({"w": torch.ones(2)}))
    with pytest.raises(GraphFileError, match="weights but no graph"):
        Graph.load(path)
    torch.save(nn.Linear(2, 2).state_dict(), path)
    with pytest.raises(GraphFileError, match="cannot be read"):
        Graph.load(path)
    path.write_bytes(pickle.dumps(Bomb(tmp_path / "pwned")))
    with pytest.raises(GraphFileError, match="cannot be read"):
        Graph.load(path)
    assert not (tmp_path / "pwned").exists()


class Bomb:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return open, (str(self.path), "w")


def test_every_truncation_is_refused(tmp_path: Path) -> None:
    data = file.serialise(small())
    path = tmp_path / "cut.safetensors"
    points = sorted({*range(64), *range(64, len(data), max(1, len(data) // 150)), len(data) - 1})
    for end in points:
        path.write_bytes(data[:end])
        with pytest.raises(GraphFileError):
            Graph.load(path)


def flips(data: bytes, count: int) -> list[bytes]:
    generator = random.Random(0)
    header = 8 + struct.unpack("<Q", data[:8])[0]
    changed = []
    for _ in range(count):
        piece = bytearray(data)
        for _ in range(generator.choice((1, 1, 1, 8))):
            piece[generator.randrange(header)] ^= 1 << generator.randrange(8)
        changed.append(bytes(piece))
    return changed


@pytest.mark.parametrize("count", [250, pytest.param(5000, marks=pytest.mark.slow)])
def test_flipped_bits_are_refused_or_harmless(count: int, tmp_path: Path) -> None:
    """A bit of a number or a note may flip unseen; then the file still gives a graph, never another error."""
    path = tmp_path / "flipped.safetensors"
    refused = 0
    for data in flips(file.serialise(small()), count):
        path.write_bytes(data)
        try:
            assert isinstance(Graph.load(path), Graph)
        except GraphFileError:
            refused += 1
    assert refused > count // 2


VALUES = (None, True, 0, -1, 2**70, 1.5, "", "x", [], {}, {"node": "x"}, {"list": [{"node": "conv2d"}]}, [[]], {"a": 1})


def spots(value: Any) -> list[tuple[Any, Any]]:
    """Every (container, key) in a JSON value."""
    pairs = list(value.items()) if isinstance(value, dict) else list(enumerate(value))
    inner = [spot for _, child in pairs if isinstance(child, (dict, list)) for spot in spots(child)]
    return [(value, key) for key, _ in pairs] + inner


@pytest.mark.parametrize("count", [300, pytest.param(6000, marks=pytest.mark.slow)])
def test_wrong_types_anywhere_are_refused_or_harmless(count: int, tmp_path: Path) -> None:
    header, document, tensors = parts(file.serialise(small()))
    path = tmp_path / "edited.safetensors"
    generator = random.Random(1)
    refused = 0
    for _ in range(count):
        edited = json.loads(json.dumps(document))
        container, key = generator.choice(spots(edited))
        if generator.random() < 0.2:
            del container[key]
        else:
            container[key] = generator.choice(VALUES)
        path.write_bytes(joined(header, edited, tensors))
        try:
            graph = Graph.load(path)
            str(graph), graph.copy().train().refresh(), file.serialise(graph)
        except GraphFileError:
            refused += 1
    assert refused > count // 2


@pytest.mark.parametrize(
    "document",
    ["", "{", "null", "[]", "3", '"text"', "{}", '{"format":1}', "NaN", "[" * 100_000, '{"nodes":' + "9" * 9999],
)  # fmt: skip
def test_a_node_list_that_is_none(document: str, tmp_path: Path) -> None:
    with pytest.raises(GraphFileError):
        load_edited(tmp_path, lambda _: document)


def test_a_huge_node_list_is_refused_unread(tmp_path: Path) -> None:
    with pytest.raises(GraphFileError, match="over the limit"):
        load_edited(tmp_path, lambda _: "[" + " " * file.MAX_JSON + "]")


@pytest.mark.parametrize("version", [0, 2, "1", None])
def test_another_format_is_refused_with_its_number(version: Any, tmp_path: Path) -> None:
    with pytest.raises(GraphFileError, match=f"has format {version!r}; this version reads 1"):
        load_edited(tmp_path, lambda document: document.update(format=version))


def reversed_nodes(document: dict[str, Any]) -> None:
    document["nodes"].reverse()


def reads_itself(document: dict[str, Any]) -> None:
    entry = call(document)
    entry["args"][0] = {"node": entry["name"]}


def reads_nothing(document: dict[str, Any]) -> None:
    call(document)["args"][0] = {"node": "nowhere"}


def no_nodes(document: dict[str, Any]) -> None:
    document["nodes"] = []


def no_output(document: dict[str, Any]) -> None:
    document["nodes"].pop()


def two_outputs(document: dict[str, Any]) -> None:
    document["nodes"].append(document["nodes"][-1])


def one_input_too_many(document: dict[str, Any]) -> None:
    document["inputs"].append(["other", [None, 3], "float32"])


def no_inputs(document: dict[str, Any]) -> None:
    document["inputs"] = []


def negative_input(document: dict[str, Any]) -> None:
    document["inputs"][0][1] = [None, 1, -5, 5]


def endless_input(document: dict[str, Any]) -> None:
    document["inputs"][0][1] = [None, 2**62, 2**62, 5]


def too_many_outputs(document: dict[str, Any]) -> None:
    document["outputs"].append("more")


def output_of_a_number(document: dict[str, Any]) -> None:
    document["nodes"][-1]["args"] = [3]


@pytest.mark.parametrize(
    "change",
    [
        reversed_nodes, reads_itself, reads_nothing, no_nodes, no_output, two_outputs, one_input_too_many, no_inputs,
        negative_input, endless_input, too_many_outputs, output_of_a_number,
    ],
)  # fmt: skip
def test_structures_that_make_no_graph(change: Callable[[dict[str, Any]], None], tmp_path: Path) -> None:
    with pytest.raises(GraphFileError):
        load_edited(tmp_path, change)


def chain(first: list[Any], operation: str, length: int) -> Callable[[dict[str, Any]], None]:
    """Nodes that each apply ``operation`` to the one before twice; every one doubles or squares."""

    def change(document: dict[str, Any]) -> None:
        entries = [entry("c0", operation, first)]
        entries += [entry(f"c{i}", operation, [{"node": f"c{i - 1}"}, {"node": f"c{i - 1}"}]) for i in range(1, length)]
        document["nodes"][1:1] = entries

    def entry(name: str, target: str, args: list[Any]) -> dict[str, Any]:
        return {"op": "call_function", "name": name, "target": target, "args": args, "kwargs": {}}

    return change


@pytest.mark.parametrize(
    ("first", "operation", "length"),
    [
        ([10, 10], "mul", 80),  # a number of 2 ** 80 digits
        (["x", 2**40], "mul", 1),  # a terabyte of text
        ([{"list": [1]}, {"list": [1]}], "add", 60),  # a list that doubles
        ([2**61, 2], "mul", 1),
        ([1, 0], "floordiv", 1),
        ([{"node": "input"}, 2**40], "mul", 1),
    ],
)
def test_arithmetic_without_end_is_refused(first: list[Any], operation: str, length: int, tmp_path: Path) -> None:
    header, document, tensors = parts(file.serialise(small()))
    name = call(document, "placeholder")["name"]
    first = [{"node": name} if value == {"node": "input"} else value for value in first]
    chain(first, operation, length)(document)
    path = tmp_path / "x.safetensors"
    path.write_bytes(joined(header, document, tensors))
    with pytest.raises(GraphFileError):
        Graph.load(path)
