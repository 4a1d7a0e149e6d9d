"""One layer of a quantised net on real inputs: what it lost, and which part of it lost that.

The error of a layer has three sources, and each is measured by itself on the values of the float net:

- *inherited*: the float layer on the quantised net's inputs,
- *parameters*: the layer with quantised weights on float inputs,
- *result*: the float result in INT8, apart into what is *rounded* and what is *cut off* at the ends of the range.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, fx

from edgekit.errors import UsageError
from edgekit.graph import Graph, edit, kinds, notes, patterns
from edgekit.sqnr import Sqnr

Environment = Mapping[str, Any]
aten = torch.ops.aten
_CHANNELS_FIRST = (*patterns.CONVOLUTIONS, *patterns.TRANSPOSED, aten.group_norm.default, aten.instance_norm.default)
_MAX_POOLS = (aten.max_pool1d.default, aten.max_pool2d.default)
_KEEP_CHANNELS = (kinds.UNARY, kinds.PRELU, kinds.JOIN, kinds.MULTIPLY, kinds.POOL, kinds.IDENTITY)


@dataclass
class Seen:
    """Sums over all items of one layer.

    Attributes:
        fake: of the fake-quantised values against the float ones.
        integer: of the integer graph's against the float ones.
        arithmetic: of the integer graph's against the fake-quantised ones.
        inherited, parameters, rounded, cut: of each source of error alone; see the module.
        count, outside: how many values there were, and how many beyond the range.
        peak: largest magnitude of the float values.
        channels: float64 sum of the magnitudes of each channel [C]; None where the value has no axis for them.
        is_alive: whether any float value is another one than 0 in INT8.
    """

    fake: Sqnr = field(default_factory=Sqnr)
    integer: Sqnr = field(default_factory=Sqnr)
    arithmetic: Sqnr = field(default_factory=Sqnr)
    inherited: Sqnr = field(default_factory=Sqnr)
    parameters: Sqnr = field(default_factory=Sqnr)
    rounded: Sqnr = field(default_factory=Sqnr)
    cut: Sqnr = field(default_factory=Sqnr)
    count: int = 0
    outside: int = 0
    peak: float = 0.0
    channels: Tensor | None = None
    is_alive: bool = False

    @property
    def own(self) -> float:
        """The noise that the layer adds to what it gets."""
        return self.parameters.noise + self.rounded.noise + self.cut.noise

    @property
    def own_db(self) -> float | None:
        """Signal to :attr:`own`; None where there is none."""
        return Sqnr(self.fake.signal, self.own).db


class Layer:
    """A cell of a quantised graph, beside the same operator of the float graph.

    Args:
        cell: of the quantised graph.
        reference: the float graph, whose nodes have the same names.
        real: the name of the float value that each quantised one stands for, by the name of the fake_quantize.
    """

    def __init__(self, cell: patterns.Cell, reference: Mapping[str, fx.Node], real: Mapping[str, str]) -> None:
        self.cell, self.seen = cell, Seen()
        self._body, self._real = reference[cell.body.name], real
        self._rounded = {name: fake for fake, name in real.items()}
        self._axis = channel_axis(cell.body)

    @property
    def name(self) -> str:
        """By which its value is known."""
        return notes.value_name(self.cell.real)

    @property
    def moves(self) -> bool:
        """Whether the layer only moves bytes: then it loses nothing itself."""
        kind = kinds.kind_of(self.cell.body)
        return not self.cell.is_border and kind is not None and kind.shares

    def see(self, floats: Environment, fakes: Environment, integers: Tensor | None) -> None:
        """Take the values of one item: of all nodes of both graphs, and the golden's as real numbers."""
        seen, want = self.seen, floats[self.cell.real.name]
        got = fakes[self.cell.end.name]
        seen.fake.add(want, got)
        if integers is not None:
            seen.integer.add(want, integers)
            seen.arithmetic.add(got, integers)
        seen.inherited.add(want, self._inherited(floats, fakes))
        if not self.moves:
            if _has_parameters(self.cell):
                seen.parameters.add(want, self._with_parameters(floats, fakes))
            self._see_result(want, fakes)
        seen.is_alive |= self.moves and bool(got.any())
        seen.count += want.numel()
        self._see_range(want)

    def _inherited(self, floats: Environment, fakes: Environment) -> Tensor:
        """The float layer on the inputs that the quantised one gets."""
        if self.cell.is_border:  # a call in float has no other errors
            return self._cut(fakes[self.cell.body.name])
        call = kinds.call_of(self._body)
        reads = set(kinds.operands(self._body))

        def value(node: fx.Node) -> Any:
            return fakes[self._rounded.get(node.name, node.name)] if node in reads else floats[node.name]

        return self._result(call, value)

    def _with_parameters(self, floats: Environment, fakes: Environment) -> Tensor:
        """The layer with its quantised weights on float inputs."""
        reads = set(kinds.operands(self.cell.body))

        def value(node: fx.Node) -> Any:
            return floats[self._real.get(node.name, node.name)] if node in reads else fakes[node.name]

        return self._result(kinds.call_of(self.cell.body), value)

    def _result(self, call: fx.Node, value: Any) -> Tensor:
        args, kwargs = fx.node.map_arg((call.args, call.kwargs), value)
        result = call.target(*args, **kwargs)  # type: ignore[operator]
        return self._cut(result[0] if isinstance(result, tuple) else result)

    def _cut(self, values: Tensor) -> Tensor:
        """Behind the fused clamp, where there is one."""
        clamp = self.cell.clamp
        if clamp is None:
            return values
        result: Tensor = clamp.target(values, *clamp.args[1:], **clamp.kwargs)  # type: ignore[operator]
        return result

    def _see_result(self, want: Tensor, fakes: Environment) -> None:
        parts = edit.arguments(self.cell.end)
        step = fakes[self.cell.scale.name]
        got = patterns.FAKE_QUANTIZE(want, step, None, parts["lo"], parts["hi"])
        outside = (want < (parts["lo"] - 0.5) * step) | (want > (parts["hi"] + 0.5) * step)
        self.seen.rounded.add(want, torch.where(outside, want, got))
        self.seen.cut.add(want, torch.where(outside, got, want))
        self.seen.outside += int(outside.sum())
        self.seen.is_alive |= bool(got.any())

    def _see_range(self, want: Tensor) -> None:
        seen, magnitudes = self.seen, want.abs()
        if not want.numel():
            return
        seen.peak = max(seen.peak, float(magnitudes.max()))
        if want.dim() > 1:
            sums = magnitudes.movedim(self._axis, 0).flatten(1).sum(1, dtype=torch.float64)
            seen.channels = sums if seen.channels is None else seen.channels + sums


