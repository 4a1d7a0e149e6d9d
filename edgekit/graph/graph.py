"""``Graph``: an ``fx.GraphModule`` of aten and edgekit calls with named inputs and outputs, that runs and trains.

The module is what ``torch.export`` gives in its training form, with plain tensors in and out. Everything that a stage
has to know stands in the nodes and their arguments; ``node.meta["val"]`` holds shapes only, and :meth:`Graph.refresh`
makes them anew.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, fx, nn

import edgekit.ops  # noqa: F401  registers torch.ops.edgekit, which graphs call
from edgekit.errors import InputError
from edgekit.graph import edit, modes
from edgekit.graph.shapes import propagate_shapes


@dataclass(frozen=True)
class TensorInfo:
    """A named input or output: shape with None for a dynamic dimension, and dtype."""

    name: str
    shape: tuple[int | None, ...]
    dtype: torch.dtype

    @classmethod
    def of(cls, name: str, value: Tensor) -> TensorInfo:
        """Take shape and dtype from a tensor, which may be fake."""
        return cls(name, tuple(known_size(size) for size in value.shape), value.dtype)

    def example(self, size: int = 2) -> Tensor:
        """Zeros of this shape, dynamic dimensions set to ``size``."""
        return torch.zeros([size if d is None else d for d in self.shape], dtype=self.dtype)


@dataclass
class Graph:
    """A captured model.

    Attributes:
        module: the GraphModule; its parameters keep the names they had in the user's model.
        inputs: one entry for each placeholder, in order.
        output_names: one name for each output tensor.
        attention_dropout: dropout probability by name of the attention node that captures cannot carry.
        notes: what capture froze or could not keep dynamic, in sentences.
    """

    module: fx.GraphModule
    inputs: tuple[TensorInfo, ...]
    output_names: tuple[str, ...]
    attention_dropout: dict[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def __call__(self, *args: Tensor, **kwargs: Tensor) -> Any:
        """Run on tensors in the order of :attr:`inputs`, or by name; one tensor for one output, else a tuple."""
        names = [info.name for info in self.inputs]
        missing = names[len(args) :]
        if len(args) > len(names) or set(missing) != set(kwargs):
            raise InputError(
                f"the model takes the inputs {', '.join(names)}; "
                f"given are {len(args)} by place and by name {', '.join(sorted(kwargs)) or 'none'}."
            )
        return self.module(*args, *(kwargs[name] for name in missing))

    @property
    def nodes(self) -> Iterator[fx.Node]:
        """All nodes in the order in which they run."""
        return iter(self.module.graph.nodes)

    @property
    def outputs(self) -> tuple[TensorInfo, ...]:
        """Shape and dtype of each output, dynamic dimensions None."""
        values = [node.meta["val"] for node in self.output_nodes()]
        return tuple(TensorInfo.of(name, value) for name, value in zip(self.output_names, values, strict=True))

    def output_nodes(self) -> tuple[fx.Node, ...]:
        """The nodes whose values the graph returns."""
        result = self.module.graph.output_node().args[0]
        return (result,) if isinstance(result, fx.Node) else tuple(result)  # type: ignore[arg-type]

    def shape(self, node: fx.Node) -> tuple[int, ...]:
        """Shape of a node's tensor for a batch of 1, which is what a dynamic dimension of an input counts as."""
        return tuple(int(size_at(size, 1)) for size in node.meta["val"].shape)

    def copy(self) -> Graph:
        """A graph of its own: stages edit the copy, never their input."""
        return Graph(
            copy.deepcopy(self.module), self.inputs, self.output_names, dict(self.attention_dropout), self.notes
        )

    def refresh(self) -> Graph:
        """Drop what is dead and recompute every shape after an edit; returns self.

        Shapes are propagated on fake tensors rather than by exporting again: names and source lines stay.
        """
        edit.clean(self.module)
        propagate_shapes(self)
        return self

    def train(self, mode: bool = True) -> Graph:
        """Switch batch norm, dropout and attention dropout to training (or back); returns self."""
        modes.switch(self.module, mode, self.attention_dropout)
        return self

    def eval(self) -> Graph:
        """Switch to inference; returns self."""
        return self.train(False)

    def named_parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        """Parameters by the names they had in the user's model."""
        return self.module.named_parameters()

    def save(self, path: str | Path) -> None:
        """Write one safetensors file that holds weights and nodes; see :mod:`edgekit.graph.save`."""
        from edgekit.graph import save

        save.save(self, Path(path))

    @staticmethod
    def load(path: str | Path) -> Graph:
        """Read what :meth:`save` wrote. Runs no code from the file.

        Raises:
            GraphFileError: for anything that is not such a file.
        """
        from edgekit.graph import save

        return save.load(Path(path))

    def __str__(self) -> str:
        from edgekit.graph import show

        return show.table(self)


def known_size(size: int | torch.SymInt) -> int | None:
    """The size of a dimension, None for a dynamic one; torch writes some fixed sizes as symbols, too."""
    return size if isinstance(size, int) else size.node.maybe_as_int()


def size_at(size: float | torch.SymInt | torch.SymFloat, batch: int) -> float:
    """The value of a size, or of a number computed from sizes, where every dynamic dimension is ``batch``."""
    if isinstance(size, (int, float)):
        return size
    expression = size.node.expr
    return float(expression.xreplace(dict.fromkeys(expression.free_symbols, batch)))
