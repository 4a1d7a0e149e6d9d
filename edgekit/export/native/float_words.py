"""The operations of a plan on floats, and on the integers and truth values around them; ``csrc/engine/floats.h``."""

from __future__ import annotations

from dataclasses import dataclass

from edgekit.export.native.attributes import U32, Attributes

# What `function` counts through: the lists of csrc/engine/functions.h.
BINARY = ("add", "sub", "mul", "div", "max", "min", "pow")
COMPARE = ("eq", "ne", "lt", "le", "gt", "ge")
UNARY = (
    "neg", "abs", "sign", "relu", "sqrt", "reciprocal", "floor", "ceil", "trunc", "round", "rsqrt", "exp",
    "exp2", "expm1", "log", "log2", "log10", "log1p", "sin", "cos", "tan", "asin", "acos", "atan", "sinh",
    "cosh", "tanh", "asinh", "acosh", "atanh", "erf", "erfc", "sigmoid", "log_sigmoid", "silu", "gelu",
    "gelu_tanh", "softplus", "mish",
)  # fmt: skip
REDUCE = ("sum", "mean", "max", "min", "argmax", "argmin")
FUNCTIONS = {"binary": BINARY, "compare": COMPARE, "unary_f32": UNARY, "reduce": REDUCE}


@dataclass(frozen=True)
class Binary(Attributes):
    """``a, b``, broadcast."""

    word = "binary"
    function: U32

    @classmethod
    def of(cls, name: str) -> Binary:
        """By the name of the function."""
        return cls(BINARY.index(name))


@dataclass(frozen=True)
class Compare(Attributes):
    """``a, b``, broadcast, to truth values."""

    word = "compare"
    function: U32

    @classmethod
    def of(cls, name: str) -> Compare:
        """By the name of the comparison."""
        return cls(COMPARE.index(name))


@dataclass(frozen=True)
class Unary(Attributes):
    """``x``."""

    word = "unary_f32"
    function: U32

    @classmethod
    def of(cls, name: str) -> Unary:
        """By the name of the function."""
        return cls(UNARY.index(name))


@dataclass(frozen=True)
class Select(Attributes):
    """``condition, a, b``, broadcast."""

    word = "select"


@dataclass(frozen=True)
class Cast(Attributes):
    """``x``, to the type of the result."""

    word = "cast"


@dataclass(frozen=True)
class Reduce(Attributes):
    """``x``, over the dimensions whose bit is set."""

    word = "reduce"
    axes: U32
    function: U32

    @classmethod
    def of(cls, name: str, axes: int) -> Reduce:
        """By the name of the function."""
        return cls(axes, REDUCE.index(name))


@dataclass(frozen=True)
class Matmul(Attributes):
    """``a, b, bias?``."""

    word = "matmul_f32"


@dataclass(frozen=True)
class Conv(Attributes):
    """``x, weight, bias?``."""

    word = "conv_f32"
    stride_depth: U32
    stride_height: U32
    stride_width: U32
    pad_depth: U32
    pad_height: U32
    pad_width: U32
    dilation_depth: U32
    dilation_height: U32
    dilation_width: U32
    groups: U32


@dataclass(frozen=True)
class Pool(Attributes):
    """``x``: the largest of each window, or its average."""

    word = "pool_f32"
    kernel_depth: U32
    kernel_height: U32
    kernel_width: U32
    stride_depth: U32
    stride_height: U32
    stride_width: U32
    pad_depth: U32
    pad_height: U32
    pad_width: U32
    dilation_depth: U32
    dilation_height: U32
    dilation_width: U32
    average: U32
    count_include_pad: U32 = 0
    divisor: U32 = 0


@dataclass(frozen=True)
class Gru(Attributes):
    """``r, z, n, h0, weight, bias``."""

    word = "gru_f32"
    reverse: U32


@dataclass(frozen=True)
class Lstm(Attributes):
    """``i, f, g, o, h0, c0, weight, bias``."""

    word = "lstm_f32"
    reverse: U32
