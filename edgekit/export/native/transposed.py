"""A transposed convolution as convolutions of parts of its filters, for which there are fast kernels."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace

from torch import Tensor, fx

from edgekit.export.native.specialise import Fixed
from edgekit.export.native.view import Margins, View
from edgekit.graph import edit
from edgekit.kernels.phases import Phase, phases


@dataclass(frozen=True)
class Part:
    """The results of one phase along rows and one along columns.

    Attributes:
        rows, columns: the phases.
        pads: of the convolution that computes them.
    """

    rows: Phase
    columns: Phase
    pads: Margins

    @property
    def dilation(self) -> tuple[int, int]:
        """Of the convolution."""
        return self.rows.dilation, self.columns.dilation

    def filters(self, weight: Tensor, groups: int) -> Tensor:
        """Its filters, int8 [O, taps along rows, taps along columns, I / groups].

        Args:
            weight: int8 [I, O / groups, kh, kw].
            groups: of the transposed convolution.
        """
        taps = [list(range(p.last_tap, -1, -p.tap_step)) for p in (self.rows, self.columns)]
        apart = weight.reshape(groups, -1, *weight.shape[1:])[:, :, :, taps[0]][:, :, :, :, taps[1]]
        return apart.permute(0, 2, 3, 4, 1).flatten(0, 1)

    def view(self, out: View) -> View:
        """Its results among all of them."""
        size, step = (self.rows, self.columns), out.steps[2:]
        first = out.first + sum(phase.first * s for phase, s in zip(size, step, strict=True))
        steps = [phase.stride * s for phase, s in zip(size, step, strict=True)]
        return replace(
            out, sizes=(*out.sizes[:2], *(phase.results for phase in size)), steps=(*out.steps[:2], *steps), first=first
        )


def parts_of(fixed: Fixed, node: fx.Node) -> tuple[Part, ...]:
    """The convolutions of a ``conv_transpose2d_s8``; none where one has no taps, or begins or ends inside ``x``."""
    parts = fixed.argument(edit.arguments(node))
    inputs, kernel, results = parts["x"].shape[2:], parts["weight"].shape[2:], fixed.values[node].shape[2:]
    axes = zip(results, kernel, parts["stride"], parts["padding"], parts["dilation"], strict=True)
    found = []
    for rows, columns in itertools.product(*(list(phases(*axis)) for axis in axes)):
        behind = [
            phase.results + phase.dilation * (phase.taps - 1) - phase.padding - size
            for phase, size in zip((rows, columns), inputs, strict=True)
        ]
        found.append(Part(rows, columns, (rows.padding, columns.padding, behind[0], behind[1])))
    whole = all(min(part.rows.taps, part.columns.taps) > 0 and min(part.pads) >= 0 for part in found)
    return tuple(found) if whole else ()


def margins_of(parts: Sequence[Part]) -> Margins:
    """What lies around ``x`` so that every part finds its padding there."""
    top, left, bottom, right = (max(sides) for sides in zip(*(part.pads for part in parts), (0, 0, 0, 0), strict=True))
    return top, left, bottom, right
