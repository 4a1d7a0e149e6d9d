"""What a node remembers of how it came about: whose value it holds, of which operator it is a part, at which scale, and
why it is computed in float.

A stage that decides such a thing writes it down here, and whoever explains or compares graphs reads it. Nothing is
computed from a note: a graph without them runs the same.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from torch import fx

from edgekit.errors import GraphFileError

STANDS_FOR, PART_OF, SCALE, WHY_FLOAT = "stands_for", "part_of", "scale", "why_float"
_KINDS: dict[str, type] = {STANDS_FOR: str, PART_OF: str, SCALE: float, WHY_FLOAT: str}


def stand_for(node: fx.Node, other: fx.Node) -> None:
    """Note that ``node`` holds from now on what ``other`` held: a folded batch norm's result, a fused clamp's."""
    node.meta[STANDS_FOR] = value_name(other)


def value_name(node: fx.Node) -> str:
    """The name by which a node's value is known in every form of the net, from the captured graph to the file."""
    return str(node.meta.get(STANDS_FOR, node.name))


def take_apart(node: fx.Node, write_out: Callable[[], None]) -> None:
    """Note of every call that ``write_out`` makes that it is a part of what ``node`` computed."""
    before = set(node.graph.nodes)
    write_out()
    for part in node.graph.nodes:
        if part not in before:
            part.meta[PART_OF] = node.name


def names(node: fx.Node) -> set[str]:
    """Every name by which a user may mean a call: its own, its value's, and that of the operator it is a part of."""
    return {node.name, value_name(node), str(node.meta.get(PART_OF, node.name))}


def scale(node: fx.Node) -> float | None:
    """The real value of one step of an integer node, where it is known."""
    return node.meta.get(SCALE)


def why_float(node: fx.Node) -> str:
    """Why placement left a call in float; empty where it said nothing."""
    return str(node.meta.get(WHY_FLOAT, ""))


def encode(node: fx.Node) -> dict[str, Any]:
    """The notes of a node as plain JSON values."""
    return {key: node.meta[key] for key in _KINDS if key in node.meta}


def decode(node: fx.Node, entry: dict[str, Any]) -> None:
    """Give a node the notes that :func:`encode` made an entry of.

    Raises:
        GraphFileError: for a note of another type, or a scale that is none.
    """
    for key, kind in _KINDS.items():
        if key not in entry:
            continue
        value = entry[key]
        if type(value) is not kind or (isinstance(value, float) and not (math.isfinite(value) and value > 0)):
            raise GraphFileError(f"the note {key!r} of node {node.name} cannot be {value!r}.")
        node.meta[key] = value
