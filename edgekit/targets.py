"""Reader of ``targets.toml``: what each export target accepts."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

from edgekit.errors import UsageError, did_you_mean

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_TABLE = Path(__file__).with_name("targets.toml")


@dataclass(frozen=True)
class OnnxTarget:
    """How an ONNX file for one target is written.

    Attributes:
        name: as the user spells it, ``tensorrt-10``.
        opset: version of the default operator set.
        activation: type of quantised activations.
        bias: type of bias initialisers.
    """

    name: str
    opset: int
    activation: Literal["uint8", "int8"]
    bias: Literal["int32", "float32"]

    @property
    def zero_point(self) -> int:
        """Zero point of quantised activations: the integer graph's bytes plus this are the file's bytes."""
        return 128 if self.activation == "uint8" else 0


def names() -> tuple[str, ...]:
    """Return the names of all ONNX targets, in the order of the table."""
    return tuple(_table())


def onnx_target(name: str) -> OnnxTarget:
    """Return the row of one target; UsageError (2) names the known ones when there is none of that name."""
    if name not in _table():
        raise UsageError(
            f"There is no export target {name!r}.{did_you_mean(name, names())}",
            fix=f"Choose one of: {', '.join(names())}.",
        )
    return _table()[name]


@cache
def _table() -> dict[str, OnnxTarget]:
    rows: dict[str, dict[str, Any]] = tomllib.loads(_TABLE.read_text("utf-8"))["onnx"]
    return {name: OnnxTarget(name, **row) for name, row in rows.items()}
