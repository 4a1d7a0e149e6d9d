"""From a recipe's ``model`` section to a module."""

from __future__ import annotations

import hashlib
import importlib.util
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import nn

from edgekit.errors import ModelError, did_you_mean
from edgekit.models.catalogue import check, find
from edgekit.recipe import ModelConfig


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
    """Build the model of a recipe, by its name or from the user's file, which is run.

    Args:
        config: the recipe's ``model``.
        base: the folder in which a relative path of ``file`` starts.

    Raises:
        ModelError: there is no such file, object or name, it fails (names the line), or it gives no ``nn.Module``.
    """
    if config.name is not None:
        return create(config.name, **config.args)
    path = (base or Path()) / str(config.file)
    module = _import(path)
    if not hasattr(module, str(config.object)):
        found = [name for name in vars(module) if not name.startswith("_")]
        close = did_you_mean(str(config.object), found)
        raise ModelError(f"{path} has no object {config.object!r}.{close}", f"It defines: {', '.join(found[:12])}.")
    found = getattr(module, str(config.object))
    if isinstance(found, nn.Module):
        if config.args:
            raise ModelError(f"{path}: {config.object} is a module and takes no arguments.", fix="Remove `model.args`.")
        return found
    model = _call(found, config.args, f"{path}: {config.object}")
    if not isinstance(model, nn.Module):
        raise ModelError(f"{path}: {config.object} gives a {type(model).__name__}, not a torch.nn.Module.")
    return model


def _import(path: Path) -> ModuleType:
    """Run a file as a module of its own; torch finds the source lines of its classes through ``sys.modules``."""
    if not path.is_file():
        raise ModelError(f"There is no file {path}.", "A relative `model.file` starts at the recipe's folder.")
    name = f"edgekit_user_{hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:12]}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ModelError(f"{path} is not a Python file.", fix="Its name must end in .py.")
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:  # the user's code may raise anything
        del sys.modules[name]
        raise ModelError(f"{path} fails to load{_line(error, path)}: {type(error).__name__}: {error}.") from error
    return module


def _call(factory: Callable[..., Any], args: dict[str, Any], what: str) -> Any:
    try:
        return factory(**args)
    except ModelError:
        raise
    except (Exception, SystemExit) as error:  # the user's code may raise anything
        where = _line(error, None)
        raise ModelError(
            f"{what} cannot be built from {args}{where}: {type(error).__name__}: {error}.", fix="Look at `model.args`."
        ) from error


def _line(error: BaseException, path: Path | None) -> str:
    """Say where in the user's code an exception came from: its last line in ``path``, or in any file."""
    if isinstance(error, SyntaxError):
        return f" (line {error.lineno})"
    frames = [f for f in traceback.extract_tb(error.__traceback__) if path is None or Path(f.filename) == path]
    return f" ({Path(frames[-1].filename).name}, line {frames[-1].lineno})" if frames else ""
