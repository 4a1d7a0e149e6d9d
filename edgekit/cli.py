"""The command line: each verb is a thin call of the public function of its name.

Nothing heavy is imported here: ``edgekit --help`` needs neither torch nor numpy. What a verb works with is imported
inside it.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from edgekit import __version__
from edgekit.answer import Document, Json, document, emit
from edgekit.errors import EXIT_BUG, EdgekitError, GateError, Interrupted, UsageError
from edgekit.kernel_cli import kernels

app = typer.Typer(
    name="edgekit",
    help="From a PyTorch model to the smallest, fastest INT8 artefact that still meets its accuracy, with proof.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
recipes = typer.Typer(help="List, show and describe recipes.", no_args_is_help=True)
app.add_typer(recipes, name="recipe")
app.add_typer(kernels, name="kernels")

RecipeArgument = Annotated[str, typer.Argument(help="A recipe that ships, or a YAML file.")]
GraphArgument = Annotated[Path, typer.Argument(help="A graph saved as .safetensors.")]
ArtefactArgument = Annotated[Path, typer.Argument(help="A saved graph or an .onnx file.")]
Data = Annotated[str, typer.Option(help="The data to run on: a recipe, or an .npz with the array x.")]
Samples = Annotated[int, typer.Option(help="How many items.")]
Output = Annotated[Path, typer.Option("-o", "--out", help="The file to write.")]
Seed = Annotated[int | None, typer.Option("--seed", help="Seed; the recipe's own by default.")]
Set = Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a value of the recipe.")]
Threads = Annotated[int, typer.Option(help="Threads of one inference.")]


@app.command()
def run(
    recipe: RecipeArgument,
    out: Annotated[Path, typer.Option("-o", "--out", help="The run directory.")],
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run that the directory holds.")] = False,
    fresh: Annotated[bool, typer.Option("--fresh", help="Delete the run that the directory holds.")] = False,
    overrides: Set = None,
    seed: Seed = None,
    as_json: Json = False,
) -> None:
    """Carry out a recipe: train, prune, quantise, export, measure, report."""
    from edgekit import pipeline
    from edgekit.progress import Progress

    values, progress = _overrides(overrides, seed), Progress(quiet=as_json)
    try:
        content = pipeline.run(recipe, out, resume=resume, fresh=fresh, overrides=values, progress=progress)
    except GateError:
        if as_json:
            typer.echo((out / "results.json").read_text("utf-8"))
        raise
    except KeyboardInterrupt as error:
        raise Interrupted(
            "interrupted.", fix=f"`edgekit run {recipe} -o {out} --resume` goes on with what is done."
        ) from error
    emit(content, as_json, lambda: _summary(content, out))


@app.command()
def train(recipe: RecipeArgument, out: Output, overrides: Set = None, seed: Seed = None, as_json: Json = False) -> None:
    """Train a recipe's model and save it as a graph."""
    from edgekit import preflight
    from edgekit.progress import Progress
    from edgekit.stages import fit
    from edgekit.train import leads, predict

    _writable(out)
    job = preflight.prepare(recipe, _overrides(overrides, seed))
    with Progress(quiet=as_json or not leads()) as progress, progress.stage("train"):
        result = fit(job, job.graph, job.recipe.train, job.recipe.seed, progress=progress.step)
    if not leads():
        return  # another process of torchrun holds the same graph and writes it
    result.graph.save(out)
    task, measured = job.objective.to_json(), job.measure(predict(result.graph))
    content = {"file": str(out), "task": task, **measured, **result.report.to_json()}
    emit(content, as_json, lambda: f"{out}: {_quality(measured, task)}")


