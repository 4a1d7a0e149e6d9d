"""Everything a run needs, read and checked before the first byte is written."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from edgekit import data, device, models, quant, recipe, userfile
from edgekit.data import Dataset, Split
from edgekit.data.preprocess import Deployed
from edgekit.errors import ModelError, RecipeError, did_you_mean
from edgekit.graph import Graph, capture, save
from edgekit.options import QuantConfig, Recipe, RecoverConfig, TaskConfig, UserObject
from edgekit.train import placement, precision
from edgekit.train.metrics import BATCH, Run, predict
from edgekit.train.objectives import Objective, Tensors, objective
from edgekit.train.shapes import check_outputs

_LIBRARIES = ("torch", "torchmetrics", "onnx", "onnxscript", "onnxruntime", "numpy")
_FEW = 2  # items that a model and a loss are tried on


@dataclass(frozen=True)
class Job:
    """A recipe that has passed all checks, with its data, its untrained graph and what judges it."""

    recipe: Recipe
    data: Dataset
    graph: Graph
    objective: Objective
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
            held_out = self.splits().values()
            watched = () if self.data.validation is None else (self.data.validation,)
            section |= {"data": _digest(self.data.train, *watched, *held_out)}
            section |= {"model": hashlib.sha256(save.serialise(self.graph)).hexdigest()}
            section |= {"task": values["task"], "own": self._own_digests()}
        if stage == "quantize":
            section |= {"data": _digest(self.data.calibration)}
        if stage in ("train", "prune", "qat"):
            section |= {"device": placement.choose(self.recipe.device).type}
        if stage == "bench":
            section |= {"machine": device.fingerprint()}
        return section | {"versions": {name: _version(name) for name in _LIBRARIES}}

    def splits(self) -> dict[str, Split]:
        """The held-out sets by name."""
        held_out = {"test": self.data.test}
        return held_out | ({"varied": self.data.varied} if self.data.varied is not None else {})

    def measure(self, run: Run) -> dict[str, Any]:
        """``metrics``: the task's metrics on every held-out set; ``unmeasured``: why some of them are None."""
        found = {name: self.objective.measure(run, split) for name, split in self.splits().items()}
        reasons = {name: measured.reasons for name, measured in found.items() if measured.reasons}
        return {"metrics": {name: measured.values for name, measured in found.items()}, "unmeasured": reasons}

    def training_batches(self) -> Iterator[tuple[list[Tensor], tuple[Tensors, Tensors]]]:
        """The training set once, for importance by Taylor expansion: inputs, and what else :meth:`loss` takes."""
        for batch in self.data.train.batches(self.recipe.train.batch_size):
            inputs, targets = _tensors(batch.inputs), _tensors(batch.targets)
            yield list(inputs), (targets, inputs)

    def loss(self, result: Any, rest: tuple[Tensors, Tensors]) -> Tensor:
        """The task's loss of what a graph returns and of (targets, inputs)."""
        return self.objective.loss((result,) if isinstance(result, Tensor) else tuple(result), *rest)

    def _own_digests(self) -> list[str]:
        base, task = recipe.locate(self.source).parent, self.recipe.task
        return [userfile.digest(own.file, base, own.args) for own in _own((task.loss, *task.metrics))]


def prepare(source: str | Path, overrides: Sequence[str] = ()) -> Job:
    """Load and check recipe, data, task and model; nothing is written.

    Raises:
        EdgekitError: RecipeError, DataError, CalibrationError, ModelError, CaptureError or OperatorError, as it is;
            UnsupportedError for a device that is not there.
    """
    loaded = recipe.load(source, overrides)
    base, task = recipe.locate(source).parent, loaded.task
    place = placement.choose(loaded.device)
    options = loaded.quantize or QuantConfig(allow_few=True)
    dataset = data.load(
        loaded.data, loaded.seed, options.calibration_samples, base, task=task, allow_few=options.allow_few
    )
    judge = objective(task, base, dataset.classes)
    _check_gates(loaded, judge)
    torch.manual_seed(loaded.seed)
    model = _deployed(models.build(loaded.model, base), dataset, task)
    graph = capture(model, _tensors(array[:_FEW] for array in dataset.train.inputs))
    _try(graph, dataset, judge, task)
    _check_training(loaded, graph, place)
    if loaded.quantize is not None:
        quant.check(graph, loaded.quantize)
    return Job(loaded, dataset, graph, judge, str(source), tuple(overrides))


def calibration_items(source: str, config: QuantConfig, seed: int | None = None) -> list[Any]:
    """Calibration items from an ``.npz`` file's array ``x``, or from the training data of a recipe.

    Raises:
        EdgekitError: as :func:`prepare`.
    """
    if source.endswith(".npz"):
        return data.npz_items(Path(source))[: config.calibration_samples]
    loaded = recipe.load(source, [f"seed={seed}"] if seed is not None else ())
    base = recipe.locate(source).parent
    found = data.load(
        loaded.data, loaded.seed, config.calibration_samples, base, task=loaded.task, allow_few=config.allow_few
    )
    return found.calibration.items()


