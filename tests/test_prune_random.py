"""Whatever net is drawn, every value of the pruned graph is what the masked one computes."""

from __future__ import annotations

import pytest
import torch
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st
from masking import check
from random_nets import NETS, SIDE, Random

import edgekit as ek
from edgekit.prune import couple


def check_random_net(model: Random, ratio: float, blocks: str) -> None:
    x = torch.randn(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(4))
    graph = ek.capture(model.eval(), x)
    assert couple(graph).refusals == ()  # no operator here is unknown
    check(graph, (x,), ratio, blocks)


RATIOS, BLOCKS = (0.25, 0.5, 0.99), ("whole", "within", "both")


# Two hundred, in parts that run side by side.
@pytest.mark.parametrize("part", range(4))
def test_random_nets(part: int) -> None:
    @seed(part)
    @given(NETS, st.sampled_from(RATIOS), st.sampled_from(BLOCKS))
    @settings(max_examples=50, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    def run(model: Random, ratio: float, blocks: str) -> None:
        check_random_net(model, ratio, blocks)

    run()


@pytest.mark.slow
@pytest.mark.timeout(7200)
@given(NETS, st.floats(0.05, 0.99), st.sampled_from(BLOCKS))
@settings(max_examples=2000, deadline=None, suppress_health_check=list(HealthCheck))
def test_many_random_nets(model: Random, ratio: float, blocks: str) -> None:
    check_random_net(model, ratio, blocks)