@app.command()
def prune(
    graph: GraphArgument,
    out: Output,
    ratio: Annotated[float | None, typer.Option(help="Share of channels to cut, between 0 and 1.")] = None,
    target_macs: Annotated[float | None, typer.Option(help="Or the share of multiply-accumulates to keep.")] = None,
    target_parameters: Annotated[float | None, typer.Option(help="Or the share of parameters to keep.")] = None,
    importance: Annotated[
        str, typer.Option(help="l1, l2, batch_norm, fpgm, lamp, random; with --recipe taylor, hessian, activation.")
    ] = "l2",
    scope: Annotated[str, typer.Option(help="local, global or isomorphic.")] = "local",
    blocks: Annotated[str, typer.Option(help="Heads and groups go whole, or channels within them, or both.")] = "whole",
    round_to: Annotated[
        str, typer.Option(help="Widths stay multiples of this number, or of what a runtime or device wants.")
    ] = "1",
    steps: Annotated[int, typer.Option(help="So many steps of about equal shares.")] = 1,
    exclude: Annotated[list[str] | None, typer.Option(help="Node names (globs) that keep their channels.")] = None,
    keep_residual: Annotated[
        bool, typer.Option("--keep-residual", help="Keep the channels between residual blocks: cut inside them.")
    ] = False,
    recipe: Annotated[str | None, typer.Option(help="A recipe: its data scores and recovers the model.")] = None,
    seed: Seed = None,
    as_json: Json = False,
) -> None:
    """Cut whole channels; with --recipe, recover after each step by its prune.recover training."""
    from edgekit import preflight
    from edgekit.graph import Graph
    from edgekit.prune import prune as cut
    from edgekit.prune.scores import WITH_DATA
    from edgekit.stages import recovery

    _writable(out)
    job = preflight.prepare(recipe, _overrides(None, seed)) if recipe else None
    multiple: int | str = int(round_to) if round_to.isdecimal() else round_to
    options: dict[str, Any] = {"importance": importance, "scope": scope, "blocks": blocks, "round_to": multiple}
    if job is not None and importance in WITH_DATA:
        options |= {"data": list(job.training_batches()), "loss": job.loss}
    trained = Graph.load(graph)
    config = job.recipe.prune.recover if job is not None and job.recipe.prune is not None else None
    recover = None if job is None or config is None else recovery(job, config, trained)
    result = cut(
        trained, ratio, target_macs=target_macs, target_parameters=target_parameters, exclude=exclude or (),
        keep_residual=keep_residual, steps=steps, recover=recover, seed=seed or 0, **options,
    )  # fmt: skip
    (result.graph if recover is None else recover(result.graph)).save(out)
    found = result.report
    macs, parameters = (found.macs_before, found.macs_after), (found.parameters_before, found.parameters_after)
    text = "{}: {:,} MACs became {:,}, {:,} parameters {:,}".format(out, *macs, *parameters)
    emit({"file": str(out), **found.to_json()}, as_json, lambda: text)


@app.command()
def quantize(
    graph: GraphArgument,
    more: Annotated[list[Path] | None, typer.Argument(metavar="FILE", help="Further files for --stats.")] = None,
    out: Annotated[Path | None, typer.Option("-o", "--out", help="The file to write.")] = None,
    data: Annotated[str | None, typer.Option(help="Calibration data: a recipe, or an .npz with the array x.")] = None,
    stats: Annotated[list[Path] | None, typer.Option(help="Statistics of such data instead; several add up.")] = None,
    save_stats: Annotated[Path | None, typer.Option(help="Write statistics of the data there, and no graph.")] = None,
    observer: Annotated[str, typer.Option(help="minmax, moving_average, percentile, entropy or mse.")] = "minmax",
    percentile: Annotated[float, typer.Option(help="Of the magnitudes, for the percentile observer.")] = 99.99,
    momentum: Annotated[float, typer.Option(help="Of each further item, for the moving_average observer.")] = 0.01,
    per_channel: Annotated[bool, typer.Option(help="One weight scale per channel, or per tensor.")] = True,
    samples: Annotated[int, typer.Option(help="How many samples calibrate.")] = 256,
    allow_few: Annotated[bool, typer.Option("--allow-few", help="Accept fewer than 32 samples.")] = False,
    seed: Seed = None,
    as_json: Json = False,
) -> None:
    """Quantise a graph to INT8 with real calibration data, or with statistics that were saved where the data is."""
    from edgekit import preflight, recipe
    from edgekit.graph import Graph
    from edgekit.quant import collect, statistics
    from edgekit.quant import quantize as calibrate

    files = [*(stats or []), *((more or []) if stats else [])]
    target = _one_of("-o", out, "--save-stats", save_stats)
    source = _one_of("--data", data, "--stats", files)
    if (more and not stats) or (save_stats and stats):
        raise UsageError("--save-stats looks at --data, and further files belong to --stats.")
    _writable(target)
    values = {"observer": observer, "percentile": percentile, "momentum": momentum, "per_channel": per_channel}
    config = recipe.quant_config(**values, calibration_samples=samples, allow_few=allow_few or save_stats is not None)
    items = preflight.calibration_items(str(source), config, seed) if data else []
    loaded = Graph.load(graph)
    if save_stats:
        seen = collect(loaded, items, config)
        statistics.write(seen, target)
        found = {"samples": seen.samples, "tensors": len(seen.records)}
        text = f"{target}: {len(seen.records)} tensors, {seen.samples} samples"
    else:
        result = calibrate(loaded, items if data else statistics.merged(map(statistics.read, files)), config)
        result.graph.save(target)
        found = result.report.to_json()
        text = f"{target}: {len(result.report.scales)} scales from {result.report.samples} samples"
    emit({"file": str(target), **found}, as_json, lambda: text)


