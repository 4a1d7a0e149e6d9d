"""What capture freezes in the user's model, in sentences: nothing of it goes unsaid."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

from torch import Tensor, fx, nn
from torch.nn.modules.batchnorm import _BatchNorm

from edgekit.graph import edit, modes


def notes(model: nn.Module, module: fx.GraphModule, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[str, ...]:
    """Branches on ``self.training``, inputs that are no tensors, dropout that is always on, averaged batch norm."""
    return (
        *_branches(model),
        *_constants(model, args, kwargs),
        *(
            f"{edit.describe(node)} is on in inference, too: training and inference switch it"
            for node in _always_on(module)
        ),
        *_averaged(model),
    )


def _branches(model: nn.Module) -> Iterator[str]:
    """Capture keeps the inference branch of code of the user's that asks ``self.training``."""
    seen = set()
    for name, layer in model.named_modules():
        kind = type(layer)
        if kind in seen or kind.__module__.startswith("torch."):
            continue
        seen.add(kind)
        if "self.training" in _source(kind):
            yield f"{name or 'the model'} ({kind.__name__}) asks self.training: frozen to inference"


def _source(kind: type[nn.Module]) -> str:
    try:
        return inspect.getsource(kind.forward)
    except (OSError, TypeError):  # no source file: a class made in a shell or in C
        return ""


def _constants(model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Iterator[str]:
    for name, value in inspect.signature(model.forward).bind(*args, **kwargs).arguments.items():
        if isinstance(value, (bool, int, float, str)):
            yield f"input {name} is no tensor: frozen at {value!r}"


def _always_on(module: fx.GraphModule) -> list[fx.Node]:
    """Dropout that the model calls without asking for its mode."""
    return [node for node in edit.calls(module) if modes.is_dropout(node) and modes.is_training(node)]


def _averaged(model: nn.Module) -> Iterator[str]:
    for name, layer in model.named_modules():
        if isinstance(layer, _BatchNorm) and layer.momentum is None and isinstance(layer.running_mean, Tensor):
            yield f"{name} averages over all batches (momentum=None): its statistics stay as they are in training"
