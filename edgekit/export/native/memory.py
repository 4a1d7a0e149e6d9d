"""Who lies where in the arena: lifetimes, results in the place of operands that die, and offsets found greedily.

Offline, every tensor's size and life are known, so a few orders of first fit are tried and the smallest arena is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from edgekit.export.native import float_words, words
from edgekit.export.native.operation import Operation, Plan
from edgekit.export.native.view import Buffer, Storage, View

ALIGNMENT = 64
IN_PLACE = tuple(
    kind.word
    for kind in (
        words.Add, words.Mul, words.Lut, words.Choose, float_words.Binary, float_words.Unary, float_words.Select,
    )
)  # fmt: skip


@dataclass
class Life:
    """Buffers that share one place: from the first operation that writes to the last that reads."""

    buffers: list[Buffer]
    first: int
    last: int
    place: int = -1

    @property
    def bytes(self) -> int:
        """Rounded up to the alignment; nothing has a place too."""
        return aligned(max(buffer.bytes for buffer in self.buffers))

    def meets(self, other: Life) -> bool:
        """Whether both are live at once."""
        return self.first <= other.last and other.first <= self.last


def aligned(size: int) -> int:
    """The next multiple of the alignment."""
    return -(-size // ALIGNMENT) * ALIGNMENT


def give_out(plan: Plan) -> None:
    """Give every buffer of arena and state its place, and note which operations may run beside the one before."""
    lives = _lives(plan)
    _put_in_place(plan, lives)
    plan.least_bytes = least(lives, len(plan.operations))
    plan.arena_bytes = _place(lives)
    for life in lives:
        for buffer in life.buffers:
            buffer.place = life.place
    for buffer in plan.buffers(Storage.STATE):
        buffer.place = plan.state_bytes
        plan.state_bytes += aligned(buffer.bytes)
    _note_concurrency(plan.operations)


def _lives(plan: Plan) -> list[Life]:
    found: dict[Buffer, Life] = {}
    for at, operation in enumerate(plan.operations):
        for view in operation.views():
            if view.buffer.storage is Storage.ARENA:
                found.setdefault(view.buffer, Life([view.buffer], at, at)).last = at
    return list(found.values())


def _put_in_place(plan: Plan, lives: list[Life]) -> None:
    """Let an elementwise result take the place of an operand that is read for the last time."""
    by_buffer = {buffer: life for life in lives for buffer in life.buffers}
    for at, operation in enumerate(plan.operations):
        if operation.word not in IN_PLACE:
            continue
        out = operation.outputs[0]
        for view in operation.inputs:
            if view is not None and _may_take(operation, view, out, by_buffer, at):
                old, new = by_buffer[view.buffer], by_buffer[out.buffer]
                old.buffers += new.buffers
                old.last = new.last
                lives.remove(new)
                by_buffer.update(dict.fromkeys(new.buffers, old))
                break


def _may_take(operation: Operation, view: View, out: View, lives: dict[Buffer, Life], at: int) -> bool:
    if view.buffer not in lives or out.buffer not in lives or lives[view.buffer] is lives[out.buffer]:
        return False
    same = (view.sizes, view.steps, view.first) == (out.sizes, out.steps, out.first)
    same = same and view.buffer.bytes == out.buffer.bytes and view.buffer.margins == out.buffer.margins
    others = [x for x in operation.inputs if x is not None and x is not view and x.buffer in lives]
    alone = not any(lives[x.buffer] is lives[view.buffer] and x != view for x in others)
    begins = lives[out.buffer].first == at or (any(out.buffer.margins) and lives[out.buffer].first == at - 1)
    return same and alone and lives[view.buffer].last == at and begins


def least(lives: Sequence[Life], operations: int) -> int:
    """The most bytes that are live at once."""
    change = [0] * (operations + 1)
    for life in lives:
        change[life.first] += life.bytes
        change[life.last + 1] -= life.bytes
    most = total = 0
    for step in change:
        total += step
        most = max(most, total)
    return most


def _place(lives: Sequence[Life]) -> int:
    """The places of the best of a few orders, and the bytes that they need."""
    orders: list[Callable[[Life], tuple[int, ...]]] = [
        lambda life: (-life.bytes, life.first),
        lambda life: (-(life.last - life.first), -life.bytes, life.first),
        lambda life: (-life.bytes * (life.last - life.first + 1), life.first),
        lambda life: (life.first, -life.bytes),
    ]
    best: tuple[int, list[int]] | None = None
    for order in orders:
        size = _first_fit(sorted(lives, key=order))
        if best is None or size < best[0]:
            best = size, [life.place for life in lives]
    assert best is not None
    for life, place in zip(lives, best[1], strict=True):
        life.place = place
    return best[0]


def _first_fit(lives: Sequence[Life]) -> int:
    placed: list[Life] = []
    for life in lives:
        life.place = 0
        for other in sorted((o for o in placed if o.meets(life)), key=lambda o: o.place):
            if life.place + life.bytes <= other.place:
                break
            life.place = max(life.place, other.place + other.bytes)
        placed.append(life)
    return max((life.place + life.bytes for life in lives), default=0)


Span = tuple[Storage, int, int]


def _note_concurrency(operations: Sequence[Operation]) -> None:
    """An operation may run beside those since the last wait if no bytes of theirs that either writes are common."""
    reads, writes = set[Span](), set[Span]()
    for operation in operations:
        own_reads = {_span(view) for view in operation.inputs if view is not None}
        own_writes = {_span(view) for view in operation.outputs}
        meets = _meet(own_writes, reads | writes) or _meet(own_reads, writes)
        operation.concurrent = bool(writes) and not meets
        if not operation.concurrent:
            reads, writes = set(), set()
        reads |= own_reads
        writes |= own_writes


def _span(view: View) -> Span:
    return view.buffer.storage, view.buffer.place, view.buffer.place + max(view.buffer.bytes, 1)


def _meet(one: set[Span], other: set[Span]) -> bool:
    return any(a[0] is b[0] and a[1] < b[2] and b[1] < a[2] for a in one for b in other if a[0] is not Storage.CONSTANT)
