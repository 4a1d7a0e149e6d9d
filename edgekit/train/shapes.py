"""Whether a model's outputs fit its task: found on two items, before anything is trained."""

from __future__ import annotations

from collections.abc import Callable

from edgekit.errors import DataError
from edgekit.train.metrics import Arrays

Sizes = tuple[int, ...]


def check_outputs(kind: str, loss: object, outputs: Arrays, targets: Arrays, inputs: Arrays, classes: int) -> None:
    """Refuse outputs that a task cannot be trained or judged on.

    Args:
        kind: of the task.
        loss: its name, or whatever else the recipe says.
        outputs: of the model on a few items.
        targets, inputs: of the same items.
        classes: how many labels the data has.

    Raises:
        DataError: says what is expected and what the model gives.
    """
    found, wanted = [array.shape for array in outputs], [array.shape for array in targets]
    if kind == "reconstruction":
        wanted = [outputs[1].shape if len(outputs) > 1 else inputs[0].shape]
    if kind not in _FITS:
        return
    if len(targets) != (2 if kind == "detection" else 1):
        raise DataError(f"a {kind} task has {2 if kind == 'detection' else 1} targets, the data {len(targets)}.")
    expected, fits = _FITS[kind]
    if kind == "classification" and loss == "binary_cross_entropy":
        expected, fits = "[N, 1] or [N], because its loss is binary_cross_entropy", _one_score
    if len(found) < (2 if kind == "detection" else 1) or not fits(found, wanted, classes):
        text = expected.format(classes=max(classes, 2), wanted=" and ".join(map(_spelled, wanted)))
        raise DataError(
            f"the model gives {' and '.join(map(_spelled, found))}, which does not fit a {kind} task.",
            f"Its data has {classes} classes." if classes else "",
            f"Give {text}.",
        )


def _spelled(shape: Sizes) -> str:
    return f"[{', '.join(['N', *map(str, shape[1:])])}]"


def _class_scores(found: list[Sizes], wanted: list[Sizes], classes: int) -> bool:
    return len(found[0]) == 2 and len(wanted[0]) == 1 and found[0][1] >= max(classes, 2)


def _one_score(found: list[Sizes], wanted: list[Sizes], classes: int) -> bool:
    return found[0] in (wanted[0], (*wanted[0], 1)) and classes <= 2


def _as_many_values(found: list[Sizes], wanted: list[Sizes], _: int) -> bool:
    return found[0] in (wanted[0], (*wanted[0], 1)) or (*found[0], 1) == wanted[0]


def _pixel_scores(found: list[Sizes], wanted: list[Sizes], classes: int) -> bool:
    places = (found[0][0], *found[0][2:])
    return len(found[0]) == 4 and places == wanted[0] and found[0][1] >= max(classes, 2)


def _token_scores(found: list[Sizes], wanted: list[Sizes], classes: int) -> bool:
    return len(found[0]) == 3 and found[0][:2] == wanted[0] and found[0][2] >= max(classes, 2)


def _boxes(found: list[Sizes], wanted: list[Sizes], classes: int) -> bool:
    return _token_scores(found, wanted, classes) and found[1] == wanted[1] == (*wanted[0], 4)


def _same(found: list[Sizes], wanted: list[Sizes], _: int) -> bool:
    return found[0] == wanted[0]


_FITS: dict[str, tuple[str, Callable[[list[Sizes], list[Sizes], int], bool]]] = {
    "classification": (
        "scores [N, {classes}]; for one score [N, 1] set `task.loss: binary_cross_entropy`",
        _class_scores,
    ),
    "regression": ("values {wanted}, as many as the target", _as_many_values),
    "segmentation": ("scores [N, {classes}, H, W] for a target {wanted}", _pixel_scores),
    "detection": ("scores [N, A, {classes}] and boxes [N, A, 4] for targets {wanted}", _boxes),
    "sequence_labelling": ("scores [N, T, {classes}] for a target {wanted}", _token_scores),
    "reconstruction": ("{wanted}, the shape of what is reconstructed", _same),
}
