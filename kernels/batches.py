"""Matrices in batches that broadcast: where each operand of a product holds the matrix with a given number."""

from __future__ import annotations

from collections.abc import Sequence

import triton
import triton.language as tl
from torch import Tensor

from edgekit.kernels.broadcast import RANK, collapse, walk


def arrange(shape: Sequence[int], **operands: Tensor) -> tuple[dict[str, Tensor], dict[str, int]]:
    """Operands by name, expanded to batches of this shape, and what :func:`matrix_at` is told of them.

    Four dimensions are walked as they lie, once those that lie together are one; of more there are dense copies.

    Args:
        shape: of the batches together, without the two dimensions of a matrix.
        operands: matrices whose dimensions in front broadcast to ``shape``.
    """
    views = {name: operand.expand(*shape, *operand.shape[-2:]) for name, operand in operands.items()}
    layout = collapse(shape, *(view.stride()[:-2] for view in views.values()))
    if len(layout.sizes) > RANK:
        views = {name: view.contiguous() for name, view in views.items()}
        layout = collapse(shape, *(view.stride()[:-2] for view in views.values()))
    told = {f"size_{i}": layout.sizes[i] for i in range(1, RANK)}
    for name, strides in zip(views, layout.strides, strict=True):
        told |= {f"{name}_stride_{i}": stride for i, stride in enumerate(strides)}
    return views, told


@triton.jit
def matrix_at(matrix, size_1, size_2, size_3, stride_0, stride_1, stride_2, stride_3):
    """Offset of the matrix with this number."""
    matrix = tl.cast(matrix, tl.int64)
    return walk(matrix // size_3, size_1, size_2, stride_0, stride_1, stride_2) + matrix % size_3 * stride_3
