"""How each call of an integer graph becomes operations of a plan: one rule for each operator."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import torch
from torch import fx

from edgekit.export.native.build import Builder
from edgekit.export.native.rules import (
    border,
    elementwise,
    float_layers,
    floats,
    moves,
    pools,
    products,
    recurrent,
    rows,
)

aten, s8 = torch.ops.aten, torch.ops.edgekit
Rule = Callable[[Builder, fx.Node], Any]

RULES: dict[object, Rule] = {
    s8.quantize_s8.default: border.quantize,
    s8.dequantize.default: border.dequantize,
    s8.conv2d_s8.default: products.convolution,
    s8.conv_transpose2d_s8.default: products.transposed,
    s8.linear_s8.default: products.linear,
    s8.matmul_s8.default: products.matmul,
    s8.add_s8.default: elementwise.add,
    s8.mul_s8.default: elementwise.multiply,
    s8.lut_s8.default: elementwise.table,
    aten.maximum.default: elementwise.choose,
    aten.minimum.default: elementwise.choose,
    s8.sum_s8.default: pools.total,
    s8.avg_pool_s8.default: pools.average,
    s8.max_pool_s8.default: pools.largest,
    aten.amax.default: pools.extremum,
    aten.amin.default: pools.extremum,
    s8.softmax_s8.default: rows.softmax,
    s8.layer_norm_s8.default: rows.layer_norm,
    s8.rms_norm_s8.default: rows.rms_norm,
    s8.l2_norm_s8.default: rows.l2_norm,
    s8.group_norm_s8.default: rows.group_norm,
    s8.gru_s8.default: recurrent.gru,
    s8.lstm_s8.default: recurrent.lstm,
    operator.getitem: recurrent.item,
    aten.cat.default: moves.concatenation,
    aten.view.dtype: moves.reinterpreted,
    aten.embedding.default: moves.embedding,
}
REFUSALS: dict[object, Callable[[Builder, fx.Node], str]] = {
    aten.maximum.default: elementwise.not_bytes,
    aten.minimum.default: elementwise.not_bytes,
    aten.amax.default: elementwise.not_bytes,
    aten.amin.default: elementwise.not_bytes,
    s8.quantize_s8.default: border.per_channel,
    s8.dequantize.default: border.per_channel,
}


def rule_of(builder: Builder, node: fx.Node) -> Rule | None:
    """The rule for a call; None where there is none."""
    refusal = REFUSALS.get(node.target)
    if node.target in RULES and not (refusal and refusal(builder, node)):
        return RULES[node.target]
    if node.target in floats.RULES and floats.takes(builder, node):
        return floats.RULES[node.target]
    if node.target in float_layers.RULES and float_layers.takes(builder, node):
        return float_layers.RULES[node.target]
    found: Rule | None = moves.rule_of(builder, node)
    return found


def is_known(target: object) -> bool:
    """Whether there is a rule for some calls of an operator."""
    return any(target in known for known in (RULES, floats.RULES, float_layers.RULES, moves.MOVERS))
