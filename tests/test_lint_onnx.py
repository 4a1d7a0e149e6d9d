"""The linter of ONNX files: silent on good files, and naming each thing that can be wrong with one."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache

import numpy as np
import onnx
import pytest
import quantised
from onnx import helper, numpy_helper
from quantised import float_graph

from edgekit import targets
from edgekit.export import qdq
from edgekit.export.lint import lint
from edgekit.export.onnx import to_onnx

CPU, GPU = "onnxruntime", "tensorrt-10.3"
Model = onnx.ModelProto
Change = Callable[[Model], object]


@cache
def good(target: str) -> bytes:
    row = targets.onnx_target(target)
    return to_onnx(qdq.place(quantised.quantised("residual"), row), row).SerializeToString()


def model(target: str) -> Model:
    return onnx.load_from_string(good(target))


def found(changed: Model, target: str, is_quantised: bool = True) -> list[str]:
    return lint(changed, targets.onnx_target(target), is_quantised)


@pytest.mark.parametrize("target", [CPU, GPU])
def test_a_good_file_is_clean(target: str) -> None:
    assert found(model(target), target) == []


def test_a_float_file_is_clean_but_not_for_a_quantised_one() -> None:
    row = targets.onnx_target(CPU)
    plain = to_onnx(float_graph("perceptron"), row)
    assert lint(plain, row, False) == []
    assert len([line for line in lint(plain, row, True) if "would run in float" in line]) == 3


def test_each_target_refuses_the_file_of_the_other() -> None:
    for target, other in ((CPU, GPU), (GPU, CPU)):
        findings = " ".join(found(model(target), other))
        assert "opset" in findings
        assert "with zero point" in findings
        assert "bias" in findings


def first(graph: Model, kind: str, skip: int = 0) -> onnx.NodeProto:
    return [node for node in graph.graph.node if node.op_type == kind][skip]


def maker(graph: Model, name: str) -> onnx.NodeProto:
    return next(node for node in graph.graph.node if name in node.output)


def store(graph: Model, name: str, value: np.ndarray) -> str:
    graph.graph.initializer.append(numpy_helper.from_array(value, name))
    return name


def value_of(graph: Model, name: str) -> np.ndarray:
    for tensor in graph.graph.initializer:
        if tensor.name == name:
            return numpy_helper.to_array(tensor)
    return numpy_helper.to_array(maker(graph, name).attribute[0].t)


def with_input(kind: str, index: int, value: Callable[[np.ndarray], np.ndarray], skip: int = 0) -> Change:
    """Give one input of a node another stored value."""

    def change(graph: Model) -> None:
        node = first(graph, kind, skip)
        node.input[index] = store(graph, "changed", value(value_of(graph, node.input[index])))

    return change


def with_scale(value: float) -> Change:
    """Give a pair, both its nodes, this scale."""

    def change(graph: Model) -> None:
        quantize = first(graph, "QuantizeLinear", 1)
        old, new = quantize.input[1], store(graph, "changed", np.array(value, np.float32))
        for node in graph.graph.node:
            for index, name in enumerate(node.input):
                if name == old:
                    node.input[index] = new

    return change


def weight_of(graph: Model, kind: str = "Conv") -> onnx.NodeProto:
    """The DequantizeLinear of a layer's weight."""
    return maker(graph, first(graph, kind).input[1])


def change_weight(index: int, value: Callable[[np.ndarray], np.ndarray]) -> Change:
    def change(graph: Model) -> None:
        node = weight_of(graph)
        node.input[index] = store(graph, "changed", value(value_of(graph, node.input[index])))

    return change


def float_weight(graph: Model) -> None:
    first(graph, "Conv").input[1] = store(graph, "changed", np.zeros((8, 3, 3, 3), np.float32))


def set_axis(axis: int) -> Change:
    def change(graph: Model) -> None:
        node = weight_of(graph)
        del node.attribute[:]
        node.attribute.append(helper.make_attribute("axis", axis))

    return change


def float_bias(graph: Model) -> None:
    node = first(graph, "Conv")
    node.input[2] = store(graph, "changed", np.zeros(8, np.float32))


