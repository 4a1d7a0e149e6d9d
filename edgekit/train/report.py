"""What a training leaves behind: the graph, and a report that holds neither times nor paths."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from edgekit.graph import Graph


@dataclass(frozen=True)
class TrainReport:
    """How a training went; the same recipe gives the same report.

    Attributes:
        losses: mean training loss of every epoch, in order.
        validation_losses: the loss on the validation items after every epoch; empty without such items.
        learning_rates: of the last step of every epoch.
        best_epoch: the epoch, counted from 1, whose weights were kept; None without early stop: then it is the last.
        ended: why training ended, as a sentence.
        precision: of the forward and backward pass.
        processes: how many took part.
    """

    losses: tuple[float, ...]
    validation_losses: tuple[float, ...] = ()
    learning_rates: tuple[float, ...] = ()
    best_epoch: int | None = None
    ended: str = ""
    precision: str = "float32"
    processes: int = 1

    def to_json(self) -> dict[str, Any]:
        """The report as plain JSON values."""
        return asdict(self)


@dataclass(frozen=True)
class TrainResult:
    """The trained graph, in inference mode and on the CPU, and the report on it."""

    graph: Graph
    report: TrainReport
