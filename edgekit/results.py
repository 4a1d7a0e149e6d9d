"""``results.json``: everything that a run found, the only input of the report; and the gates it has to pass."""

from __future__ import annotations

import json
import shutil
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from edgekit import __version__, device, disk
from edgekit.bench import report
from edgekit.errors import GateError, InputError
from edgekit.journal import Journal, encode
from edgekit.preflight import Job

SCHEMA = 1
NO_TENSORRT = "TensorRT runs on an NVIDIA device; build the engine there (engine build not tested on a device)"
NOT_DEPLOYED = "the golden is the reference for all other artefacts, not one that is deployed"


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
        "variants": _variants(journal),
        "layers": journal.metrics("lower")["layers"],
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


def publish(content: dict[str, Any], journal: Journal) -> None:
    """Write results, report and models; models that fail a gate go to ``rejected/`` only.

    Raises:
        GateError: naming every gate that failed, with the value and the bound.
    """
    failed = [gate for gate in content["gates"] if not gate["passed"]]
    root = journal.directory
    place, other = (root / "rejected", root) if failed else (root, root / "rejected")
    place.mkdir(exist_ok=True)
    for export in content["exports"]:
        (other / export["file"]).unlink(missing_ok=True)
        if not export["failure"]:
            disk.write_file(place / export["file"], journal.path("export", export["file"]).read_bytes())
    if not failed:
        shutil.rmtree(root / "rejected", ignore_errors=True)
    disk.write_file(root / "results.json", encode(content))
    disk.write_file(root / "report.html", report.render(content).encode())
    if failed:
        values = [f"{g['value']:g} {g['unit']}".strip() for g in failed]
        words = "; ".join(
            f"{g['name']} is {v}, the bound is {g['bound']:g}" for g, v in zip(failed, values, strict=True)
        )
        raise GateError(
            f"the run misses its gates: {words}.", fix=f"See {root / 'report.html'}; the models are in rejected/."
        )


def _data(job: Job) -> dict[str, Any]:
    sizes = {"train": len(job.data.train), "calibration": len(job.data.calibration)}
    sizes |= {name: len(split) for name, split in job.splits().items()}
    return {"source": job.data.name, "seed": job.recipe.seed, "splits": sizes, "findings": job.data.findings}


def _variants(journal: Journal) -> list[dict[str, Any]]:
    exported = journal.metrics("export")
    files = {entry["file"]: entry for entry in exported["exports"] if not entry["failure"]}
    rows = [_file_row("float", "train", "float.onnx", files, journal)]
    if journal.has("prune"):
        rows.append(_file_row("pruned", "prune", "pruned.onnx", files, journal))
    lowered = journal.metrics("lower")
    golden = journal.path("lower", "integer.safetensors")
    rows.append(
        {
            "name": "INT8, golden",
            "stage": "lower",
            "artefact": _relative(journal, golden),
            "runtime": "edgekit integer graph",
            "bytes": golden.stat().st_size,
            "macs": lowered["macs"],
            "parameters": lowered["parameters"],
            "accuracy": lowered["accuracy"],
            "bench": None,
            "not_measured": NOT_DEPLOYED,
        }
    )
    rows += [
        _file_row(f"INT8, {e['target']}", "lower", f, files, journal)
        for f, e in files.items()
        if f.startswith("model.")
    ]
    return rows


def _file_row(name: str, stage: str, file: str, files: dict[str, Any], journal: Journal) -> dict[str, Any]:
    size, measured = journal.metrics(stage), journal.metrics("bench")["bench"].get(file)
    tensorrt = files[file]["target"].startswith("tensorrt")
    return {
        "name": name,
        "stage": stage,
        "artefact": _relative(journal, journal.path("export", file)),
        "runtime": "float ONNX in ONNX Runtime, for accuracy only" if tensorrt else "onnxruntime",
        "bytes": files[file]["bytes"],
        "macs": size["macs"],
        "parameters": size["parameters"],
        "accuracy": journal.metrics("export")["accuracy"][file],
        "bench": measured,
        "not_measured": None if measured else NO_TENSORRT,
    }


def _relative(journal: Journal, path: Path) -> str:
    return path.relative_to(journal.directory).as_posix()


def _gates(job: Job, content: dict[str, Any]) -> list[dict[str, Any]]:
    """Each bound of the recipe against what was measured; INT8 is judged by the worst of its artefacts."""
    bounds, rows = job.recipe.gates, content["variants"]
    baseline, compressed = rows[0], [row for row in rows if row["name"].startswith("INT8")]
    gates = [_gate(f"export for {e['target']}", 0, 1, "files", False) for e in content["exports"] if e["failure"]]
    for split, accuracy in baseline["accuracy"].items():
        if bounds.max_drop is not None:
            drop = 100 * (accuracy - min(row["accuracy"][split] for row in compressed))
            gates.append(_gate(f"accuracy drop, {split}", drop, bounds.max_drop, "points", drop <= bounds.max_drop))
        bound = bounds.at_least.get("accuracy")
        if bound is not None:
            gates.append(_gate(f"float accuracy, {split}", accuracy, bound, "", accuracy >= bound))
    if bounds.min_macs_ratio is not None:
        ratio = baseline["macs"] / max(compressed[0]["macs"], 1)
        gates.append(_gate("fewer MACs", ratio, bounds.min_macs_ratio, "times", ratio >= bounds.min_macs_ratio))
    return gates


def _gate(name: str, value: float, bound: float, unit: str, passed: bool) -> dict[str, Any]:
    return {"name": name, "value": round(value, 6), "bound": bound, "unit": unit, "passed": passed}