def integer_bias(graph: Model) -> None:
    layer, new = first(graph, "Conv"), "changed"
    graph.graph.node.insert(0, helper.make_node("DequantizeLinear", ["b", "s"], [new], axis=0))
    store(graph, "b", np.zeros(8, np.int32))
    store(graph, "s", np.ones(8, np.float32))
    layer.input[2] = new


def read_unquantised(graph: Model) -> None:
    """Let a layer read a value in front of its pair."""
    layer = first(graph, "Conv", 1)
    pair = maker(graph, layer.input[0])
    while pair.op_type != "QuantizeLinear":
        pair = maker(graph, pair.input[0])
    layer.input[0] = pair.input[0]


def open_pair(graph: Model) -> None:
    """Let something read the integers of a pair besides its DequantizeLinear."""
    q = first(graph, "QuantizeLinear").output[0]
    graph.graph.node.append(helper.make_node("Identity", [q], ["leak"], name="leak"))


def return_integers(graph: Model) -> None:
    graph.graph.output.append(helper.make_tensor_value_info(last_integers(graph), onnx.TensorProto.UINT8, None))


def last_integers(graph: Model) -> str:
    return [node for node in graph.graph.node if node.op_type == "QuantizeLinear"][-1].output[0]


def computed_scale(graph: Model) -> None:
    quantize = first(graph, "QuantizeLinear")
    graph.graph.node.insert(0, helper.make_node("Identity", [quantize.input[1]], ["changed"]))
    quantize.input[1] = "changed"


def opset(version: int, domain: str = "") -> Change:
    def change(graph: Model) -> None:
        if not domain:
            del graph.opset_import[:]
        graph.opset_import.append(helper.make_opsetid(domain, version))

    return change


def custom_domain(graph: Model) -> None:
    first(graph, "Conv").domain = "com.microsoft"


def external(graph: Model) -> None:
    graph.graph.initializer[0].data_location = onnx.TensorProto.EXTERNAL


def own_function(graph: Model) -> None:
    graph.functions.append(helper.make_function("own", "secret", ["x"], ["y"], [], []))


def metadata(part: Callable[[Model], object]) -> Change:
    def change(graph: Model) -> None:
        part(graph).metadata_props.add(key="pkg.torch", value="/home/me/model.py")  # type: ignore[attr-defined]

    return change


def doc_string(graph: Model) -> None:
    graph.graph.node[0].doc_string = "/home/me/model.py:3"


def pair_before(graph: Model, node: onnx.NodeProto, index: int) -> None:
    """Put a Q/DQ pair in front of one input of a node."""
    example = first(graph, "QuantizeLinear")
    position = list(graph.graph.node).index(node)
    pair = [
        helper.make_node("QuantizeLinear", [node.input[index], *example.input[1:]], ["new_q"], name="new_q"),
        helper.make_node("DequantizeLinear", ["new_q", *example.input[1:]], ["new_dq"], name="new_dq"),
    ]
    for offset, made in enumerate(pair):
        graph.graph.node.insert(position + offset, made)
    graph.graph.node[position + 2].input[index] = "new_dq"


def pair_before_relu(graph: Model) -> None:
    relus = [n for n in graph.graph.node if n.op_type == "Relu" and maker(graph, n.input[0]).op_type == "Conv"]
    pair_before(graph, relus[0], 0)


def pair_between_sum_and_relu(graph: Model) -> None:
    relus = [n for n in graph.graph.node if n.op_type == "Relu" and maker(graph, n.input[0]).op_type == "Add"]
    pair_before(graph, relus[0], 0)


def no_skip_pair(graph: Model) -> None:
    addition = first(graph, "Add")
    for index, name in enumerate(addition.input):
        if maker(graph, name).op_type == "DequantizeLinear":
            addition.input[index] = maker(graph, maker(graph, name).input[0]).input[0]


def zero_point(value: int, dtype: type) -> Change:
    return with_input("QuantizeLinear", 2, lambda old: np.array(value, dtype))


