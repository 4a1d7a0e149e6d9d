"""What an operation of a plan knows besides its operands: frozen dataclasses whose fields are those of the C struct, in
its order; padding is left to :mod:`edgekit.export.native.format`.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Annotated, ClassVar, get_type_hints

U32 = Annotated[int, "I"]
I32 = Annotated[int, "i"]
F32 = Annotated[float, "f"]
F64 = Annotated[float, "d"]


@dataclass(frozen=True)
class Attributes:
    """What an operation knows besides its operands; ``word`` is its name in the table."""

    word: ClassVar[str] = ""

    @classmethod
    def layout(cls) -> tuple[tuple[str, str], ...]:
        """Name and struct code of every field, in order."""
        hints = get_type_hints(cls, include_extras=True)
        return tuple((field.name, hints[field.name].__metadata__[0]) for field in fields(cls))
