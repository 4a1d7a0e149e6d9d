"""Putting fake_quantize where a plan wants it, scales as buffers; and taking all of it out again."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, fx

from edgekit.graph import Graph, edit, kinds, notes, patterns
from edgekit.ops import numerics
from edgekit.quant import recurrent
from edgekit.quant.plan import Plan

TINY = torch.finfo(torch.float32).tiny


def insert(graph: Graph, placed: Plan, scales: dict[fx.Node, Tensor], per_channel: bool) -> None:
    """Put fake_quantize behind every planned node and in front of every weight; refresh.

    Args:
        graph: the one that was planned for; it is edited.
        placed: the plan.
        scales: float32 scalar for each node that a scale is named after.
        per_channel: one weight scale for each output channel, or one for all.
    """
    first = next(edit.calls(graph.module))
    stored = {node: _store(graph, f"{node.name}_scale", scale, first) for node, scale in scales.items()}
    for node in filter(placed.is_integer, placed.scale_of):
        if kinds.kind_of(node) is kinds.WEIGHTED:
            before = scales[placed.scale_of[edit.input_node(node)]]
            _quantize_weight(graph, node, ("weight", "bias"), before, scales[placed.scale_of[node]], per_channel)
    for node, inside in placed.inside.items():
        _quantize_recurrent(graph, node, [stored[one] for one in inside], per_channel)
    for node, named in placed.scale_of.items():
        if node.target not in patterns.TRAINING_ONLY:
            fake = _behind(node, first, (node, stored[named]))
            edit.replace_uses(node, fake, keep=partial(_stays_float, placed, node))
    _keep_float(placed)
    graph.refresh()


def strip(graph: Graph) -> Graph:
    """A copy of a quantised graph without any rounding, in which each node has the name that it had.

    It is what the quantised graph stands for in float, but for biases that were corrected.
    """
    graph = graph.copy()
    for node in edit.calls(graph.module):
        if node.target is patterns.FAKE_QUANTIZE or node.target is patterns.AS_FLOAT:
            node.replace_all_uses_with(edit.input_node(node))
        elif kinds.kind_of(kinds.value_of(node)) in kinds.RECURRENT:
            edit.set_argument(node, "scales", None)
    return graph.refresh()


def _behind(node: fx.Node, first: fx.Node, arguments: tuple[fx.Node, fx.Node]) -> fx.Node:
    name = f"{notes.value_name(node)}_q"
    if node < first:  # scales are read right in front of the first call
        fake = edit.call_before(first, patterns.FAKE_QUANTIZE, arguments, name)
    else:
        fake = edit.call_after(node, patterns.FAKE_QUANTIZE, arguments, name)
    notes.stand_for(fake, node)
    return fake


def _stays_float(placed: Plan, source: fx.Node, user: fx.Node) -> bool:
    """Whether ``user`` reads the float value of a quantised node: only where there is one, and it needs no other."""
    if placed.is_integer(source):
        return False
    result = kinds.value_of(user)
    return not (placed.is_integer(result) and source in kinds.operands(result))


def _keep_float(placed: Plan) -> None:
    """Say so where an operator stays in float though it could do without: it reads int8 values as floats."""
    for node, reason in placed.kept.items():
        call = kinds.call_of(node)
        call.meta[notes.WHY_FLOAT] = reason
        if kinds.kind_of(node) is not None:
            for source in filter(patterns.is_quantised, call.all_input_nodes):
                call.replace_input_with(source, edit.call_before(call, patterns.AS_FLOAT, (source,)))


def _store(graph: Graph, name: str, value: Tensor, before: fx.Node) -> fx.Node:
    numerics.check_scale(value, name)
    return edit.add_tensor(graph.module, name, value, before)


def _quantize_recurrent(graph: Graph, node: fx.Node, scales: list[fx.Node], per_channel: bool) -> None:
    """Give a recurrent layer the scales of its quantities, and put fake_quantize in front of its weights."""
    call, kind = kinds.call_of(node), kinds.kind_of(node)
    assert kind is not None
    by_name = dict(zip(recurrent.quantities(node), scales, strict=True))
    state, *hidden = (edit.get_tensor(graph.module, by_name[n]) for n in ("h", *(f"hidden_{g}" for g in kind.gates)))
    for gate, behind in zip(kind.gates, hidden, strict=True):
        _quantize_weight(graph, call, (f"w{gate}", f"b{gate}"), state, behind, per_channel)
    edit.set_argument(call, "scales", scales)


def _quantize_weight(
    graph: Graph, layer: fx.Node, names: tuple[str, str], before: Tensor, behind: Tensor, per_channel: bool
) -> None:
    """Put fake_quantize in front of a layer's weight; ``before`` and ``behind`` are the scales of input and output.

    ``names`` are those of the arguments with the weight and its bias.
    """
    parts, axis = edit.arguments(layer), patterns.output_channels(layer)
    weight, bias = (None if parts[n] is None else edit.get_tensor(graph.module, parts[n]) for n in names)
    assert weight is not None
    if bias is not None and len(bias) != weight.shape[axis]:  # groups of a transposed convolution share their scales
        bias = bias.detach().abs().view(-1, weight.shape[axis]).amax(0)
    scale = _without_dead(numerics.weight_scale(weight, bias, before, axis), before, behind)
    if not per_channel:
        scale = scale.max().expand_as(scale).contiguous()
    node = _store(graph, f"{layer.name}_{names[0]}_scale", scale, layer)
    arguments = (parts[names[0]], node, axis, -numerics.WEIGHT_MAX, numerics.WEIGHT_MAX)
    fake = edit.call_before(layer, patterns.FAKE_QUANTIZE, arguments, f"{layer.name}_{names[0]}_q")
    edit.set_argument(layer, names[0], fake)


def _without_dead(scale: Tensor, before: Tensor, behind: Tensor) -> Tensor:
    """Scale 1 for a channel so weak that a product of scales would not be a normal number, as weight decay leaves them.

    A sum below 2^31 steps of less than 2^-33 output steps each rounds to 0 whatever the input, so nothing is lost.
    """
    step, output = scale.double() * before.double(), behind.double()
    dead = (step < output * 2.0**-33) & ((step < TINY) | (step < output * TINY))
    return torch.where(dead, torch.ones_like(scale), scale)
