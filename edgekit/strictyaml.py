"""YAML as recipes use it: one mapping of plain values, and the line on which every key stands.

The safe loader still accepts what a recipe must not hold: duplicate keys (the last one wins silently), aliases (a few
lines expand to gigabytes) and nesting without end. They are refused here before anything is built, so a broken file
costs milliseconds.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import yaml

from edgekit.errors import RecipeError

MAX_CHARACTERS = 64 * 1024
MAX_DEPTH = 16
_COLLECTIONS = ("tag:yaml.org,2002:map", "tag:yaml.org,2002:seq")
_FLOAT_TAG = "tag:yaml.org,2002:float"
_FLOAT = re.compile(r"[-+]?[0-9][0-9_]*(\.[0-9_]*)?[eE][-+]?[0-9]+")


Path = tuple[str | int, ...]
Places = dict[Path, str]


@dataclass(frozen=True)
class Document:
    """A parsed file.

    Attributes:
        values: nested dicts, lists and scalars.
        places: where every key and list item stands, ``a.yaml, line 7``, by its path.
    """

    values: dict[str, Any]
    places: Places

    def place(self, path: Path) -> str | None:
        """Return where ``path`` stands, or its nearest parent that stands anywhere."""
        return next((self.places[path[:n]] for n in range(len(path), 0, -1) if path[:n] in self.places), None)

    def set(self, path: Path, value: Any, place: str) -> None:
        """Put a value at ``path``, making the groups on the way; RecipeError when one of them is a value already."""
        group: Any = self.values
        for depth, key in enumerate(path[:-1], 1):
            if group.get(key) is None:
                group[key] = {}
                self.places[path[:depth]] = place
            group = group[key]
            if not isinstance(group, dict):
                raise RecipeError(f"{place}: {key!r} is a value, not a group of keys.")
        group[path[-1]] = value
        for old in [known for known in self.places if known[: len(path)] == path]:
            del self.places[old]
        self.places[path] = place


class _Loader(yaml.SafeLoader):
    """The safe loader that also reads ``1e-3`` as a number, as YAML 1.2 does (1.1 calls it a string)."""


class _Dumper(yaml.SafeDumper):
    """Writes every value out in full and quotes what the loader would read as a number."""

    def ignore_aliases(self, _data: Any) -> bool:
        return True


_Loader.add_implicit_resolver(_FLOAT_TAG, _FLOAT, list("-+0123456789"))
_Dumper.add_implicit_resolver(_FLOAT_TAG, _FLOAT, list("-+0123456789"))


def parse(text: str, source: str) -> Document:
    """Parse a file that holds one mapping.

    Args:
        text: the contents.
        source: what to call it in messages.

    Raises:
        RecipeError: not YAML, not one mapping, a duplicate or non-text key, an alias, too long or too deep.
    """
    node = _compose(text, source)
    if not isinstance(node, yaml.MappingNode):
        raise RecipeError(f"{source} is not a mapping.", fix="Write `key: value` lines, as in `edgekit recipe show`.")
    places: Places = {}
    return Document(_mapping(node, (), places, source), places)


def scalar(text: str, source: str) -> Any:
    """Parse one value as it would stand after a colon: ``0.5``, ``true``, ``[a, b]``, ``null``."""
    node = _compose(text, source)
    return None if node is None else _value(node, (), {}, source)


def dump(values: dict[str, Any]) -> str:
    """Write plain values as YAML that :func:`parse` reads back equal; the same values give the same text."""
    return yaml.dump(values, Dumper=_Dumper, sort_keys=False, width=100)


def _compose(text: str, source: str) -> yaml.Node | None:
    if len(text) > MAX_CHARACTERS:
        raise RecipeError(f"{source} has {len(text):,} characters.", f"The limit is {MAX_CHARACTERS:,}.")
    try:
        _refuse_aliases_and_depth(text, source)
        return yaml.compose(text, Loader=_Loader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark else ""
        raise RecipeError(f"{source}{where}: not YAML.", f"{getattr(error, 'problem', None) or error}.") from error


def _refuse_aliases_and_depth(text: str, source: str) -> None:
    depth = 0
    for event in yaml.parse(text, Loader=_Loader):
        place = _place(event, source)
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            raise RecipeError(f"{place}: anchors and aliases are not allowed.", fix="Write the value out.")
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > MAX_DEPTH:
            raise RecipeError(f"{place}: nested deeper than {MAX_DEPTH} levels.")


def _place(marked: Any, source: str) -> str:
    return f"{source}, line {marked.start_mark.line + 1}"


def _value(node: yaml.Node, path: Path, places: Places, source: str) -> Any:
    if isinstance(node, yaml.CollectionNode) and node.tag not in _COLLECTIONS:
        raise RecipeError(f"{_place(node, source)}: the tag {node.tag!r} is not allowed.")
    if isinstance(node, yaml.MappingNode):
        return _mapping(node, path, places, source)
    if isinstance(node, yaml.SequenceNode):
        places.update({(*path, i): _place(item, source) for i, item in enumerate(node.value)})
        return [_value(item, (*path, i), places, source) for i, item in enumerate(node.value)]
    try:
        return _Loader("").construct_object(node)
    except (yaml.YAMLError, ValueError, OverflowError) as error:
        why = getattr(error, "problem", None) or str(error)
        raise RecipeError(f"{_place(node, source)}: a value that a recipe cannot hold.", f"{why}.") from error


def _mapping(node: yaml.MappingNode, path: Path, places: Places, source: str) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for key_node, value_node in node.value:
        here, place = (*path, key_node.value), _place(key_node, source)
        if key_node.tag != "tag:yaml.org,2002:str":
            raise RecipeError(f"{place}: a key must be a word.", fix="Put it in quotes if it is meant.")
        if here in places:
            raise RecipeError(f"{place}: {key_node.value!r} stands twice.", f"First on {places[here]}.")
        places[here] = place
        values[key_node.value] = _value(value_node, here, places, source)
    return values