BROKEN: dict[str, tuple[str, Change, str]] = {
    "scale 0": (CPU, with_scale(0.0), "not a normal positive number"),
    "scale NaN": (CPU, with_scale(float("nan")), "not a normal positive number"),
    "scale infinite": (GPU, with_scale(float("inf")), "not a normal positive number"),
    "scale negative": (CPU, with_scale(-0.1), "not a normal positive number"),
    "scale subnormal": (GPU, with_scale(1e-39), "not a normal positive number"),
    "weight scale 0": (GPU, change_weight(1, lambda old: old * 0), "not a normal positive number"),
    "scale computed": (CPU, computed_scale, "is not constant"),
    "zero point 0": (CPU, zero_point(0, np.uint8), "not uint8 with zero point 128"),
    "zero point 1": (GPU, zero_point(1, np.int8), "not int8 with zero point 0"),
    "zero point signed": (CPU, zero_point(0, np.int8), "not uint8 with zero point 128"),
    "activations unsigned": (GPU, zero_point(0, np.uint8), "not int8 with zero point 0"),
    "weight with a zero point": (CPU, change_weight(2, lambda old: old + 1), "weight a zero point other than 0"),
    "Q without DQ": (CPU, open_pair, "not closed by DequantizeLinear"),
    "integers returned": (GPU, return_integers, "not closed by DequantizeLinear"),
    "DQ of another scale": (CPU, with_input("DequantizeLinear", 1, lambda old: old * 2), "not closed"),
    "float weight": (CPU, float_weight, "would run in float"),
    "float input": (GPU, read_unquantised, "would run in float"),
    "unsigned weight": (CPU, change_weight(0, lambda old: old.astype(np.uint8)), "not stored as int8"),
    "float bias": (CPU, float_bias, "not stored as int32"),
    "integer bias": (GPU, integer_bias, "not stored as float32"),
    "axis too short": (CPU, change_weight(1, lambda old: old[:-1]), r"7 scales along axis 0 of \(8, 3, 3, 3\)"),
    "wrong axis": (GPU, set_axis(1), "8 scales along axis 1"),
    "axis out of range": (GPU, set_axis(7), "along axis 7"),
    "activation per channel": (
        GPU,
        with_input("QuantizeLinear", 1, lambda old: np.repeat(old, 3)),
        "activation has one",
    ),
    "custom domain": (CPU, custom_domain, "com.microsoft::Conv"),
    "function": (CPU, own_function, "functions of its own: secret"),
    "external data": (CPU, external, "stored in another file"),
    "older opset": (GPU, opset(17), "not opset 18"),
    "another operator set": (CPU, opset(1, "com.microsoft"), "com.microsoft"),
    "metadata of a node": (CPU, metadata(lambda m: m.graph.node[3]), "metadata of the machine"),
    "metadata of the model": (CPU, metadata(lambda m: m), "the model carries metadata"),
    "metadata of the graph": (GPU, metadata(lambda m: m.graph), "the graph carries metadata"),
    "metadata of a weight": (GPU, metadata(lambda m: m.graph.initializer[0]), "metadata of the machine"),
    "source line": (GPU, doc_string, "metadata of the machine"),
    "pair before ReLU": (GPU, pair_before_relu, "a pair stands between"),
    "pair between sum and ReLU": (GPU, pair_between_sum_and_relu, "a pair stands between"),
    "no pair on the skip": (GPU, no_skip_pair, "no branch of .* has a pair"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_wrong_is_named(name: str) -> None:
    target, change, expected = BROKEN[name]
    changed = model(target)
    change(changed)
    findings = found(changed, target)
    assert findings, "not noticed"
    assert any(re.search(expected, line) for line in findings), findings


def test_a_pair_that_others_read_may_stand_before_an_activation() -> None:
    """Before a shared sum there is no other place for it; TensorRT then runs the ReLU by itself."""
    row = targets.onnx_target(GPU)
    shared = to_onnx(qdq.place(quantised.quantised("preactivation"), row), row)
    assert lint(shared, row, True) == []
    relu = first(shared, "Relu")
    assert maker(shared, relu.input[0]).op_type == "DequantizeLinear"
