"""Losses by kind of task and name; the first one of a kind is its default. Shapes are in ``objectives.py``."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

Tensors = tuple[Tensor, ...]
Loss = Callable[[Tensors, Tensors, Tensors], Tensor]  # of outputs, targets, inputs; a scalar
UNLABELLED = -1  # and any other negative label
SMOOTHING = 0.1
FOCUS = 2.0


def _cross_entropy(outputs: Tensors, targets: Tensors, _: Tensors) -> Tensor:
    return functional.cross_entropy(outputs[0], targets[0])


def _label_smoothing(outputs: Tensors, targets: Tensors, _: Tensors) -> Tensor:
    """A tenth of each target goes to all classes alike (Szegedy et al. 2016)."""
    return functional.cross_entropy(outputs[0], targets[0], label_smoothing=SMOOTHING)


def _focal(outputs: Tensors, targets: Tensors, _: Tensors) -> Tensor:
    """Items that are right already count less, for rare classes (Lin et al. 2017)."""
    each = functional.cross_entropy(outputs[0], targets[0], reduction="none")
    return ((1 - torch.exp(-each)) ** FOCUS * each).mean()


def _binary_cross_entropy(outputs: Tensors, targets: Tensors, _: Tensors) -> Tensor:
    return functional.binary_cross_entropy_with_logits(outputs[0].reshape(targets[0].shape), targets[0].float())


def _mse(outputs: Tensors, targets: Tensors, _: Tensors) -> Tensor:
    return functional.mse_loss(outputs[0].reshape(targets[0].shape), targets[0])


def _mae(outputs: Tensors, targets: Tensors, _: Tensors) -> Tensor:
    return functional.l1_loss(outputs[0].reshape(targets[0].shape), targets[0])


def _huber(outputs: Tensors, targets: Tensors, _: Tensors) -> Tensor:
    return functional.huber_loss(outputs[0].reshape(targets[0].shape), targets[0])


def _pixel_cross_entropy(outputs: Tensors, targets: Tensors, _: Tensors) -> Tensor:
    return _mean_cross_entropy(outputs[0], targets[0])


def _token_cross_entropy(outputs: Tensors, targets: Tensors, _: Tensors) -> Tensor:
    return _mean_cross_entropy(outputs[0].movedim(-1, 1), targets[0])


def _dice(outputs: Tensors, targets: Tensors, _: Tensors) -> Tensor:
    """One minus the soft Dice overlap, the mean over classes that occur in the batch (Milletari et al. 2016)."""
    kept = (targets[0] >= 0).unsqueeze(1)
    wanted = functional.one_hot(targets[0].clamp(min=0), outputs[0].shape[1]).movedim(-1, 1) * kept
    shares = outputs[0].softmax(1) * kept
    places = [axis for axis in range(shares.dim()) if axis != 1]
    count = wanted.sum(places)
    overlap = 2 * (shares * wanted).sum(places) / (shares.sum(places) + count).clamp(min=1e-6)
    present = count > 0
    return ((1 - overlap) * present).sum() / present.sum().clamp(min=1)


def _multibox(outputs: Tensors, targets: Tensors, _: Tensors) -> Tensor:
    """Cross entropy of every counted anchor, and smooth L1 of the boxes of those with an object (Liu et al. 2016)."""
    classes = _mean_cross_entropy(outputs[0].movedim(-1, 1), targets[0])
    held = (targets[0] > 0).unsqueeze(-1)
    boxes = functional.smooth_l1_loss(outputs[1], targets[1], reduction="none") * held
    return classes + boxes.sum() / held.sum().clamp(min=1)


def _mean_cross_entropy(scores: Tensor, labels: Tensor) -> Tensor:
    """Over the places with a label; 0 where there is none, of which torch's own mean makes NaN."""
    known = labels.clamp(min=UNLABELLED)
    total = functional.cross_entropy(scores, known, ignore_index=UNLABELLED, reduction="sum")
    return total / (known != UNLABELLED).sum().clamp(min=1)


def _original(outputs: Tensors, inputs: Tensors) -> Tensor:
    return (outputs[1] if len(outputs) > 1 else inputs[0]).reshape(outputs[0].shape)


def _reconstruction_mse(outputs: Tensors, _: Tensors, inputs: Tensors) -> Tensor:
    return functional.mse_loss(outputs[0], _original(outputs, inputs))


def _reconstruction_mae(outputs: Tensors, _: Tensors, inputs: Tensors) -> Tensor:
    return functional.l1_loss(outputs[0], _original(outputs, inputs))


LOSSES: dict[str, dict[str, Loss]] = {
    "classification": {
        "cross_entropy": _cross_entropy,
        "label_smoothing": _label_smoothing,
        "focal": _focal,
        "binary_cross_entropy": _binary_cross_entropy,
    },
    "regression": {"mse": _mse, "mae": _mae, "huber": _huber},
    "segmentation": {"cross_entropy": _pixel_cross_entropy, "dice": _dice},
    "detection": {"multibox": _multibox},
    "sequence_labelling": {"cross_entropy": _token_cross_entropy},
    "reconstruction": {"mse": _reconstruction_mse, "mae": _reconstruction_mae},
    "custom": {},
}
