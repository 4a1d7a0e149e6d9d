"""Float nets to quantise: trained as recipes say, once, and kept in a folder between benchmarks.

A row is a recipe that ships, with overrides where it takes another net. Calibration items are the recipe's own, of its
training set; test items are its held-out ones, or these shifted and with noise, so that there are thousands.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import edgekit as ek
from edgekit import disk, models, preflight, quant, recipe
from edgekit.data import Split, augment
from edgekit.graph import Graph
from edgekit.quant import seams
from edgekit.stages import fit
from edgekit.train.metrics import BATCH, predict
from edgekit.train.objectives import Objective, objective

HERE = Path(__file__).resolve()
SPREAD = 100.0  # of the channels' ranges, in the net that is made hard on purpose


@dataclass(frozen=True)
class Row:
    """What to train and test.

    Attributes:
        recipe: that ships.
        overrides: of it.
        seeds: of weights, order and split, from 0.
        varied: how many test items to make by shift and noise; None takes the held-out ones as they are.
        spread: rescales channels up to this far apart; the float net computes the same.
        transformer: told to quantisers that ask.
    """

    recipe: str
    overrides: tuple[str, ...] = ()
    seeds: int = 3
    varied: int | None = None
    spread: float | None = None
    transformer: bool = False


_SEPARABLE = (
    f"model={{file: {HERE}, object: separable_net}}",
    "train={epochs: 60, learning_rate: 3e-3, optimizer: adamw, augment: true}",
)
_VIT = (
    "model={name: vit, args: {in_channels: 1, classes: 10, size: 8, patch: 2, width: 32}}",
    "train={epochs: 200, learning_rate: 2e-3, optimizer: adamw, augment: true}",
)
_ENCODER = (
    "model={name: encoder, args: {classes: 5}}",
    "data.text.length=64",
    "train={epochs: 6, learning_rate: 2e-3, optimizer: adamw}",
)
_GRU = (f"model={{file: {HERE}, object: gru_net}}",)
ROWS = {
    "digits": Row("digits", varied=5400),
    "digits-mlp": Row("digits-mlp", seeds=8, varied=5400),  # trained in seconds
    "separable": Row("digits", _SEPARABLE, varied=5400),
    "separable-hard": Row("digits", _SEPARABLE, varied=5400, spread=SPREAD),
    "vit": Row("digits", _VIT, varied=5400, transformer=True),
    "speech": Row("speech", varied=5040),
    "speech-gru": Row("speech", _GRU, varied=5040),
    "anomaly": Row("anomaly"),
    "text": Row("text"),
    "text-encoder": Row("text", _ENCODER, transformer=True),
    "cancer": Row("cancer", seeds=20),
    "volatility": Row("volatility", seeds=20),
    "simple_nn": Row("simple_nn", seeds=20),
}


@dataclass(frozen=True)
class Case:
    """A trained float net with its data.

    Attributes:
        graph: from raw inputs, preprocessing included.
        net: the same net behind its preprocessing, for quantisers that would round the preprocessing too.
        calibration, test: for ``graph``; ``features`` and ``net_test`` are the same items for ``net``.
        judge: of outputs.
        facts: what was trained on what, as plain JSON values.
    """

    name: str
    graph: Graph
    net: Graph
    calibration: Split
    features: Split
    test: Split
    net_test: Split
    judge: Objective
    transformer: bool
    facts: dict[str, Any] = field(default_factory=dict)


class Separable(nn.Sequential):
    """A depthwise and a pointwise convolution, each with batch norm and ReLU."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        depthwise = nn.Conv2d(inputs, inputs, 3, stride, 1, groups=inputs, bias=False)
        pointwise = nn.Conv2d(inputs, outputs, 1, bias=False)
        super().__init__(
            *(depthwise, nn.BatchNorm2d(inputs), nn.ReLU()), *(pointwise, nn.BatchNorm2d(outputs), nn.ReLU())
        )


def separable_net() -> nn.Module:
    """Six separable convolutions, for digits of 8x8 pixels."""
    sizes = [(16, 32, 1), (32, 32, 2), (32, 48, 1), (48, 48, 1), (48, 64, 2), (64, 64, 1)]
    stem = nn.Sequential(nn.Conv2d(1, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU())
    layers = [stem, *(Separable(*size) for size in sizes), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10)]
    return nn.Sequential(*layers)


