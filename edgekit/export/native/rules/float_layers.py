"""Float layers: products, convolutions, pools, recurrent layers, and maps that are linear along each axis."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, fx

from edgekit.export.native import float_words, words
from edgekit.export.native.build import Builder
from edgekit.export.native.specialise import tensor_of
from edgekit.export.native.view import Element, View, merged
from edgekit.graph import edit

aten, own = torch.ops.aten, torch.ops.edgekit
Rule = Callable[[Builder, fx.Node], Any]
CONVOLUTIONS = (aten.conv1d.default, aten.conv2d.default, aten.conv3d.default)
TRANSPOSED = (aten.conv_transpose1d.default, aten.conv_transpose2d.input, aten.conv_transpose3d.input)
LARGEST = (aten.max_pool1d.default, aten.max_pool2d.default, aten.max_pool3d.default)
AVERAGES = (aten.avg_pool1d.default, aten.avg_pool2d.default, aten.avg_pool3d.default)
ALONG_AXES = (
    aten.upsample_linear1d.vec, aten.upsample_bilinear2d.vec, aten.upsample_trilinear3d.vec,
    aten.upsample_bicubic2d.vec, aten._upsample_bilinear2d_aa.vec, aten._upsample_bicubic2d_aa.vec,
    aten.upsample_linear1d.default, aten.upsample_bilinear2d.default, aten.upsample_trilinear3d.default,
    aten.upsample_bicubic2d.default, aten._upsample_bilinear2d_aa.default, aten._upsample_bicubic2d_aa.default,
    aten.adaptive_avg_pool1d.default, aten.adaptive_avg_pool2d.default, aten.adaptive_avg_pool3d.default,
    aten._adaptive_avg_pool2d.default, aten._adaptive_avg_pool3d.default,
)  # fmt: skip


def takes(builder: Builder, node: fx.Node) -> bool:
    """Whether a call with a rule is of floats in a form that the words know."""
    value, parts = builder.fixed.values[node], edit.arguments(node)
    tensors = [builder.fixed.values[source] for source in node.all_input_nodes]
    reals = all(t.dtype is torch.float32 for t in (value, *tensors) if isinstance(t, Tensor))
    if node.target in (own.gru.default, own.lstm.default):
        constants = [parts[f"{name}{gate}"] for name in "wb" for gate in _gates(node)]
        return all(map(builder.fixed.is_constant, constants)) and parts["scales"] is None
    if node.target in TRANSPOSED or parts.get("transposed"):
        reals = reals and builder.fixed.is_constant(parts["weight"])
    if "weight" in parts and node.target is not aten.linear.default:
        return reals and bool(value.dim() == builder.fixed.values[parts["weight"]].dim())
    batch = node.target not in (*LARGEST, *AVERAGES) or value.dim() == int(edit.operator_name(node)[-2]) + 2
    return reals and batch


def _dense(builder: Builder, argument: Any) -> View:
    return builder.ordered(builder.view(argument))


def _shaped(view: View, sizes: Sequence[int]) -> View:
    found = view.reshaped(sizes)
    assert found is not None, "a dense tensor has every shape"
    return found


def _result(builder: Builder, node: fx.Node) -> View:
    return builder.fresh(builder.fixed.sizes(node), Element.F32)


def linear(builder: Builder, node: fx.Node) -> View:
    """``x @ weight.T + bias``."""
    parts, out = edit.arguments(node), _result(builder, node)
    x = _dense(builder, edit.operand(node, 0))
    weight = _transposed(builder, parts["weight"])
    bias = [] if parts["bias"] is None else [_dense(builder, parts["bias"])]
    rows, (depth, columns) = math.prod(x.sizes[:-1]), weight.sizes
    operands = [_shaped(x, (rows, depth)), weight, *bias]
    builder.emit(float_words.Matmul(), operands, _shaped(out, (rows, columns)))
    return out


def _transposed(builder: Builder, weight: Any) -> View:
    """The features of a layer side by side."""
    if builder.fixed.is_constant(weight):
        return builder.constant(tensor_of(builder.fixed.argument(weight)).t())
    return builder.ordered(builder.view(weight).permuted((1, 0)))


def product(builder: Builder, node: fx.Node) -> View:
    """``matmul`` and its relatives, also with a vector on either side."""
    parts = edit.arguments(node)
    a, b = (_dense(builder, value) for value in list(parts.values())[:2])
    out = _result(builder, node)
    left = a if len(a.sizes) > 1 else _shaped(a, (1, *a.sizes))
    right = b if len(b.sizes) > 1 else _shaped(b, (*b.sizes, 1))
    rank = max(len(left.sizes), len(right.sizes))
    batch = out.sizes[: rank - 2]
    sizes = (*batch, left.sizes[-2], right.sizes[-1])
    builder.emit(float_words.Matmul(), [left, right], _shaped(out, sizes))
    return out


def _three(values: Any, fill: int) -> tuple[int, ...]:
    """A size, stride or padding as one of volumes: given for the last dimensions."""
    given = [values] if isinstance(values, int) else list(values)
    return (*[fill] * (3 - len(given)), *given)


def _spread(values: Any, dims: int) -> list[int]:
    """One number for each dimension, where one may stand for all."""
    given = [values] if isinstance(values, int) else list(values)
    return given * dims if len(given) == 1 else given


def _volume(view: View) -> View:
    """Lines and images as volumes [N, C, D, H, W]."""
    sizes = view.sizes
    return _shaped(view, (*sizes[:2], *[1] * (5 - len(sizes)), *sizes[2:]))


def convolution(builder: Builder, node: fx.Node) -> View:
    """Lines, images and volumes; a transposed one as one of the input with gaps."""
    parts = edit.arguments(node)
    if parts.get("transposed"):
        return transposed(builder, node)
    dims = len(builder.fixed.sizes(node)) - 2
    stride, pad, dilation = (_spread(builder.fixed.argument(parts[k]), dims) for k in ("stride", "padding", "dilation"))
    operands = [_volume(_dense(builder, edit.operand(node, 0))), _volume(_dense(builder, parts["weight"]))]
    out = _result(builder, node)
    _convolve(builder, operands, parts["bias"], (stride, pad, dilation), parts["groups"], out)
    return out


def _convolve(
    builder: Builder, operands: list[View], bias: Any, geometry: Sequence[list[int]], groups: int, out: View
) -> None:
    stride, pad, dilation = geometry
    numbers = (*_three(stride, 1), *_three(pad, 0), *_three(dilation, 1), groups)
    operands = operands if bias is None else [*operands, _dense(builder, bias)]
    builder.emit(float_words.Conv(*numbers), operands, _volume(out))


def transposed(builder: Builder, node: fx.Node) -> View:
    """A transposed convolution: one with stride 1 of the input with zeros between and around its values."""
    parts, x = edit.arguments(node), builder.view(edit.input_node(node))
    dims, groups = len(x.sizes) - 2, int(parts["groups"])
    given = (builder.fixed.argument(parts[key]) for key in ("stride", "padding", "dilation"))
    stride, pad, dilation = (_spread(values, dims) for values in given)
    weight = _turned_weight(tensor_of(builder.fixed.argument(parts["weight"])), groups)
    out = _result(builder, node)
    reach = [d * (k - 1) for d, k in zip(dilation, weight.shape[2:], strict=True)]
    wide = [n + r for n, r in zip(out.sizes[2:], reach, strict=True)]  # what a window of stride 1 needs
    first = [r - p for r, p in zip(reach, pad, strict=True)]
    spaced = _spaced(builder, x, wide, first, stride)
    ones, zeros = [1] * dims, [0] * dims
    operands = [_volume(spaced), _volume(builder.constant(weight))]
    _convolve(builder, operands, parts["bias"], (ones, zeros, dilation), groups, out)
    return out


def _turned_weight(weight: Tensor, groups: int) -> Tensor:
    """[I, O / groups, ...] to [O, I / groups, ...], every kernel turned round."""
    channels, filters = weight.shape[:2]
    parts = weight.reshape(groups, channels // groups, filters, *weight.shape[2:]).transpose(1, 2)
    return parts.reshape(groups * filters, channels // groups, *weight.shape[2:]).flip(*range(2, weight.dim()))


def _spaced(builder: Builder, x: View, sizes: list[int], first: list[int], stride: list[int]) -> View:
    """Values ``stride`` apart in zeros, from ``first`` on; those outside are left out."""
    out = builder.fresh((*x.sizes[:2], *sizes), Element.F32)
    builder.emit(words.Fill(0), [], merged([out], out.order)[0])
    read, write = x, out
    for d, (size, begin, step) in enumerate(zip(sizes, first, stride, strict=True), 2):
        skipped = max(-(begin // step), 0)
        count = min(x.sizes[d] - skipped, (size - 1 - begin) // step + 1 - skipped)
        read = _part(read, d, skipped, max(count, 0), 1)
        write = _part(write, d, begin + skipped * step, max(count, 0), step)
    if read.count:
        builder.copy(read, write)
    return out


def _part(view: View, d: int, begin: int, count: int, step: int) -> View:
    sizes = (*view.sizes[:d], count, *view.sizes[d + 1 :])
    steps = (*view.steps[:d], view.steps[d] * step, *view.steps[d + 1 :])
    return replace(view, sizes=sizes, steps=steps, first=view.first + begin * view.steps[d])


def largest(builder: Builder, node: fx.Node) -> View:
    """Maximum pools of lines, images and volumes."""
    return _pool(builder, node, average=False)


def average(builder: Builder, node: fx.Node) -> View:
    """Average pools of lines, images and volumes."""
    return _pool(builder, node, average=True)


def _pool(builder: Builder, node: fx.Node, average: bool) -> View:
    parts, dims = edit.arguments(node), len(builder.fixed.sizes(node)) - 2
    kernel = _spread(builder.fixed.argument(parts["kernel_size"]), dims)
    stride = builder.fixed.argument(parts["stride"]) or kernel
    rest = [_spread(builder.fixed.argument(parts.get(key, 1)), dims) for key in ("padding", "dilation")]
    numbers = (*_three(kernel, 1), *_three(_spread(stride, dims), 1), *_three(rest[0], 0), *_three(rest[1], 1))
    counted = int(parts.get("count_include_pad", False)), int(parts.get("divisor_override") or 0)
    numbers = (*numbers, int(average), *counted)
    x, out = _volume(_dense(builder, edit.input_node(node))), _result(builder, node)
    builder.emit(float_words.Pool(*numbers), [x], _volume(out))
    return out


def along_axes(builder: Builder, node: fx.Node) -> View:
    """An operator that is linear along each axis, such as interpolation, as a product with a matrix for each."""
    x, sizes = _dense(builder, edit.input_node(node)), builder.fixed.sizes(node)
    for axis in range(len(sizes) - 1, 1, -1):
        matrix = _matrix(builder, node, axis)
        after = (*x.sizes[:axis], sizes[axis], *x.sizes[axis + 1 :])
        out = builder.fresh(after, Element.F32)
        before, behind = math.prod(x.sizes[:axis]), math.prod(x.sizes[axis + 1 :])
        if behind == 1:
            flat = [_shaped(v, (before, v.sizes[axis])) for v in (x, out)]
            builder.emit(float_words.Matmul(), [flat[0], builder.constant(matrix.t())], flat[1])
        else:
            flat = [_shaped(v, (before, v.sizes[axis], behind)) for v in (x, out)]
            builder.emit(float_words.Matmul(), [builder.constant(matrix), flat[0]], flat[1])
        x = out
    return x


def _matrix(builder: Builder, node: fx.Node, axis: int) -> Tensor:
    """What the operator makes of each unit vector along an axis, [out, in], where nothing changes along the others."""
    sizes = builder.fixed.sizes(edit.input_node(node))
    size, rank = sizes[axis], len(sizes)
    unit = torch.eye(size).reshape(size, 1, *[1] * (axis - 2), size, *[1] * (rank - axis - 1))
    unit = unit.expand(size, 1, *sizes[2:]).contiguous()
    args, kwargs = builder.fixed.argument((node.args[1:], node.kwargs))
    with torch.no_grad():
        result: Tensor = edit.overload(node)(unit, *args, **kwargs)
    others = tuple(slice(None) if d in (0, axis) else 0 for d in range(rank))
    return result[others].t()


def _gates(node: fx.Node) -> str:
    return "rzn" if node.target is own.gru.default else "ifgo"


def recurrent(builder: Builder, node: fx.Node) -> Any:
    """GRU or LSTM of one direction over a whole sequence."""
    parts, gates = edit.arguments(node), _gates(node)
    weight, bias = (
        torch.cat([tensor_of(builder.fixed.argument(parts[f"{name}{gate}"])) for gate in gates]) for name in "wb"
    )
    states = ["h0"] if len(gates) == 3 else ["h0", "c0"]
    operands = [_dense(builder, parts[name]) for name in (*gates, *states)]
    operands += [builder.constant(weight.t()), builder.constant(bias)]
    values = builder.fixed.values[node]
    outs = [builder.fresh(tuple(v.shape), Element.F32) for v in ([values] if len(gates) == 3 else values)]
    word = float_words.Gru if len(gates) == 3 else float_words.Lstm
    builder.emit(word(int(parts["reverse"])), operands, *outs)
    return outs[0] if len(gates) == 3 else tuple(outs)


RULES: dict[object, Rule] = {
    aten.linear.default: linear,
    **dict.fromkeys((aten.matmul.default, aten.mm.default, aten.bmm.default, aten.mv.default), product),
    **dict.fromkeys((*CONVOLUTIONS, aten.convolution.default), convolution),
    **dict.fromkeys(TRANSPOSED, transposed),
    **dict.fromkeys(LARGEST, largest),
    **dict.fromkeys(AVERAGES, average),
    **dict.fromkeys(ALONG_AXES, along_axes),
    own.gru.default: recurrent,
    own.lstm.default: recurrent,
}