@app.command()
def export(
    graph: GraphArgument,
    out: Output,
    target: Annotated[
        str, typer.Option(help="onnxruntime, tensorrt-10.3, tensorrt-10, tensorrt-11, or native for a .ekm plan.")
    ] = "onnxruntime",
    shape: Annotated[
        list[str] | None, typer.Option(metavar="NAME=1x3x32x32", help="Of an input of a plan; a batch of 1 without.")
    ] = None,
    state: Annotated[
        list[str] | None, typer.Option(metavar="INPUT=OUTPUT", help="An output that a plan keeps for its next run.")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="Of the inputs that the file is checked on.")] = 0,
    as_json: Json = False,
) -> None:
    """Write a file for a target and check that it computes what the graph does."""
    from edgekit.export import export_native, export_onnx
    from edgekit.graph import Graph

    _writable(out)
    if target == "native":
        shapes = {name: [int(size) for size in sizes.split("x")] for name, sizes in _pairs(shape)}
        plan = export_native(Graph.load(graph), out, shapes or None, states=dict(_pairs(state)), seed=seed)
        text = f"{out}: {plan.bytes:,} bytes, arena {plan.arena_bytes:,} (least {plan.least_bytes:,}), {plan.validated}"
        emit(plan.to_json(), as_json, lambda: text)
        return
    if shape or state:
        raise UsageError("--shape and --state belong to --target native.")
    report = export_onnx(Graph.load(graph), out, target, seed=seed)
    found = report.validation
    text = f"{out}: opset {report.opset}, {report.bytes:,} bytes"
    difference = f"largest difference {found.max_difference:g} from {found.reference} ({found.validated})"
    emit(report.to_json(), as_json, lambda: f"{text}, {difference}")


@app.command()
def bench(
    artefact: Annotated[Path, typer.Argument(help="A plan (.ekm), an .onnx file or a saved graph.")],
    against: Annotated[Path | None, typer.Option(help="A second artefact, timed in turn with the first.")] = None,
    threads: Threads = 1,
    warmup: Annotated[int, typer.Option(help="Calls before the first timed one.")] = 10,
    samples: Annotated[int, typer.Option(help="Fewest timed calls.")] = 100,
    seconds: Annotated[float, typer.Option(help="Shortest time.")] = 3.0,
    out: Document = None,
    seed: Annotated[int, typer.Option("--seed", help="Of the inputs.")] = 0,
    as_json: Json = False,
) -> None:
    """Measure latency, and energy where there is a sensor, with a verdict on the number."""
    from edgekit import runtime
    from edgekit.bench import bench as measure

    other = runtime.load(against, threads=threads) if against else None
    runner = runtime.load(artefact, threads=threads)
    result = measure(runner, seed=seed, warmup=warmup, min_samples=samples, min_seconds=seconds, against=other)
    document(result.to_json(), out)
    emit(result.to_json(), as_json, lambda: str(result))


