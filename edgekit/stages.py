"""What each stage of a run does: read the artefact of the stage before, call one public function, leave an artefact.

Each method gets an empty directory for its artefacts and returns its metrics as plain JSON values. Neither holds a time
or a path, so that the same recipe gives the same bytes; the measurements of :meth:`Stages.bench` are the exception.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from edgekit import runtime
from edgekit.bench import bench
from edgekit.debug import diagnose
from edgekit.errors import GateError, UnsupportedError
from edgekit.export import export_onnx
from edgekit.fuse import lower
from edgekit.graph import Graph, cost
from edgekit.journal import Journal
from edgekit.options import PruneConfig, RecoverConfig, TrainConfig
from edgekit.preflight import Job
from edgekit.progress import Progress
from edgekit.prune import PruneResult, prune, sparse
from edgekit.prune.scores import WITH_DATA
from edgekit.quant import quantize
from edgekit.train import TrainResult, predict, train

Metrics = dict[str, Any]
_BATCH = 64  # of items whose values, all layers', are in memory at once


def fit(
    job: Job,
    graph: Graph,
    config: TrainConfig,
    seed: int,
    *,
    teacher: Graph | None = None,
    checkpoint: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> TrainResult:
    """Train a graph on a job's data, for its task.

    Args:
        job: with data, objective and device.
        graph: to begin with; :attr:`Job.graph`, or a pruned one.
        config: the recipe's ``train``, ``prune.recover`` or ``qat``.
        seed: of the order of items, of augmentation and of dropout.
        teacher: the graph before compression; it teaches where ``config`` asks for distillation.
        checkpoint: a directory that a killed training goes on from.
        progress: called after every step.
    """
    learns = isinstance(config, RecoverConfig) and config.distill is not None
    return train(
        graph,
        job.data.train,
        config,
        seed,
        objective=job.objective,
        validation=job.data.validation,
        teacher=teacher if learns else None,
        penalty=None if config.sparsity is None else sparse.penalty(graph, config.sparsity),
        checkpoint=checkpoint,
        device=job.recipe.device,
        progress=progress,
    )


def cut_channels(job: Job, graph: Graph, options: PruneConfig) -> PruneResult:
    """Prune a graph as a recipe says; between steps it recovers, after the last the caller sees to it."""
    return prune(
        graph,
        options.ratios or options.ratio,
        **options.model_dump(exclude={"recover", "ratio", "ratios"}),
        recover=None if options.recover is None else recovery(job, options.recover, graph),
        data=list(job.training_batches()) if options.importance in WITH_DATA else None,
        loss=job.loss,
        seed=job.recipe.seed,
    )


def recovery(job: Job, config: RecoverConfig, teacher: Graph) -> Callable[[Graph], Graph]:
    """What trains a graph after channels were cut from it."""
    return lambda smaller: fit(job, smaller, config, job.recipe.seed + 1, teacher=teacher).graph


class Stages:
    """The stages of one run."""

    def __init__(self, job: Job, journal: Journal, progress: Progress) -> None:
        self._job, self._recipe, self._journal, self._progress = job, job.recipe, journal, progress
        torch.set_num_threads(job.recipe.threads)

    def train(self, folder: Path) -> Metrics:
        """Train the captured model: ``float.safetensors``."""
        result = self._fit(self._job.graph, self._recipe.train, self._recipe.seed)
        result.graph.save(folder / "float.safetensors")
        return result.report.to_json() | self._measured(result.graph)

    def prune(self, folder: Path) -> Metrics:
        """Cut channels and recover by fine-tuning: ``pruned.safetensors``."""
        options = self._recipe.prune
        assert options is not None
        trained = self._load("train", "float.safetensors")
        result = cut_channels(self._job, trained, options)
        graph, metrics = result.graph, result.report.to_json()
        metrics["before_recovery"] = self._job.measure(predict(graph))["metrics"]
        if options.recover is not None:
            recovered = self._fit(graph, options.recover, self._recipe.seed + 1, trained)
            graph, metrics["recovery"] = recovered.graph, recovered.report.to_json()
        graph.save(folder / "pruned.safetensors")
        return metrics | self._measured(graph)

    def quantize(self, folder: Path) -> Metrics:
        """Choose scales from the calibration set: ``quantized.safetensors``, and what it stands for in float."""
        result = quantize(self._float_graph(), self._job.data.calibration.items(), self._recipe.quantize)
        result.graph.save(folder / "quantized.safetensors")
        result.reference.save(folder / "reference.safetensors")
        return result.report.to_json() | self._measured(result.graph)

    def qat(self, folder: Path) -> Metrics:
        """Train what was quantised, with its rounding in the forward pass: ``quantized.safetensors``."""
        options, teacher = self._recipe.qat, self._load("train", "float.safetensors")
        assert options is not None
        result = self._fit(self._quantised_graph(), options, self._recipe.seed + 2, teacher)
        result.graph.save(folder / "quantized.safetensors")
        return result.report.to_json() | self._measured(result.graph)

    def lower(self, folder: Path) -> Metrics:
        """Make the golden, and see what each of its layers lost: ``integer.safetensors``.

        After a training of the quantised graph, what it lost is counted against the same weights in float.
        """
        quantised = self._quantised_graph()
        reference = None if self._journal.has("qat") else self._load("quantize", "reference.safetensors")
        integer = lower(quantised)
        integer.save(folder / "integer.safetensors")
        batches = (part.inputs for part in self._job.data.test.batches(_BATCH))
        found = diagnose(quantised, batches, reference)
        return {"layers": [layer.to_json() for layer in found.layers]} | self._measured(integer)

    def export(self, folder: Path) -> Metrics:
        """Write float baselines and one file for each target; a target that fails is a row that says why.

        Where the recipe does not quantise, the files for targets are in float, too.
        """
        baselines = {"float.onnx": self._load("train", "float.safetensors")}
        if self._journal.has("prune"):
            baselines["pruned.onnx"] = self._float_graph()
        rows = [self._export_one(folder / file, "onnxruntime", graph) for file, graph in baselines.items()]
        final = self._quantised_graph() if self._journal.has("quantize") else self._float_graph()
        for target in self._recipe.export.targets:
            path = folder / f"model.{target}.onnx"
            try:
                rows.append(self._export_one(path, target, final))
            except (GateError, UnsupportedError) as error:
                rows.append({"target": target, "file": path.name, "failure": str(error)})
        written = {row["file"]: row["target"] for row in rows if not row["failure"]}
        return {"exports": rows} | {"files": {f: self._measured_file(folder / f, t) for f, t in written.items()}}

    def bench(self, _: Path) -> Metrics:
        """Latency of every file that a runtime on this machine deploys, each beside the float baseline."""
        options, item = self._recipe.bench, self._job.data.test.items(1)[0]
        files = [row["file"] for row in self._journal.metrics("export")["exports"]]
        limits = options.model_dump(exclude={"threads"})
        measured, baseline = {}, None
        for file in files:
            path = self._journal.path("export", file)
            if "tensorrt" not in file and path.exists():
                runner = runtime.load(path, threads=options.threads)
                measured[file] = bench(runner, inputs=item, against=baseline, **limits).to_json()
                baseline = baseline or runner
        return {"bench": measured}

    def _fit(self, graph: Graph, config: TrainConfig, seed: int, teacher: Graph | None = None) -> TrainResult:
        place, progress = self._journal.checkpoint(), self._progress.step
        return fit(self._job, graph, config, seed, teacher=teacher, checkpoint=place, progress=progress)

    def _export_one(self, path: Path, target: str, graph: Graph) -> Metrics:
        tolerance = self._recipe.export.tolerance
        return export_onnx(graph, path, target, inputs=self._test_inputs(), tolerance=tolerance).to_json()

    def _load(self, stage: str, file: str) -> Graph:
        return Graph.load(self._journal.path(stage, file))

    def _float_graph(self) -> Graph:
        """The last one in float: pruned and recovered, or as trained."""
        pruned = self._journal.has("prune")
        return self._load("prune", "pruned.safetensors") if pruned else self._load("train", "float.safetensors")

    def _quantised_graph(self) -> Graph:
        """The last one: trained, or as quantised."""
        return self._load("qat" if self._journal.has("qat") else "quantize", "quantized.safetensors")

    def _test_inputs(self) -> list[Tensor]:
        return [torch.from_numpy(array) for array in self._job.data.test.inputs]

    def _measured_file(self, path: Path, target: str) -> Metrics:
        """What a file is worth; one for TensorRT runs as plain float ONNX, without optimisation."""
        optimise = None if target == "onnxruntime" else False
        runner = runtime.OnnxRunner(path, threads=self._recipe.threads, optimise=optimise)
        return self._job.measure(runner.run)

    def _measured(self, graph: Graph) -> Metrics:
        size = {"macs": cost.total_macs(graph), "parameters": cost.total_parameters(graph)}
        return size | self._job.measure(predict(graph))
