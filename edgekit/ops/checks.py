"""What operators demand of their arguments: every shape function begins here, so each tier refuses the same calls.

Sizes are compared only where an operator needs them to agree, so that a batch which torch traces as a symbol stays one.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from edgekit.errors import NumericsError, UsageError
from edgekit.ops.numerics import S8_MAX, S8_MIN

_LARGEST = 2**31 - 1  # strides, paddings and the like; keeps index arithmetic far inside int64
_FLOAT32 = torch.finfo(torch.float32)


def tensor(
    operator: str, name: str, value: Tensor, dtypes: torch.dtype | tuple[torch.dtype, ...], like: Tensor
) -> None:
    """Refuse an argument of the wrong dtype, or on another device than ``like``."""
    allowed = dtypes if isinstance(dtypes, tuple) else (dtypes,)
    if value.dtype not in allowed:
        raise UsageError(f"{operator}: {name} must be {' or '.join(map(str, allowed))}, not {value.dtype}.")
    if value.device != like.device:
        raise UsageError(
            f"{operator}: {name} is on {value.device}, the first argument on {like.device}.", fix="Move one."
        )


def rank(operator: str, name: str, value: Tensor, dimensions: int) -> None:
    """Refuse a tensor that does not have this many dimensions."""
    if value.dim() != dimensions:
        raise UsageError(f"{operator}: {name} must have {dimensions} dimensions, not shape {tuple(value.shape)}.")


def images(operator: str, value: Tensor) -> None:
    """Refuse anything but int8 [N, C, H, W] with at least one channel, row and column; N may be 0."""
    tensor(operator, "x", value, torch.int8, value)
    rank(operator, "x", value, 4)
    if min(value.shape[1:]) < 1:
        raise UsageError(f"{operator}: x of shape {tuple(value.shape)} is empty.")


def size(operator: str, name: str, value: Tensor, shape: Sequence[int]) -> None:
    """Refuse a tensor whose shape is not ``shape``."""
    if value.dim() != len(shape) or any(have != want for have, want in zip(value.shape, shape, strict=True)):
        raise UsageError(f"{operator}: {name} must have shape {tuple(shape)}, not {tuple(value.shape)}.")


def scale(operator: str, value: Tensor, x: Tensor, axis: int | None) -> None:
    """Refuse a scale that is not float32 with one value, or one for each index of ``axis`` of ``x``."""
    tensor(operator, "scale", value, torch.float32, x)
    if axis is None:
        if value.dim() > 1 or value.numel() != 1:
            raise UsageError(
                f"{operator}: scale must hold one value, not shape {tuple(value.shape)}.", fix="Name the axis."
            )
        return
    integer(operator, "axis", axis, -x.dim(), x.dim() - 1)
    size(operator, "scale", value, (x.shape[axis],))


def normal(operator: str, name: str, value: float) -> None:
    """Refuse a scale or ratio that is not a normal positive float32."""
    if not _FLOAT32.tiny <= value <= _FLOAT32.max:
        raise NumericsError(f"{operator}: {name} is {value:g}, which is not a normal positive float32.")


def epsilon(operator: str, value: float) -> None:
    """Refuse an eps that is negative, infinite or NaN."""
    if not 0 <= value <= _FLOAT32.max:
        raise NumericsError(f"{operator}: eps is {value:g}, it must be finite and not negative.")


def broadcast(operator: str, a: Tensor, b: Tensor) -> torch.Size:
    """The shape of two int8 tensors together, of at most 8 dimensions; refuse those that do not broadcast."""
    tensor(operator, "a", a, torch.int8, a)
    tensor(operator, "b", b, torch.int8, a)
    if max(a.dim(), b.dim()) > 8:
        raise UsageError(f"{operator}: a and b may have at most 8 dimensions.")
    return together(operator, a.shape, b.shape)


def together(operator: str, a: torch.Size, b: torch.Size) -> torch.Size:
    """The shape that two make, trailing dimensions aligned."""
    try:
        shape: torch.Size = torch.broadcast_shapes(a, b)  # type: ignore[no-untyped-call]
        return shape
    except RuntimeError as error:
        raise UsageError(f"{operator}: shapes {tuple(a)} and {tuple(b)} do not broadcast.") from error


def layout(x: Tensor) -> torch.memory_format:
    """Of a result: channels innermost where those of an image ``x`` are, as torch's own operators keep them."""
    last = x.dim() == 4 and x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous()
    return torch.channels_last if last else torch.contiguous_format


def empty(shape: Sequence[int], like: Tensor) -> Tensor:
    """Uninitialised, with the dtype, device and :func:`layout` of another tensor."""
    return torch.empty(tuple(shape), dtype=like.dtype, device=like.device, memory_format=layout(like))


def result(shape: torch.Size, *operands: Tensor) -> Tensor:
    """Uninitialised, in the layout of the first operand that has this shape."""
    return empty(shape, next((operand for operand in operands if operand.shape == shape), operands[0]))


def integer(operator: str, name: str, value: int, least: int, most: int = _LARGEST) -> None:
    """Refuse a number outside [least, most]."""
    if not least <= value <= most:
        raise UsageError(f"{operator}: {name} is {value}, outside [{least}, {most}].")


def pair(operator: str, name: str, values: Sequence[int], least: int) -> None:
    """Refuse anything but two numbers, each at least ``least``."""
    if len(values) != 2:
        raise UsageError(f"{operator}: {name} must be two numbers (height, width), not {list(values)}.")
    for value in values:
        integer(operator, name, value, least)


def bounds(operator: str, lo: int, hi: int) -> None:
    """Refuse bounds outside int8 or in the wrong order."""
    integer(operator, "lo", lo, S8_MIN, S8_MAX)
    integer(operator, "hi", hi, lo, S8_MAX)
