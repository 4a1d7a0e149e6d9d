"""GRU and LSTM as the ``Scan`` of ONNX: the step of :mod:`edgekit.ops.recurrent`, recorded once as its body.

Time stays dynamic, and every quantity of the step has a pair of its own in the body. The state goes round as real
values that are exactly those of its bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import count
from typing import Any

import numpy as np
import torch
from onnx import numpy_helper
from onnxscript import evaluator, ir

from edgekit.ops import numerics, recurrent
from edgekit.targets import OnnxTarget

_NUMPY = {"uint8": np.uint8, "int8": np.int8}


class Body:
    """The nodes of a body, under names that no other part of the file has."""

    def __init__(self, name: str, target: OnnxTarget) -> None:
        self.name, self.target = name, target
        self.nodes: list[ir.Node] = []
        self.initializers: list[ir.Value] = []

    def op(self, operator: str, *inputs: ir.Value | None, **attributes: Any) -> ir.Value:
        """One node with one result."""
        node = ir.node(operator, inputs, attributes, version=self.target.opset)
        node.name = node.outputs[0].name = f"{self.name}_{operator}_{len(self.nodes)}"
        self.nodes.append(node)
        return node.outputs[0]

    def constant(self, array: Any) -> ir.Value:
        """A stored value."""
        name = f"{self.name}_constant_{len(self.initializers)}"
        value = ir.Value(name=name, const_value=ir.tensor(numpy_helper.from_array(np.asarray(array), name)))
        self.initializers.append(value)
        return value

    def input(self, name: str) -> ir.Value:
        """A float matrix that the body is given: a state, or one step of a sequence."""
        return ir.Value(name=f"{self.name}_{name}", type=ir.TensorType(ir.DataType.FLOAT), shape=ir.Shape([None, None]))

    def pair(self, value: ir.Value, scale: ir.Value) -> ir.Value:
        """A value rounded to 8 bits."""
        zero = self.constant(np.array(self.target.zero_point, _NUMPY[self.target.activation]))
        return self.op("DequantizeLinear", self.op("QuantizeLinear", value, scale, zero), scale, zero)

    def pair_s16(self, value: ir.Value, scale: ir.Value) -> ir.Value:
        """A value rounded to 16 bits, for which QuantizeLinear has no form in the older operator sets."""
        bounds = [self.constant(np.array(bound, np.float32)) for bound in (numerics.S16_MIN, numerics.S16_MAX)]
        return self.op("Mul", self.op("Clip", self.op("Round", self.op("Div", value, scale)), *bounds), scale)

    def stored(self, outside: ir.Value) -> ir.Value:
        """A weight or bias that is dequantised outside, dequantised here: runtimes fuse only what stands together."""
        producer = outside.producer()
        if producer is None or producer.op_type != "DequantizeLinear":
            return outside
        q, scale, *zero = producer.inputs
        return self.op("DequantizeLinear", q, scale, *zero, axis=0)

    def graph(self, inputs: Sequence[Recorded], results: Sequence[Any]) -> ir.Graph:
        """The body; each result goes out under a name of its own."""
        outputs = [self.op("Identity", result.value) for result in results]
        for value in outputs:
            value.type, value.shape = ir.TensorType(ir.DataType.FLOAT), ir.Shape([None, None])
        return ir.Graph(
            [one.value for one in inputs],
            outputs,
            nodes=self.nodes,
            initializers=self.initializers,
            opset_imports={"": self.target.opset},
            name=self.name,
        )


class Recorded:
    """What a tensor is to :mod:`edgekit.ops.recurrent`, written down instead of computed."""

    def __init__(self, body: Body, value: ir.Value) -> None:
        self.body, self.value = body, value

    @classmethod
    def __torch_function__(
        cls,
        function: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Any = None,
    ) -> Recorded:
        body = args[0].body
        if function is torch.nn.functional.linear:
            return cls(body, body.op("Gemm", *(one.value for one in args), transB=1))
        return cls(body, body.op({torch.sigmoid: "Sigmoid", torch.tanh: "Tanh"}[function], args[0].value))

    def __add__(self, other: Recorded) -> Recorded:
        return Recorded(self.body, self.body.op("Add", self.value, other.value))

    def __mul__(self, other: Recorded) -> Recorded:
        return Recorded(self.body, self.body.op("Mul", self.value, other.value))

    def __rsub__(self, number: float) -> Recorded:
        one = self.body.constant(np.array(number, np.float32))
        return Recorded(self.body, self.body.op("Sub", one, self.value))


def translations(target: OnnxTarget) -> dict[Callable[..., Any], Callable[..., Any]]:
    """How the words ``gru`` and ``lstm`` are spelled in a file for ``target``."""
    numbers = count()

    def body(inputs: str) -> tuple[Body, list[Any]]:
        new = Body(f"scan_{next(numbers)}", target)
        return new, [Recorded(new, new.input(name)) for name in inputs]

    def gru(r: Any, z: Any, n: Any, h0: Any, *rest: Any) -> Any:
        here, (h, *parts) = body("hrzn")
        weights, biases, at, reverse = _layer(here, recurrent.GRU_QUANTITIES, rest, 3)
        state = recurrent.gru_step(parts, at("h", h), weights, biases, at)
        _, y = _scan(here.graph([h, *parts], [state, state]), [h0], [r, z, n], reverse)
        return y

    def lstm(i: Any, f: Any, g: Any, o: Any, h0: Any, c0: Any, *rest: Any) -> Any:
        here, (h, c, *parts) = body("hcifgo")
        weights, biases, at, reverse = _layer(here, recurrent.LSTM_QUANTITIES, rest, 4)
        state, cell = recurrent.lstm_step(parts, at("h", h), at("c", c), weights, biases, at)
        _, last, y = _scan(here.graph([h, c, *parts], [state, cell, state]), [h0, c0], [i, f, g, o], reverse)
        return y, last

    words = torch.ops.edgekit
    return {words.gru.default: gru, words.lstm.default: lstm}


def _layer(body: Body, names: Sequence[str], rest: Sequence[Any], gates: int) -> tuple[list[Any], list[Any], Any, bool]:
    """Weights, biases, what each quantity goes through, and the direction, from the last arguments of a word."""
    stored = [Recorded(body, body.stored(value)) for value in rest[: 2 * gates]]
    reverse, *scales = rest[2 * gates :]
    return stored[:gates], stored[gates:], _rounding(body, names, *scales), reverse


def _rounding(body: Body, names: Sequence[str], scales: Sequence[ir.Value] | None = None) -> Any:
    if scales is None:
        return recurrent.unseen
    by_name = dict(zip(names, scales, strict=True))

    def at(name: str, quantity: Recorded) -> Recorded:
        pair = body.pair_s16 if name in recurrent.S16_QUANTITIES else body.pair
        return Recorded(body, pair(quantity.value, by_name[name]))

    return at


def _scan(body: ir.Graph, states: Sequence[Any], sequences: Sequence[Any], reverse: bool) -> Sequence[ir.Value]:
    """Last states and the sequence of results. The exporter's recorder has no operator with a part of its own."""
    attributes: dict[str, Any] = {"body": body, "num_scan_inputs": len(sequences)}
    if reverse:
        attributes |= {"scan_input_directions": [1] * len(sequences), "scan_output_directions": [1]}
    node = ir.node("Scan", [*states, *sequences], attributes, num_outputs=len(states) + 1)
    evaluator.default().nodes.append(node)  # type: ignore[attr-defined]
    return node.outputs
