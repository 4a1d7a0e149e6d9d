"""Shapes of a graph: the value of every node as a fake tensor, computed anew only where something changed.

A node notes what its value was computed from. Where that is as it was, the value is, too, in copies of the graph as
well: an edit of one call costs the calls behind it. Nothing else reads these notes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, fx
from torch._dispatch.python import enable_python_dispatcher
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental.symbolic_shapes import DimDynamic, ShapeEnv, StatelessSymbolicContext
from torch.fx.passes.fake_tensor_prop import FakeTensorProp
from torch.utils._pytree import TreeSpec, tree_flatten

from edgekit.graph import edit
from edgekit.graph.recurrent import shapes_at_once

if TYPE_CHECKING:
    from edgekit.graph.graph import Graph, TensorInfo

_KNOWN = "known"
_PLAIN = (bool, int, float, str, type(None), tuple, torch.dtype, torch.device, torch.layout, torch.memory_format)


@dataclass(frozen=True)
class _Known:
    """A value, and what it was computed from: arguments one by one, and how they were nested."""

    mode: FakeTensorMode
    target: Any
    inputs: list[Any]
    nesting: TreeSpec | None
    value: Any

    def holds(self, mode: FakeTensorMode, target: Any, inputs: list[Any], nesting: TreeSpec | None) -> bool:
        same = self.mode is mode and self.target is target and self.nesting == nesting
        return same and len(self.inputs) == len(inputs) and all(map(_same, self.inputs, inputs))


def _same(a: Any, b: Any) -> bool:
    return a is b or (isinstance(a, _PLAIN) and type(a) is type(b) and bool(a == b))


class ShapePropagation(FakeTensorProp):
    """Runs a graph on fake tensors; stored ones are fake too, or a call in place would change them."""

    def get_attr(self, target: Any, args: Any, kwargs: Any) -> Any:
        """Return a fake of the stored tensor; of anything else the thing itself."""
        value = super().get_attr(target, args, kwargs)
        return self._mode.from_tensor(value, static_shapes=True) if isinstance(value, Tensor) else value

    def run_node(self, n: fx.Node) -> Any:
        """The value of a node: the one that it had, or a new one."""
        if n.op in ("placeholder", "output"):
            return super().run_node(n)
        target = str(n.target) if n.op == "get_attr" else n.target
        inputs, nesting = self._inputs(n)
        known = n.meta.get(_KNOWN)
        if isinstance(known, _Known) and known.holds(self._mode, target, inputs, nesting):
            n.meta["val"] = known.value
            return known.value
        n.meta.pop("val", None)
        result = super().run_node(n)
        value = n.meta.get("val", result)
        n.meta[_KNOWN] = None
        if "unbacked_bindings" not in n.meta:
            n.meta[_KNOWN] = _Known(self._mode, target, inputs, nesting, value)
        return value

    def _inputs(self, n: fx.Node) -> tuple[list[Any], TreeSpec | None]:
        if n.op != "get_attr":
            return tree_flatten(self.fetch_args_kwargs_from_env(n))
        stored = edit.get_attribute(self.module, str(n.target))
        if not isinstance(stored, Tensor):
            return [stored], None
        return [tuple(stored.shape), stored.stride(), stored.dtype, stored.device, stored.requires_grad], None


def propagate_shapes(graph: Graph, interpreter: type[ShapePropagation] = ShapePropagation) -> None:
    """Set ``meta["val"]`` of every node to a fake tensor, with one symbol for each dynamic dimension."""
    mode, fakes = _inputs(graph)
    with enable_python_dispatcher(), shapes_at_once(), torch.no_grad():
        interpreter(graph.module, mode).propagate_dont_convert_inputs(*fakes)


def _inputs(graph: Graph) -> tuple[FakeTensorMode, list[Any]]:
    """Those of the last time, unless an input is another, or a call has fixed a size since."""
    nodes = [node for node in graph.nodes if node.op == "placeholder"]
    known = [found for node in nodes if isinstance(found := node.meta.get(_KNOWN), _Known)]
    told = [[info.shape, info.dtype] for info in graph.inputs]
    if known and [one.inputs for one in known] == told:
        mode = known[0].mode
        assert mode.shape_env is not None
        if all(one.mode is mode for one in known) and not mode.shape_env.replacements:
            return mode, [one.value for one in known]
    mode = FakeTensorMode(shape_env=ShapeEnv(), allow_non_fake_inputs=True)
    fakes = [_fake(mode, info) for info in graph.inputs]
    for node, inputs, fake in zip(nodes, told, fakes, strict=False):
        node.meta[_KNOWN] = _Known(mode, node.target, inputs, None, fake)
    return mode, fakes


def _fake(mode: FakeTensorMode, info: TensorInfo) -> Tensor:
    sizes = [DimDynamic.STATIC if isinstance(d, int) else DimDynamic.DYNAMIC for d in info.shape]
    return mode.from_tensor(info.example(), symbolic_context=StatelessSymbolicContext(dynamic_sizes=sizes))
