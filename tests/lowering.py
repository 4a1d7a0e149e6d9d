"""Tables of small nets, one for each rule of lowering: a table is captured, quantised and exported as one net.

Every case has an input and an output of its own in that net, so that each is looked at alone, though all are made once.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import pytest
import torch
from quantised import Written, build, items
from torch import Tensor, fx, nn

import edgekit as ek
from edgekit import device, fuse, quant
from edgekit.export import ExportReport
from edgekit.graph import Graph, edit, patterns
from edgekit.ops import dispatch
from edgekit.runtime import OnnxRunner
from edgekit.sqnr import sqnr_db

Layers = nn.ModuleDict
needs_vnni = pytest.mark.skipif(not device.has_vnni(), reason="without VNNI, ONNX Runtime's INT8 saturates at 16 bits")


@dataclass(frozen=True)
class Case:
    """A net for one rule.

    Attributes:
        function: of its layers and its input.
        operators: every call of its part of the integer graph between the input's quantise and the output's dequantise.
        layers: makes the layers.
        shape: of one item.
        decibels: signal to noise that the golden keeps to the fake-quantised graph.
        float_decibels: the same to the float net, which 8 bits are far from; a wrong operator is much farther.
    """

    function: Callable[[Layers, Tensor], object]
    operators: str
    layers: Callable[[], dict[str, nn.Module]] = dict
    shape: tuple[int, ...] = (4, 8, 6)
    decibels: float = 40.0
    float_decibels: float = 25.0

    def net(self) -> nn.Module:
        """The net with weights that are not those of a fresh layer."""
        return build(Written(self.function, **self.layers()))


class _Side(nn.Module):
    """Nets side by side."""

    def __init__(self, nets: list[nn.Module]) -> None:
        super().__init__()
        self.nets = nn.ModuleList(nets)

    def forward(self, *inputs: Tensor) -> tuple[object, ...]:
        return tuple(net(x) for net, x in zip(self.nets, inputs, strict=True))


@dataclass
class Table:
    """Cases that share one capture, one quantised graph, one golden and one file."""

    cases: Mapping[str, Case]
    options: dict[str, object] = field(default_factory=dict)
    folder: tempfile.TemporaryDirectory[str] = field(default_factory=tempfile.TemporaryDirectory)

    def inputs(self, count: int = 64, seed: int = 0, spread: float = 1.0) -> tuple[Tensor, ...]:
        """One tensor for each case."""
        return tuple(items(case.shape, count, seed + i, spread) for i, case in enumerate(self.cases.values()))

    @cached_property
    def nets(self) -> nn.Module:
        """The float nets."""
        return _Side([case.net() for case in self.cases.values()]).eval()

    @cached_property
    def result(self) -> quant.QuantResult:
        """The quantised graph and the report; ``strict`` refuses a case that has an operator in float."""
        values = self.inputs()
        config = ek.QuantConfig(**({"strict": True} | self.options))  # type: ignore[arg-type]
        return ek.quantize(ek.capture(self.nets, values), [values], config)

    @property
    def quantised(self) -> Graph:
        """The quantised graph."""
        return self.result.graph

    @cached_property
    def lowered(self) -> fuse.Lowered:
        """The golden and the report on it."""
        return fuse.lowered(self.quantised)

    def operators(self, name: str) -> list[str]:
        """The calls that the golden's output for a case is computed by, in order, its own ends aside."""
        graph = self.lowered.graph
        output = graph.output_nodes()[list(self.cases).index(name)]
        behind, waiting = set[fx.Node](), [output]
        while waiting:
            node = waiting.pop()
            if node not in behind:
                behind.add(node)
                waiting += node.all_input_nodes
        calls = [
            edit.operator_name(n).partition(".")[2] for n in graph.nodes if n in behind and n.op == "call_function"
        ]
        calls = [call for call in calls if call != "sym_size"]
        assert (calls[0], calls[-1]) == ("quantize_s8", "dequantize")
        return calls[1:-1]

    @cached_property
    def outputs(self) -> dict[str, tuple[Tensor, ...]]:
        """For each case what the float net, the fake-quantised graph, and the golden in C++ and in torch give."""
        values = tuple(x[:48] for x in self.inputs())  # another batch than that of capture, within the ranges
        with torch.no_grad():
            real, fake, golden = self.nets(*values), self.quantised(*values), self.lowered.graph(*values)
            with dispatch.force("reference"):
                slow = self.lowered.graph(*values)
        return dict(zip(self.cases, zip(real, fake, golden, slow, strict=True), strict=True))

    @cached_property
    def file(self) -> tuple[Path, ExportReport]:
        """The file for ONNX Runtime."""
        return self.export("onnxruntime")

    def export(self, target: str) -> tuple[Path, ExportReport]:
        """The file for a target."""
        path = Path(self.folder.name) / f"{target}.onnx"
        return path, ek.export_onnx(self.quantised, path, target, inputs=self.inputs(48, seed=200))


def check_numbers(table: Table, name: str) -> None:
    """Both tiers give the same bytes, and those stand for what the fake-quantised graph and the float net compute."""
    case, (real, fake, golden, slow) = table.cases[name], table.outputs[name]
    assert golden.numpy().tobytes() == slow.numpy().tobytes()
    assert len(golden.unique()) > 8, "a net whose values are all alike shows nothing"
    for want, least in ((fake, case.decibels), (real, case.float_decibels)):
        noise = sqnr_db(want, golden)
        assert noise is None or noise >= least


def check_file(table: Table, steps: int = 0) -> None:
    """ONNX Runtime gives the golden's bytes for every case, or bytes that are ``steps`` off here and there."""
    path, report = table.file
    assert report.validation.failure == ""
    assert report.validation.differing_bytes == 0 or steps
    values = table.inputs(48, seed=300)
    got, golden = OnnxRunner(path).run(*[x.numpy() for x in values]), table.lowered.graph(*values)
    cells = {cell.end: cell for cell in patterns.cells(table.quantised)}
    for name, here, want, node in zip(table.cases, got, golden, table.quantised.output_nodes(), strict=True):
        scale = float(edit.get_tensor(table.quantised.module, cells[node].scale))
        off = abs(torch.from_numpy(here) - want) / scale
        assert float(off.max()) <= steps * 1.001, name
        assert float((off > 0.5).float().mean()) < 0.01, name


def check_islands(table: Table, *operators: str) -> None:
    """With these operators kept in float, each is an island between integers, and the numbers stay what they were."""
    bodies = [cell.body for cell in patterns.cells(table.quantised) if not cell.is_border]
    kept = {node.name for node in bodies if edit.operator_name(node).partition(".")[2] in operators}
    assert len(kept) >= len(operators)
    mixed = Table(table.cases, {"strict": False, "keep_float": sorted(kept)})
    reasons = mixed.result.report.kept_float
    assert {operator.name for operator in mixed.lowered.operators if operator.reason} == set(reasons)
    assert {name for name, reason in reasons.items() if "asked" in reason} == kept
    assert all("no layer is next to it" in reason for name, reason in reasons.items() if name not in kept)
    for name in table.cases:
        check_numbers(mixed, name)
    check_targets(mixed)


def check_targets(table: Table) -> None:
    """Files for ONNX Runtime and for TensorRT pass their lint and are as near to what they must compute as others."""
    for target in ("onnxruntime", "tensorrt-10"):
        found = table.export(target)[1].validation
        assert found.failure == ""
        assert found.sqnr_db is None or found.sqnr_db >= 40, target
