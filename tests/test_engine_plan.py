"""The native engine on plans made by hand: every kind against its reference, in every layout that a plan may use."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from plans import Plan

from edgekit.ops import OPS, OpSpec
from edgekit.ops.epilogue import Epilogue
from edgekit.ops.spec import Case, results

native = pytest.importorskip("edgekit._C", reason="the extension is not built")
LAYOUT = native.plan_layout()
SPECS = {spec.name: spec for spec in OPS}
LAST, FIRST = (0, 2, 3, 1), (0, 3, 1, 2)


@dataclass
class Call:
    """A case as a plan holds it: arrays in the engine's layout, what is constant, attributes, what should come out."""

    kind: str
    activations: list[np.ndarray]
    constants: list[Any]
    expected: list[np.ndarray]
    attributes: dict[str, Any]
    scales: tuple[float, float] = (0.0, 0.0)  # of the s8 operands that have one: first input, output
    spaced: bool = True  # operands may have room between
    order: Callable[[list[Any], list[Any]], list[Any]] = lambda activations, constants: activations + constants


def array(tensor: torch.Tensor) -> np.ndarray:
    return tensor.detach().contiguous().numpy()


def images(tensor: torch.Tensor) -> np.ndarray:
    return np.ascontiguousarray(array(tensor).transpose(LAST))


def window(args: Sequence[Any], names: Sequence[str]) -> dict[str, int]:
    return {
        f"{name}_{axis}": arg[i]
        for name, arg in zip(names, args, strict=True)
        for i, axis in enumerate(("height", "width"))
    }


def bounds(args: Sequence[Any], at: int) -> dict[str, int]:
    rest = list(args[at : at + 2])
    return dict(zip(("lo", "hi"), rest + [-128, 127][len(rest) :], strict=True))


def behind(lay: Callable[[torch.Tensor], np.ndarray], after: Sequence[Any]) -> tuple[list[Any], dict[str, Any]] | None:
    """The residual of a product and how it is added; None where a table follows, which is a word of its own."""
    values = Epilogue(*after)
    if values.table is not None:
        return None
    if values.residual is None:
        return [], {}
    names = ("ratio", "residual_ratio", "residual_first", "sum_lo", "sum_hi")
    return [lay(values.residual)], {name: getattr(values, name) for name in names}


def residual_last(activations: list[Any], constants: list[Any]) -> list[Any]:
    return [activations[0], *constants, *activations[1:]]


def conv2d(args: tuple[Any, ...], out: torch.Tensor) -> Call | None:
    x, weight, bias, multiplier, stride, padding, dilation, groups = args[:8]
    pads = {"pad_top": padding[0], "pad_bottom": padding[0], "pad_left": padding[1], "pad_right": padding[1]}
    own = window((stride, dilation), ("stride", "dilation")) | pads | {"groups": groups} | bounds(args, 8)
    added = behind(images, args[10:])
    if added is None:
        return None
    constants = [images(weight), array(bias), array(multiplier)]
    return Call("conv2d_s8", [images(x), *added[0]], constants, [images(out)], own | added[1], order=residual_last)


def conv_transpose2d(args: tuple[Any, ...], out: torch.Tensor) -> Call:
    x, weight, bias, multiplier, stride, padding, _, groups, dilation = args[:9]
    own = window((stride, dilation), ("stride", "dilation")) | {
        "pad_top": padding[0],
        "pad_left": padding[1],
        "groups": groups,
    }
    constants = [array(weight), array(bias), array(multiplier)]
    return Call("conv_transpose2d_s8", [images(x)], constants, [images(out)], own | bounds(args, 9))


def linear(args: tuple[Any, ...], out: torch.Tensor) -> Call | None:
    added = behind(array, args[6:])
    if added is None:
        return None
    constants, own = [array(one) for one in args[1:4]], bounds(args, 4) | added[1]
    activations = [array(args[0]), *added[0]]
    return Call("linear_s8", activations, constants, [array(out)], own, spaced=False, order=residual_last)


def matmul(args: tuple[Any, ...], out: torch.Tensor) -> Call:
    own = {"multiplier": args[2]} | bounds(args, 3)
    return Call("matmul_s8", [array(args[0]), array(args[1])], [], [array(out)], own, spaced=False)


def add(args: tuple[Any, ...], out: torch.Tensor) -> Call:
    own = {"ratio_a": args[2], "ratio_b": args[3]} | bounds(args, 4)
    return Call("add_s8", [array(args[0]), array(args[1])], [], [array(out)], own)


def mul(args: tuple[Any, ...], out: torch.Tensor) -> Call:
    return Call("mul_s8", [array(args[0]), array(args[1])], [], [array(out)], {"multiplier": args[2]} | bounds(args, 3))


