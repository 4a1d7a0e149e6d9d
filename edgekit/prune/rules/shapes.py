"""Operators that only rename places: reshapes, permutations, repeats and joins."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import fx

from edgekit.graph import edit
from edgekit.prune.analysis import Analysis, Dim, Dims, count, lengths
from edgekit.prune.rules.pointwise import broadcast

aten = torch.ops.aten
Sizes = tuple[int | str, ...]  # numbers, and names of what is known only when the graph runs


class _Block(NamedTuple):
    """Neighbouring dimensions in front of a reshape and behind it that hold the same values."""

    before: range
    after: range


def _reshape(state: Analysis, node: fx.Node) -> Dims:
    source, before, after = edit.input_node(node), state.sizes(edit.input_node(node)), state.sizes(node)
    result: list[Dim] = [None] * len(after)
    for block in _blocks(before, after):
        dims = [state.dims[source][d] for d in block.before]
        for d, dim in zip(block.after, _seen_as(state, node, block, dims), strict=True):
            result[d] = dim
    shape = edit.arguments(node).get("shape")  # a flatten has none
    if shape is not None:
        state.edit(node, "shape", lambda kept: lengths(kept, shape, tuple(result)))
    return tuple(result)


def _seen_as(state: Analysis, node: fx.Node, block: _Block, dims: list[Dim]) -> Sequence[Dim]:
    if len(dims) == 1 and len(block.after) == 1:
        return dims
    old = [state.sizes(edit.input_node(node))[d] for d in block.before]
    new = [state.sizes(node)[d] for d in block.after]
    if not all(isinstance(size, int) for size in (*old, *new)):
        state.freeze(dims, f"{edit.describe(node)} joins it with a dynamic dimension")
        return [None] * len(new)
    flat = dims[0] if len(dims) == 1 else state.flatten(dims, old)  # type: ignore[arg-type]
    return [flat] if len(new) == 1 else state.factor(flat, new)  # type: ignore[arg-type]


def _blocks(before: Sizes, after: Sizes) -> Iterator[_Block]:
    """Blocks from the last dimension to the first; what dynamic sizes leave open is one block."""
    right = list(_from_the_right(before, after))
    ends = (len(before) - sum(b for b, _ in right), len(after) - sum(a for _, a in right))
    left = list(_from_the_right(before[: ends[0]][::-1], after[: ends[1]][::-1], only_equal=True))
    starts = (sum(b for b, _ in left), sum(a for _, a in left))
    yield from (_Block(range(i, i + 1), range(i, i + 1)) for i in range(len(left)))
    if starts != ends:
        yield _Block(range(starts[0], ends[0]), range(starts[1], ends[1]))
    b, a = len(before), len(after)
    for taken_before, taken_after in right:
        yield _Block(range(b - taken_before, b), range(a - taken_after, a))
        b, a = b - taken_before, a - taken_after


def _from_the_right(before: Sizes, after: Sizes, only_equal: bool = False) -> Iterator[tuple[int, int]]:
    """How many dimensions each smallest block of equal products takes on both sides, up to the first dynamic size."""
    b, a = len(before), len(after)
    while b and a:
        taken = (1, 1) if before[b - 1] == after[a - 1] else None if only_equal else _block(before[:b], after[:a])
        if taken is None:
            return
        yield taken
        b, a = b - taken[0], a - taken[1]


def _block(before: Sizes, after: Sizes) -> tuple[int, int] | None:
    """How many of the last dimensions of both sides have the same product; None where a dynamic one is among them."""
    taken, product = [0, 0], [1, 1]
    while 0 in taken or product[0] != product[1]:
        side = 0 if (product[0] <= product[1] and taken[0] <= taken[1]) or product[0] < product[1] else 1
        sizes = (before, after)[side]
        size = sizes[-1 - taken[side]] if taken[side] < len(sizes) else ""
        if not isinstance(size, int):
            return None
        taken[side], product[side] = taken[side] + 1, product[side] * size
    return taken[0], taken[1]


def _permute(state: Analysis, node: fx.Node) -> Dims:
    source = state.dims[edit.input_node(node)]
    return tuple(source[d] for d in edit.arguments(node)["dims"])


def _transpose(state: Analysis, node: fx.Node) -> Dims:
    parts, result = edit.arguments(node), list(state.dims[edit.input_node(node)])
    a, b = parts["dim0"], parts["dim1"]
    result[a], result[b] = result[b], result[a]
    return tuple(result)


def _unsqueeze(state: Analysis, node: fx.Node) -> Dims:
    source = list(state.dims[edit.input_node(node)])
    source.insert(edit.arguments(node)["dim"] % (len(source) + 1), None)
    return tuple(source)


def _expand(state: Analysis, node: fx.Node) -> Dims:
    """A dimension of size 1 becomes as long as what it meets is kept."""
    source = edit.input_node(node)
    before, after = state.sizes(source), state.sizes(node)
    given = edit.arguments(node).get("size")
    lead = len(after) - len(before)
    result = [
        state.dims[source][d - lead] if d >= lead and before[d - lead] == after[d] else _spread(state, node, d, after)
        for d in range(len(after))
    ]
    for d in range(lead, len(after)):
        if before[d - lead] != after[d]:
            state.freeze((state.dims[source][d - lead],), f"{edit.describe(node)} spreads it over others")
    if given is not None:
        state.edit(node, "size", lambda kept: lengths(kept, given, tuple(result)))
    else:  # the sizes are those of another tensor
        other = edit.operand(node, 1)
        broadcast(state, node, [(tuple(result), after), (state.dims[other], state.sizes(other))], len(after))
    return tuple(result)


def _spread(state: Analysis, node: fx.Node, d: int, sizes: Sizes) -> Dim:
    """As many copies as are wanted, where their number stands in the call."""
    given, size = edit.arguments(node).get("size"), sizes[d]
    counted = given is None or isinstance(given[d], int)
    return state.atoms.new(size) if isinstance(size, int) and counted else None


def _repeat(state: Analysis, node: fx.Node) -> Dims:
    source, parts = edit.input_node(node), edit.arguments(node)
    times = parts["repeats"] if "repeats" in parts else parts["dims"]
    before, after = state.sizes(source), state.sizes(node)
    lead, late = len(after) - len(before), len(after) - len(times)  # tile may name fewer dimensions
    result: list[Dim] = []
    for d in range(len(after)):
        atoms = state.atoms_of(state.dims[source][d - lead]) if d >= lead else None
        once = d >= late and times[d - late] == 1
        if once or atoms is None:
            result.append(atoms)
        elif isinstance(times[d - late], int):
            result.append(np.tile(atoms, times[d - late]))
        else:
            state.freeze((atoms,), f"{edit.describe(node)} repeats it a number of times that is not fixed")
            result.append(None)
    return tuple(result)


def _repeat_each(state: Analysis, node: fx.Node) -> Dims:
    parts = edit.arguments(node)
    source = list(state.dims[parts["self"]])
    if parts["dim"] is None or not isinstance(parts["repeats"], int):
        state.refuse(node, f"{edit.describe(node)} repeats it a number of times that is not fixed", source)
        return (None,) * len(state.sizes(node))
    atoms = state.atoms_of(source[parts["dim"]])
    source[parts["dim"]] = None if atoms is None else np.repeat(atoms, parts["repeats"])
    return tuple(source)


def _concatenate(state: Analysis, node: fx.Node) -> Dims:
    parts = edit.arguments(node)
    operands = [n for n in parts["tensors"] if state.sizes(n) != (0,)]  # torch takes an empty one for nothing
    axis = parts["dim"] % len(state.sizes(node))
    sizes = [state.sizes(n)[axis] for n in operands]
    others = [(_without(state.dims[n], axis), _without(state.sizes(n), axis)) for n in operands]
    result = list(broadcast(state, node, others, len(others[0][0])))
    along = [state.atoms_of(state.dims[n][axis]) for n in operands]
    joined: Dim = None
    if all(isinstance(size, int) for size in sizes):
        if any(atoms is not None for atoms in along):
            pieces = [state.fixed(size) if a is None else a for a, size in zip(along, sizes, strict=True)]
            joined = np.concatenate(pieces)
    else:
        state.freeze(along, f"{edit.describe(node)} joins it with a dynamic dimension")
    result.insert(axis, joined)
    return tuple(result)


def _without(items: tuple[Any, ...], place: int) -> tuple[Any, ...]:
    return (*items[:place], *items[place + 1 :])


def _stack(state: Analysis, node: fx.Node) -> Dims:
    parts = edit.arguments(node)
    operands = [(state.dims[n], state.sizes(n)) for n in parts["tensors"]]
    result = list(broadcast(state, node, operands, len(operands[0][0])))
    result.insert(parts["dim"] % (len(result) + 1), None)
    return tuple(result)


def _channel_shuffle(state: Analysis, node: fx.Node) -> Dims:
    """[g, k] to [k, g], both seen as one dimension."""
    parts = edit.arguments(node)
    batch, channels, *rest = state.dims[parts["self"]]
    size, groups = state.sizes(parts["self"])[1], parts["groups"]
    assert isinstance(size, int)
    group, within = state.factor(channels, (groups, size // groups))
    if group is not None:
        state.edit(node, "groups", count(group))
    return (batch, state.flatten((within, group), (size // groups, groups)), *rest)


def _flip(state: Analysis, node: fx.Node) -> Dims:
    parts = edit.arguments(node)
    result = list(state.dims[edit.input_node(node)])
    for d in parts["dims"]:
        atoms = state.atoms_of(result[d])
        result[d] = None if atoms is None else atoms[::-1]
    return tuple(result)


def _roll(state: Analysis, node: fx.Node) -> Dims:
    parts, source = edit.arguments(node), state.dims[edit.input_node(node)]
    moved = [d % len(source) for d in parts["dims"] or range(len(source))]
    state.freeze((source[d] for d in moved), f"{edit.describe(node)} moves it by a fixed distance")
    return tuple(None if d in moved else dim for d, dim in enumerate(source))


def _pad(state: Analysis, node: fx.Node) -> Dims:
    """What is put in front and behind may go, too, as what it is added to does."""
    parts = edit.arguments(node)
    result, pad = list(state.dims[edit.input_node(node)]), parts["pad"]
    added: dict[int, Dim] = {}
    for k in range(len(pad) // 2):
        d, (before, after) = len(result) - 1 - k, pad[2 * k : 2 * k + 2]
        atoms = state.atoms_of(result[d])
        if atoms is None or (before, after) == (0, 0):
            continue
        if _adds_constants(parts, before, after):
            front, back = state.atoms.new(before), state.atoms.new(after)
            added[2 * k], added[2 * k + 1] = front, back
            result[d] = np.concatenate([front, atoms, back])
        else:
            state.freeze((atoms,), f"{edit.describe(node)} pads it")
            result[d] = None
    if added:
        state.edit(node, "pad", lambda kept: [count(added[i])(kept) if i in added else n for i, n in enumerate(pad)])
    return tuple(result)


def _adds_constants(parts: dict[str, Any], before: Any, after: Any) -> bool:
    fixed = isinstance(before, int) and isinstance(after, int) and min(before, after) >= 0
    return fixed and parts.get("mode", "constant") == "constant"


RULES: dict[Any, Any] = {
    **dict.fromkeys((aten.reshape.default, aten.flatten.using_ints), _reshape),
    aten.permute.default: _permute,
    aten.transpose.int: _transpose,
    aten.unsqueeze.default: _unsqueeze,
    **dict.fromkeys((aten.expand.default, aten.expand_as.default), _expand),
    **dict.fromkeys((aten.repeat.default, aten.tile.default), _repeat),
    aten.repeat_interleave.self_int: _repeat_each,
    **dict.fromkeys((aten.cat.default, aten.concat.default), _concatenate),
    aten.stack.default: _stack,
    aten.channel_shuffle.default: _channel_shuffle,
    aten.flip.default: _flip,
    aten.roll.default: _roll,
    **dict.fromkeys((aten.constant_pad_nd.default, aten.pad.default), _pad),
}
