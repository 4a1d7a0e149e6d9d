"""The operations of a plan: the mirror of ``csrc/engine/plan.def``, row by row, which a test compares with it.

What each means, and what its operands are, stands there. The words of floats are in
:mod:`edgekit.export.native.float_words`.
"""

from __future__ import annotations

from dataclasses import dataclass

from edgekit.export.native import float_words
from edgekit.export.native.attributes import F32, F64, I32, U32, Attributes


@dataclass(frozen=True)
class Quantize(Attributes):
    """``x f32 -> s8``, at the scale of the result."""

    word = "quantize_s8"
    channels_last: U32
    lo: I32 = -128
    hi: I32 = 127


@dataclass(frozen=True)
class Dequantize(Attributes):
    """``x s8 -> f32``, at the scale of x."""

    word = "dequantize"
    channels_first: U32


@dataclass(frozen=True)
class Conv2d(Attributes):
    """``x, weight, bias, multiplier, residual?``."""

    word = "conv2d_s8"
    stride_height: U32
    stride_width: U32
    pad_top: U32
    pad_left: U32
    pad_bottom: U32
    pad_right: U32
    dilation_height: U32
    dilation_width: U32
    groups: U32
    lo: I32
    hi: I32
    residual_first: U32 = 0
    ratio: F32 = 0.0
    residual_ratio: F32 = 0.0
    sum_lo: I32 = 0
    sum_hi: I32 = 0


@dataclass(frozen=True)
class Halo(Attributes):
    """Zeros around the image that it names as its output."""

    word = "halo"
    top: U32
    left: U32
    bottom: U32
    right: U32


@dataclass(frozen=True)
class Linear(Attributes):
    """``x, weight, bias, multiplier, residual?``."""

    word = "linear_s8"
    lo: I32
    hi: I32
    residual_first: U32 = 0
    ratio: F32 = 0.0
    residual_ratio: F32 = 0.0
    sum_lo: I32 = 0
    sum_hi: I32 = 0


@dataclass(frozen=True)
class ConvTranspose2d(Attributes):
    """``x, weight, bias, multiplier``."""

    word = "conv_transpose2d_s8"
    stride_height: U32
    stride_width: U32
    pad_top: U32
    pad_left: U32
    dilation_height: U32
    dilation_width: U32
    groups: U32
    lo: I32
    hi: I32


@dataclass(frozen=True)
class Matmul(Attributes):
    """``a, b``."""

    word = "matmul_s8"
    multiplier: F32
    lo: I32
    hi: I32


@dataclass(frozen=True)
class Add(Attributes):
    """``a, b``."""

    word = "add_s8"
    ratio_a: F32
    ratio_b: F32
    lo: I32
    hi: I32


@dataclass(frozen=True)
class Mul(Attributes):
    """``a, b``."""

    word = "mul_s8"
    multiplier: F32
    lo: I32
    hi: I32


@dataclass(frozen=True)
class Sum(Attributes):
    """``x``."""

    word = "sum_s8"
    axes: U32
    multiplier: F32
    lo: I32
    hi: I32


@dataclass(frozen=True)
class Lut(Attributes):
    """``x, table``."""

    word = "lut_s8"
    axis: I32


@dataclass(frozen=True)
class AvgPool(Attributes):
    """``x, multiplier``."""

    word = "avg_pool_s8"
    kernel_height: U32
    kernel_width: U32
    stride_height: U32
    stride_width: U32
    pad_height: U32
    pad_width: U32
    count_include_pad: U32
    lo: I32
    hi: I32


@dataclass(frozen=True)
class MaxPool(Attributes):
    """``x``."""

    word = "max_pool_s8"
    kernel_height: U32
    kernel_width: U32
    stride_height: U32
    stride_width: U32
    pad_height: U32
    pad_width: U32
    dilation_height: U32
    dilation_width: U32


