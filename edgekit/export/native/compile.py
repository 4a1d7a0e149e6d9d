"""From the integer graph to a plan: fix shapes, decide the layout, build operation by operation, give out memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath

import torch
from torch import Tensor, fx

from edgekit.errors import OperatorError, UsageError, did_you_mean
from edgekit.export.native import decompose, layout, memory
from edgekit.export.native.build import ELEMENTS, Builder
from edgekit.export.native.operation import Operation, Plan
from edgekit.export.native.rules import is_known, rule_of
from edgekit.export.native.specialise import Fixed, described, pinned, specialise
from edgekit.export.native.view import Buffer, Storage, View, dense_steps
from edgekit.fuse.join import PRODUCTS, join
from edgekit.graph import Graph, edit

s8 = torch.ops.edgekit
SPECTRUM = ("edgekit", "data", "spectrum.py")  # the log-mel front that ships
SPECTRUM_FIX = "Capture the net behind it, and give the plan the features; or export to ONNX."


@dataclass(frozen=True)
class Compiled:
    """A plan, and what was done on the way.

    Attributes:
        plan: with all memory given out.
        fixed: the graph at its shapes.
        fused: sums that a product computes.
        copies: copies that were inserted to bring a tensor into another order.
    """

    plan: Plan
    fixed: Fixed
    fused: int
    copies: int


def compile_plan(
    graph: Graph, shapes: Mapping[str, Sequence[int]] | None = None, states: Mapping[str, str] | None = None
) -> Compiled:
    """Make the plan of an integer graph.

    Args:
        graph: of :func:`edgekit.lower`.
        shapes: of inputs by name, where the batch is not 1.
        states: by input the output that the next run reads there; neither is a port of the plan then.

    Raises:
        OperatorError: names every call that a plan cannot hold, with its source line.
        UsageError: for shapes or states that the graph does not have.
    """
    fixed = _expanded(specialise(join(pinned(graph, shapes), tables=False)))
    builder = Builder(fixed, layout.decide(fixed))
    _refuse(builder)
    held = _states(builder, states or {})
    _inputs(builder, held)
    for node in fixed.nodes:
        if node not in builder.layout.absorbed and node not in builder.finished:
            builder.node = node
            rule = rule_of(builder, node)
            assert rule is not None
            builder.views[node] = rule(builder, node)
    builder.node = None
    _outputs(builder, held)
    builder.plan.operations = _needed(builder.plan)
    memory.give_out(builder.plan)
    fused = sum(node.target in PRODUCTS and edit.arguments(node)["residual"] is not None for node in fixed.nodes)
    return Compiled(builder.plan, fixed, fused, builder.copies)


def _expanded(fixed: Fixed) -> Fixed:
    """With calls that have no rule written out in others that have."""
    unknown = [node for node in _unknown(Builder(fixed, layout.decide(fixed))) if not _is_spectrum(node)]
    return specialise(decompose.expand(fixed, unknown, is_known)) if unknown else fixed


def _unknown(builder: Builder) -> list[fx.Node]:
    own = [node for node in builder.fixed.nodes if node not in builder.layout.absorbed]
    return [node for node in own if rule_of(builder, node) is None]


def _refuse(builder: Builder) -> None:
    spectrum = [node for node in builder.fixed.nodes if _is_spectrum(node)]
    others = [node for node in _unknown(builder) if node not in spectrum]
    found = [f"a plan has no form for {len(others)} calls: {described(others)}"] if others else []
    if spectrum:
        found.append(f"a plan does not hold the log-mel spectrum in front of the net: {described(spectrum)}")
    if found:
        fix = "Keep them out of the model, or export to ONNX."
        raise OperatorError("; ".join(found) + ".", fix=SPECTRUM_FIX if spectrum and not others else fix)


def _is_spectrum(node: fx.Node) -> bool:
    """A Fourier transform, also as the convolution that :mod:`edgekit.data.spectrum` makes of it."""
    name = edit.operator_name(node)
    path = PurePath(edit.source_line(node).partition(":")[0])
    return "stft" in name or "fft_" in name or path.parts[-3:] == SPECTRUM


@dataclass(frozen=True)
class Held:
    """A state: the input that reads it, the output that writes it, and its memory."""

    reads: fx.Node
    writes: fx.Node
    view: View


def _states(builder: Builder, states: Mapping[str, str]) -> dict[str, Held]:
    graph = builder.fixed.graph
    inputs = {node.name: node for node in graph.nodes if node.op == "placeholder"}
    inputs = dict(zip([info.name for info in graph.inputs], inputs.values(), strict=True))
    outputs = dict(zip(graph.output_names, graph.output_nodes(), strict=True))
    return {name: _state(builder, name, inputs, output, outputs) for name, output in states.items()}


def _state(builder: Builder, name: str, inputs: dict[str, fx.Node], output: str, outputs: dict[str, fx.Node]) -> Held:
    for kind, word, known in (("input", name, inputs), ("output", output, outputs)):
        if word not in known:
            fix = f"It has {', '.join(known)}."
            raise UsageError(f"there is no {kind} {word} to be a state.{did_you_mean(word, known)}", fix=fix)
    reads, writes = inputs[name], outputs[output]
    there, here = builder.fixed.values[writes], builder.fixed.values[reads]
    if (there.shape, there.dtype) != (here.shape, here.dtype):
        raise UsageError(f"output {output} cannot be the next {name}: {there.shape} is not {here.shape}.")
    pair = _as_bytes(builder, reads, writes)
    source, end = pair or (reads, writes)
    return Held(source, end, _dense(builder.fixed.values[source], Storage.STATE))


def _as_bytes(builder: Builder, reads: fx.Node, writes: fx.Node) -> tuple[fx.Node, fx.Node] | None:
    """Between dequantise and quantise at one scale the bytes themselves are the state."""
    users = builder.layout.users(reads)
    if len(users) != 1 or users[0].target is not s8.quantize_s8.default or len(builder.layout.users(writes)) != 1:
        return None
    if writes.target is not s8.dequantize.default:
        return None
    ends = [edit.arguments(node) for node in (users[0], writes)]
    scales: list[Tensor] = [builder.fixed.argument(parts["scale"]) for parts in ends]
    whole = (ends[0]["lo"], ends[0]["hi"]) == (-128, 127)
    return (users[0], edit.input_node(writes)) if whole and torch.equal(*scales) else None


def _inputs(builder: Builder, held: Mapping[str, Held]) -> None:
    nodes = [node for node in builder.fixed.graph.nodes if node.op == "placeholder"]
    for node, info in zip(nodes, builder.fixed.graph.inputs, strict=True):
        if info.name in held:
            state = held[info.name]
            builder.views[state.reads] = state.view
            builder.finished.add(state.reads)
            continue
        view = _dense(builder.fixed.values[node], Storage.INPUT)
        view.buffer.place = len(builder.plan.inputs)
        builder.plan.inputs[info.name] = builder.views[node] = view


def _dense(value: Tensor, storage: Storage) -> View:
    element = ELEMENTS[value.dtype]
    sizes = tuple(value.shape)
    return View(Buffer(storage, value.numel() * element.bytes), element, sizes, dense_steps(sizes, range(len(sizes))))


def _outputs(builder: Builder, held: Mapping[str, Held]) -> None:
    graph, plan = builder.fixed.graph, builder.plan
    writes = {state.writes: state for state in held.values()}
    kept = {name for name, node in zip(graph.output_names, graph.output_nodes(), strict=True) if _is_kept(node, writes)}
    for name, node in zip(graph.output_names, graph.output_nodes(), strict=True):
        if name not in kept:
            plan.outputs[name] = _port(builder, builder.view(node), len(plan.outputs))
    for state in held.values():
        builder.copy(builder.view(state.writes), state.view)


def _is_kept(node: fx.Node, writes: Mapping[fx.Node, Held]) -> bool:
    bytes_kept = node.target is s8.dequantize.default and edit.input_node(node) in writes
    return node in writes or bytes_kept


def _port(builder: Builder, view: View, number: int) -> View:
    """The caller's memory: that of the result, if nothing else reads it."""
    operations = builder.plan.operations
    read = any(x is not None and x.buffer is view.buffer for o in operations for x in o.inputs)
    whole = view.first == 0 and view.is_dense and view.count * view.element.bytes == view.buffer.bytes
    if view.buffer.storage is not Storage.ARENA or read or not whole:
        out = View(Buffer(Storage.ARENA, view.count * view.element.bytes), view.element, view.sizes, ())
        out = View(out.buffer, out.element, out.sizes, dense_steps(out.sizes, range(len(out.sizes))))
        builder.copy(view, out)
        view = out
    view.buffer.storage, view.buffer.place = Storage.OUTPUT, number
    return view


def _needed(plan: Plan) -> list[Operation]:
    """Without operations whose results nothing reads."""
    read, found = set[Buffer](), list[Operation]()
    for operation in reversed(plan.operations):
        kept = (Storage.OUTPUT, Storage.STATE)
        if any(view.buffer in read or view.buffer.storage in kept for view in operation.outputs):
            found.append(operation)
            read.update(view.buffer for view in operation.inputs if view is not None)
    return found[::-1]
