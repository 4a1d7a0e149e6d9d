"""What the sections of a recipe are made of: strictness, and limits of values."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from edgekit import targets
from edgekit.errors import UsageError


def _known_target(name: str) -> str:
    if name not in targets.names():
        raise ValueError(f"choose one of: {', '.join(targets.names())}")
    return name


def _multiple(round_to: int | str) -> int | str:
    """A number of channels, or a name that the table of targets has one for."""
    if isinstance(round_to, int):
        if round_to < 1:
            raise ValueError("give 1 or more")
        return round_to
    try:
        targets.channel_multiples(round_to)
    except UsageError as error:
        raise ValueError(str(error)) from error
    return round_to


Count = Annotated[int, Field(ge=1)]
Fraction = Annotated[float, Field(gt=0, lt=1)]
Share = Annotated[float, Field(ge=0, lt=1)]
NotNegative = Annotated[float, Field(ge=0)]
Positive = Annotated[float, Field(gt=0)]
Text = Annotated[str, Field(min_length=1)]
Texts = Annotated[tuple[Text, ...], Field(strict=False)]
Multiple = Annotated[int | str, AfterValidator(_multiple)]
Target = Annotated[
    str,
    AfterValidator(_known_target),
    Field(json_schema_extra={"enum": list(targets.names())}),
]


class Section(BaseModel):
    """A part of a recipe. It is strict and never changes.

    ``epochs: true`` is not 1 and ``seed: "7"`` is not 7; lists become tuples so that a recipe stays what it was.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)