def held_out_items(source: str, count: int, seed: int | None = None) -> list[Any]:
    """The first items from an ``.npz`` file's array ``x``, or of the held-out data of a recipe.

    Raises:
        EdgekitError: as :func:`prepare`.
    """
    if source.endswith(".npz"):
        return data.npz_items(Path(source))[:count]
    loaded = recipe.load(source, [f"seed={seed}"] if seed is not None else ())
    found = data.load(loaded.data, loaded.seed, 1, recipe.locate(source).parent, task=loaded.task, allow_few=True)
    return found.test.items(count)


def _deployed(model: nn.Module, dataset: Dataset, task: TaskConfig) -> nn.Module:
    """The model behind its preprocessing; a reconstruction is held against what comes out of that."""
    if dataset.preprocess is None:
        return model
    return Deployed(dataset.preprocess, model, features=task.kind == "reconstruction")


def _check_gates(loaded: Recipe, judge: Objective) -> None:
    for key, bounds in (("at_least", loaded.gates.at_least), ("at_most", loaded.gates.at_most)):
        for name in bounds:
            if name not in judge.metrics:
                raise RecipeError(
                    f"gates.{key}: {name!r} is not measured.{did_you_mean(name, judge.metrics)}",
                    f"The task's metrics are: {', '.join(judge.metrics)}.",
                    "Change the gate, or add it to `task.metrics`.",
                )


def _check_training(loaded: Recipe, graph: Graph, place: torch.device) -> None:
    recover = loaded.prune.recover if loaded.prune is not None else None
    for section, config in (("train", loaded.train), ("prune.recover", recover), ("qat", loaded.qat)):
        if config is None:
            continue
        precision.check(config.precision, place, graph)
        distill = config.distill if isinstance(config, RecoverConfig) else None
        if distill is None or not distill.features:
            continue
        trained = quant.prepare(graph) if section == "qat" else graph
        names = [node.name for node in trained.nodes if node.op == "call_function"]
        for name in distill.features:
            if name not in names:
                raise RecipeError(
                    f"{section}.distill.features: the model has no node {name!r}.{did_you_mean(name, names)}",
                    fix="`edgekit inspect` shows the nodes of a graph that `edgekit train` saved.",
                )


def _try(graph: Graph, dataset: Dataset, judge: Objective, task: TaskConfig) -> None:
    """The untrained model, the loss and the user's metrics on a few items."""
    few = dataset.train.take(np.arange(min(_FEW, len(dataset.train))))
    run = predict(graph)
    outputs = run(*few.inputs)
    if not all(np.isfinite(output).all() for output in outputs):
        raise ModelError(
            "the untrained model gives NaN or infinite values on the first items.",
            fix="Look at its initial weights and at the scale of the data.",
        )
    check_outputs(task.kind, task.loss, outputs, few.targets, few.inputs, dataset.classes)
    _try_loss(graph, few, judge)
    if any(_own(task.metrics)):
        judge.measure(run, dataset.test.take(np.arange(min(BATCH, len(dataset.test)))))


def _try_loss(graph: Graph, few: Split, judge: Objective) -> None:
    inputs = _tensors(few.inputs)
    result = graph(*inputs)
    loss = judge.loss((result,) if isinstance(result, Tensor) else tuple(result), _tensors(few.targets), inputs)
    if not isinstance(loss, Tensor) or loss.dim() or not bool(torch.isfinite(loss)):
        found = f"a tensor {list(loss.shape)}" if isinstance(loss, Tensor) and loss.dim() else repr(loss)
        raise RecipeError(
            f"task.loss gives {found} on the first items.", fix="It must be one finite number, a tensor without shape."
        )
    if not loss.requires_grad:
        raise RecipeError(
            "task.loss cannot be differentiated.",
            fix="Compute it from the output by torch's functions, without detach() or item().",
        )


def _own(wanted: Iterable[object]) -> Iterator[UserObject]:
    return (each for each in wanted if isinstance(each, UserObject))


def _tensors(arrays: Iterable[NDArray[Any]]) -> Tensors:
    return tuple(torch.from_numpy(np.ascontiguousarray(array)) for array in arrays)


def _digest(*splits: Split) -> str:
    """SHA-256 of all arrays, their types and shapes."""
    hasher = hashlib.sha256()
    for split in splits:
        arrays: list[NDArray[Any]] = [*split.inputs, *split.targets]
        for array in arrays:
            hasher.update(f"{array.dtype}{array.shape}".encode())
            hasher.update(np.ascontiguousarray(array).data)
    return hasher.hexdigest()


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
