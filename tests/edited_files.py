"""Graph files taken apart and put together wrong: what the tests of broken and hostile files share."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

import edgekit as ek
from edgekit.graph import Graph
from edgekit.graph import save as file


def parts(data: bytes) -> tuple[dict[str, Any], dict[str, Any], bytes]:
    """The safetensors header, the node list in it, and the tensors behind it."""
    size = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8 : 8 + size])
    return header, json.loads(header["__metadata__"]["edgekit.graph"]), data[8 + size :]


def joined(header: dict[str, Any], document: Any, tensors: bytes) -> bytes:
    text = document if isinstance(document, str) else json.dumps(document)
    head = json.dumps(header | {"__metadata__": {"edgekit.graph": text}}).encode()
    return struct.pack("<Q", len(head)) + head + tensors


def small() -> Graph:
    return ek.capture(nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten()), torch.randn(2, 1, 5, 5))


def load_edited(folder: Path, change: Callable[[dict[str, Any]], Any]) -> Graph:
    """Load a sound file whose node list ``change`` has edited in place (or replaced by what it returns)."""
    header, document, tensors = parts(file.serialise(small()))
    changed = change(document)
    path = folder / "edited.safetensors"
    path.write_bytes(joined(header, document if changed is None else changed, tensors))
    return Graph.load(path)


def call(document: dict[str, Any], operation: str = "call_function") -> dict[str, Any]:
    return next(entry for entry in document["nodes"] if entry["op"] == operation)
