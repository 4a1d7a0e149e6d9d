"""READ THIS FIRST: the whole run, from a model and data to a pruned, INT8, exported, measured model and a report.

Every stage reads what the stage before it left on the disk and leaves its own artefacts there, so a run that is
killed at any instant goes on with ``resume=True`` and ends in the same bytes. Everything that can be wrong with the
input is found before the first write. What each stage does is in ``stages.py``.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edgekit import disk, preflight, results
from edgekit.journal import Journal
from edgekit.progress import Progress
from edgekit.stages import Stages


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
            stages = Stages(job, journal, progress)
            journal.stage("train", job.depends("train"), stages.train)
            if job.recipe.prune is not None:
                journal.stage("prune", job.depends("prune"), stages.prune)
            if job.recipe.quantize is not None:
                journal.stage("quantize", job.depends("quantize"), stages.quantize)
                if job.recipe.qat is not None:
                    journal.stage("qat", job.depends("qat"), stages.qat)
                journal.stage("lower", job.depends("lower"), stages.lower)
            journal.stage("export", job.depends("export"), stages.export)
            journal.stage("bench", job.depends("bench"), stages.bench)
            journal.tidy()
            content = results.collect(job, journal, out)
            results.publish(content, journal, job.data.assets)
        except BaseException as error:
            journal.write("interrupted" if isinstance(error, KeyboardInterrupt) else "failed", error=str(error))
            raise
        journal.write("complete")
        return content
