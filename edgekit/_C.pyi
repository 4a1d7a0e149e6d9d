"""Types of csrc/bind.cc: the operators over dense numpy arrays; each fills ``out`` and refuses what does not fit it."""

from collections.abc import Callable, Sequence
from typing import Any, TypedDict

from numpy import dtype
from numpy.typing import NDArray

_Array = NDArray[Any]

class _Kernel(TypedDict):
    op: str
    isa: str
    function: str
    flags: int
    available: bool

class _Instruction(TypedDict):
    name: str
    operands: str
    isa: str
    available: bool

class _Port(TypedDict):
    name: str
    dtype: dtype[Any]
    shape: tuple[int, ...]
    scale: float

class _Operation(TypedDict):
    name: str
    kind: str
    kernel: str
    reason: str
    source: str
    macs: int

class _Kind(TypedDict):
    name: str
    most: int
    fewest: int
    outputs: int
    fields: list[tuple[str, str]]
    bytes: int

class _Layout(TypedDict):
    kinds: list[_Kind]
    functions: dict[str, list[str]]
    header: int
    tensor: int
    operation: int
    major: int
    minor: int
    alignment: int
    slack: int
    dims: int

class EngineError(ValueError):
    """Arguments: the status of edgekit.h, and its message."""

    args: tuple[int, str]

class Engine:
    def __init__(self, source: bytes | str, isa: str | None = None, threads: int = 1) -> None: ...
    def inputs(self) -> list[_Port]: ...
    def outputs(self) -> list[_Port]: ...
    def run(self, inputs: Sequence[_Array]) -> list[_Array]: ...
    def bind(self, inputs: Sequence[_Array], outputs: Sequence[_Array]) -> Callable[[], None]: ...
    def profile(self, inputs: Sequence[_Array]) -> list[float]: ...
    def operations(self) -> list[_Operation]: ...
    def state_reset(self) -> None: ...
    def state_save(self) -> bytes: ...
    def state_load(self, state: bytes) -> None: ...
    @property
    def arena_bytes(self) -> int: ...
    @property
    def state_bytes(self) -> int: ...
    @property
    def weight_bytes(self) -> int: ...
    @property
    def isa(self) -> str: ...
    @property
    def threads(self) -> int: ...

