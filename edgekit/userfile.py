"""The one way to code of the user's own: an object of a Python file that a recipe names. The file is run."""

from __future__ import annotations

import hashlib
import importlib.util
import sys
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from edgekit.errors import EdgekitError, did_you_mean

Kind = type[EdgekitError]


def find(file: str, name: str, base: Path | None, error: Kind) -> tuple[Any, str]:
    """Run a file and return the object of that name, and how messages call it.

    Args:
        file: path of the file; a relative one starts at ``base``.
        name: of the object.
        base: a folder.
        error: the class of what is raised.

    Raises:
        error: there is no such file or object, or the file fails; names the line.
    """
    path = (base or Path()) / file
    return member(load(path, error), name, error), f"{path}: {name}"


def member(module: ModuleType, name: str, error: Kind) -> Any:
    """The object of that name in a file that was loaded.

    Raises:
        error: there is none; names those there are.
    """
    if not hasattr(module, name):
        found = [found for found in vars(module) if not found.startswith("_")]
        close = did_you_mean(name, found)
        raise error(f"{module.__file__} has no object {name!r}.{close}", f"It defines: {', '.join(found[:12])}.")
    return getattr(module, name)


def call(function: Callable[..., Any], what: str, error: Kind, fix: str, *args: Any, **kwargs: Any) -> Any:
    """Call the user's code; whatever it raises becomes an ``error`` that names the line, typed errors stay themselves.

    Args:
        function: to call with ``args`` and ``kwargs``.
        what: the function and what it was to do, for the message: ``net.py: build cannot be built from {}``.
        error: the class of what is raised.
        fix: what the user may do about it.
    """
    try:
        return function(*args, **kwargs)
    except EdgekitError:
        raise
    except (Exception, SystemExit) as problem:  # the user's code may raise anything
        raise error(f"{what}{line(problem)}: {type(problem).__name__}: {problem}.", fix=fix) from problem


def line(problem: BaseException, path: Path | None = None) -> str:
    """Say where in the user's code an exception came from: its last line in ``path``, or in any file."""
    if isinstance(problem, SyntaxError):
        return f" (line {problem.lineno})"
    frames = [f for f in traceback.extract_tb(problem.__traceback__) if path is None or Path(f.filename) == path]
    return f" ({Path(frames[-1].filename).name}, line {frames[-1].lineno})" if frames else ""


def digest(file: str, base: Path | None, args: Mapping[str, Any]) -> str:
    """SHA-256 of a file's text and of the arguments that its object is called with."""
    return hashlib.sha256(((base or Path()) / file).read_bytes() + repr(sorted(args.items())).encode()).hexdigest()


def load(path: Path, error: Kind) -> ModuleType:
    """Run a file as a module of its own; torch finds the source lines of its classes through ``sys.modules``.

    Raises:
        error: there is no such file, or it fails; names the line.
    """
    if not path.is_file():
        raise error(f"There is no file {path}.", "A relative path starts at the recipe's folder.")
    name = f"edgekit_user_{hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:12]}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise error(f"{path} is not a Python file.", fix="Its name must end in .py.")
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as problem:  # the user's code may raise anything
        del sys.modules[name]
        raise error(f"{path} fails to load{line(problem, path)}: {type(problem).__name__}: {problem}.") from problem
    return module
