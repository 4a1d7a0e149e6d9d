"""The values of an ONNX file, by asking ONNX Runtime for more than the outputs.

A value in INT8 is asked for as the bytes in front of its DequantizeLinear: that leaves every pair and what stands
between them as they are, so ONNX Runtime fuses them as it does in the file itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from edgekit.debug.values import Arrays, Origin, Rebuild, Values, dequantized
from edgekit.export import tap
from edgekit.export.view import FileView
from edgekit.runtime import OnnxRunner, Outputs

_NO_VALUES = ("Constant", "QuantizeLinear", "DequantizeLinear", "Shape")


class FileValues(Values):
    """An ONNX file in ONNX Runtime. Values inside of loops are not seen."""

    def __init__(self, path: Path, runner: OnnxRunner) -> None:
        model = onnx.load(str(path))
        view = FileView(model.graph)
        self.name, self.runner = path.name, runner
        taps = _floats(view, model) | _bytes(view, own=model.producer_name == "edgekit")
        order = {name: place for place, node in enumerate(view.nodes) for name in node.output}
        inner = sorted((name for name in taps if name not in view.outputs), key=lambda n: order.get(taps[n].tensor, -1))
        self._taps = {name: taps[name] for name in inner}
        self.origins = {name: taps[name].origin for name in inner}
        self.ends = tuple(taps[o.name].origin if o.name in taps else Origin("output") for o in model.graph.output)
        given = {info.name for info in (*runner.inputs, *runner.outputs)}
        asked = list(dict.fromkeys(found.tensor for found in self._taps.values() if found.tensor not in given))
        self._names = [*(info.name for info in runner.outputs), *asked]
        optimise = not _is_signed(view)
        self._tapped = tap.tapped(model, asked, optimise)
        how = "" if optimise else " without optimisation, as the file of another runtime"
        self.words = f"ONNX Runtime {runner.version}{how}"

    def run(self, arrays: Outputs) -> tuple[Arrays, Outputs]:
        """All values by name and the outputs; see :meth:`Values.run`."""
        results = self._tapped.run(*arrays)
        by_name = dict(zip(self._names, results, strict=True))
        by_name |= {info.name: array for info, array in zip(self.runner.inputs, arrays, strict=True)}
        values = {name: found.rebuild(by_name[found.tensor]) for name, found in self._taps.items()}
        return values, results[: len(self.runner.outputs)]


@dataclass(frozen=True)
class _Tap:
    """A tensor to ask for, what makes reals of it, and what made it."""

    tensor: str
    rebuild: Rebuild
    origin: Origin


def _bytes(view: FileView, own: bool) -> dict[str, _Tap]:
    """What each pair holds: in our files under the name behind it, in others' under that of the float in front."""
    found = dict[str, _Tap]()
    for node in view.nodes:
        if pair := _pair(view, node):
            quantizer, rebuild = pair
            source = quantizer.input[0]
            made = view.producer.get(source)
            origin = Origin(f"{made.op_type} and QuantizeLinear" if made else "QuantizeLinear")
            cut = quantizer.output[0] != node.input[0]
            name = node.output[0] if made is not None and (own or cut) else source
            found[name] = _Tap(node.input[0], rebuild, origin)
    return found


def _floats(view: FileView, model: onnx.ModelProto) -> dict[str, _Tap]:
    """Everything else, but for what only a quantiser reads, and for the pairs around what is stored."""
    inputs = [value.name for value in model.graph.input if value.name not in view.constants]
    found = {name: _Tap(name, _as_float, Origin("input")) for name in inputs}
    for node in view.nodes:
        cuts_bytes = node.op_type == "Clip" and view.kind_behind(node.input[0]) == "QuantizeLinear"
        for name in filter(None, node.output):
            readers = {user.op_type for user in view.users.get(name, [])}
            if node.op_type not in _NO_VALUES and not cuts_bytes and readers != {"QuantizeLinear"}:
                found[name] = _Tap(name, _as_float, Origin(node.op_type))
    return found


def _pair(view: FileView, node: onnx.NodeProto) -> tuple[onnx.NodeProto, Rebuild] | None:
    """The quantiser of a DequantizeLinear with one scale, a Clip in between or not, and what makes reals of bytes."""
    if node.op_type != "DequantizeLinear" or node.input[0] not in view.producer:
        return None
    maker = view.producer[node.input[0]]
    if maker.op_type == "Clip" and maker.input[0] in view.producer:
        maker = view.producer[maker.input[0]]
    scale = view.constants.get(node.input[1])
    zero_point = view.constants.get(node.input[2]) if len(node.input) > 2 else np.zeros(1, np.int8)
    if maker.op_type != "QuantizeLinear" or scale is None or zero_point is None or scale.size != 1:
        return None
    return maker, dequantized(scale, zero_point)


def _is_signed(view: FileView) -> bool:
    """Whether activations are int8, as TensorRT has them: ONNX Runtime computes such a file in float."""
    pairs = [node for node in view.nodes if node.op_type == "QuantizeLinear" and len(node.input) > 2]
    return any(view.constants[n.input[2]].dtype == np.int8 for n in pairs if n.input[2] in view.constants)


def _as_float(array: NDArray[Any]) -> NDArray[Any]:
    return array
