"""What a model that cannot be captured is told: the line that stops it, and its largest parts that can be captured."""

from __future__ import annotations

import inspect
import re
from typing import Any

import torch
from torch import nn

from edgekit.errors import CaptureError, InputError
from edgekit.graph.quiet import quiet

_Call = tuple[tuple[Any, ...], dict[str, Any]]


def refuse(model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], error: Exception) -> CaptureError:
    """Return the error for a model that ``torch.export`` refused with ``error``."""
    ways = [f'submodule="{path}"' for path in _capturable(model, args, kwargs)[:3]]
    return CaptureError(
        f"{type(model).__name__} cannot be captured as one graph{_user_line(error)}.",
        why=_first_sentence(error),
        fix=f"These parts can be captured: ek.capture(model, inputs, {' or '.join(ways)})."
        if ways
        else "Rewrite the line without branches on tensor values, .item() or numpy.",
    )


def part(
    model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], path: str
) -> tuple[nn.Module, tuple[Any, ...], dict[str, Any]]:
    """Return the submodule at ``path`` and the inputs it gets when ``model`` runs.

    Raises:
        InputError: where there is no such submodule, or it does not run.
    """
    known = dict(model.named_modules())
    if path not in known:
        raise InputError(
            f"the model has no submodule {path!r}.", fix=f"It has: {', '.join(n for n in known if n)[:500]}."
        )
    inputs = _recorded(model, args, kwargs, [path])
    if path not in inputs:
        raise InputError(f"the submodule {path!r} does not run on the example inputs.")
    return known[path], *inputs[path]


def _recorded(model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], paths: list[str]) -> dict[str, _Call]:
    """Inputs that each submodule of ``paths`` gets when the model runs."""
    seen: dict[str, _Call] = {}
    handles = []
    for path in paths:

        def hook(_: nn.Module, a: tuple[Any, ...], k: dict[str, Any], path: str = path) -> None:
            seen.setdefault(path, (a, k))

        handles.append(model.get_submodule(path).register_forward_pre_hook(hook, with_kwargs=True))
    try:
        model(*args, **kwargs)
    finally:
        for handle in handles:
            handle.remove()
    return seen


def _user_line(error: BaseException) -> str:
    """The deepest line of the traceback, or of the text torch wrote, that is not torch's own."""
    frames = inspect.getinnerframes(error.__traceback__) if error.__traceback__ is not None else []
    lines = [f"{f.filename}:{f.lineno}: {' '.join(f.code_context or []).strip()}" for f in frames]
    lines += [
        f"{file}:{line}: {text.strip()}"
        for file, line, text in re.findall(r'File "([^"]+)", line (\d+)[^\n]*\n([^\n]*)', str(error))
    ]
    own = [line for line in lines if "/torch/" not in line and "/edgekit/graph/" not in line]
    return f" (at {own[-1]})" if own else ""


def _first_sentence(error: BaseException) -> str:
    text = str(error).strip().splitlines()
    return f"{text[0].rstrip('.')}." if text else f"{type(error).__name__}."


def _capturable(model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[str]:
    """Paths of the largest submodules that can be captured, most parameters first."""
    paths = [name for name, child in model.named_modules() if name and any(True for _ in child.parameters())]
    inputs = _recorded(model, args, kwargs, paths)
    found: list[str] = []
    for path in sorted(inputs, key=lambda p: p.count(".")):
        inside = any(path.startswith(f"{done}.") for done in found)
        if not inside and _exports(model.get_submodule(path), *inputs[path]):
            found.append(path)
    return sorted(found, key=lambda p: -sum(t.numel() for t in model.get_submodule(p).parameters()))


def _exports(model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    try:
        with quiet():
            torch.export.export(model, args, kwargs)
    except Exception:  # whatever stops torch.export, this part cannot be captured
        return False
    return True