@app.command()
def data(
    recipe: RecipeArgument, out: Document = None, overrides: Set = None, seed: Seed = None, as_json: Json = False
) -> None:
    """Read a recipe's data alone: what it is, and what in it makes a result doubtful."""
    from edgekit import data as data_
    from edgekit import recipe as recipes_
    from edgekit.data.description import show
    from edgekit.options import QuantConfig

    loaded = recipes_.load(recipe, _overrides(overrides, seed))
    options, base = loaded.quantize or QuantConfig(allow_few=True), recipes_.locate(recipe).parent
    sizes = (options.calibration_samples, base)
    found = data_.load(loaded.data, loaded.seed, *sizes, task=loaded.task, allow_few=options.allow_few)
    content = data_.describe(found)
    document(content, out)
    emit(content, as_json, lambda: show(content))


@app.command()
def inspect(artefact: ArtefactArgument, out: Document = None, as_json: Json = False) -> None:
    """Show what an artefact holds: nodes, shapes, MACs, source lines; for ONNX what ONNX Runtime makes of it."""
    from edgekit import inspection

    content, text = inspection.inspect(artefact)
    document(content, out)
    emit(content, as_json, lambda: text)


@app.command()
def explain(
    graph: GraphArgument,
    keep_float: Annotated[list[str] | None, typer.Option(help="Nodes or modules to leave in float.")] = None,
    out: Document = None,
    as_json: Json = False,
) -> None:
    """Say of every tensor of a float, quantised or integer graph why it is in INT8 or not."""
    from edgekit.debug import explain as ask
    from edgekit.graph import Graph
    from edgekit.options import QuantConfig

    found = ask(Graph.load(graph), QuantConfig(keep_float=tuple(keep_float or ())))
    document(found.to_json(), out)
    emit(found.to_json(), as_json, lambda: str(found))


@app.command()
def diagnose(
    graph: GraphArgument,
    data: Data,
    reference: Annotated[
        Path | None, typer.Option(help="The float graph that it stands for, channels rescaled.")
    ] = None,
    samples: Samples = 64,
    out: Document = None,
    seed: Seed = None,
    as_json: Json = False,
) -> None:
    """Say what each layer of a quantised graph lost on held-out data, why, and what helps."""
    from edgekit import preflight
    from edgekit.debug import diagnose as examine
    from edgekit.graph import Graph

    items = preflight.held_out_items(data, samples, seed)
    found = examine(Graph.load(graph), items, Graph.load(reference) if reference else None)
    document(found.to_json(), out)
    emit(found.to_json(), as_json, lambda: str(found))


@app.command()
def compare(
    a: ArtefactArgument,
    b: ArtefactArgument,
    data: Data,
    layers: Annotated[bool, typer.Option("--layers", help="Every value that both know, not only the outputs.")] = False,
    samples: Samples = 64,
    out: Document = None,
    seed: Seed = None,
    as_json: Json = False,
) -> None:
    """Measure how far one form of a net is from another on held-out data: saved graphs, .onnx and .ekm files."""
    from edgekit import preflight
    from edgekit.debug import compare as measure

    found = measure(a, b, preflight.held_out_items(data, samples, seed), layers=layers)
    document(found.to_json(), out)
    emit(found.to_json(), as_json, lambda: str(found))


@app.command()
def doctor(
    root: Annotated[Path, typer.Option(help="A copy of another machine's proc, sys, etc, dev and usr.")] = Path("/"),
    out: Document = None,
    as_json: Json = False,
) -> None:
    """Say what this machine is, what works and what mends the rest; ends with 4 if something needed is missing."""
    from edgekit import doctor as doctor_
    from edgekit.errors import UnsupportedError

    found = doctor_.examine(root)
    document(found.to_json(), out)
    emit(found.to_json(), as_json, lambda: str(found))
    if not found.ok:
        raise typer.Exit(UnsupportedError.exit_code)


