"""One operation of a plan, and the plan while it is made."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from edgekit.export.native.attributes import Attributes
from edgekit.export.native.view import Buffer, Storage, View


@dataclass(eq=False)
class Operation:
    """A call: what it does, what it reads (None for an operand that is left out) and writes.

    Attributes:
        name, source: the node, and the user's line as ``file.py:3``.
        concurrent: it may run beside the one before it.
    """

    attributes: Attributes
    inputs: tuple[View | None, ...]
    outputs: tuple[View, ...]
    name: str = ""
    source: str = ""
    concurrent: bool = False

    @property
    def word(self) -> str:
        """What the table calls it."""
        return self.attributes.word

    def views(self) -> Iterator[View]:
        """Every operand that is there."""
        yield from (view for view in (*self.inputs, *self.outputs) if view is not None)


@dataclass
class Plan:
    """What the file will hold.

    Attributes:
        inputs, outputs: ports by name, dense.
        operations: in the order in which they run.
        arena_bytes, state_bytes: sizes, once memory is given out.
        least_bytes: the most that is live at once: no arena can be smaller.
    """

    inputs: dict[str, View] = field(default_factory=dict)
    outputs: dict[str, View] = field(default_factory=dict)
    operations: list[Operation] = field(default_factory=list)
    arena_bytes: int = 0
    state_bytes: int = 0
    least_bytes: int = 0

    def buffers(self, storage: Storage) -> list[Buffer]:
        """The buffers of a storage that operations use, in the order of their first use."""
        found = {v.buffer: None for operation in self.operations for v in operation.views()}
        return [buffer for buffer in found if buffer.storage is storage]