def sum_s8(args: tuple[Any, ...], out: torch.Tensor) -> Call:
    x, dim, _, mean, sx, sy = args[:6]
    dims = {d % x.dim() for d in dim}
    count = np.float32(math.prod(x.shape[d] for d in dims) if mean else 1)
    own = {"axes": sum(1 << d for d in dims), "multiplier": float(np.float32(sx) / (count * np.float32(sy)))}
    return Call("sum_s8", [array(x)], [], [array(out)], own | bounds(args, 6))


def lut(args: tuple[Any, ...], out: torch.Tensor) -> Call:
    axis = -1 if len(args) < 3 else args[2] % args[0].dim()
    return Call("lut_s8", [array(args[0])], [array(args[1])], [array(out)], {"axis": axis})


def avg_pool(args: tuple[Any, ...], out: torch.Tensor) -> Call:
    x, multiplier, kernel, stride, padding, _, counted = args[:7]
    own = window((kernel, stride, padding), ("kernel", "stride", "pad")) | {"count_include_pad": int(counted)}
    return Call("avg_pool_s8", [images(x)], [array(multiplier)], [images(out)], own | bounds(args, 7))


def max_pool(args: tuple[Any, ...], out: torch.Tensor) -> Call:
    own = window(args[1:5], ("kernel", "stride", "pad", "dilation"))
    return Call("max_pool_s8", [images(args[0])], [], [images(out)], own)


def softmax(args: tuple[Any, ...], out: torch.Tensor) -> Call:
    masks = [] if len(args) < 4 or args[3] is None else [array(args[3])]
    order = lambda activations, constants: activations[:1] + constants + activations[1:]  # noqa: E731
    own = {"output_scale": args[2]}
    return Call("softmax_s8", [array(args[0]), *masks], [array(args[1])], [array(out)], own, spaced=False, order=order)


def layer_norm(args: tuple[Any, ...], out: torch.Tensor) -> Call:
    x, gain, offset, scale, eps = args
    rows = (-1, gain.numel())
    own = {"input_scale": scale, "eps": eps}
    flat = [array(gain).reshape(-1), array(offset).reshape(-1)]
    return Call("layer_norm_s8", [array(x).reshape(rows)], flat, [array(out).reshape(rows)], own, spaced=False)


def rms_norm(args: tuple[Any, ...], out: torch.Tensor) -> Call:
    x, gain, scale, eps = args
    rows = (-1, gain.numel())
    own = {"input_scale": scale, "eps": eps}
    return Call(
        "rms_norm_s8",
        [array(x).reshape(rows)],
        [array(gain).reshape(-1)],
        [array(out).reshape(rows)],
        own,
        spaced=False,
    )


def l2_norm(args: tuple[Any, ...], out: torch.Tensor) -> Call:
    own = {"input_scale": args[1], "output_scale": args[2], "eps": args[3]}
    return Call("l2_norm_s8", [array(args[0])], [], [array(out)], own, spaced=False)


def group_norm(args: tuple[Any, ...], out: torch.Tensor) -> Call:
    x, groups, gain, offset, scale, eps = args
    own = {"groups": groups, "input_scale": scale, "eps": eps}
    return Call("group_norm_s8", [array(x)], [array(gain), array(offset)], [array(out)], own, spaced=False)


def recurrent(kind: str, activations: int) -> Callable[[tuple[Any, ...], Any], Call]:
    def made(args: tuple[Any, ...], out: Any) -> Call:
        arrays = [array(one) for one in args[:-1]]
        expected = [array(one) for one in results(out)]
        own = {"reverse": int(args[-1])}
        return Call(kind, arrays[:activations], arrays[activations:], expected, own, spaced=False)

    return made


def quantize(args: tuple[Any, ...], out: torch.Tensor) -> Call | None:
    x, scale = args[:2]
    if len(args) > 2 and args[2] is not None:
        return None  # by channel: weights only, which a plan holds as they are
    return Call("quantize_s8", [array(x)], [], [array(out)], bounds(args, 3), scales=(0.0, float(scale)))


def dequantize(args: tuple[Any, ...], out: torch.Tensor) -> Call | None:
    x, scale = args[:2]
    if x.dtype != torch.int8 or (len(args) > 2 and args[2] is not None):
        return None
    return Call("dequantize", [array(x)], [], [array(out)], {}, scales=(float(scale), 0.0))


