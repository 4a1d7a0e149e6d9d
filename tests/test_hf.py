"""Models of Hugging Face are captured whole, with a dynamic batch, and every attention of theirs is one operator."""

from __future__ import annotations

import hf
import pytest
import torch
from nets import tensors
from rewritten import aten, close

import edgekit as ek
from edgekit.graph import edit
from edgekit.graph.front import front

pytest.importorskip("transformers", reason="the extra `hf` is not installed")

ATTENTION = aten.scaled_dot_product_attention.default
# Written out nowhere in a canonical graph.
SYNONYMS = {
    "softmax", "matmul", "bmm", "view", "squeeze", "unsqueeze", "chunk", "split", "rsqrt", "narrow", "contiguous",
    "masked_fill", "where", "type_as",
}  # fmt: skip


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("name", sorted(hf.FAMILIES))
def test_a_family_is_captured_with_one_operator_for_each_attention(name: str, attention: str) -> None:
    torch.manual_seed(0)
    model, example = hf.FAMILIES[name](attention, 2)
    graph = ek.capture(model.eval(), example)
    assert all(info.shape[0] is None for info in graph.inputs)
    nodes = [node for node in edit.calls(graph.module) if node.target is ATTENTION]
    assert len(nodes) == 2
    assert not SYNONYMS & {edit.operator_name(node).removeprefix("aten.") for node in edit.calls(graph.module)}
    for batch in (1, 2, 5):
        _, inputs = hf.FAMILIES[name](attention, batch)
        with torch.no_grad():
            assert close(graph(**inputs), tensors(dict(model(**inputs))))


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("name", sorted(hf.FAMILIES))
def test_masks_are_truth_values_that_the_front_computes(name: str, attention: str) -> None:
    model, example = hf.FAMILIES[name](attention, 2)
    graph = ek.capture(model.eval(), example)
    before = front(graph)
    masks = [edit.arguments(node)["attn_mask"] for node in edit.calls(graph.module) if node.target is ATTENTION]
    for mask in masks:
        assert mask is None or (mask.meta["val"].dtype == torch.bool and mask in before)
    assert any(mask is not None for mask in masks) == (name in {"bert", "llama", "vit", "wav2vec2"})
