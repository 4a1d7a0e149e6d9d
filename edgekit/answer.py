"""What a verb of the command line answers: text for people, or one JSON document, on the screen and in a file."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on standard output.")]
Document = Annotated[Path | None, typer.Option("-o", "--out", help="Also write the JSON document here.")]


def emit(content: object, as_json: bool, text: Callable[[], str]) -> None:
    """Print ``content`` as JSON, or else what ``text`` makes of it."""
    typer.echo(json.dumps(content, indent=1, sort_keys=True) if as_json else text())


def document(content: object, out: Path | None) -> None:
    """Write ``content`` as a JSON document where a file was asked for."""
    if out is not None:
        from edgekit import disk, journal

        disk.write_file(out, journal.encode(content))
