"""Nothing in a graph file is run, no name reaches out of the graph, and no operator opens a file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from edited_files import call, joined, load_edited, parts, small
from torch import nn

from edgekit.errors import GraphFileError
from edgekit.graph import Graph, encode
from edgekit.graph import save as file


@pytest.mark.parametrize(
    "target",
    [
        "os.system", "builtins.eval", "torch.ops.aten.__class__", "aten.__class__.default", "aten.relu.__call__",
        "aten.relu._op", "aten.relu", "relu", "aten..default", "aten.no_such_operator.default", "prim.Print.default",
        "aten.save.default", "aten.from_file.default", "aten.from_file.out", "aten.mul.left_t", "aten.format.default",
        "quantized.conv2d.default", "edgekit.__dict__.default", "eval", "print", "truediv", "", ".", "..", None, 3, [],
    ],
)  # fmt: skip
def test_operators_that_are_not_allowed(target: Any, tmp_path: Path) -> None:
    def change(document: dict[str, Any]) -> None:
        call(document)["target"] = target

    with pytest.raises(GraphFileError):
        load_edited(tmp_path, change)


@pytest.mark.parametrize("operation", ["call_method", "call_module", "root", "", None, "output"])
def test_kinds_of_node_that_are_not_allowed(operation: Any, tmp_path: Path) -> None:
    with pytest.raises(GraphFileError):
        load_edited(tmp_path, lambda document: call(document).update(op=operation))


@pytest.fixture
def trap(tmp_path: Path) -> Any:
    """Python text without a dot that would leave a file behind, and the check that it did not run."""
    path = tmp_path / "pwned"
    source = f"open({str(path)!r}, 'w')"
    yield f"eval(bytes({list(source.encode())}))"
    assert not path.exists()


def run(graph: Graph) -> None:
    graph(torch.randn(2, 1, 5, 5))


def test_no_code_in_a_placeholder(trap: str, tmp_path: Path) -> None:
    """Its target would stand in the signature of the generated forward, and a default value runs at once."""

    def change(document: dict[str, Any]) -> None:
        call(document, "placeholder")["target"] = f"input={trap}"

    with pytest.raises(GraphFileError):
        run(load_edited(tmp_path, change))


def test_no_code_in_a_tensor_path(trap: str, tmp_path: Path) -> None:
    """A path that is no identifier would stand between quotes in the generated forward."""
    evil = f'0"), {trap}, ("'
    header, document, tensors = parts(file.serialise(small()))
    header[evil] = header.pop("0.weight")
    document["parameters"] = [evil, "0.bias"]
    call(document, "get_attr")["target"] = evil
    path = tmp_path / "evil.safetensors"
    path.write_bytes(joined(header, document, tensors))
    with pytest.raises(GraphFileError):
        run(Graph.load(path))


@pytest.mark.parametrize("key", ["name", "kwargs"])
def test_no_code_in_names(key: str, trap: str, tmp_path: Path) -> None:
    def change(document: dict[str, Any]) -> None:
        entry = call(document)
        entry[key] = f"x={trap};y" if key == "name" else {f"x={trap}, y": 1}

    with pytest.raises(GraphFileError):
        run(load_edited(tmp_path, change))


@pytest.mark.parametrize("text", ["'+{}+'", "{}", '"+{}+"', "\\", "\n{}"])
def test_text_arguments_stay_text(text: str, trap: str, tmp_path: Path) -> None:
    """The bias gets a text: fx must write it as a text, and the operator refuses it."""

    def change(document: dict[str, Any]) -> None:
        call(document)["args"][2] = text.replace("{}", trap)

    with pytest.raises(GraphFileError):
        run(load_edited(tmp_path, change))


@pytest.mark.parametrize(
    "name",
    [
        "__class__.forward", "__class__.__call__", "0.__class__.forward", "forward", "training", "_parameters", "graph",
        "_parameters.weight", "", ".", "0..weight", "a.", "a\nb", "a\\b", "a'b",
    ],
)  # fmt: skip
def test_paths_that_reach_elsewhere(name: str, tmp_path: Path) -> None:
    forward, call = nn.Module.forward, nn.Module.__call__
    header, document, tensors = parts(file.serialise(small()))
    header[name] = header.pop("0.bias")
    document["parameters"] = ["0.weight"]
    path = tmp_path / "evil.safetensors"
    path.write_bytes(joined(header, document, tensors))
    with pytest.raises(GraphFileError, match="cannot be the name of a tensor"):
        Graph.load(path)
    assert (nn.Module.forward, nn.Module.__call__) == (forward, call)


def test_tensors_that_are_missing(tmp_path: Path) -> None:
    header, document, tensors = parts(file.serialise(small()))
    del header["0.weight"]
    path = tmp_path / "x.safetensors"
    path.write_bytes(joined(header, document, tensors))
    with pytest.raises(GraphFileError):
        Graph.load(path)
    with pytest.raises(GraphFileError, match="does not hold"):
        load_edited(tmp_path, lambda document: document.update(shared={"a": "b"}))
    with pytest.raises(GraphFileError):
        load_edited(tmp_path, lambda document: call(document, "get_attr").update(target="forward"))


def test_names_of_members_are_those_of_torch() -> None:
    """The refused names cover what set_tensor could otherwise overwrite in a module."""
    for member in ("forward", "training", "_buffers", "register_buffer", "graph", "code", "recompile"):
        with pytest.raises(GraphFileError):
            encode.check_path(f"a.{member}")
    for fine in ("weight", "0.weight", "layers.a-b.weight", "_scale", "x y", "ümlaut.bias"):
        encode.check_path(fine)
