"""Does a plan compute what its golden computes? Run after run, states handed on.

Integers must be equal by the byte, and floats too wherever one operation is one rounding. A float sum has many, and two
right ones may differ in the last bit, so that a value which is quantised behind one may be a step away, beside a tie.
Nothing adds up and nothing is excused behind it: a second plan of the same graph gives the bytes of those quantisers,
the golden goes on from them, and the file must give the outputs of that plan to the byte.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx

from edgekit.errors import ExportMismatch
from edgekit.export.native.rules.moves import MOVERS
from edgekit.graph import Graph, edit
from edgekit.runtime import NativeRunner

aten, s8 = torch.ops.aten, torch.ops.edgekit
QUANTIZE = s8.quantize_s8.default
MOST_APART = 1e-3  # share of a tensor's values beside a tie: sums are off by 1e-6 of a range that has 255 steps
TOLERANCE = 1e-4  # of float outputs behind float sums, relative to 1 + |value|
ONE_ROUNDING = frozenset(
    ("add", "sub", "rsub", "mul", "div", "neg", "abs", "sign", "relu", "reciprocal", "square", "floor", "ceil",
     "trunc", "round", "maximum", "minimum", "clamp", "clamp_min", "clamp_max", "hardtanh", "relu6", "where",
     "masked_fill", "eq", "ne", "lt", "le", "gt", "ge", "isnan", "isinf", "isfinite", "logical_and",
     "logical_or", "logical_xor", "logical_not", "bitwise_and", "bitwise_or", "bitwise_xor", "bitwise_not",
     "to", "_to_copy", "type_as", "amax", "amin", "max_pool1d", "max_pool2d", "max_pool3d", "argmax", "argmin",
     "any", "all", "embedding", "alias")
)  # fmt: skip


@dataclass
class Ties:
    """Quantised values behind float sums, the engine's beside the golden's of the same bytes."""

    names: list[str]
    compared: list[int] = field(init=False)
    apart: list[int] = field(init=False)

    def __post_init__(self) -> None:
        self.compared, self.apart = [0] * len(self.names), [0] * len(self.names)

    def add(self, file: str, number: int, own: Tensor, theirs: Tensor) -> None:
        """Take one tensor; ExportMismatch where a value is more than a step away."""
        difference = (own.int() - theirs.int()).abs()
        self.compared[number] += own.numel()
        self.apart[number] += int((difference > 0).sum())
        if own.numel() and int(difference.max()) > 1:
            raise _mismatch(f"{file}: values of {self.names[number]} are {int(difference.max())} steps from the golden")

    def check(self, file: str) -> None:
        """ExportMismatch for a tensor with more values apart than ties explain; one always may be."""
        for name, compared, apart in zip(self.names, self.compared, self.apart, strict=True):
            if apart > max(1, MOST_APART * compared):
                raise _mismatch(f"{file}: {apart} of {compared} values of {name} are a step from the golden")

    def __str__(self) -> str:
        return f"{sum(self.apart):,} of {sum(self.compared):,} values there are one step beside a tie"


def validate(
    runner: NativeRunner,
    tapped: NativeRunner | None,
    integer: Graph,
    given: Sequence[tuple[Tensor, ...]],
    states: Mapping[str, str],
) -> str:
    """Hold a plan against its golden; says in words what was seen.

    Args:
        runner: the file that is to be written.
        tapped: a plan of :func:`with_taps`; None where there are no taps.
        integer: the golden.
        given: inputs of every run.
        states: by input the output that is handed to it.

    Raises:
        ExportMismatch: names the output or the quantiser that differs.
    """
    names = [info.name for info in integer.inputs]
    held = {name: torch.zeros_like(x) for name, x in zip(names, given[0], strict=True) if name in states}
    taps, loose = quantised_sums(integer), loose_outputs(integer)
    ties = Ties([node.name for node in taps])
    for values in given:
        feed = [held.get(name, x) for name, x in zip(names, values, strict=True)]
        ports = [x.numpy() for name, x in zip(names, feed, strict=True) if name not in states]
        got = dict(zip([info.name for info in runner.outputs], runner.run(*ports), strict=True))
        bytes_ = _tapped_bytes(runner.name, tapped, ports, got)
        golden = golden_outputs(integer, feed, _Following(runner.name, integer, taps, bytes_, ties))
        for name, value in got.items():
            _compare(runner.name, name, golden[name].numpy(), value, name in loose)
        held = {name: golden[output] for name, output in states.items()}
    ties.check(runner.name)
    return f"edgekit {runner.version} ({runner.isa}) on {len(given)} runs, {_words(ties, loose)}"


def _words(ties: Ties, loose: set[str]) -> str:
    parts = "equal to the golden by the byte"
    if ties.names:
        parts += f", behind float sums on the engine's own bytes; {ties}"
    return parts + (f"; {', '.join(sorted(loose))} within {TOLERANCE} * (1 + |value|)" if loose else "")


def inexact(integer: Graph) -> set[fx.Node]:
    """The nodes whose values may differ in the last bit from torch's: float sums and functions, and what reads them."""
    found = set[fx.Node]()
    for node in integer.nodes:
        reads = not found.isdisjoint(node.all_input_nodes) and node.op != "output"
        if (reads and node.target is not QUANTIZE) or _rounds_often(node):
            found.add(node)
    return found


