"""Written-out formulas taken apart: products into their factors, sums into a number and the rest."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from torch import fx

from edgekit.graph import edit

aten = torch.ops.aten


@dataclass
class Product:
    """A number times tensors, in the order in which they are written."""

    number: float = 1.0
    factors: list[fx.Node] = field(default_factory=list)

    def rest(self, *taken: fx.Node) -> list[fx.Node]:
        """The factors without one occurrence of each of ``taken``."""
        left = list(self.factors)
        for node in taken:
            if node in left:
                left.remove(node)
        return left


def number(value: object) -> float | None:
    """A plain number among the arguments of a call."""
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def near(value: float | None, wanted: float) -> bool:
    """Whether a constant in a formula is the one meant: people write them with four digits or more."""
    return value is not None and math.isclose(value, wanted, rel_tol=2e-4)


def product(node: fx.Node) -> Product:
    """The product that ends in ``node``, through every multiplication that only it reads."""
    found = Product()
    _gather(node, found, top=True)
    return found


def _gather(node: fx.Node, found: Product, top: bool = False) -> None:
    inner = top or len(node.users) == 1
    if inner and edit.is_call(node, aten.mul.Tensor):
        for operand in node.args[:2]:
            _multiply(operand, found)
    elif inner and edit.is_call(node, aten.div.Tensor) and number(node.args[1]):
        found.number /= number(node.args[1]) or 1.0
        _gather(edit.input_node(node), found)
    elif inner and edit.is_call(node, aten.pow.Tensor_Scalar) and node.args[1] in (2, 3):
        found.factors += [edit.input_node(node)] * (2 if node.args[1] == 2 else 3)
    else:
        found.factors.append(node)


def _multiply(operand: object, found: Product) -> None:
    plain = number(operand)
    if plain is not None:
        found.number *= plain
    elif isinstance(operand, fx.Node):
        _gather(operand, found)


def shifted(node: object) -> tuple[float, fx.Node] | None:
    """The number and the tensor of ``number + tensor``; None for anything else."""
    if not isinstance(node, fx.Node) or not edit.is_call(node, aten.add.Tensor) or node.kwargs or len(node.args) != 2:
        return None
    plain = number(node.args[1])
    return None if plain is None else (plain, edit.input_node(node))


def argument_of(node: object, *targets: object) -> fx.Node | None:
    """What a call of one of ``targets`` works on; None for anything else."""
    return edit.input_node(node) if isinstance(node, fx.Node) and edit.is_call(node, *targets) else None
