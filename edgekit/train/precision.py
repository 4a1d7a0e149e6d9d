"""Mixed precision by ``torch.autocast``: weights, gradients, loss and validation stay float32."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor

from edgekit.errors import UnsupportedError
from edgekit.graph import Graph, edit

DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16}


def check(precision: str, place: torch.device, graph: Graph) -> None:
    """Refuse what the device or the graph cannot do.

    Raises:
        UnsupportedError: float16 on a CPU, bfloat16 on a GPU without it, or either for a fake-quantised graph.
    """
    if precision == "float32":
        return
    if not _has(precision, place):
        raise UnsupportedError(
            f"{precision} cannot be trained on {place.type} here.", fix="Set `precision: float32` (or bfloat16)."
        )
    for node in edit.calls(graph.module):
        if edit.is_call(node, torch.ops.edgekit.fake_quantize.default):
            raise UnsupportedError(
                f"{edit.describe(node)} takes float32 alone.", fix="Train a quantised graph with `precision: float32`."
            )


def forward(precision: str, place: torch.device) -> AbstractContextManager[object]:
    """The context of a forward pass."""
    return nullcontext() if precision == "float32" else torch.autocast(place.type, DTYPES[precision])


def widened(results: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Outputs as losses want them: what a narrow forward pass left narrow is float32."""
    return tuple(result.float() if result.dtype in DTYPES.values() else result for result in results)


def scaler(precision: str, place: torch.device) -> torch.amp.GradScaler:
    """Keeps float16 gradients from vanishing (Micikevicius et al. 2018); does nothing for the other precisions."""
    return torch.amp.GradScaler(place.type, enabled=precision == "float16")


def _has(precision: str, place: torch.device) -> bool:
    if place.type == "cuda":
        return precision == "float16" or torch.cuda.is_bf16_supported()
    return precision == "bfloat16"
