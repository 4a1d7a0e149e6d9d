"""Distillation: a smaller graph also learns from the answers, and the inner values, of the one it was made from."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, fx
from torch.nn import functional
from torch.nn.functional import mse_loss

from edgekit.errors import UsageError
from edgekit.graph import Graph, TensorInfo
from edgekit.options import DistillConfig
from edgekit.train.objectives import Objective, Tensors
from edgekit.train.placement import move
from edgekit.train.validation import as_tuple
from edgekit.train.views import view

SHOWN = 8


@dataclass(frozen=True)
class Lesson:
    """The loss of a student whose graph returns its outputs and, behind them, the features that are to match.

    Sources: Hinton et al., "Distilling the knowledge in a neural network", 2015; Romero et al., "FitNets", 2015.

    Attributes:
        teacher: in inference mode; returns the same things as the student.
        objective: of the task itself.
        config: how much the teacher counts.
    """

    teacher: Graph
    objective: Objective
    config: DistillConfig

    def loss(self, results: Tensors, targets: Tensors, inputs: Tensors) -> Tensor:
        """``(1 - weight) * task + weight * answers + feature_weight * features``; a scalar."""
        count = len(results) - len(self.config.features)
        with torch.no_grad():
            taught = as_tuple(self.teacher(*inputs))
        task = self.objective.loss(results[:count], targets, inputs)
        answers = self._answers(results[:count], taught[:count])
        features = sum(mse_loss(*pair) for pair in zip(results[count:], taught[count:], strict=True))
        weight = self.config.weight
        return (1 - weight) * task + weight * answers + self.config.feature_weight * features

    def _answers(self, own: Tensors, taught: Tensors) -> Tensor:
        pairs = list(zip(own, taught, strict=True))
        if self.objective.kind == "classification":
            return softened(*pairs[0], self.config.temperature)
        return torch.stack([mse_loss(*pair) for pair in pairs]).sum()


def softened(own: Tensor, taught: Tensor, temperature: float) -> Tensor:
    """Kullback-Leibler divergence of softened logits [N, classes], times T^2 so that gradients keep their size.

    A single score [N] or [N, 1] is the logit of class 1 against 0.
    """
    own, taught = (functional.log_softmax(_logits(scores) / temperature, dim=1) for scores in (own, taught))
    return functional.kl_div(own, taught, reduction="batchmean", log_target=True) * temperature**2


def _logits(scores: Tensor) -> Tensor:
    rows = scores.flatten(1) if scores.dim() > 1 else scores[:, None]
    return functional.pad(rows, (1, 0)) if rows.shape[1] == 1 else rows


def lesson(teacher: Graph, student: Graph, objective: Objective, config: DistillConfig, place: torch.device) -> Lesson:
    """Make the loss; the teacher is copied.

    Raises:
        UsageError: the two have other inputs or outputs, or a feature that is missing or of another shape in one.
    """
    for what in ("inputs", "outputs"):
        theirs, own = (_listed(getattr(graph, what)) for graph in (teacher, student))
        if theirs != own:
            raise UsageError(f"the teacher's {what} are {theirs}, the student's are {own}.")
    for name in config.features:
        _check_feature(name, teacher, student)
    copy = move(teacher.copy().eval(), place)
    return Lesson(view(copy, config.features), objective, config)


def _check_feature(name: str, teacher: Graph, student: Graph) -> None:
    shapes = [_shapes(graph) for graph in (teacher, student)]
    theirs, own = (found.get(name) for found in shapes)
    if theirs is not None and theirs == own:
        return
    fitting = [fit for fit, shape in shapes[1].items() if shapes[0].get(fit) == shape]
    more = f" and {len(fitting) - SHOWN} more" if len(fitting) > SHOWN else ""
    raise UsageError(
        f"the feature {name!r} is {_said(theirs)} in the teacher and {_said(own)} in the student.",
        "Pruning cuts channels, so not every value keeps its shape.",
        f"Nodes that fit: {', '.join(fitting[:SHOWN])}{more}." if fitting else "No node fits.",
    )


def _shapes(graph: Graph) -> dict[str, tuple[int, ...]]:
    """Shape, for one item, of every call that gives a float tensor, by its name."""
    return {node.name: graph.shape(node) for node in graph.nodes if _is_feature(node)}


def _is_feature(node: fx.Node) -> bool:
    value = node.meta.get("val")
    return node.op == "call_function" and isinstance(value, Tensor) and value.is_floating_point()


def _said(shape: tuple[int, ...] | None) -> str:
    return "missing" if shape is None else str(list(shape))


def _listed(infos: tuple[TensorInfo, ...]) -> str:
    return ", ".join(f"{info.dtype} {list(info.shape)}".removeprefix("torch.") for info in infos)