class Recurrent(nn.Module):
    """A GRU that reads a spectrogram [N, 1, frames, bands] frame by frame."""

    def __init__(self) -> None:
        super().__init__()
        self.net = ek.models.create("gru_classifier")

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits."""
        logits: Tensor = self.net(x.squeeze(1))
        return logits


def gru_net() -> nn.Module:
    """One layer of 64 units for twelve words."""
    return Recurrent()


def trained(name: str, seed: int, cache: Path) -> Case:
    """Train one row with one seed, or read it from ``cache``."""
    row = ROWS[name]
    overrides = (*row.overrides, f"seed={seed}")
    key = hashlib.sha256(repr((row.recipe, overrides)).replace(str(HERE), "").encode()).hexdigest()[:8]
    folder = cache / f"{name.removesuffix('-hard')}-{seed}-{key}"
    if not (folder / "facts.json").exists():
        _train(row, overrides, folder)
    return _read(name, row, seed, folder)


def _train(row: Row, overrides: tuple[str, ...], folder: Path) -> None:
    job = preflight.prepare(row.recipe, overrides)
    torch.set_num_threads(job.recipe.threads)
    graph = fit(job, job.graph, job.recipe.train, job.recipe.seed).graph
    data = job.data
    folder.mkdir(parents=True, exist_ok=True)
    graph.save(folder / "float.safetensors")
    net, few = graph, torch.from_numpy(data.train.inputs[0][:2])
    if data.preprocess is not None:
        ek.capture(data.preprocess, few).save(folder / "front.safetensors")
        net = _behind(job, graph, data.preprocess(few))
    net.save(folder / "net.safetensors")
    for part, split in (("calibration", data.calibration), ("test", data.test)):
        np.savez(folder / f"{part}.npz", inputs=split.inputs[0], targets=split.targets[0])
    facts = {"recipe": row.recipe, "classes": data.classes, "trained_on": len(data.train)}
    disk.write_file(folder / "facts.json", json.dumps(facts).encode())


def _behind(job: preflight.Job, graph: Graph, features: Tensor) -> Graph:
    """The model alone, with the weights that were trained behind the preprocessing."""
    model = models.build(job.recipe.model, recipe.locate(job.source).parent)
    values = {key.removeprefix("model."): value for key, value in graph.module.state_dict().items()}
    wanted = model.state_dict()
    model.load_state_dict({key: values.get(key, wanted[key]) for key in wanted})
    return ek.capture(model.eval(), features)


def _read(name: str, row: Row, seed: int, folder: Path) -> Case:
    facts = json.loads((folder / "facts.json").read_text())
    graph, net = Graph.load(folder / "float.safetensors"), Graph.load(folder / "net.safetensors")
    calibration, held_out = (_split(folder / f"{part}.npz") for part in ("calibration", "test"))
    test = held_out if row.varied is None else _varied(held_out, row.varied, seed)
    calibration = _without(calibration, _digests(held_out))  # cut short, two lines of text may be one
    shared = set(_digests(calibration)) & set(_digests(test))
    front = folder / "front.safetensors"
    features, net_test = calibration, test
    if front.exists():
        features, net_test = (_through(Graph.load(front), split) for split in (calibration, test))
    if row.spread is not None:
        graph = net = spread(net, row.spread)
    task = recipe.load(row.recipe).task
    facts |= {
        "calibration": f"{len(calibration)} training items of recipe {row.recipe}, seed {seed}",
        "test": f"{len(held_out)} held-out items"
        + ("" if row.varied is None else f", shifted and with noise: {len(test)} of them"),
        "items_in_both": len(shared),
    }
    judge = objective(task, recipe.locate(row.recipe).parent, facts["classes"])
    return Case(name, graph, net, calibration, features, test, net_test, judge, row.transformer, facts)


def spread(graph: Graph, by: float, seed: int = 0) -> Graph:
    """A copy that computes the same, with the ranges of channels up to ``by`` apart."""
    graph, generator = quant.prepare(graph), torch.Generator().manual_seed(seed)
    for node in list(seams.sources(graph, *seams.LAYERS)):
        seam = seams.find(graph, node)
        if isinstance(seam, seams.Seam):
            channels = node.meta["val"].shape[seam.places[node].axis]
            exponents = torch.rand(channels, generator=generator, dtype=torch.float64) - 0.5
            seams.rescale(graph, seam, by**exponents)
    return graph.refresh()


def _split(path: Path) -> Split:
    with np.load(path) as arrays:
        return Split((arrays["inputs"],), (arrays["targets"],))


def _varied(split: Split, items: int, seed: int) -> Split:
    """The recipe's ``varied`` set, for sounds as for images."""
    turns = np.arange(items) % len(split)
    taken = split.take(turns)
    return Split((augment(taken.inputs[0], np.random.default_rng(seed + 2)),), taken.targets)


def _through(front: Graph, split: Split) -> Split:
    run = predict(front)
    return Split((np.concatenate([run(*part.inputs)[0] for part in split.batches(BATCH)]),), split.targets)


def _without(split: Split, others: list[bytes]) -> Split:
    return split.take(np.flatnonzero([digest not in others for digest in _digests(split)]))


def _digests(split: Split) -> list[bytes]:
    return [hashlib.sha256(np.ascontiguousarray(item).data).digest() for item in split.inputs[0]]
