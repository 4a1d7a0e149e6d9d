"""Packages that can be called: ``edgekit.bench`` is a package and also the function ``edgekit.bench.bench``.

The public name ``edgekit.bench(...)`` and the package ``edgekit.bench`` share one attribute of ``edgekit``: importing
the package binds the module there, whatever ``edgekit.__getattr__`` returned before. So the module itself answers the
call, and the meaning of the name does not depend on what was imported first.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any


def make_callable(module: str, function: Callable[..., Any]) -> None:
    """Lets a call of a module reach one function in it; the last statement of a package's ``__init__.py``.

    Args:
        module: the ``__name__`` of the calling module.
        function: what a call of the module runs; its signature and docstring become the module's.
    """

    class CallableModule(ModuleType):
        __call__ = staticmethod(function)
        __wrapped__ = staticmethod(function)  # `inspect.signature` follows it

    sys.modules[module].__class__ = CallableModule
