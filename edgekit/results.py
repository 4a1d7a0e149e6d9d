"""``results.json``: everything that a run found, the only input of the report; and the gates it has to pass."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from edgekit import __version__, device, disk
from edgekit.bench import report
from edgekit.errors import GateError, InputError
from edgekit.journal import Journal, encode
from edgekit.preflight import Job
from edgekit.train.metrics import Metric

SCHEMA = 2
NO_TENSORRT = "TensorRT runs on an NVIDIA device; build the engine there (engine build not tested on a device)"
NOT_DEPLOYED = "the golden is the reference for all other artefacts, not one that is deployed"
TRAINED_ON = "what the training of the quantised graph began with, not one that is deployed"


def collect(job: Job, journal: Journal, out: str | Path) -> dict[str, Any]:
    """Put the metrics of all stages together; see the report for what each field means."""
    command = " ".join(["edgekit run", job.source, *(f"--set {o}" for o in job.overrides), "-o", str(out)])
    content = {
        "schema": SCHEMA,
        "edgekit": __version__,
        "name": job.recipe.name,
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "recipe": job.recipe.model_dump(mode="json"),
        "data": _data(job),
        "task": job.objective.to_json(),
        "variants": _variants(journal),
        "layers": journal.metrics("lower")["layers"] if journal.has("lower") else [],
        "pruning": journal.metrics("prune") if journal.has("prune") else None,
        "exports": [e for e in journal.metrics("export")["exports"] if e["file"].startswith("model.")],
        "environment": device.describe(),
        "stages": [{"name": name, "seconds": seconds} for name, seconds in journal.seconds.items()],
        "reproduce": [f"pip install 'edgekit[all]=={__version__}'", command],
    }
    return content | {"gates": _gates(job, content)}


def read(path: Path) -> dict[str, Any]:
    """The content of a results.json.

    Raises:
        InputError: where there is none, it is not JSON, or it has another schema.
    """
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(
            f"{path} cannot be read as results: {error}.", fix="Give a run directory or its results.json."
        ) from error
    if not isinstance(content, dict) or content.get("schema") != SCHEMA:
        raise InputError(
            f"{path} is not a results.json of schema {SCHEMA}.", fix="Run the recipe again with this version."
        )
    return content


def publish(content: dict[str, Any], journal: Journal, assets: Mapping[str, bytes]) -> None:
    """Write results, report, models and what they need beside them; models that fail a gate go to ``rejected/`` only.

    Raises:
        GateError: naming every gate that failed, with the value and the bound.
    """
    failed = [gate for gate in content["gates"] if not gate["passed"]]
    root = journal.directory
    place, other = (root / "rejected", root) if failed else (root, root / "rejected")
    place.mkdir(exist_ok=True)
    written = {e["file"]: journal.path("export", e["file"]) for e in content["exports"] if not e["failure"]}
    for name in (*(export["file"] for export in content["exports"]), *assets):
        (other / name).unlink(missing_ok=True)
    for name, data in ({name: path.read_bytes() for name, path in written.items()} | dict(assets)).items():
        disk.write_file(place / name, data)
    if not failed:
        shutil.rmtree(root / "rejected", ignore_errors=True)
    disk.write_file(root / "results.json", encode(content))
    disk.write_file(root / "report.html", report.render(content).encode())
    if failed:
        words = "; ".join(map(_missed, failed))
        raise GateError(
            f"the run misses its gates: {words}.", fix=f"See {root / 'report.html'}; the models are in rejected/."
        )


def _missed(gate: dict[str, Any]) -> str:
    found = "not measured" if gate["value"] is None else f"{gate['value']:g} {gate['unit']}".strip()
    return f"{gate['name']} is {found}, the bound is {gate['bound']:g}"


def _data(job: Job) -> dict[str, Any]:
    found = job.data
    watched = {} if found.validation is None else {"validation": found.validation}
    sets = {"train": found.train, "calibration": found.calibration, **watched, **job.splits()}
    return {
        "source": found.name,
        "seed": job.recipe.seed,
        "splits": {name: len(split) for name, split in sets.items()},
        "classes": list(found.class_names),
        "facts": found.facts,
        "findings": found.findings,
    }


def _variants(journal: Journal) -> list[dict[str, Any]]:
    """The float baseline first, then everything that was made of it, the files of the targets last."""
    files = {entry["file"]: entry for entry in journal.metrics("export")["exports"] if not entry["failure"]}
    rows = [_file_row("float", "train", "float.onnx", files, journal)]
    last, name = "train", "float"
    if journal.has("prune"):
        last, name = "prune", "pruned"
        rows.append(_file_row("pruned", "prune", "pruned.onnx", files, journal))
    if journal.has("qat"):
        rows.append(_graph_row("quantised, not trained", "quantize", "quantized.safetensors", TRAINED_ON, journal))
    if journal.has("lower"):
        last, name = "lower", "INT8"
        rows.append(_graph_row("INT8, golden", "lower", "integer.safetensors", NOT_DEPLOYED, journal))
    made = [file for file in files if file.startswith("model.")]
    return rows + [_file_row(f"{name}, {files[file]['target']}", last, file, files, journal) for file in made]


def _graph_row(name: str, stage: str, file: str, why_no_time: str, journal: Journal) -> dict[str, Any]:
    path = journal.path(stage, file)
    return {
        "name": name,
        "stage": stage,
        "artefact": _relative(journal, path),
        "runtime": "edgekit integer graph" if stage == "lower" else "edgekit graph",
        "bytes": path.stat().st_size,
        **{key: journal.metrics(stage)[key] for key in ("macs", "parameters", "metrics", "unmeasured")},
        "bench": None,
        "not_measured": why_no_time,
    }


def _file_row(name: str, stage: str, file: str, files: dict[str, Any], journal: Journal) -> dict[str, Any]:
    size, measured = journal.metrics(stage), journal.metrics("bench")["bench"].get(file)
    tensorrt = files[file]["target"].startswith("tensorrt")
    return {
        "name": name,
        "stage": stage,
        "artefact": _relative(journal, journal.path("export", file)),
        "runtime": "float ONNX in ONNX Runtime, for its metrics only" if tensorrt else "onnxruntime",
        "bytes": files[file]["bytes"],
        "macs": size["macs"],
        "parameters": size["parameters"],
        **journal.metrics("export")["files"][file],
        "bench": measured,
        "not_measured": None if measured else NO_TENSORRT,
    }


def _relative(journal: Journal, path: Path) -> str:
    return path.relative_to(journal.directory).as_posix()


def _gates(job: Job, content: dict[str, Any]) -> list[dict[str, Any]]:
    """Each bound of the recipe against what was measured; compression is judged by the worst of its artefacts."""
    bounds, (baseline, *others) = job.recipe.gates, content["variants"]
    compressed = [row for row in others if row["name"].startswith("INT8")] or others
    gates = [
        _gate(f"export for {e['target']}", 1, "at most", 0, "failures") for e in content["exports"] if e["failure"]
    ]
    for split, values in baseline["metrics"].items():
        if bounds.max_drop is not None:
            drops = [_drop(job.objective.primary, values, row["metrics"][split]) for row in compressed]
            unit = "points" if job.objective.primary.unit == "share" else "%"
            worst = max((drop for drop in drops if drop is not None), default=None)
            gates.append(
                _gate(f"{_loss_of(job)}, {split}", None if None in drops else worst, "at most", bounds.max_drop, unit)
            )
        for must, limits in (("at least", bounds.at_least), ("at most", bounds.at_most)):
            gates += [_gate(f"float {name}, {split}", values[name], must, limits[name], "") for name in limits]
    if bounds.min_macs_ratio is not None:
        ratio = baseline["macs"] / max(compressed[0]["macs"], 1) if compressed else None
        gates.append(_gate("fewer MACs", ratio, "at least", bounds.min_macs_ratio, "times"))
    return gates


def _loss_of(job: Job) -> str:
    primary = job.objective.primary
    return f"{primary.name} {'drop' if primary.better == 'higher' else 'rise'}"


def _drop(metric: Metric, before: dict[str, float | None], after: dict[str, float | None]) -> float | None:
    """How much worse a metric got: in points for a share, else in percent of what it was; None where one is missing."""
    own, base = after[metric.name], before[metric.name]
    if own is None or base is None:
        return None
    worse = base - own if metric.better == "higher" else own - base
    if metric.unit == "share" or worse == 0:
        return 100 * worse
    return 100 * worse / abs(base) if base else None


def _gate(name: str, value: float | None, must: str, bound: float, unit: str) -> dict[str, Any]:
    """A bound and what was measured; nothing measured is nothing passed."""
    passed = value is not None and (value >= bound if must == "at least" else value <= bound)
    shown = None if value is None else float(f"{value:.7g}")
    return {"name": name, "value": shown, "must": must, "bound": bound, "unit": unit, "passed": passed}