def quantize_s8(
    x: _Array,
    scale: _Array,
    axis: int | None = None,
    lo: int = -128,
    hi: int = 127,
    *,
    out: _Array,
    isa: str | None = None,
) -> None: ...
def dequantize(x: _Array, scale: _Array, axis: int | None = None, *, out: _Array, isa: str | None = None) -> None: ...
def fake_quantize(
    x: _Array,
    scale: _Array,
    axis: int | None = None,
    lo: int = -128,
    hi: int = 127,
    *,
    out: _Array,
    isa: str | None = None,
) -> None: ...
def fake_quantize_backward(
    gradient: _Array,
    x: _Array,
    scale: _Array,
    axis: int | None = None,
    lo: int = -128,
    hi: int = 127,
    of_scale: bool = True,
    *,
    out: tuple[_Array, _Array],
    isa: str | None = None,
) -> None: ...
def group_scores(weight: _Array, axis: int, *, out: tuple[_Array, _Array], isa: str | None = None) -> None: ...
def observe(x: _Array, *, out: tuple[_Array, _Array, _Array], isa: str | None = None) -> None: ...
def linear_s8(
    x: _Array,
    weight: _Array,
    bias: _Array,
    multiplier: _Array,
    lo: int = -128,
    hi: int = 127,
    residual: _Array | None = None,
    ratio: float = 1.0,
    residual_ratio: float = 1.0,
    residual_first: bool = False,
    sum_lo: int = -128,
    sum_hi: int = 127,
    table: _Array | None = None,
    *,
    out: _Array,
    isa: str | None = None,
) -> None: ...
def conv2d_s8(
    x: _Array,
    weight: _Array,
    bias: _Array,
    multiplier: _Array,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    groups: int,
    lo: int = -128,
    hi: int = 127,
    residual: _Array | None = None,
    ratio: float = 1.0,
    residual_ratio: float = 1.0,
    residual_first: bool = False,
    sum_lo: int = -128,
    sum_hi: int = 127,
    table: _Array | None = None,
    *,
    out: _Array,
    isa: str | None = None,
) -> None: ...
def add_s8(
    a: _Array,
    b: _Array,
    ratio_a: float,
    ratio_b: float,
    lo: int = -128,
    hi: int = 127,
    *,
    out: _Array,
    isa: str | None = None,
) -> None: ...
def mul_s8(
    a: _Array,
    b: _Array,
    multiplier: float,
    lo: int = -128,
    hi: int = 127,
    *,
    out: _Array,
    isa: str | None = None,
) -> None: ...
def matmul_s8(
    a: _Array,
    b: _Array,
    multiplier: float,
    lo: int = -128,
    hi: int = 127,
    *,
    out: _Array,
    isa: str | None = None,
) -> None: ...
def sum_s8(
    x: _Array,
    dim: Sequence[int],
    keepdim: bool,
    mean: bool,
    input_scale: float,
    output_scale: float,
    lo: int = -128,
    hi: int = 127,
    *,
    out: _Array,
    isa: str | None = None,
) -> None: ...
def conv_transpose2d_s8(
    x: _Array,
    weight: _Array,
    bias: _Array,
    multiplier: _Array,
    stride: Sequence[int],
    padding: Sequence[int],
    output_padding: Sequence[int],
    groups: int,
    dilation: Sequence[int],
    lo: int = -128,
    hi: int = 127,
    *,
    out: _Array,
    isa: str | None = None,
) -> None: ...
def lut_s8(x: _Array, table: _Array, axis: int | None = None, *, out: _Array, isa: str | None = None) -> None: ...
def avg_pool_s8(
    x: _Array,
    multiplier: _Array,
    kernel: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    ceil_mode: bool,
    count_include_pad: bool,
    lo: int = -128,
    hi: int = 127,
    *,
    out: _Array,
    isa: str | None = None,
) -> None: ...
def max_pool_s8(
    x: _Array,
    kernel: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    ceil_mode: bool,
    *,
    out: _Array,
    isa: str | None = None,
) -> None: ...
def softmax_s8(
    x: _Array,
    table: _Array,
    output_scale: float,
    mask: _Array | None = None,
    *,
    out: _Array,
    isa: str | None = None,
) -> None: ...
def attention_s8(
    q: _Array,
    k: _Array,
    v: _Array,
    score_multiplier: float,
    table: _Array,
    softmax_scale: float,
    multiplier: float,
    mask: _Array | None = None,
    *,
    out: _Array,
    isa: str | None = None,
) -> None: ...
def linear_dynamic(
    x: _Array,
    weight: _Array,
    weight_scale: _Array,
    bias: _Array | None = None,
    *,
    out: _Array,
    isa: str | None = None,
) -> None: ...
def layer_norm_s8(
    x: _Array, gain: _Array, offset: _Array, scale: float, eps: float, *, out: _Array, isa: str | None = None
) -> None: ...
def rms_norm_s8(x: _Array, gain: _Array, scale: float, eps: float, *, out: _Array, isa: str | None = None) -> None: ...
def l2_norm_s8(
    x: _Array, scale: float, output_scale: float, eps: float, *, out: _Array, isa: str | None = None
) -> None: ...
def group_norm_s8(
    x: _Array,
    groups: int,
    gain: _Array,
    offset: _Array,
    scale: float,
    eps: float,
    *,
    out: _Array,
    isa: str | None = None,
) -> None: ...
def gru_s8(
    r: _Array,
    z: _Array,
    n: _Array,
    h0: _Array,
    weight: _Array,
    bias: _Array,
    multiplier: _Array,
    tables: _Array,
    ratios: _Array,
    reverse: bool,
    *,
    out: _Array,
    isa: str | None = None,
) -> None: ...
def lstm_s8(
    i: _Array,
    f: _Array,
    g: _Array,
    o: _Array,
    h0: _Array,
    c0: _Array,
    weight: _Array,
    bias: _Array,
    multiplier: _Array,
    tables: _Array,
    ratios: _Array,
    reverse: bool,
    *,
    out: tuple[_Array, _Array],
    isa: str | None = None,
) -> None: ...
def kernels() -> list[_Kernel]: ...
def plan_layout() -> _Layout: ...
def isa_flags() -> list[str]: ...
def instructions() -> list[_Instruction]: ...
def instruction_rate(name: str) -> float: ...
