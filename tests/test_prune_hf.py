"""Half of the channels of models of Hugging Face, untouched in their code, and still right at every value."""

from __future__ import annotations

import prune_hf
import pytest
from masking import check

import edgekit as ek
from edgekit.graph import cost

pytest.importorskip("transformers")
QUICK = ("bert", "regnet")


@pytest.mark.parametrize(
    "name", [n if n in QUICK else pytest.param(n, marks=pytest.mark.slow) for n in prune_hf.FAMILIES]
)
def test_every_value_is_that_of_the_masked_net(name: str) -> None:
    model, inputs = prune_hf.made(name)
    graph = ek.capture(model, inputs)
    pruned = check(graph, inputs, 0.5)
    assert cost.total_macs(pruned) <= 0.6 * cost.total_macs(graph)
    assert cost.total_parameters(pruned) <= 0.6 * cost.total_parameters(graph)
