"""One spelling for each meaning, so that prune, quant, fuse and export need not know synonyms.

A rule is a triple (match, check, rewrite): ``match`` names the operators, ``check`` returns why the rule does not apply
(or an empty string), ``rewrite`` edits the node. Rules run once each over all calls, in the order of :data:`RULES`,
behind in-place calls made functional and constants folded.

Most rules keep every bit of outputs and gradients, but for one corner: where an input lies exactly on a bound,
``clamp`` passes the gradient that ``relu6`` and ``hardtanh`` stop. Those that put one operator in the place of a
written-out formula (:mod:`activations`, :mod:`norms`, :mod:`attention`, even pools) compute the same in another order:
they agree to a few units in the last place.
"""

from __future__ import annotations

from edgekit.graph import edit, inplace
from edgekit.graph.canonical import (
    activations,
    arithmetic,
    attention,
    bounds,
    identities,
    masks,
    norms,
    padding,
    pieces,
    pools,
    views,
)
from edgekit.graph.canonical.rule import Rule, apply
from edgekit.graph.constants import fold_constants
from edgekit.graph.fold import fold_batch_norm
from edgekit.graph.graph import Graph
from edgekit.graph.shapes import propagate_shapes

__all__ = ["RULES", "Rule", "canonicalise", "fold_batch_norm"]


def canonicalise(graph: Graph) -> Graph:
    """Rewrite ``graph`` in place to canonical spelling and refresh it."""
    edit.drop_dead(graph.module)  # what nobody reads would count as a reader
    _run((IN_PLACE,), graph)
    fold_constants(graph)
    _run(RULES, graph)
    return graph.refresh()


def _run(rules: tuple[Rule, ...], graph: Graph) -> None:
    for rule in rules:
        if apply(rule, graph):
            edit.drop_dead(graph.module)
            if rule.reshapes:
                propagate_shapes(graph)  # the next rule asks for shapes


IN_PLACE = Rule(
    "in-place to functional",
    inplace.is_in_place,
    inplace.why_not_functional,
    lambda _, node: inplace.make_functional(node),
)
RULES = (
    *padding.RULES,
    *bounds.RULES,
    *identities.RULES,
    *pieces.RULES,
    *pools.RULES,
    *views.RULES,
    *arithmetic.RULES,
    *activations.RULES,
    *norms.RULES,
    *attention.RULES,
    *masks.RULES,
    identities.IDENTITIES,
)
