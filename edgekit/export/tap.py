"""A file with a float front against the golden: the same bytes behind the front must give the same bytes at the end.

Two correct float fronts may differ in the last bit of a sum, and so by one step where a value is quantised. What comes
behind is exact all the same; to see that, the golden goes on from the very bytes that the file made of its inputs.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import Tensor, fx

from edgekit import disk
from edgekit.errors import ExportMismatch
from edgekit.export.view import behind_quantisers
from edgekit.graph import Graph, edit
from edgekit.runtime import OnnxRunner

Arrays = Sequence[NDArray[Any]]
QUANTIZE = torch.ops.edgekit.quantize_s8.default


def run_tapped(path: Path, arrays: Arrays, zero_point: int) -> tuple[Arrays, list[Tensor]]:
    """The outputs of a file, and the int8 values of its first quantisers, [N, ...] each, in the order of the file."""
    model = onnx.load(str(path))
    outputs = len(model.graph.output)
    results = tapped(model, first_quantised(model.graph)).run(*arrays)
    taps = [torch.from_numpy((tap.astype(np.int16) - zero_point).astype(np.int8)) for tap in results[outputs:]]
    return results[:outputs], taps


def tapped(model: onnx.ModelProto, names: Iterable[str], optimise: bool = True) -> OnnxRunner:
    """The model in ONNX Runtime, with the values of these names as further outputs, in order."""
    model = onnx.ModelProto.FromString(model.SerializeToString())
    model.graph.output.extend(onnx.helper.make_empty_tensor_value_info(name) for name in names)
    model = onnx.shape_inference.infer_shapes(model)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "tapped.onnx"
        disk.write_file(path, model.SerializeToString())
        return OnnxRunner(path, optimise=optimise)


def first_quantised(graph: onnx.GraphProto) -> list[str]:
    """Outputs of the QuantizeLinear nodes that no DequantizeLinear stands in front of."""
    behind = behind_quantisers(graph.node)
    return [n.output[0] for n in graph.node if n.op_type == "QuantizeLinear" and behind.isdisjoint(n.input)]


def run_from(integer: Graph, inputs: Sequence[Tensor], taps: list[Tensor]) -> Any:
    """The golden's outputs on inputs, with these int8 values in place of what it quantises itself.

    Raises:
        ExportMismatch: the file has other quantisers than the golden.
    """
    own = _first(integer)
    if len(own) != len(taps):
        raise ExportMismatch(
            f"the file quantises {len(taps)} float tensors, its graph {len(own)}.", fix="Please report this model."
        )
    with torch.no_grad():
        return _From(integer.module, dict(zip(own, taps, strict=True))).run(*inputs)


def _first(integer: Graph) -> list[fx.Node]:
    """The quantisers of the golden that read nothing quantised."""
    found, behind = list[fx.Node](), set[fx.Node]()
    for node in integer.nodes:
        if not behind.isdisjoint(node.all_input_nodes):
            behind.add(node)
        elif edit.is_call(node, QUANTIZE):
            found.append(node)
            behind.add(node)
    return found


class _From(fx.Interpreter):
    def __init__(self, module: fx.GraphModule, given: Mapping[fx.Node, Tensor]) -> None:
        super().__init__(module)
        self._given = given

    def run_node(self, n: fx.Node) -> Any:
        """One node, or the value that is given for it."""
        return self._given[n] if n in self._given else super().run_node(n)
