"""Whole quantised nets on the Triton tier give the golden's bytes, every operator of them, and with sums joined."""

from __future__ import annotations

import nets
import pytest
import torch

import edgekit as ek
from edgekit.graph import edit
from edgekit.models import MODELS, example
from edgekit.ops import OPS, dispatch

pytest.importorskip("triton")

SPECS = {f"edgekit.{spec.name}": spec for spec in OPS}


@pytest.mark.parametrize("name", ["resnet8", "encoder", "gru_classifier"])
def test_a_net_gives_the_golden_bytes(name: str) -> None:
    model, inputs = example(name, seed=0, **MODELS[name].small)
    two = tuple(torch.cat([x, x.flip(-1)]) for x in inputs)
    graph = ek.capture(model.eval(), two)
    quantised = ek.quantize(graph, [two], config=ek.QuantConfig(allow_few=True)).graph
    golden, integer = ek.lower(quantised), ek.lower(quantised, fuse=True)
    words = {edit.operator_name(node) for node in edit.calls(integer.module)} & set(SPECS)
    assert len(words) >= 4
    assert all("triton" in SPECS[word].tiers for word in words), words
    device = "cuda" if torch.cuda.is_available() else "cpu"
    want = nets.tensors(golden(*two))
    integer.module.to(device)
    with dispatch.force("triton"):
        got = nets.tensors(integer(*(x.to(device) for x in two)))
    for one, other in zip(got, want, strict=True):
        assert torch.equal(one.cpu(), other)