@app.command()
def report(
    source: Annotated[Path, typer.Argument(help="A run directory or a results.json.")],
    out: Annotated[
        Path | None, typer.Option("-o", "--out", help="The page; report.html beside the results by default.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Write report.html anew from results.json."""
    from edgekit import disk, results
    from edgekit.bench.report import render

    path = source / "results.json" if source.is_dir() else source
    page = out or path.with_name("report.html")
    disk.write_file(page, render(results.read(path)).encode())
    emit({"file": str(page)}, as_json, lambda: str(page))


@recipes.command("list")
def recipe_list(as_json: Json = False) -> None:
    """The recipes that ship."""
    from edgekit import recipe

    names = recipe.shipped()
    emit(names, as_json, lambda: "\n".join(names))


@recipes.command("show")
def recipe_show(recipe: RecipeArgument, overrides: Set = None, as_json: Json = False) -> None:
    """A recipe with every default written out."""
    from edgekit import recipe as recipes_

    loaded = recipes_.load(recipe, overrides or ())
    emit(loaded.model_dump(mode="json"), as_json, lambda: recipes_.dump(loaded).rstrip())


@recipes.command("schema")
def recipe_schema() -> None:
    """The JSON Schema of recipes, for editors."""
    from edgekit import recipe

    emit(recipe.schema(), True, str)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"edgekit {__version__}")
        raise typer.Exit


@app.callback()
def _global(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    del debug, version  # --debug is read by main, which also catches what fails before this is called


def _overrides(values: list[str] | None, seed: int | None) -> list[str]:
    return [*(values or []), *([f"seed={seed}"] if seed is not None else [])]


def _pairs(values: list[str] | None) -> list[tuple[str, str]]:
    """``a=b`` as pairs."""
    for value in values or []:
        if value.count("=") != 1:
            raise UsageError(f"{value} is not NAME=VALUE.")
    return [(value.split("=")[0], value.split("=")[1]) for value in values or []]


def _one_of(name: str, value: Any, other_name: str, other: Any) -> Any:
    """The one of two options that is given."""
    if bool(value) == bool(other):
        raise UsageError(f"give {name} or {other_name}, and not both.")
    return value or other


def _writable(out: Path) -> None:
    """Refuse a place that cannot be written before an hour of work goes into it."""
    if out.is_dir() or not out.parent.is_dir():
        raise UsageError(
            f"{out} cannot be written: {'it is a directory' if out.is_dir() else f'{out.parent} is no directory'}."
        )


def _quality(measured: dict[str, Any], task: dict[str, Any]) -> str:
    """The primary metric on every held-out set."""
    from edgekit.bench import words

    name = task["primary"]
    unit, values = task["metrics"][name]["unit"], measured["metrics"].items()
    return f"{name} " + ", ".join(f"{words.metric(found[name], unit)} ({split})" for split, found in values)


def _summary(content: dict[str, Any], out: Path) -> str:
    rows, width = [], max(len(row["name"]) for row in content["variants"])
    for row in content["variants"]:
        bench = row["bench"]
        speed = f"{bench['latency_us']['p50']:.1f} us, {bench['verdict']}" if bench else "latency not measured"
        size = f"{row['bytes']:>9,} bytes  {row['macs']:>11,} MACs"
        rows.append(f"  {row['name']:<{width}} {size}  {_quality(row, content['task'])}  {speed}")
    return "\n".join([*rows, f"report: {out / 'report.html'}"])


def main(arguments: list[str] | None = None) -> None:
    """Entry point of ``edgekit``: prints errors as sentences and ends with their exit code."""
    debug = "--debug" in (sys.argv if arguments is None else arguments)
    try:
        app(args=arguments, prog_name="edgekit")  # ends with SystemExit; wrong usage with 2
    except EdgekitError as error:
        _fail(str(error), error.exit_code, error if debug else None)
    except Exception as error:  # whatever else: a bug, said as such
        advice = "This is a bug in edgekit; --debug shows where."
        _fail(f"[EK9000] {type(error).__name__}: {error}. {advice}", EXIT_BUG, error if debug else None)


def _fail(message: str, code: int, error: Exception | None) -> None:
    if error is not None:
        import traceback

        traceback.print_exception(error)
    printable = "".join(c if c.isprintable() or c == "\n" else "?" for c in message)  # names may hold escape codes
    typer.echo(f"edgekit: {printable}", err=True)
    sys.exit(code)
