"""How a cell becomes an integer operator: one rule for each kind."""

from __future__ import annotations

from edgekit.fuse.rules import elementwise, moves, norms, pools, products, recurrent
from edgekit.fuse.rules.rule import Rule, border

__all__ = ["RULES", "Rule", "border"]

RULES = {
    rule.name: rule
    for rule in (
        products.WEIGHTED,
        products.MATMUL,
        recurrent.RECURRENT,
        elementwise.JOIN,
        elementwise.MULTIPLY,
        elementwise.UNARY,
        elementwise.PRELU,
        pools.POOL,
        pools.REDUCE,
        norms.SOFTMAX,
        norms.NORM,
        moves.MOVE,
        moves.CONCAT,
        moves.EMBEDDING,
    )
}
