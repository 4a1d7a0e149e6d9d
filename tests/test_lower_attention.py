"""Attention in integers: what hides a score is a mask of truth values, what is added to it an addition."""

from __future__ import annotations

from collections.abc import Callable

import lowering
import pytest
import torch
from lowering import Case, Layers, Table
from quantised import items
from torch import Tensor, nn
from torch.nn import functional

import edgekit as ek
from edgekit.sqnr import sqnr_db

STEPS, HEADS, WIDTH = 7, 2, 4
STORED = torch.randn(HEADS, STEPS, STEPS, generator=torch.Generator().manual_seed(3))
ALLOWED = torch.ones(STEPS, STEPS, dtype=torch.bool).tril()
INFINITE = torch.zeros(STEPS, STEPS).masked_fill(~ALLOWED, -torch.inf)
WINDOWS = torch.zeros(HEADS, STEPS, STEPS)
WINDOWS[1, :4, 4:] = WINDOWS[1, 4:, :4] = -100.0  # as shifted windows of Swin
attend = functional.scaled_dot_product_attention
PLAIN = "transpose matmul_s8 softmax_s8 matmul_s8"
BIASED = "transpose matmul_s8 add_s8 softmax_s8 matmul_s8"
Inner = Callable[[Layers, Tensor, Tensor, Tensor], Tensor]


class Holds(nn.Module):
    """A parameter of its own."""

    def __init__(self, value: Tensor) -> None:
        super().__init__()
        self.value = nn.Parameter(value.clone())


def attention(inner: Inner, operators: str, heads: int = HEADS) -> Case:
    """[N, 7, 8] through one packed projection, ``inner`` on [N, heads, 7, 4], and one projection back."""

    def net(layers: Layers, x: Tensor) -> Tensor:
        query = layers["q"](x).unflatten(-1, (HEADS, WIDTH)).transpose(1, 2)
        key, value = (layers[name](x).unflatten(-1, (heads, WIDTH)).transpose(1, 2) for name in "kv")
        return layers["o"](inner(layers, query, key, value).transpose(1, 2).flatten(2))

    def layers() -> dict[str, nn.Module]:
        width = HEADS * WIDTH
        sizes = {"q": width, "k": heads * WIDTH, "v": heads * WIDTH, "o": width}
        return {name: nn.Linear(width, size) for name, size in sizes.items()} | {"bias": Holds(STORED)}

    projections = " ".join(["linear_s8 reshape transpose"] * 3)
    return Case(net, f"{projections} {operators} transpose flatten linear_s8", layers, (STEPS, HEADS * WIDTH))


def explicit(layers: Layers, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    scores = query @ key.transpose(-2, -1) / 2 + layers["bias"].value + INFINITE
    return scores.softmax(-1) @ value


CASES = {
    "plain": attention(lambda _, q, k, v: attend(q, k, v), PLAIN),
    "scale": attention(lambda _, q, k, v: attend(q, k, v, scale=0.3), PLAIN),
    "causal": attention(lambda _, q, k, v: attend(q, k, v, is_causal=True), PLAIN),
    "truth values": attention(lambda _, q, k, v: attend(q, k, v, attn_mask=ALLOWED), PLAIN),
    "infinity": attention(lambda _, q, k, v: attend(q, k, v, attn_mask=INFINITE), PLAIN),
    "-10000": attention(lambda _, q, k, v: attend(q, k, v, attn_mask=INFINITE.clamp(min=-1e4)), PLAIN),
    "-3.4e38": attention(lambda _, q, k, v: attend(q, k, v, attn_mask=INFINITE.clamp(min=-3.4e38)), PLAIN),
    "-100 in windows": attention(lambda _, q, k, v: attend(q, k, v, attn_mask=WINDOWS), PLAIN),
    "bias": attention(lambda m, q, k, v: attend(q, k, v, attn_mask=m["bias"].value), BIASED),
    "bias and infinity": attention(lambda m, q, k, v: attend(q, k, v, attn_mask=m["bias"].value + INFINITE), BIASED),
    "bias where allowed": attention(
        lambda m, q, k, v: attend(q, k, v, attn_mask=torch.where(ALLOWED, m["bias"].value, -torch.inf)), BIASED
    ),
    "computed bias": attention(
        lambda _, q, k, v: attend(q, k, v, attn_mask=(q * k).mean(-1, keepdim=True)),
        f"mul_s8 sum_s8 {BIASED}",
    ),
    "written out": attention(explicit, BIASED),
    "grouped queries": attention(
        lambda _, q, k, v: attend(q, k, v, enable_gqa=True),
        f"unsqueeze expand flatten unsqueeze expand flatten {PLAIN}",
        heads=1,
    ),
}
TABLE = Table(CASES)


@pytest.mark.parametrize("name", CASES)
def test_structure(name: str) -> None:
    assert TABLE.operators(name) == CASES[name].operators.split()


@pytest.mark.parametrize("name", CASES)
def test_numbers(name: str) -> None:
    lowering.check_numbers(TABLE, name)


@lowering.needs_vnni
def test_onnx_runtime_gives_the_same_bytes() -> None:
    lowering.check_file(TABLE)
    lowering.check_targets(TABLE)


class WithMask(nn.Module):
    """Attention over its input, and a float mask that is an input, too."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(8, 8)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        y = self.layer(x)
        return attend(y, y, y, attn_mask=mask * 1.0)


def test_a_float_mask_that_is_an_input_leaves_attention_in_float() -> None:
    """It may hold what hides a score, of which no scale can be taken."""
    x, mask = items((STEPS, 8)), INFINITE.clamp(min=-1e9).expand(64, STEPS, STEPS).contiguous()
    with pytest.warns(RuntimeWarning, match="stays in float"):
        result = ek.quantize(ek.capture(WithMask().eval(), (x, mask)), [(x, mask)])
    (reason,) = (why for name, why in result.report.kept_float.items() if "attention" in name)
    assert "may hold any numbers" in reason
    with torch.no_grad():
        assert (sqnr_db(result.reference(x, mask), ek.lower(result.graph)(x, mask)) or 100) > 30
