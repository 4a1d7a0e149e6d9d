"""What became of one tensor, and of all of them: the answer of :func:`edgekit.explain`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from edgekit.debug.tables import table
from edgekit.errors import UsageError

if TYPE_CHECKING:
    from edgekit.ops.dispatch import Tier

_HEADER = ("tensor", "operator", "held", "scale", "carried by", "why")


@dataclass(frozen=True)
class Placement:
    """One tensor.

    Attributes:
        name: by which it is known in every form of the net.
        operator: what makes it: a call, ``input``, or ``stored``.
        held: ``int8``, ``int32``, ``float``, ``float, then int8`` where a value computed in float is rounded for who
            reads it in INT8, another type, or ``folded`` for a tensor that the quantised net no longer has.
        reason: why, in a sentence without its end.
        scale: of one step, where it is known and there is one for the whole tensor.
        group: the first tensor with the same scale, if there are several.
        carried_by: the operator of the integer graph, where there is one.
        source: file and line of the user's code.
    """

    name: str
    operator: str
    held: str
    reason: str
    scale: float | None = None
    group: str = ""
    carried_by: str = ""
    source: str = ""


@dataclass(frozen=True)
class Explanation:
    """Every tensor of a graph.

    Attributes:
        form: ``float``, ``quantised`` or ``integer``: which kind of graph was explained.
        tensors: in the order in which they are computed.
        int8_macs: share of the multiply-accumulates that are done in INT8; None for a net without any.
        tiers: of an integer graph, the implementations of each operator in it: which one runs here, and why not the
            others. ``carried_by`` of a tensor names its operator.
    """

    form: str
    tensors: tuple[Placement, ...]
    int8_macs: float | None
    tiers: Mapping[str, tuple[Tier, ...]] = field(default_factory=dict)

    def __getitem__(self, name: str) -> Placement:
        """The tensor of this name.

        Raises:
            UsageError: there is none.
        """
        found = [tensor for tensor in self.tensors if tensor.name == name]
        if not found:
            raise UsageError(f"the graph has no tensor {name!r}.", fix="`edgekit explain` lists them all.")
        return found[0]

    def to_json(self) -> dict[str, Any]:
        """The explanation as plain JSON values."""
        tiers = {name: [asdict(tier) for tier in found] for name, found in self.tiers.items()}
        tensors = [asdict(tensor) for tensor in self.tensors]
        return {"form": self.form, "int8_macs": self.int8_macs, "tensors": tensors, "tiers": tiers}

    def __str__(self) -> str:
        lines = table(_HEADER, [_row(tensor) for tensor in self.tensors])
        count = sum(tensor.held == "int8" for tensor in self.tensors)
        share = "" if self.int8_macs is None else f"; {self.int8_macs:.1%} of the multiply-accumulates in INT8"
        return "\n".join([*lines, f"{count} of {len(self.tensors)} tensors in INT8{share}", *self._tiers()])

    def _tiers(self) -> Iterator[str]:
        """A line for each operator: what runs it, and why not the others."""
        for name, found in self.tiers.items():
            used = " and ".join(tier.name for tier in found if tier.chosen)
            others = (f"not {tier.name}: {tier.reason}" for tier in found if not tier.chosen and tier.device != "any")
            yield "; ".join([f"{name} runs on {used}", *others])


def _row(tensor: Placement) -> tuple[str, ...]:
    scale = "" if tensor.scale is None else f"{tensor.scale:.4g}"
    shared = f"of {tensor.group}" if tensor.group and tensor.group != tensor.name else ""
    return tensor.name, tensor.operator, tensor.held, f"{scale} {shared}".strip(), tensor.carried_by, tensor.reason
