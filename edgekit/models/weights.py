"""A user's own weights, read from safetensors. A ``.pth`` is a pickle, which can run code: it is converted once.

In a shell where the file is trusted::

    python -c "import torch, safetensors.torch as s; s.save_file(torch.load('m.pth', weights_only=True), 'm.safetensors')"
"""  # noqa: E501 - a command to copy

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from edgekit.errors import ModelError, did_you_mean

CONVERSION = (
    'python -c "import torch, safetensors.torch as s; '
    "s.save_file(torch.load('m.pth', weights_only=True), 'm.safetensors')\""
)
SHOWN = 5


def read_into(model: nn.Module, path: Path) -> None:
    """Set all parameters and buffers of a model to the values of a file; a tied tensor may stand there once.

    Raises:
        ModelError: no such file or no safetensors; missing or unknown names; a wrong shape or type, or values that are
            not finite. The model is unchanged then.
    """
    found = _read(path)
    state = model.state_dict(keep_vars=True)
    absent = _absent(state, found)
    unknown = [name for name in found if name not in state]
    if absent or unknown:
        raise ModelError(
            f"{path} does not fit the model.{_named('missing', absent)}{_named('unknown', unknown, absent)}"
        )
    for name, value in found.items():
        _check(path, name, value, state[name])
    model.load_state_dict(found, strict=False)


def _read(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if not path.is_file():
        raise ModelError(f"There is no file {path}.", "A relative `model.weights` starts at the recipe's folder.")
    try:
        return dict(load_file(path))
    except (SafetensorError, OSError, ValueError, KeyError) as error:
        raise ModelError(
            f"{path} is not a safetensors file: {error}.", fix=f"Convert a trusted .pth once: {CONVERSION}"
        ) from error


def _absent(state: dict[str, Tensor], found: dict[str, Tensor]) -> list[str]:
    """Names whose values the file does not hold, not even under the name of a tensor that they are tied to."""
    given = {id(state[name]) for name in found if name in state}
    return [name for name, value in state.items() if id(value) not in given and name not in found]


def _named(kind: str, names: list[str], known: list[str] | None = None) -> str:
    if not names:
        return ""
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    close = did_you_mean(names[0], known) if known else ""
    return f" {kind.capitalize()}: {', '.join(names[:SHOWN])}{more}.{close}"


def _check(path: Path, name: str, value: Tensor, own: Tensor) -> None:
    if value.shape != own.shape or value.is_floating_point() != own.is_floating_point():
        raise ModelError(
            f"{path}: {name} is {value.dtype} {list(value.shape)}, the model's is {own.dtype} {list(own.shape)}.",
            fix="Give the model the arguments (`model.args`) that it was trained with.",
        )
    if value.is_floating_point() and not bool(torch.isfinite(value).all()):
        raise ModelError(f"{path}: {name} holds NaN or infinite values.", fix="Train the model again.")
