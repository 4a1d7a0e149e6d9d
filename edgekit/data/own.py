"""A data set of the user's own: what the function that ``data.dataset`` names may return.

- a ``torch.utils.data.Dataset``, or any object with ``len(d)`` and ``d[i]``: an item is a tuple
  ``(input, ..., target)``, or a dict whose last entry is the target; tensors, arrays or numbers;
- a :class:`edgekit.data.Split` of arrays, or a tuple ``(inputs, targets)`` of arrays or tuples of them;
- a dict ``{"train": ..., "test": ...}`` of any of these, whose test items stay the test set;
- a :class:`edgekit.data.source.Source`, which may also name classes, groups and a preprocessing.

Everything is read once into arrays and checked: inputs become float32, uint8 or int64, targets float32 or int64.

Example, in ``mine.py`` beside the recipe (``data: {dataset: {file: mine.py, object: load}}``)::

    def load():
        return torchvision.datasets.MNIST("~/mnist", transform=torchvision.transforms.ToTensor())
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgekit import userfile
from edgekit.data.arrays import as_input, as_target
from edgekit.data.source import Preprocess, Source, allocate
from edgekit.data.split import Arrays, Split
from edgekit.errors import DataError
from edgekit.options import TaskKind, UserObject

if TYPE_CHECKING:
    from torch import nn

_FIX = "It is called with `data.dataset.args`; what it may return is in edgekit.data.own."


def read_own(config: UserObject, base: Path, _: TaskKind) -> Source:
    """Call the user's function and take what it returns into arrays.

    Raises:
        DataError: there is no such function, it fails, or returns what cannot be used; names the item.
    """
    function, what = userfile.find(config.file, config.object, base, DataError)
    found = userfile.call(function, f"{what} cannot load data", DataError, _FIX, **config.args)
    if isinstance(found, Source):
        return _checked(what, found)
    if isinstance(found, Mapping):
        if set(found) != {"train", "test"}:
            raise DataError(f"{what} returned a dict of {sorted(map(str, found))}.", "It takes train and test.", _FIX)
        train, test = _split(f"{what}, train", found["train"]), _split(f"{what}, test", found["test"])
        return _checked(what, Source(train, test, facts={"kind": "own"}))
    return Source(_split(what, found), facts={"kind": "own"})


def _checked(what: str, source: Source) -> Source:
    """What a user's own source says about its items is held against them."""
    items, test = _split(what, source.items), None if source.test is None else _split(f"{what}, test", source.test)
    groups = None if source.groups is None else as_target(f"{what}: groups", np.asarray(source.groups), len(items))
    if groups is not None and (groups.dtype != np.int64 or groups.ndim != 1):
        raise DataError(f"{what}: groups are {groups.dtype} {list(groups.shape)}.", fix="Give one integer an item.")
    if test is not None:
        forms = [[(array.dtype, array.shape[1:]) for array in (*part.inputs, *part.targets)] for part in (items, test)]
        if forms[0] != forms[1]:
            raise DataError(f"{what}: test items have other types or shapes than training items.", fix=_FIX)
    preprocess = None if source.preprocess is None else _guarded(what, source.preprocess)
    return replace(source, items=items, test=test, groups=groups, preprocess=preprocess)


def _guarded(what: str, preprocess: Preprocess) -> Preprocess:
    """The user's own preprocessing: what it raises is told with its line, and it may learn nothing by training."""

    def build(train: Split) -> nn.Module:
        module: nn.Module = userfile.call(preprocess, f"{what}: preprocess fails", DataError, _FIX, train)
        if next(module.parameters(), None) is not None:
            raise DataError(f"{what}: preprocess has parameters.", "It is not trained.", "Register them as buffers.")
        return module

    return build


def _split(what: str, found: Any) -> Split:
    if isinstance(found, Split):
        found = (found.inputs, found.targets)
    if isinstance(found, tuple) and len(found) == 2:
        inputs, targets = (part if isinstance(part, (tuple, list)) else (part,) for part in found)
        return _fit(what, [_array(value) for value in inputs], [_array(value) for value in targets])
    if hasattr(found, "__getitem__") and hasattr(found, "__len__") and not isinstance(found, (str, bytes, np.ndarray)):
        *stacked, target = _stack(what, found)
        return _fit(what, stacked, [target])
    raise DataError(f"{what} returned {type(found).__name__}.", "That is no data set.", _FIX)


def _fit(what: str, inputs: list[Any], targets: list[Any]) -> Split:
    if not inputs or not targets:
        raise DataError(f"{what} gives {len(inputs)} inputs and {len(targets)} targets.", fix=_FIX)
    checked = tuple(as_input(f"{what}: input {place}", array) for place, array in enumerate(inputs))
    if len({len(array) for array in checked}) > 1:
        raise DataError(f"{what}: the inputs have {[len(array) for array in checked]} items.", fix=_FIX)
    count = len(checked[0])
    return Split(checked, tuple(as_target(f"{what}: target {place}", a, count) for place, a in enumerate(targets)))


def _stack(what: str, items: Any) -> Arrays:
    """Read every item once into arrays that the first one gives the shapes of."""
    count = userfile.call(len, f"{what}: its length cannot be had", DataError, _FIX, items)
    if not count:
        raise DataError(f"{what} has no items.", fix=_FIX)
    stacked: tuple[NDArray[Any], ...] = ()
    for index in range(count):
        values = _values(what, index, items)
        if not stacked:
            stacked = tuple(
                allocate(f"{what}, part {place}", (count, *v.shape), v.dtype) for place, v in enumerate(values)
            )
        forms = [(value.dtype, value.shape) for value in values]
        if forms != [(array.dtype, array.shape[1:]) for array in stacked]:
            raise DataError(
                f"{what}: item {index} is {_words(values)}, item 0 is {_words([array[0] for array in stacked])}.",
                fix="Give all items the same types and shapes.",
            )
        for array, value in zip(stacked, values, strict=True):
            array[index] = value
    return stacked


def _values(what: str, index: int, items: Any) -> list[NDArray[Any]]:
    item = userfile.call(items.__getitem__, f"{what}: item {index} cannot be read", DataError, _FIX, index)
    parts = list(item.values()) if isinstance(item, Mapping) else list(item) if isinstance(item, (tuple, list)) else []
    if len(parts) < 2:
        raise DataError(f"{what}: item {index} is {type(item).__name__}, not (input, ..., target).", fix=_FIX)
    values = [_array(part) for part in parts]
    for place, value in enumerate(values):
        if value.dtype.kind not in "iubf":
            raise DataError(f"{what}: item {index}, part {place}, is {value.dtype}, not numbers.", fix=_FIX)
    return values


def _array(value: Any) -> NDArray[Any]:
    """A tensor of any device, an array or a number as an array."""
    if hasattr(value, "detach"):
        value = value.detach().cpu()
    try:
        return np.asarray(value)
    except (TypeError, ValueError):  # a ragged list, or a type that numpy does not know
        return np.asarray(None)


def _words(values: Any) -> str:
    return ", ".join(f"{value.dtype} {list(value.shape)}" for value in values)