def _rounds_often(node: fx.Node) -> bool:
    if node.op != "call_function" or not isinstance(node.target, torch._ops.OpOverload):
        return False
    word = edit.operator_name(node).partition(".")[2]
    if node.target.namespace == "edgekit":
        return not (word.endswith("_s8") or word == "dequantize")
    weighted = "alpha" in edit.arguments(node) and edit.arguments(node)["alpha"] != 1
    return weighted or not (word in ONE_ROUNDING or node.target in MOVERS or word == "sym_size")


def quantised_sums(integer: Graph) -> list[fx.Node]:
    """The quantisers that read such values."""
    behind = inexact(integer)
    return [n for n in integer.nodes if n.target is QUANTIZE and not behind.isdisjoint(n.all_input_nodes)]


def loose_outputs(integer: Graph) -> set[str]:
    """The outputs that are such values, and floats."""
    behind, pairs = inexact(integer), zip(integer.output_names, integer.output_nodes(), strict=True)
    return {name for name, node in pairs if node in behind and node.meta["val"].is_floating_point()}


def with_taps(integer: Graph) -> Graph | None:
    """The golden with the bytes of those quantisers as further outputs; None where there are none."""
    places = [i for i, node in enumerate(integer.nodes) if node in set(quantised_sums(integer))]
    if not places:
        return None
    graph = integer.copy()
    nodes = list(graph.nodes)
    output = graph.module.graph.output_node()
    output.args = ((*graph.output_nodes(), *(nodes[place] for place in places)),)
    graph.module.recompile()
    names = (*graph.output_names, *(f"tap {number}" for number in range(len(places))))
    return Graph(graph.module, graph.inputs, names)


def _tapped_bytes(
    file: str, tapped: NativeRunner | None, ports: Sequence[Any], got: Mapping[str, np.ndarray[Any, Any]]
) -> list[Tensor]:
    """What the quantisers give, in order; the outputs beside them must be those of the file."""
    if tapped is None:
        return []
    results = dict(zip([info.name for info in tapped.outputs], tapped.run(*ports), strict=True))
    for name, value in got.items():
        if value.tobytes() != results[name].tobytes():
            raise _mismatch(f"{file}: {name} depends on where tensors lie in memory")
    return [torch.from_numpy(value) for name, value in results.items() if name not in got]


class _Following(fx.Interpreter):
    """The golden, which goes on from the engine's bytes wherever those may be beside a tie."""

    def __init__(self, file: str, integer: Graph, taps: list[fx.Node], bytes_: list[Tensor], ties: Ties) -> None:
        super().__init__(integer.module)
        self._file, self._ties = file, ties
        self._given = {node: (number, value) for number, (node, value) in enumerate(zip(taps, bytes_, strict=True))}

    def run_node(self, n: fx.Node) -> Any:
        """One node, or what the engine has for it."""
        own = super().run_node(n)
        if n not in self._given:
            return own
        number, theirs = self._given[n]
        self._ties.add(self._file, number, own, theirs)
        return theirs


def golden_outputs(integer: Graph, feed: Sequence[Tensor], following: fx.Interpreter) -> dict[str, Tensor]:
    """The golden's outputs by name."""
    with torch.no_grad():
        result = following.run(*feed)
    results = (result,) if isinstance(result, Tensor) else tuple(result)
    return dict(zip(integer.output_names, results, strict=True))


def _compare(file: str, name: str, golden: np.ndarray[Any, Any], got: np.ndarray[Any, Any], loose: bool) -> None:
    if got.shape != golden.shape or got.dtype != golden.dtype:
        raise _mismatch(f"{file}: {name} is {got.dtype}{list(got.shape)}, not {golden.dtype}{list(golden.shape)}")
    if loose:
        far = ~np.isclose(got, golden, TOLERANCE, TOLERANCE, equal_nan=True)
        if far.any():
            raise _mismatch(f"{file}: {int(far.sum())} of {golden.size} values of {name} differ from the golden")
    elif not np.array_equal(got, golden, equal_nan=golden.dtype.kind == "f"):
        count = int((got != golden).sum())
        raise _mismatch(f"{file}: {count} of {golden.size} values of {name} differ from the golden, where none may")


def _mismatch(what: str) -> ExportMismatch:
    return ExportMismatch(f"{what}.", fix="Please report this model.")
