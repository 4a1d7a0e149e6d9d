"""One quantised Graph, its Q/DQ pairs placed for one target.

The Graph carries the superset of pairs that ONNX Runtime wants. Here a copy is rewritten to exactly what the file will
hold: weights and biases become stored integers behind ``dequantize``, a fused clamp becomes the bounds of its
fake_quantize (ONNX Runtime) or stands alone in front of it (TensorRT), and for TensorRT the pairs that would break its
fusions go. No pair is ever added.
"""

from __future__ import annotations

import torch
from torch import Tensor, fx

from edgekit.errors import OperatorError
from edgekit.fuse.rules.pools import pool_geometry
from edgekit.fuse.rules.products import IntegerLayer, integer_layer
from edgekit.fuse.rules.recurrent import integer_gates
from edgekit.graph import Graph, edit, kinds, patterns
from edgekit.graph.patterns import Cell
from edgekit.ops import numerics, window
from edgekit.targets import OnnxTarget

aten = torch.ops.aten
DEQUANTIZE = torch.ops.edgekit.dequantize.default


def place(graph: Graph, target: OnnxTarget) -> Graph:
    """A copy of a quantised graph whose fake_quantize nodes are the Q/DQ pairs of the target's file.

    Raises:
        OperatorError: for an operator that the target computes otherwise in integers.
    """
    placed = graph.copy().eval()
    _drop_training_only(placed)
    found = patterns.cells(placed)
    for cell in found:
        if kinds.kind_of(cell.body) is kinds.WEIGHTED and not cell.is_border:
            _store_integers(placed, cell, target)
        elif kinds.kind_of(cell.body) in kinds.RECURRENT and not cell.is_border:
            _store_gates(placed, cell, target)
        elif cell.body.op == "get_attr":
            _store_activation(placed, cell)
    if target.activation == "uint8":
        _for_onnxruntime(placed, found)
    else:
        _for_tensorrt(placed)
    return placed.refresh()


def _for_onnxruntime(graph: Graph, found: list[Cell]) -> None:
    for cell in found:
        if not cell.is_border:
            _check_pool(graph, cell)
            _clamp_in_integers(graph, cell)


def _for_tensorrt(graph: Graph) -> None:
    for cell in patterns.cells(graph):
        _clamp_in_float(cell)
    for cell in patterns.cells(graph):
        _open_main_branch(cell)


def _store_integers(graph: Graph, cell: Cell, target: OnnxTarget) -> None:
    """The layer's weight as int8 and bias as int32 (or its exact float value), in place of the float parameters."""
    layer, parts, axis = integer_layer(graph, cell), edit.arguments(cell.body), patterns.output_channels(cell.body)
    edit.set_argument(cell.body, "weight", _stored(graph, cell.body, "weight", layer.weight, layer.weight_scale, axis))
    if parts["bias"] is not None:
        edit.set_argument(cell.body, "bias", _stored_bias(graph, cell.body, layer, target))


def _store_gates(graph: Graph, cell: Cell, target: OnnxTarget) -> None:
    """The recurrent weights and biases of a GRU or LSTM in the same way."""
    call = kinds.call_of(cell.body)
    for gate, layer in integer_gates(graph, cell).items():
        edit.set_argument(call, f"w{gate}", _stored(graph, call, f"w{gate}", layer.weight, layer.weight_scale))
        edit.set_argument(call, f"b{gate}", _stored_bias(graph, call, layer, target, f"b{gate}"))


def _store_activation(graph: Graph, cell: Cell) -> None:
    """A stored tensor that takes part as an activation, or whose rows do, as int8; rows are dequantised one by one."""
    scale, named = edit.get_tensor(graph.module, cell.scale), str(cell.body.target)
    q = numerics.quantize(edit.get_tensor(graph.module, cell.body).detach(), scale)
    stored = edit.add_tensor(graph.module, f"{named}_s8", q, cell.body)
    for user in list(cell.end.users):
        if user.target is aten.embedding.default:
            user.replace_input_with(cell.end, stored)
            real = edit.call_after(user, DEQUANTIZE, (user, cell.scale))
            edit.replace_uses(user, real)
    cell.end.replace_all_uses_with(edit.call_before(cell.end, DEQUANTIZE, (stored, cell.scale)))


