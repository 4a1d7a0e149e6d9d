"""How far a long command is: a bar on a terminal, a plain line every ten seconds elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, TextIO

EVERY_SECONDS = 10.0


class Progress:
    """Shows stages and their steps on ``stream``; ``quiet`` shows nothing."""

    def __init__(self, stream: TextIO | None = None, *, quiet: bool = False) -> None:
        self._stream = stream or sys.stderr
        self._quiet = quiet
        self._bar: Any = None
        self._last = self._began = time.monotonic()
        self._stage = ""

    def __enter__(self) -> Progress:
        if not self._quiet and self._stream.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
            from rich.progress import Progress as RichProgress

            columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
            self._bar = RichProgress(*columns, console=Console(file=self._stream), transient=True)
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def say(self, line: str) -> None:
        """One line that stays."""
        if self._quiet:
            return
        if self._bar is not None:
            self._bar.console.print(line, markup=False, highlight=False)
        else:
            self._stream.write(f"{line}\n")
            self._stream.flush()

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """A stage whose steps :meth:`step` counts."""
        self._stage, self._began = name, time.monotonic()
        self._last = self._began
        task = self._bar.add_task(name, total=None) if self._bar is not None else None
        try:
            yield
        finally:
            if task is not None:
                self._bar.remove_task(task)

    def step(self, done: int, total: int) -> None:
        """``done`` of ``total`` steps of the current stage are finished."""
        if self._bar is not None:
            if self._bar.task_ids:
                self._bar.update(self._bar.task_ids[-1], completed=done, total=total)
        elif time.monotonic() - self._last >= EVERY_SECONDS:
            self._last = time.monotonic()
            left = (self._last - self._began) / done * (total - done)
            self.say(f"  {self._stage}: {done} of {total} steps, about {left:.0f} s left")
