"""READ THIS FIRST: the whole run, from a model and data to a pruned, INT8, exported, measured model and a report.

Every stage reads what the stage before it left on the disk and leaves its own artefacts there, so a run that is
killed at any instant goes on with ``resume=True`` and ends in the same bytes. Everything that can be wrong with the
input is found before the first write.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from edgekit import disk, preflight, results, runtime
from edgekit.bench import bench
from edgekit.export import export_onnx
from edgekit.fuse import layer_errors, lower
from edgekit.graph import Graph, cost
from edgekit.graph.canonical import fold_batch_norm
from edgekit.journal import Journal
from edgekit.preflight import Job
from edgekit.progress import Progress
from edgekit.prune import prune
from edgekit.quant import quantize
from edgekit.train import predict, train


def run(
    recipe: str | Path,
    out: str | Path,
    *,
    resume: bool = False,
    fresh: bool = False,
    overrides: Sequence[str] = (),
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Carry out a recipe in a run directory.

    Args:
        recipe: name of a recipe that ships, or path of a YAML file.
        out: the run directory; made if it is not there.
        resume: go on with the run that ``out`` holds.
        fresh: delete the run that ``out`` holds and begin again.
        overrides: recipe values, such as ``"prune.ratio=0.3"``.
        progress: where to show how far the run is; nothing is shown without it.

    Returns:
        The content of ``results.json``.

    Raises:
        EdgekitError: a recipe, data or model that cannot be used (nothing is written then), or a gate that failed
            (the results are written, the models are in ``rejected/``).
    """
    job = preflight.prepare(recipe, overrides)
    progress = progress or Progress(quiet=True)
    with disk.run_directory(Path(out), resume=resume, fresh=fresh) as directory, progress:
        journal = Journal(directory, job.about(), progress)
        disk.write_file(directory / "recipe.lock.yaml", job.lock())
        try:
            stages(job, journal, progress)
            content = results.collect(job, journal, out)
            results.publish(content, journal)
        except BaseException as error:
            journal.write("interrupted" if isinstance(error, KeyboardInterrupt) else "failed", error=str(error))
            raise
        journal.write("complete")
        return content


def stages(job: Job, journal: Journal, progress: Progress) -> None:
    """The road, in order."""
    recipe = job.recipe
    torch.set_num_threads(recipe.threads)
    journal.stage("train", job.depends("train"), lambda folder: _train(job, folder, progress))
    if recipe.prune is not None:
        journal.stage("prune", job.depends("prune"), lambda folder: _prune(job, journal, folder, progress))
    journal.stage("quantize", job.depends("quantize"), lambda folder: _quantize(job, journal, folder))
    journal.stage("lower", job.depends("lower"), lambda folder: _lower(job, journal, folder))
    journal.stage("export", job.depends("export"), lambda folder: _export(job, journal, folder))
    journal.stage("bench", job.depends("bench"), lambda _: _bench(job, journal))


def _train(job: Job, folder: Path, progress: Progress) -> dict[str, Any]:
    recipe = job.recipe
    result = train(job.graph, job.data.train, recipe.train, recipe.seed, progress=progress.step)
    result.graph.save(folder / "float.safetensors")
    return {**result.report.to_json(), **_size(result.graph), "accuracy": job.accuracy(predict(result.graph))}


def _prune(job: Job, journal: Journal, folder: Path, progress: Progress) -> dict[str, Any]:
    recipe, options = job.recipe, job.recipe.prune
    assert options is not None
    trained = Graph.load(journal.path("train", "float.safetensors"))
    result = prune(
        trained,
        options.ratio,
        importance=options.importance,
        scope=options.scope,
        round_to=options.round_to,
        exclude=options.exclude,
        data=job.training_batches() if options.importance == "taylor" else None,
        loss=torch.nn.functional.cross_entropy,
    )
    graph, report = result.graph, result.report.to_json()
    report["accuracy_before_recovery"] = job.accuracy(predict(graph))
    if options.recover is not None:
        recovered = train(graph, job.data.train, options.recover, recipe.seed + 1, progress=progress.step)
        graph, report["losses"] = recovered.graph, recovered.report.losses
    graph.save(folder / "pruned.safetensors")
    return {**report, **_size(graph), "accuracy": job.accuracy(predict(graph))}


