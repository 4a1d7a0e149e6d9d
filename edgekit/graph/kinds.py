"""What each operator is to quantisation: one table that placement, lowering and export read.

A kind says which arguments are activations, and what becomes of the scale: most results have a scale of their own,
moved bytes keep the one they came with.
"""

from __future__ import annotations

import operator
from dataclasses import dataclass

import torch
from torch import Tensor, fx

import edgekit.ops  # noqa: F401  registers torch.ops.edgekit
from edgekit.graph import edit

aten, own = torch.ops.aten, torch.ops.edgekit


@dataclass(frozen=True)
class Kind:
    """What operators have in common.

    Attributes:
        name: for people and for rules.
        operands: names of the arguments that are activations; a list of tensors counts with all its members.
        shares: the result has the scale of its operands, because it holds their bytes.
        rescales: ends in a requantisation, whose bounds can hold a clamp.
        products: adds up products: what INT8 is for.
        state: of the operands those that share the scale of the result, because they are one in the step before.
    """

    name: str
    operands: tuple[str, ...] = ("self",)
    shares: bool = False
    rescales: bool = False
    products: bool = False
    state: tuple[str, ...] = ()

    @property
    def gates(self) -> tuple[str, ...]:
        """The operands of a recurrent layer that change with time: letters that its weights are named after."""
        return tuple(name for name in self.operands if name not in self.state)


WEIGHTED = Kind("weighted", ("input",), rescales=True, products=True)
MATMUL = Kind("matmul", ("self", "other"), rescales=True, products=True)
BATCHED = Kind("matmul", ("self", "mat2"), rescales=True, products=True)
SCALED = Kind("matmul", ("a", "b"), rescales=True, products=True)
JOIN = Kind("join", ("self", "other"), rescales=True)
MULTIPLY = Kind("multiply", ("self", "other"), rescales=True)
POOL = Kind("pool", rescales=True)
REDUCE = Kind("reduce", rescales=True)
UNARY = Kind("unary")
PRELU = Kind("prelu")
SOFTMAX = Kind("softmax")
MASKED_SOFTMAX = Kind("softmax", ("x",))
NORM = Kind("norm", ("input",))
L2_NORM = Kind("norm", ("x",))
MOVE = Kind("move", shares=True)
MOVE_INPUT = Kind("move", ("input",), shares=True)
CHOICE = Kind("move", ("self", "other"), shares=True)  # each result is the byte of one of the two
JOINED = Kind("concat", ("tensors",), shares=True)
EMBEDDING = Kind("embedding", ("weight",), shares=True)
IDENTITY = Kind("identity", ("input",), shares=True)  # in inference
GRU = Kind("recurrent", ("r", "z", "n", "h0"), products=True, state=("h0",))
LSTM = Kind("recurrent", ("i", "f", "g", "o", "h0"), products=True, state=("h0",))
RECURRENT = (GRU, LSTM)

UNARY_OPERATORS = (
    aten.sigmoid.default, aten.tanh.default, aten.gelu.default, aten.silu.default, aten.hardswish.default,
    aten.hardsigmoid.default, aten.elu.default, aten.leaky_relu.default, aten.relu.default, aten.clamp.default,
    aten.softplus.default, aten.mish.default, aten.selu.default, aten.celu.default, aten.log_sigmoid.default,
    aten.exp.default, aten.erf.default, aten.sqrt.default, aten.rsqrt.default, aten.log.default, aten.abs.default,
    aten.neg.default, aten.square.default, aten.reciprocal.default, aten.sin.default, aten.cos.default,
    aten.pow.Tensor_Scalar, aten.rsub.Scalar, aten.hardshrink.default, aten.softshrink.default, aten.sign.default,
    aten.add.Scalar, aten.sub.Scalar, aten.mul.Scalar, aten.div.Scalar, aten.floor.default, aten.round.default,
    aten.ceil.default, aten.trunc.default, aten.threshold.default, aten.log1p.default, aten.expm1.default,
    aten.atan.default,
)  # fmt: skip
WITH_A_NUMBER = (aten.add.Tensor, aten.sub.Tensor, aten.mul.Tensor, aten.div.Tensor)  # unary where the other is one
MOVES = (
    aten.flatten.using_ints, aten.reshape.default, aten.permute.default, aten.transpose.int, aten.unsqueeze.default,
    aten.squeeze.default, aten.squeeze.dim, aten.squeeze.dims, aten.slice.Tensor, aten.select.int, aten.expand.default,
    aten.repeat.default, aten.index_select.default, aten.gather.default, aten.roll.default, aten.flip.default,
    aten.pixel_shuffle.default, aten.pixel_unshuffle.default, aten.channel_shuffle.default,
    aten.constant_pad_nd.default, aten.pad.default, aten.reflection_pad1d.default, aten.reflection_pad2d.default,
    aten.replication_pad1d.default, aten.replication_pad2d.default, aten.max_pool2d.default, aten.max_pool1d.default,
    aten.upsample_nearest1d.default, aten.upsample_nearest2d.default, aten.upsample_nearest1d.vec,
    aten.upsample_nearest2d.vec, aten._upsample_nearest_exact1d.vec, aten._upsample_nearest_exact2d.vec,
    aten.upsample_nearest3d.vec, aten.unflatten.int, aten.index.Tensor, aten.repeat_interleave.self_int,
    aten.tile.default, aten.expand_as.default, aten.tril.default, aten.triu.default, aten.amax.default,
    aten.amin.default, aten.max_pool3d.default,
)  # fmt: skip
IDENTITIES = (
    aten.dropout.default, aten.feature_dropout.default, aten.alpha_dropout.default,
    aten.feature_alpha_dropout.default, aten.detach.default,
)  # fmt: skip

