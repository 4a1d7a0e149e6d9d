"""The operators, as ``torch.ops.edgekit.<name>``: one word each, with a meaning, checks, cases, a cost and tiers.

Importing this package registers them: C++ on the CPU, Triton on CUDA, shapes for tracing, a gradient for fake_quantize.
"""

from __future__ import annotations

from typing import Any

import torch

from edgekit.ops import (
    add_s8,
    attention_s8,
    avg_pool_s8,
    composite,
    conv2d_s8,
    conv_transpose2d_s8,
    dequantize,
    dispatch,
    fake_quantize,
    fake_quantize_backward,
    group_norm_s8,
    group_scores,
    gru_s8,
    l2_norm_s8,
    layer_norm_s8,
    linear_dynamic,
    linear_s8,
    lstm_s8,
    lut_s8,
    matmul_s8,
    max_pool_s8,
    mul_s8,
    observe,
    quantize_s8,
    rms_norm_s8,
    softmax_s8,
    sum_s8,
)
from edgekit.ops.spec import Case, Cost, OpSpec

__all__ = ["OPS", "Case", "Cost", "OpSpec", "dispatch"]

OPS = (
    quantize_s8.OP,
    dequantize.OP,
    fake_quantize.OP,
    fake_quantize_backward.OP,
    observe.OP,
    group_scores.OP,
    linear_s8.OP,
    linear_dynamic.OP,
    conv2d_s8.OP,
    conv_transpose2d_s8.OP,
    matmul_s8.OP,
    add_s8.OP,
    mul_s8.OP,
    sum_s8.OP,
    lut_s8.OP,
    avg_pool_s8.OP,
    max_pool_s8.OP,
    softmax_s8.OP,
    attention_s8.OP,
    layer_norm_s8.OP,
    rms_norm_s8.OP,
    l2_norm_s8.OP,
    group_norm_s8.OP,
    gru_s8.OP,
    lstm_s8.OP,
)

_library: Any = torch.library.Library("edgekit", "DEF")  # type: ignore[no-untyped-call]  # registrations live as long


def _register(spec: OpSpec) -> None:
    _library.define(spec.name + spec.schema, tags=(torch.Tag.pt2_compliant_tag,))
    _library.impl(spec.name, dispatch.kernel(spec, "cpu"), "CPU")
    _library.impl(spec.name, dispatch.kernel(spec, "cuda"), "CUDA")
    torch.library.register_fake(f"edgekit::{spec.name}", spec.shape, lib=_library)


for _spec in OPS:
    _register(_spec)
for _differentiable in (fake_quantize, fake_quantize_backward):
    torch.library.register_autograd(
        f"edgekit::{_differentiable.OP.name}",
        _differentiable.backward,
        setup_context=_differentiable.setup_context,
        lib=_library,
    )
composite.register(_library)
