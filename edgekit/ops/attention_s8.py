"""``softmax(q @ k.T) @ v``: matmul_s8, softmax_s8 and matmul_s8 in one, so that scores need not reach memory."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from edgekit.errors import UsageError
from edgekit.ops import checks, matmul_s8, norm, numerics, samples, softmax_s8
from edgekit.ops.spec import Case, Cost, OpSpec


def reference(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    score_multiplier: float,
    table: Tensor,
    softmax_scale: float,
    multiplier: float,
    mask: Tensor | None = None,
) -> Tensor:
    """The three operators one after the other; scores and weights are int8.

    Args:
        q: int8 [..., T, D], D at most 131,071.
        k: int8 [..., S, D], S from 1 to 131,071.
        v: int8 [..., S, E]; the dimensions in front broadcast.
        score_multiplier: ``((sq * sk) * scale) / score scale`` as float32, the scale of the attention in it.
        table: int32 [256] of the score scale; entry d weighs a score d steps below the largest.
        softmax_scale: of the weights; the usual 1/127 holds 1.
        multiplier: ``(softmax_scale * sv) / sy`` as float32.
        mask: bool, broadcasts to [..., T, S]; True takes part.

    Returns:
        int8 [..., T, E].
    """
    scores = matmul_s8.reference(q, k.transpose(-2, -1), score_multiplier)
    weights = softmax_s8.reference(scores, table, softmax_scale, mask)
    return matmul_s8.reference(weights, v, multiplier)


def shape(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    score_multiplier: float,
    table: Tensor,
    softmax_scale: float,
    multiplier: float,
    mask: Tensor | None = None,
) -> Tensor:
    """Check the arguments; int8 [..., T, E]."""
    for name, value in (("q", q), ("k", k), ("v", v)):
        checks.tensor("attention_s8", name, value, torch.int8, q)
        if not 2 <= value.dim() <= 10:
            raise UsageError(f"attention_s8: {name} must have 2 to 10 dimensions, not {value.dim()}.")
    if q.shape[-1] != k.shape[-1] or k.shape[-2] != v.shape[-2]:
        shapes = f"{tuple(q.shape)}, {tuple(k.shape)} and {tuple(v.shape)}"
        raise UsageError(
            f"attention_s8: shapes {shapes} do not fit.", fix="They are [..., T, D], [..., S, D], [..., S, E]."
        )
    numerics.check_reduction(q.shape[-1])
    norm.check_set("attention_s8", k.shape[-2])
    numerics.check_reduction(k.shape[-2])
    batch = checks.together("attention_s8", q.shape[:-2], k.shape[:-2])
    _check_softmax(q, table, softmax_scale, mask, (*batch, q.shape[-2], k.shape[-2]))
    for name, number in (("score_multiplier", score_multiplier), ("multiplier", multiplier)):
        checks.normal("attention_s8", name, number)
    return q.new_empty((*checks.together("attention_s8", batch, v.shape[:-2]), q.shape[-2], v.shape[-1]))


def _check_softmax(q: Tensor, table: Tensor, scale: float, mask: Tensor | None, scores: tuple[int, ...]) -> None:
    checks.tensor("attention_s8", "table", table, torch.int32, q)
    checks.size("attention_s8", "table", table, (256,))
    checks.normal("attention_s8", "softmax_scale", scale)
    if mask is None:
        return
    checks.tensor("attention_s8", "mask", mask, torch.bool, q)
    if checks.together("attention_s8", mask.shape, torch.Size(scores)) != scores:
        raise UsageError(f"attention_s8: mask of shape {tuple(mask.shape)} does not broadcast to {scores}.")


def case(
    name: str,
    batch: tuple[int, ...],
    queries: int,
    keys: int,
    depth: int,
    values: int,
    mask: Tensor | None = None,
    score_scale: float = 0.05,
    layer: bool = False,
) -> Case:
    """A head whose scores and results spread over int8."""
    tensors = (
        samples.s8(*batch, queries, depth),
        samples.s8(*batch, keys, depth, seed=1),
        samples.s8(*batch, keys, values, seed=2),
    )
    numbers = 40 / (5461 * max(depth, 1) ** 0.5), numerics.softmax_table(torch.tensor([score_scale])), 1 / 127, 0.02
    return Case(name, (*tensors, *numbers, mask), layer=layer)


def cases() -> Iterator[Case]:
    """Ones, primes, tails, masks of every form, rows without anything, flat and steep tables, nothing at all."""
    for sizes in ((1, 1, 1, 1), (3, 5, 7, 2), (16, 32, 32, 16), (17, 65, 33, 19), (2, 3, 0, 4)):
        yield case("x".join(map(str, sizes)), (), *sizes)
    for score_scale in (2.0**-126, 1e-3, 40.0):
        yield case(f"score scale {score_scale:g}", (2,), 5, 70, 8, 3, score_scale=score_scale)
    yield case("causal", (2, 3), 5, 5, 8, 4, torch.ones(5, 5, dtype=torch.bool).tril())
    padding = torch.arange(7)[None, :] < torch.tensor([[7], [0]])
    yield case("padding, one sequence empty", (2, 3), 4, 7, 8, 5, padding[:, None, None, :])
    yield case("masked by row", (2,), 6, 9, 4, 4, samples.s8(6, 1) > 0)
    yield case("no queries", (2,), 0, 5, 4, 3)
    yield case("no values", (2,), 3, 5, 4, 0)
    q, k, v, *rest = case("", (4, 3), 5, 6, 8, 4).args
    yield Case("keys and values shared by heads", (q, k[:, :1], v[0, 0], *rest))
    heads_inside = (tensor.transpose(0, 1) for tensor in case("", (9, 4), 5, 6, 8, 4).args[:3])
    yield Case("transposed batch", (*heads_inside, *rest))
    low = torch.full((2, 300), -128, dtype=torch.int8)
    yield Case("extremes", (low, low, low[:, :7], 2.0**-20, *rest[1:]))
    yield case("4 heads, 64 steps of 32", (1, 4), 64, 64, 32, 32, layer=True)


def cost(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    score_multiplier: float,
    table: Tensor,
    softmax_scale: float,
    multiplier: float,
    mask: Tensor | None = None,
) -> Cost:
    """Two products of matrices; the scores between them are not moved."""
    out = shape(q, k, v, score_multiplier, table, softmax_scale, multiplier, mask)
    scores = checks.together("attention_s8", q.shape[:-2], k.shape[:-2]).numel() * q.shape[-2] * k.shape[-2]
    moved = q.nbytes + k.nbytes + v.nbytes + table.nbytes + (0 if mask is None else mask.nbytes) + out.nbytes
    return Cost(macs=scores * q.shape[-1] + out.numel() * k.shape[-2], bytes=moved)


OP = OpSpec(
    name="attention_s8",
    schema="(Tensor q, Tensor k, Tensor v, float score_multiplier, Tensor table, float softmax_scale, "
    "float multiplier, Tensor? mask=None) -> Tensor",
    reference=reference,
    shape=shape,
    cases=cases,
    cost=cost,
    tiers=("ref", "triton"),
)