KINDS: dict[object, Kind] = {
    **dict.fromkeys((aten.conv1d.default, aten.conv2d.default, aten.conv3d.default, aten.linear.default), WEIGHTED),
    **dict.fromkeys((aten.conv_transpose1d.default, aten.conv_transpose2d.input), WEIGHTED),
    aten.matmul.default: MATMUL,
    aten.bmm.default: BATCHED,
    **dict.fromkeys((aten.add.Tensor, aten.sub.Tensor), JOIN),
    aten.mul.Tensor: MULTIPLY,
    **dict.fromkeys((aten.avg_pool2d.default, aten.avg_pool1d.default), POOL),
    **dict.fromkeys((aten.mean.dim, aten.sum.dim_IntList), REDUCE),
    **dict.fromkeys(UNARY_OPERATORS, UNARY),
    aten.prelu.default: PRELU,
    aten.softmax.int: SOFTMAX,
    **dict.fromkeys((aten.layer_norm.default, aten.rms_norm.default, aten.group_norm.default), NORM),
    aten.instance_norm.default: NORM,
    **dict.fromkeys(MOVES, MOVE),
    **dict.fromkeys((aten.maximum.default, aten.minimum.default), CHOICE),
    **dict.fromkeys((aten.cat.default, aten.stack.default), JOINED),
    aten.embedding.default: EMBEDDING,
    **dict.fromkeys(IDENTITIES, IDENTITY),
    own.scaled_matmul.default: SCALED,
    own.masked_softmax.default: MASKED_SOFTMAX,
    own.l2_norm.default: L2_NORM,
    own.gru.default: GRU,
}
KINDS_OF_FIRST: dict[object, Kind] = {own.lstm.default: LSTM}  # calls with several results: the first is quantised


def kind_of(node: fx.Node) -> Kind | None:
    """The kind of a call; None where INT8 has no form for it, or the node is no call on tensors."""
    if node.op != "call_function":
        return None
    if node.target in WITH_A_NUMBER and isinstance(node.args[1], (int, float)):
        return UNARY
    if node.target is operator.getitem and node.args[1] == 0:
        return KINDS_OF_FIRST.get(edit.input_node(node).target)
    return KINDS.get(node.target)


def call_of(node: fx.Node) -> fx.Node:
    """The call that computes the value of a node: itself, or the one of whose results it is the first."""
    is_first = node.op == "call_function" and node.target is operator.getitem and kind_of(node) is not None
    return edit.input_node(node) if is_first else node


def value_of(call: fx.Node) -> fx.Node:
    """The node with the value that a call computes, the inverse of :func:`call_of`."""
    return next((user for user in call.users if call_of(user) is call), call)


def operands(node: fx.Node) -> list[fx.Node]:
    """The activations that a call of a known kind reads."""
    kind = kind_of(node)
    if kind is None:
        return []
    return _named(node, kind.operands)


def sharing(node: fx.Node) -> list[fx.Node]:
    """The operands whose scale the result has, or that have the scale of the result."""
    kind = kind_of(node)
    if kind is None:
        return []
    return _named(node, kind.operands if kind.shares else kind.state)


def _named(node: fx.Node, names: tuple[str, ...]) -> list[fx.Node]:
    call = call_of(node)
    parts, found = edit.arguments(call), list[fx.Node]()
    for name in names:
        value = parts[name] if name in parts else call.args[0]  # the first argument has many names
        found += [n for n in (value if isinstance(value, (list, tuple)) else [value]) if isinstance(n, fx.Node)]
    return found


def is_float(node: fx.Node) -> bool:
    """Whether a node's value is a float tensor, so that a scale has a meaning."""
    value = node.meta.get("val")
    return isinstance(value, Tensor) and value.is_floating_point()
