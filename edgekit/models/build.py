"""From a recipe's ``model`` section to a module."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import nn

from edgekit import userfile
from edgekit.errors import ModelError
from edgekit.models import weights
from edgekit.models.catalogue import check, find
from edgekit.options import ModelConfig

_LOOK = "Look at `model.args`."


def create(name: str, **kwargs: Any) -> nn.Module:
    """Build a net that ships; its weights come from torch's global generator, which the caller seeds.

    Raises:
        ModelError: there is no such net, or it does not take these arguments.
    """
    entry = find(name)
    check(name, kwargs, entry.defaults)
    model: nn.Module = _call(entry.build, kwargs, name)
    return model


def build(config: ModelConfig, base: Path | None = None) -> nn.Module:
    """Build the model of a recipe, by its name or from the user's file, which is run; then read its weights.

    Args:
        config: the recipe's ``model``.
        base: the folder in which relative paths of ``file`` and ``weights`` start.

    Raises:
        ModelError: there is no such file, object or name, it fails (names the line), it gives no ``nn.Module``, or the
            weights are not those of the model.
    """
    model = create(config.name, **config.args) if config.name is not None else _own(config, base)
    if config.weights is not None:
        weights.read_into(model, (base or Path()) / config.weights)
    return model


def _own(config: ModelConfig, base: Path | None) -> nn.Module:
    found, what = userfile.find(str(config.file), str(config.object), base, ModelError)
    if isinstance(found, nn.Module):
        if config.args:
            raise ModelError(f"{what} is a module and takes no arguments.", fix="Remove `model.args`.")
        return found
    model = _call(found, config.args, what)
    if not isinstance(model, nn.Module):
        raise ModelError(f"{what} gives a {type(model).__name__}, not a torch.nn.Module.")
    return model


def _call(factory: Any, args: dict[str, Any], what: str) -> Any:
    return userfile.call(factory, f"{what} cannot be built from {args}", ModelError, _LOOK, **args)