CALLS: dict[str, Callable[[tuple[Any, ...], Any], Call | None]] = {
    "quantize_s8": quantize,
    "dequantize": dequantize,
    "conv2d_s8": conv2d,
    "linear_s8": linear,
    "conv_transpose2d_s8": conv_transpose2d,
    "matmul_s8": matmul,
    "add_s8": add,
    "mul_s8": mul,
    "sum_s8": sum_s8,
    "lut_s8": lut,
    "avg_pool_s8": avg_pool,
    "max_pool_s8": max_pool,
    "softmax_s8": softmax,
    "layer_norm_s8": layer_norm,
    "rms_norm_s8": rms_norm,
    "l2_norm_s8": l2_norm,
    "group_norm_s8": group_norm,
    "gru_s8": recurrent("gru_s8", 4),
    "lstm_s8": recurrent("lstm_s8", 6),
}


def cases(spec: OpSpec) -> Iterator[tuple[Case, Call]]:
    for case in spec.cases():
        call = CALLS[spec.name](case.args, spec.reference(*case.args))
        if call is not None:
            yield case, call


def by_ports(call: Call) -> Plan:
    """Operands are the caller's buffers."""
    plan = Plan(LAYOUT)
    inputs = [plan.input(one.shape, one.dtype.name, call.scales[0]) for one in call.activations]
    outputs = [plan.output(one.shape, one.dtype.name, call.scales[1]) for one in call.expected]
    plan.add(call.kind, call.order(inputs, [plan.constant(one) for one in call.constants]), outputs, **call.attributes)
    return plan


def by_arena(call: Call) -> Plan:
    """Operands are copied into the arena and out of it, with room between their elements where the kind allows it."""
    plan = Plan(LAYOUT)
    room = plan.spaced if call.spaced else plan.region
    ports = [plan.input(one.shape, one.dtype.name, call.scales[0]) for one in call.activations]
    results = [plan.output(one.shape, one.dtype.name, call.scales[1]) for one in call.expected]
    loose = [room if port.dtype == "int8" else plan.region for port in ports]
    inputs = [make(port.size, port.dtype, scale=port.scale) for make, port in zip(loose, ports, strict=True)]
    tight = call.kind in ("sum_s8", "dequantize")
    outputs = [(plan.region if tight else room)(port.size, port.dtype, scale=port.scale) for port in results]
    for port, view in zip(ports, inputs, strict=True):
        plan.add("copy", [port], [view])
    plan.add(call.kind, call.order(inputs, [plan.constant(one) for one in call.constants]), outputs, **call.attributes)
    for view, port in zip(outputs, results, strict=True):
        plan.add("copy", [view], [port])
    return plan


def by_halo(call: Call) -> Plan | None:
    """Images with their padding in memory; the result is an image with another frame."""
    own = call.attributes
    pads = [own.get(f"pad_{side}", 0) for side in ("top", "left", "bottom", "right")]
    if call.kind != "conv2d_s8" or call.expected[0].size == 0:
        return None
    plan = Plan(LAYOUT)
    port, *residual = [plan.input(one.shape) for one in call.activations]
    result = plan.output(call.expected[0].shape)
    x, out = plan.framed(port.size, [one + 1 for one in pads]), plan.framed(result.size, (1, 0, 2, 1))
    names = ("top", "left", "bottom", "right")
    plan.add("halo", [], [x], **{name: pad + 1 for name, pad in zip(names, pads, strict=True)})
    plan.add("copy", [port], [x])
    plan.add(call.kind, [x, *(plan.constant(one) for one in call.constants), *residual], [out], **own)
    plan.add("copy", [out], [result])
    return plan


def run(plan: Plan, inputs: Sequence[np.ndarray], threads: int = 1, isa: str | None = None) -> list[np.ndarray]:
    return native.Engine(plan.bytes(), isa, threads).run(list(inputs))


def same(got: Sequence[np.ndarray], expected: Sequence[np.ndarray]) -> bool:
    return all(one.tobytes() == other.tobytes() for one, other in zip(got, expected, strict=True))


@pytest.mark.parametrize("form", [by_ports, by_arena, by_halo], ids=lambda form: form.__name__)
@pytest.mark.parametrize("name", CALLS)
def test_every_case_of_a_word_gives_its_bytes(name: str, form: Callable[[Call], Plan | None]) -> None:
    ran = 0
    for case, call in cases(SPECS[name]):
        plan = form(call)
        if plan is None:
            continue
        for isa in native.isa_flags():
            assert same(run(plan, call.activations, isa=isa), call.expected), (case.name, isa)
            ran += 1
    assert ran or form is by_halo


def test_every_word_that_a_plan_has_is_tested() -> None:
    words = {row["name"] for row in LAYOUT["kinds"]} & set(SPECS)
    assert words == set(CALLS)
