"""Every way in which channels depend on one another in published nets: cut in half, and still right at every value."""

from __future__ import annotations

import nets
import prune_nets
import pytest
import torch
from masking import check
from torch import nn

import edgekit as ek
from edgekit.graph import cost
from edgekit.prune import couple


@pytest.mark.parametrize("name", sorted(prune_nets.PATTERNS))
def test_half_of_the_channels(name: str) -> None:
    """Every value is that of the masked net, two fifths of the work are gone, and what is left trains."""
    model, inputs = prune_nets.made(name)
    graph = ek.capture(model, inputs)
    smaller = check(graph, inputs, 0.5)
    assert cost.total_macs(smaller) <= 0.6 * cost.total_macs(graph)
    assert cost.total_parameters(smaller) <= 0.6 * cost.total_parameters(graph)
    trained = smaller.train()
    sum(y.square().sum() for y in nets.tensors(trained(*inputs))).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for _, p in trained.named_parameters())
    for blocks in ("within", "both") if any(group.rivals for group in couple(graph).groups) else ():
        check(graph, inputs, 0.3, blocks, importance="random")


def test_attention_keeps_the_scale_that_it_was_trained_with() -> None:
    model, inputs = prune_nets.made("repeated keys")
    pruned = ek.prune(ek.capture(model, inputs), 0.5, blocks="within").graph
    (scale,) = [n.kwargs["scale"] for n in pruned.nodes if "scaled_dot_product" in n.name]
    assert scale == 4**-0.5


@pytest.mark.parametrize(("blocks", "heads", "width"), [("whole", 2, 4), ("within", 4, 2), ("both", 2, 2)])
def test_heads_go_whole_or_each_gets_narrower(blocks: str, heads: int, width: int) -> None:
    model, inputs = prune_nets.made("attention by hand")
    pruned = ek.prune(ek.capture(model, inputs), 0.5, blocks=blocks).graph
    parameters = dict(pruned.named_parameters())
    assert parameters["qkv.weight"].shape == (3 * heads * width, 8)
    assert parameters["out.weight"].shape == (8, heads * width)


def test_the_states_of_recurrent_layers_shrink_with_their_units() -> None:
    model, inputs = prune_nets.made("projected lstm")
    pruned = ek.prune(ek.capture(model, inputs), 0.5).graph
    parameters = dict(pruned.named_parameters())
    assert parameters["cell.weight_ih_l1"].shape == (4 * 6, 2 * 3)
    assert parameters["cell.weight_hh_l0_reverse"].shape == (4 * 6, 3)
    assert parameters["cell.weight_hr_l0"].shape == (3, 6)


def test_a_piece_is_never_left_without_a_channel() -> None:
    """Both pieces are read by one layer that sums over them, so that no layer would notice an empty one."""
    model = nets.Written(
        lambda s, x: s.b(s.a(x))[:, :2].amax(1) + s.b(s.a(x))[:, 2:].amax(1), a=nn.Linear(3, 8), b=nn.Linear(8, 4)
    )
    with torch.no_grad():
        model.b.weight[:2] = 1e-3
    graph = ek.capture(model.eval(), x := torch.randn(5, 3))
    pruned = check(graph, (x,), 0.9, "whole")
    smaller = ek.prune(graph, 0.5).graph
    assert dict(smaller.named_parameters())["b.weight"].shape[0] == 3
    assert pruned(x).isfinite().all()
    assert smaller(x).isfinite().all()