def _stored_bias(graph: Graph, body: fx.Node, layer: IntegerLayer, target: OnnxTarget, name: str = "bias") -> fx.Node:
    scale = layer.input_scale * layer.channel_scale
    if target.bias == "int32":
        return _stored(graph, body, name, layer.bias, scale)
    return edit.add_tensor(graph.module, f"{body.name}.{name}", numerics.dequantize(layer.bias, scale, 0), body)


def _stored(graph: Graph, body: fx.Node, name: str, value: Tensor, scale: Tensor, axis: int = 0) -> fx.Node:
    q = edit.add_tensor(graph.module, f"{body.name}.{name}", value, body)
    scale_node = edit.add_tensor(graph.module, f"{body.name}.{name}_scale", scale, body)
    return edit.call_before(body, DEQUANTIZE, (q, scale_node, axis))


def _clamp_in_integers(graph: Graph, cell: Cell) -> None:
    """``body -> Q -> clamp -> Q`` becomes ``body -> Q with the clamp's bounds``: the form ONNX Runtime fuses.

    It is the last pair that stays, and its name with it.
    """
    if cell.clamp is None or cell.inner is None:
        return
    low, high = numerics.bounds(*patterns.clamp_bounds(cell.clamp), edit.get_tensor(graph.module, cell.scale))
    edit.set_argument(cell.end, "lo", low)
    edit.set_argument(cell.end, "hi", high)
    cell.end.replace_input_with(cell.clamp, cell.body)


def _check_pool(graph: Graph, cell: Cell) -> None:
    """ONNX Runtime 1.32 divides by a wrong number in integers where ``ceil_mode`` lets a last window hang over."""
    if cell.body.target is not aten.avg_pool2d.default:
        return
    kernel, stride, padding = pool_geometry(cell.body)[:3]
    size, windows = (graph.shape(node)[2:] for node in (edit.input_node(cell.body), cell.body))
    if windows != window.output_size("avg_pool2d", size, kernel, stride, padding):
        raise OperatorError(
            f"{edit.describe(cell.body)} cannot be exported for ONNX Runtime: in integers it divides the sum of a "
            "window that hangs over the image by the wrong number.",
            fix="Leave out ceil_mode, or pad the image.",
        )


def _clamp_in_float(cell: Cell) -> None:
    """``body -> Q -> clamp -> Q`` becomes ``body -> clamp -> Q``: a pair in between would break TensorRT's fusion.

    The pair also goes where the clamp has a scale of its own, because dropout stood in between; unless others read it.
    """
    if cell.inner is not None:
        cell.inner.replace_all_uses_with(cell.body)
    elif patterns.is_clamp(cell.body):
        pair = edit.input_node(cell.body)
        if pair.target is patterns.FAKE_QUANTIZE and len(pair.users) == 1:
            body = edit.input_node(pair)
            if patterns.can_clamp(body):
                cell.body.replace_input_with(pair, body)


def _open_main_branch(cell: Cell) -> None:
    """Let an addition read the convolution on its main branch unrounded; the skip branch keeps its pair.

    TensorRT fuses the addition into that convolution.
    """
    if kinds.kind_of(cell.body) is not kinds.JOIN or cell.is_border:
        return
    operands = tuple(kinds.operands(cell.body))
    for pair, other in (operands, operands[::-1]):
        if pair is not other and pair.target is patterns.FAKE_QUANTIZE and len(pair.users) == 1:
            layer = edit.input_node(pair)
            if layer.target in patterns.WEIGHTED and is_stored(layer):
                cell.body.replace_input_with(pair, layer)
                return


def is_stored(layer: fx.Node) -> bool:
    """Whether a layer's weight is stored in integers; one of the float front has it in float."""
    return edit.is_call(edit.arguments(layer)["weight"], DEQUANTIZE)


def _drop_training_only(graph: Graph) -> None:
    for node in edit.calls(graph.module):
        if node.target in patterns.TRAINING_ONLY:
            node.replace_all_uses_with(edit.input_node(node))
            graph.module.graph.erase_node(node)
