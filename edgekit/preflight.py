"""Everything a run needs, read and checked before the first byte is written."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from edgekit import data, device, models, quant, recipe
from edgekit.data import Dataset, Split
from edgekit.errors import DataError, ModelError
from edgekit.graph import Graph, capture, save
from edgekit.options import QuantConfig, Recipe
from edgekit.train.metrics import Run, accuracy, predict

_LIBRARIES = ("torch", "onnx", "onnxscript", "onnxruntime", "numpy")


@dataclass(frozen=True)
class Job:
    """A recipe that has passed all checks, with its data and its untrained graph."""

    recipe: Recipe
    data: Dataset
    graph: Graph
    source: str
    overrides: tuple[str, ...]

    def lock(self) -> bytes:
        """The recipe with every default written out."""
        return recipe.dump(self.recipe).encode()

    def about(self) -> dict[str, Any]:
        """What run.json says of how the run began."""
        return {
            "recipe": self.source,
            "overrides": list(self.overrides),
            "seed": self.recipe.seed,
            "environment": device.describe(),
        }

    def depends(self, stage: str) -> dict[str, Any]:
        """What decides a stage's outcome besides the stages before it."""
        values = self.recipe.model_dump(mode="json")
        section: dict[str, Any] = {"options": values.get(stage), "seed": values["seed"], "threads": values["threads"]}
        if stage == "train":
            section |= {"data": self._data_digest(), "model": hashlib.sha256(save.serialise(self.graph)).hexdigest()}
        if stage == "bench":
            section |= {"machine": device.fingerprint()}
        return section | {"versions": {name: _version(name) for name in _LIBRARIES}}

    def splits(self) -> dict[str, Split]:
        """The held-out sets by name."""
        held_out = {"test": self.data.test}
        return held_out | ({"varied": self.data.varied} if self.data.varied is not None else {})

    def accuracy(self, run: Run) -> dict[str, float]:
        """Accuracy on every held-out set."""
        return {name: accuracy(run, split) for name, split in self.splits().items()}

    def training_batches(self) -> Iterator[tuple[list[Tensor], Tensor]]:
        """The training set once, for importance by Taylor expansion."""
        for batch in self.data.train.batches(self.recipe.train.batch_size):
            yield [torch.from_numpy(array) for array in batch.inputs], torch.from_numpy(batch.targets[0])

    def _data_digest(self) -> str:
        hasher = hashlib.sha256()
        for split in (self.data.train, self.data.calibration, *self.splits().values()):
            arrays: list[NDArray[Any]] = [*split.inputs, *split.targets]
            for array in arrays:
                hasher.update(f"{array.dtype}{array.shape}".encode())
                hasher.update(array.tobytes())
        return hasher.hexdigest()


def prepare(source: str | Path, overrides: Sequence[str] = ()) -> Job:
    """Load and check recipe, data and model; nothing is written.

    Raises:
        EdgekitError: RecipeError, DataError, CalibrationError, ModelError, CaptureError or OperatorError, as it is.
    """
    loaded = recipe.load(source, overrides)
    base = recipe.locate(source).parent
    options = loaded.quantize or QuantConfig(allow_few=True)
    dataset = data.load(loaded.data, loaded.seed, options.calibration_samples, base, allow_few=options.allow_few)
    torch.manual_seed(loaded.seed)
    graph = capture(models.build(loaded.model, base), tuple(torch.from_numpy(a[:2]) for a in dataset.train.inputs))
    _check_outputs(graph, dataset)
    _check_finite(graph, dataset)
    quant.check(graph)
    return Job(loaded, dataset, graph, str(source), tuple(overrides))


def calibration_items(source: str, config: QuantConfig, seed: int | None = None) -> list[Any]:
    """Calibration items from an ``.npz`` file's array ``x``, or from the training data of a recipe.

    Raises:
        EdgekitError: as :func:`prepare`.
    """
    if source.endswith(".npz"):
        return data.npz_items(Path(source))[: config.calibration_samples]
    loaded = recipe.load(source, [f"seed={seed}"] if seed is not None else ())
    base = recipe.locate(source).parent
    found = data.load(loaded.data, loaded.seed, config.calibration_samples, base, allow_few=config.allow_few)
    return found.calibration.items()


def _check_outputs(graph: Graph, dataset: Dataset) -> None:
    shape = graph.outputs[0].shape
    if len(shape) != 2 or (shape[1] or 0) < dataset.classes:
        wanted = f"[N, {dataset.classes}]"
        raise DataError(
            f"the model gives {list(shape)}, the data has {dataset.classes} classes.",
            fix=f"Its first output must be {wanted}.",
        )


def _check_finite(graph: Graph, dataset: Dataset) -> None:
    (scores, *_) = predict(graph)(*(array[:2] for array in dataset.train.inputs))
    if not np.isfinite(scores).all():
        raise ModelError(
            "the untrained model gives NaN or infinite values on the first items.",
            fix="Look at its initial weights and at the scale of the data.",
        )


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
