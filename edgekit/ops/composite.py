"""Float words that aten lacks: one call each in a graph, made of torch's own operators, so gradients come with them.

They are ``torch.ops.edgekit.<name>`` like the integer operators. Each stays one node through ``torch.export`` and
the ONNX exporter, and runs on every device and dtype that its parts run on.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from edgekit.errors import UsageError
from edgekit.ops import recurrent_words


def masked_softmax(x: Tensor, mask: Tensor | None) -> Tensor:
    """Softmax over the last dimension of what takes part; a row without any gives 0 where torch would give NaN.

    Args:
        x: float, any shape.
        mask: bool, broadcasts to ``x``; True takes part. None: everything does.
    """
    if mask is None:
        return torch.softmax(x, -1)
    if mask.dtype != torch.bool:
        raise UsageError(f"masked_softmax: mask must be torch.bool, not {mask.dtype}.")
    lowest = torch.finfo(x.dtype).min  # finite, so that the gradient of a row without any is 0 and not NaN
    return torch.softmax(torch.where(mask, x, lowest), -1) * mask


def scaled_matmul(a: Tensor, b: Tensor, scale: float) -> Tensor:
    """``(a @ b) * scale``: the scores of an attention, whose integer form folds the scale into its multiplier."""
    return torch.matmul(a, b) * scale


def l2_norm(x: Tensor, eps: float) -> Tensor:
    """``x / max(||x||_2, eps)`` over the last dimension, as ``torch.nn.functional.normalize``."""
    length: Tensor = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
    return x / length.clamp_min(eps)


WORDS: dict[str, tuple[str, Callable[..., Any]]] = {
    "masked_softmax": ("(Tensor x, Tensor? mask) -> Tensor", masked_softmax),
    "scaled_matmul": ("(Tensor a, Tensor b, float scale) -> Tensor", scaled_matmul),
    "l2_norm": ("(Tensor x, float eps) -> Tensor", l2_norm),
    "gru": (
        "(Tensor r, Tensor z, Tensor n, Tensor h0, Tensor wr, Tensor wz, Tensor wn, Tensor br, Tensor bz, Tensor bn, "
        "bool reverse, Tensor[]? scales=None) -> Tensor",
        recurrent_words.gru,
    ),
    "lstm": (
        "(Tensor i, Tensor f, Tensor g, Tensor o, Tensor h0, Tensor c0, Tensor wi, Tensor wf, Tensor wg, Tensor wo, "
        "Tensor bi, Tensor bf, Tensor bg, Tensor bo, bool reverse, Tensor[]? scales=None) -> (Tensor, Tensor)",
        recurrent_words.lstm,
    ),
}


def register(library: Any) -> None:
    """Define every word in a ``torch.library.Library``."""
    for name, (schema, function) in WORDS.items():
        library.define(name + schema, tags=(torch.Tag.pt2_compliant_tag,))
        library.impl(name, function, "CompositeImplicitAutograd")