def _has_parameters(cell: patterns.Cell) -> bool:
    kind = kinds.kind_of(cell.body)
    return not cell.is_border and (kind is kinds.WEIGHTED or kind in kinds.RECURRENT)


def channel_axis(node: fx.Node) -> int:
    """Where a value has its channels: behind the batch where a convolution made it or it is an image, else last."""
    while node.op == "call_function" and node.target not in _CHANNELS_FIRST:
        kind = kinds.kind_of(node)
        keeps = kind in _KEEP_CHANNELS or node.target in _MAX_POOLS
        source = kinds.operands(node)[0] if keeps else None
        while source is not None and source.target is patterns.FAKE_QUANTIZE:
            source = edit.input_node(source)
        if source is None or source.meta["val"].dim() != node.meta["val"].dim():
            return -1
        node = source
    is_image = node.op == "placeholder" and node.meta["val"].dim() == 4
    return 1 if is_image or node.target in _CHANNELS_FIRST else -1


def layers_of(quantised: Graph, reference: Graph) -> list[Layer]:
    """Every cell of a quantised graph, beside the same in the float graph that it stands for.

    Raises:
        UsageError: the reference is that of another net.
    """
    nodes, cells = {node.name: node for node in reference.nodes}, patterns.cells(quantised)
    for cell in cells:
        for node in (cell.body, cell.real):
            other = nodes.get(node.name)
            if other is None or other.op != node.op or quantised.shape(node) != reference.shape(other):
                raise UsageError(
                    f"the reference has no {edit.describe(node)}: it is that of another net.",
                    fix="Give the reference of the result of ek.quantize, or none.",
                )
    real = {cell.end.name: cell.real.name for cell in cells}
    return [Layer(cell, nodes, real) for cell in cells]
