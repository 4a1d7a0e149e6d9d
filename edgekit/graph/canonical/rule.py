"""What a rule is: a synonym, when it may be rewritten, and how."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import fx

from edgekit.graph import edit
from edgekit.graph.graph import Graph


@dataclass(frozen=True)
class Rule:
    """One synonym and how it is rewritten.

    Attributes:
        name: for people.
        match: whether a call is of the rule's kind.
        check: why a matching call is left alone; empty if it is not.
        rewrite: edits the call.
        reshapes: whether the rewriting changes a call's shape or adds calls, so that shapes have to be made anew.
    """

    name: str
    match: Callable[[fx.Node], bool]
    check: Callable[[fx.Node], str]
    rewrite: Callable[[Graph, fx.Node], None]
    reshapes: bool = False


def apply(rule: Rule, graph: Graph) -> bool:
    """Rewrite every call that the rule fits, in order; whether there was one."""
    fired = False
    for node in edit.calls(graph.module):
        if rule.match(node) and not rule.check(node):
            rule.rewrite(graph, node)
            fired = True
    return fired


def always(_: fx.Node) -> str:
    """No reason against it."""
    return ""


def calls_of(*targets: object) -> Callable[[fx.Node], bool]:
    """A match for calls of any of ``targets``."""
    return lambda node: node.target in targets


def become(node: fx.Node, target: Callable[..., object], *args: object) -> None:
    """Make ``node`` a call of ``target`` in its place, so that its name, source line and users stay."""
    node.target, node.args, node.kwargs = target, args, {}  # type: ignore[assignment]


def bypass(_: Graph, node: fx.Node) -> None:
    """Let whoever reads ``node`` read its input."""
    node.replace_all_uses_with(edit.input_node(node))