@dataclass(frozen=True)
class Softmax(Attributes):
    """``x, table, mask?``."""

    word = "softmax_s8"
    output_scale: F64


@dataclass(frozen=True)
class LayerNorm(Attributes):
    """``x, gain, offset``."""

    word = "layer_norm_s8"
    input_scale: F64
    eps: F64


@dataclass(frozen=True)
class RmsNorm(Attributes):
    """``x, gain``."""

    word = "rms_norm_s8"
    input_scale: F64
    eps: F64


@dataclass(frozen=True)
class L2Norm(Attributes):
    """``x``."""

    word = "l2_norm_s8"
    input_scale: F64
    output_scale: F64
    eps: F64


@dataclass(frozen=True)
class GroupNorm(Attributes):
    """``x, gain, offset``."""

    word = "group_norm_s8"
    input_scale: F64
    eps: F64
    groups: U32


@dataclass(frozen=True)
class Gru(Attributes):
    """``r, z, n, h0, weight, bias, multiplier, tables, ratios``."""

    word = "gru_s8"
    reverse: U32


@dataclass(frozen=True)
class Lstm(Attributes):
    """``i, f, g, o, h0, c0, weight, bias, multiplier, tables, ratios``."""

    word = "lstm_s8"
    reverse: U32


@dataclass(frozen=True)
class Copy(Attributes):
    """``x``, any steps on both sides."""

    word = "copy"


@dataclass(frozen=True)
class Fill(Attributes):
    """One byte everywhere."""

    word = "fill"
    value: I32


@dataclass(frozen=True)
class Gather(Attributes):
    """``x, index``."""

    word = "gather"
    value: I32


@dataclass(frozen=True)
class Take(Attributes):
    """``x, index``."""

    word = "take"


@dataclass(frozen=True)
class Extremum(Attributes):
    """``x``."""

    word = "extremum_s8"
    axes: U32
    least: U32


@dataclass(frozen=True)
class Choose(Attributes):
    """``a, b``."""

    word = "choose_s8"
    least: U32


@dataclass(frozen=True)
class Row:
    """A row of the table: most and fewest inputs, and outputs."""

    attributes: type[Attributes]
    most: int
    fewest: int
    outputs: int = 1


TABLE = (
    Row(Quantize, 1, 1),
    Row(Dequantize, 1, 1),
    Row(Conv2d, 5, 4),
    Row(Halo, 0, 0),
    Row(Linear, 5, 4),
    Row(ConvTranspose2d, 4, 4),
    Row(Matmul, 2, 2),
    Row(Add, 2, 2),
    Row(Mul, 2, 2),
    Row(Sum, 1, 1),
    Row(Lut, 2, 2),
    Row(AvgPool, 2, 2),
    Row(MaxPool, 1, 1),
    Row(Softmax, 3, 2),
    Row(LayerNorm, 3, 3),
    Row(RmsNorm, 2, 2),
    Row(L2Norm, 1, 1),
    Row(GroupNorm, 3, 3),
    Row(Gru, 9, 9),
    Row(Lstm, 11, 11, 2),
    Row(Copy, 1, 1),
    Row(Fill, 0, 0),
    Row(Gather, 2, 2),
    Row(Take, 2, 2),
    Row(Extremum, 1, 1),
    Row(Choose, 2, 2),
    Row(float_words.Binary, 2, 2),
    Row(float_words.Compare, 2, 2),
    Row(float_words.Unary, 1, 1),
    Row(float_words.Select, 3, 3),
    Row(float_words.Cast, 1, 1),
    Row(float_words.Reduce, 1, 1),
    Row(float_words.Matmul, 3, 2),
    Row(float_words.Conv, 3, 2),
    Row(float_words.Pool, 1, 1),
    Row(float_words.Gru, 6, 6),
    Row(float_words.Lstm, 8, 8, 2),
)
NUMBER = {row.attributes.word: number for number, row in enumerate(TABLE)}
