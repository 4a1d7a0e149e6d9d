"""Why one tensor of a float or quantised graph is held as it is, in the words of the code that decided."""

from __future__ import annotations

import operator
from collections.abc import Iterator, Mapping

from torch import Tensor, fx

from edgekit.debug.placement import Placement
from edgekit.debug.tables import listed
from edgekit.debug.view import PASSED, View, first_of_group, is_float_tensor
from edgekit.graph import edit, kinds, notes, patterns

_SETTINGS = "its integer operator takes it in float32, or in a table"


def tensors(view: View, carried: Mapping[str, str]) -> Iterator[Placement]:
    """Every tensor of a view in order; ``carried`` names the integer operators by tensor."""
    firsts, clamped = first_of_group(view), {clamp: body for body, clamp in view.clamp.items()}
    sizes = [view.group[node] for node in view.group if node not in view.clamp]
    for node in view.graph.nodes:
        if node.op == "output" or not isinstance(node.meta.get("val"), Tensor):
            continue
        if not kinds.is_float(node):
            yield _placement(
                node,
                str(node.meta["val"].dtype).removeprefix("torch."),
                "it holds no real numbers: places, truth values or sizes",
            )
        elif is_float_tensor(node) and not _is_scale(node) and (node.op != "get_attr" or view.readers(node)):
            held, reason = _held(view, node, clamped)
            group = view.group.get(node) if "int8" in held else None
            yield _placement(
                node,
                held,
                reason,
                view.scale.get(group),
                firsts[group] if group is not None and sizes.count(group) > 1 else "",
                carried.get(notes.value_name(node), "") if held == "int8" else "",
            )


def _is_scale(node: fx.Node) -> bool:
    """Whether a stored tensor is the scale of another one, with which it is told."""
    users = [user for user in node.users if user.op == "call_function"]
    fakes = [user for user in users if user.target is patterns.FAKE_QUANTIZE and edit.input_node(user) is not node]
    inner = [user for user in users if node in (user.args[-1] if isinstance(user.args[-1], (list, tuple)) else ())]
    inner = [user for user in inner if kinds.kind_of(kinds.value_of(user)) in kinds.RECURRENT]
    return bool(users) and len(fakes) + len(inner) == len(users)


def _placement(
    node: fx.Node, held: str, reason: str, scale: float | None = None, group: str = "", carried: str = ""
) -> Placement:
    made = {"placeholder": "input", "get_attr": "stored"}.get(node.op) or edit.operator_name(kinds.call_of(node))
    name = str(node.target) if node.op == "get_attr" else notes.value_name(node)
    return Placement(name, made, held, reason, scale, group, carried, edit.short_source(node))


def _held(view: View, node: fx.Node, clamped: Mapping[fx.Node, fx.Node]) -> tuple[str, str]:
    if node in clamped:
        return "int8", f"its bounds are those of the requantisation of {clamped[node].name}"
    if node in view.clamp:
        return "int8", f"computed on integers, requantised between the bounds of {view.clamp[node].name}"
    if node in view.integer:
        return "int8", _why_integer(node)
    if node.op == "get_attr":
        return _stored(view, node)
    if node.target in patterns.TRAINING_ONLY:
        held = "int8" if node in view.group or patterns.is_quantised(node) else "float"
        return held, "in inference it is its input"
    reason = _why_real(view, node)
    readers = view.reads_bytes(node)
    if node in view.group and readers:
        held = "int8" if node.op == "placeholder" else "float, then int8"
        names = listed([reader.name for reader in readers])
        return held, f"{reason}; rounded to INT8 for {names}" if reason else f"rounded to INT8 for {names}"
    return "float", reason or "nothing reads it in INT8"


def _why_integer(node: fx.Node) -> str:
    kind = kinds.kind_of(node)
    if kind is not None and kind.shares:
        names = listed(list(dict.fromkeys(notes.value_name(_behind(n)) for n in kinds.operands(node))))
        return f"it moves the bytes of {names}, so it has their scale"
    return "computed on integers" if kind is None else f"computed on integers, by the rule for {kind.name}"


def _why_real(view: View, node: fx.Node) -> str:
    if node.target is operator.getitem:
        call = edit.input_node(node)
        inside = "the cell of an LSTM: 16 bits inside its operator, float outside"
        return inside if kinds.value_of(call) in view.integer else _why_real(view, call)
    return view.kept.get(node, "")


def _stored(view: View, node: fx.Node) -> tuple[str, str]:
    """A weight, bias, setting of an operator, or constant that takes part as an activation."""
    readers = view.readers(node)
    names = listed(list(dict.fromkeys(reader.name for reader in readers)))
    if node in view.group and view.reads_bytes(node):
        return "int8", f"rounded to INT8 for {names}"
    layers = [reader for reader in readers if reader in view.integer]
    if not layers:
        reason = next((why for reader in readers if (why := _why_real(view, reader))), "")
        return "float", f"{names} computes in float: {reason}" if reason else f"{names} computes in float"
    role = _role(node, layers[0])
    if role.startswith("b"):
        return "int32", f"bias of {names}, under the product of the scales of its input and weight"
    if role.startswith("w"):
        return "int8", f"weight of {names}, {_channels(view, edit.arguments(kinds.call_of(layers[0]))[role])}"
    return "float", f"{names}: {_SETTINGS}"


def _role(stored: fx.Node, layer: fx.Node) -> str:
    """The name of the argument of a layer that a stored weight or bias is; empty for anything else."""
    kind = kinds.kind_of(layer)
    weighted = ("weight", "bias") if kind is kinds.WEIGHTED else ()
    gates = [f"{name}{gate}" for name in "wb" for gate in kind.gates] if kind in kinds.RECURRENT else []
    parts = edit.arguments(kinds.call_of(layer)) if weighted or gates else {}
    sources = {name: parts[name] for name in (*weighted, *gates) if isinstance(parts[name], fx.Node)}
    return next((name for name, source in sources.items() if _behind(source) is stored), "")


def _channels(view: View, weight: fx.Node) -> str:
    if weight.target is not patterns.FAKE_QUANTIZE:
        return "one scale for each output channel, or one for all where per_channel is false"
    scales = edit.get_tensor(view.graph.module, patterns.scale_node(weight))
    low, high = float(scales.min()), float(scales.max())
    return f"{len(scales)} scales from {low:.3g} to {high:.3g}" if low < high else f"one scale, {low:.3g}"


def _behind(node: fx.Node) -> fx.Node:
    return _behind(edit.input_node(node)) if node.target in PASSED else node