def _quantize(job: Job, journal: Journal, folder: Path) -> dict[str, Any]:
    result = quantize(_float_graph(journal), job.data.calibration.items(), job.recipe.quantize)
    result.graph.save(folder / "quantized.safetensors")
    return {**result.report.to_json(), "accuracy": job.accuracy(predict(result.graph))}


def _lower(job: Job, journal: Journal, folder: Path) -> dict[str, Any]:
    quantised = Graph.load(journal.path("quantize", "quantized.safetensors"))
    integer = lower(quantised)
    integer.save(folder / "integer.safetensors")
    inputs = [torch.from_numpy(array) for array in job.data.test.inputs]
    errors = layer_errors(fold_batch_norm(_float_graph(journal)), quantised, integer, inputs)
    measured = {"layers": [error.to_json() for error in errors], "accuracy": job.accuracy(predict(integer))}
    return {**measured, **_size(integer)}


def _export(job: Job, journal: Journal, folder: Path) -> dict[str, Any]:
    inputs = [torch.from_numpy(array) for array in job.data.test.inputs]
    tolerance = job.recipe.export.tolerance
    files = {"float.onnx": "train/float.safetensors"}
    if journal.has("prune"):
        files["pruned.onnx"] = "prune/pruned.safetensors"
    reports = []
    for file, artefact in files.items():
        graph = Graph.load(journal.path(*artefact.split("/")))
        reports.append(export_onnx(graph, folder / file, inputs=inputs, tolerance=tolerance))
    quantised = Graph.load(journal.path("quantize", "quantized.safetensors"))
    for target in job.recipe.export.targets:
        file = f"model.{target}.onnx"
        reports.append(export_onnx(quantised, folder / file, target, inputs=inputs))
    scores = {report.file: _file_accuracy(job, folder / report.file, report.target) for report in reports}
    return {"exports": [report.to_json() for report in reports], "accuracy": scores}


def _bench(job: Job, journal: Journal) -> dict[str, Any]:
    """Latency of every file that a runtime on this machine deploys, each beside the float baseline."""
    options, item = job.recipe.bench, job.data.test.items(1)[0]
    limits: dict[str, Any] = {
        "warmup": options.warmup,
        "min_samples": options.min_samples,
        "min_seconds": options.min_seconds,
    }
    baseline = runtime.load(journal.path("export", "float.onnx"), threads=options.threads)
    measured = {}
    for report in journal.metrics("export")["exports"]:
        if report["target"] == "onnxruntime":
            file = report["file"]
            runner = runtime.load(journal.path("export", file), threads=options.threads)
            against = None if file == "float.onnx" else baseline
            measured[file] = bench(runner, inputs=item, against=against, **limits).to_json()
    return {"bench": measured}


def _float_graph(journal: Journal) -> Graph:
    """The graph that is quantised: pruned and recovered, or as trained."""
    pruned = journal.has("prune")
    return Graph.load(
        journal.path("prune", "pruned.safetensors") if pruned else journal.path("train", "float.safetensors")
    )


def _file_accuracy(job: Job, path: Path, target: str) -> dict[str, float]:
    """Accuracy of a file; one for TensorRT runs as plain float ONNX, without optimisation."""
    runner = runtime.OnnxRunner(path, threads=job.recipe.threads, optimise=target == "onnxruntime")
    return job.accuracy(runner.run)


def _size(graph: Graph) -> dict[str, int]:
    return {"macs": cost.total_macs(graph), "parameters": cost.total_parameters(graph)}
