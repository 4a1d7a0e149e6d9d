"""Operators that look at neighbours in space: channels pass, space is never cut."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, fx

from edgekit.graph import edit
from edgekit.prune.analysis import Analysis, Dim, Dims

aten = torch.ops.aten


def _window(state: Analysis, node: fx.Node) -> Dims | list[Dims]:
    """Pools and interpolation: everything in front of the dimensions of space passes."""
    source = state.dims[edit.input_node(node)]
    space = _SPACE[node.target]
    for dim in source[len(source) - space :]:
        state.fix(dim)
    result: Dims = (*source[: len(source) - space], *(None for _ in range(space)))
    return result if isinstance(node.meta["val"], Tensor) else [result] * len(node.meta["val"])


def _pixel_shuffle(state: Analysis, node: fx.Node) -> Dims:
    """[C * r * r, H, W] to [C, H * r, W * r]: the pixels of a channel go together."""
    parts = edit.arguments(node)
    *outer, channels, _, _ = state.dims[parts["self"]]
    side = parts["upscale_factor"]
    size = state.sizes(parts["self"])[-3]
    assert isinstance(size, int)
    kept, *pixels = state.factor(channels, (size // side**2, side, side))
    state.freeze(pixels, f"{edit.describe(node)} lays it out in space")
    return (*outer, kept, None, None)


def _pixel_unshuffle(state: Analysis, node: fx.Node) -> Dims:
    parts = edit.arguments(node)
    *outer, channels, high, wide = state.dims[parts["self"]]
    state.fix(high)
    state.fix(wide)
    return (*outer, _repeated(state, channels, parts["downscale_factor"] ** 2), None, None)


def _patches(state: Analysis, node: fx.Node) -> Dims:
    """im2col: [N, C, H, W] to [N, C * kernel, places]."""
    parts = edit.arguments(node)
    *outer, channels, high, wide = state.dims[parts["self"]]
    state.fix(high)
    state.fix(wide)
    kernel = parts["kernel_size"]
    return (*outer, _repeated(state, channels, kernel[0] * kernel[1]), None)


def _repeated(state: Analysis, dim: Dim, times: int) -> Dim:
    atoms = state.atoms_of(dim)
    return None if atoms is None else np.repeat(atoms, times)


def _of(space: int, *names: str) -> dict[Any, int]:
    """The overloads of these operators that torch has, over ``space`` dimensions."""
    found = [getattr(aten, name.format(space), None) for name in names]
    return {getattr(op, overload): space for op in found if op is not None for overload in op.overloads()}


_NAMES = (
    "max_pool{}d", "avg_pool{}d", "adaptive_avg_pool{}d", "adaptive_max_pool{}d", "max_pool{}d_with_indices",
    "upsample_nearest{}d", "_upsample_nearest_exact{}d", "reflection_pad{}d", "replication_pad{}d",
)  # fmt: skip
_SPACE = {
    **_of(1, *_NAMES, "upsample_linear1d"),
    **_of(2, *_NAMES, "upsample_bilinear2d", "upsample_bicubic2d", "_upsample_bilinear2d_aa"),
    **_of(3, *_NAMES, "upsample_trilinear3d"),
}

RULES: dict[Any, Any] = {
    **dict.fromkeys(_SPACE, _window),
    aten.pixel_shuffle.default: _pixel_shuffle,
    aten.pixel_unshuffle.default: _pixel_unshuffle,
    aten.im2col.default: _patches,
}
