"""``edgekit kernels``: the verbs that work with single kernels, each a thin call like those of ``edgekit.cli``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgekit.answer import Json, emit

kernels = typer.Typer(help="Time, examine, tune and compile single kernels.", no_args_is_help=True)

Kernel = Annotated[str, typer.Argument(help="An operator such as linear_s8, or FILE.py:FUNCTION for one of your own.")]
Operator = Annotated[str, typer.Argument(help="An operator such as linear_s8.")]
Shapes = Annotated[
    list[str] | None,
    typer.Option(
        "--shapes", metavar="MxKxN[,...]", help="Sizes instead of the kernel's own; a wrong one is explained."
    ),
]


@kernels.command()
def bench(
    kernel: Kernel,
    shapes: Shapes = None,
    tier: Annotated[list[str] | None, typer.Option(help="What to time; all that this machine has by default.")] = None,
    base: Annotated[
        str | None, typer.Option(help="The .json of an earlier run on this machine, or a tier, timed in turn.")
    ] = None,
    tuned: Annotated[Path | None, typer.Option(help="A file of `edgekit kernels tune`.")] = None,
    seconds: Annotated[float, typer.Option(help="For each median, at most.")] = 2.0,
    out: Annotated[Path | None, typer.Option("-o", "--out", help="A folder for the JSON and a plot.")] = None,
    as_json: Json = False,
) -> None:
    """Check a kernel against its reference, then time it, caches warm and cold; ends with 5 if a result is wrong.

    A file with a kernel of your own also defines reference(*inputs), inputs(shape) and, if it likes, shapes,
    cost(*inputs), the multiply-accumulates and bytes of a call, and tolerance, relative and absolute.
    """
    from contextlib import nullcontext

    from edgekit.bench.kernels import run
    from edgekit.bench.kernels import tuned as tuned_
    from edgekit.errors import KernelMismatch

    with tuned_.tuned(tuned) if tuned is not None else nullcontext():
        found = run.bench(kernel, sizes=shapes or (), tiers=tier or (), base=base, budget_s=seconds)
    if out is not None:
        run.save(found, out)
    emit(found.to_json(), as_json, lambda: str(found))
    if found.wrong:
        what = f"{len(found.wrong)} of {len(found.rows)} rows differ from the reference"
        raise KernelMismatch(f"{kernel}: {what}.", fix="They were not timed; the table says where they differ.")


@kernels.command()
def peak(seconds: Annotated[float, typer.Option(help="For each limit, at most.")] = 0.5, as_json: Json = False) -> None:
    """Measure what this machine can do: bytes copied and multiply-accumulates a second, of one core and of a GPU."""
    from edgekit.bench.kernels import peak as peak_
    from edgekit.bench.kernels.run import describe

    machine, rates = describe(), peak_.measure(seconds)
    content = {"machine": machine, "peaks": [rate.to_json() for rate in rates]}
    emit(content, as_json, lambda: "\n".join(map(str, rates)))


@kernels.command()
def asm(
    operator: Operator,
    tier: Annotated[str | None, typer.Option(help="A C++ tier; the one that this machine uses by default.")] = None,
    target: Annotated[
        str | None, typer.Option(help="A device such as orin, or sm_90: the Triton kernel's code for it instead.")
    ] = None,
    language: Annotated[str, typer.Option(help="ptx or sass, of a Triton kernel.")] = "ptx",
    as_json: Json = False,
) -> None:
    """Show the machine code of a kernel: a C++ tier's as it was built, or Triton's for a GPU that need not be here."""
    from edgekit.bench.kernels import asm as asm_

    found = asm_.assembly(operator, tier, target, language)
    emit(found.to_json(), as_json, lambda: str(found))


@kernels.command()
def tune(
    operator: Operator,
    out: Annotated[Path, typer.Option("-o", "--out", help="The file to write.")],
    shapes: Shapes = None,
    seconds: Annotated[float, typer.Option(help="For each candidate, at most.")] = 0.2,
    as_json: Json = False,
) -> None:
    """Measure launch configurations of a Triton kernel on this GPU and keep the fastest, for bench --tuned."""
    from edgekit.answer import document
    from edgekit.bench.kernels.tune import tune as search

    found = search(operator, sizes=shapes or (), budget_s=seconds)
    document(found.to_json(), out)
    emit(found.to_json(), as_json, lambda: str(found))


@kernels.command()
def aot(
    out: Annotated[Path, typer.Option("-o", "--out", help="The directory to make.")],
    target: Annotated[
        list[str] | None,
        typer.Option(help="A device, with another software behind a colon (orin:jetpack-7.2), or sm_90. Several."),
    ] = None,
    kernel: Annotated[list[str] | None, typer.Option(help="An operator; all that have a kernel by default.")] = None,
    shapes: Annotated[
        list[str] | None,
        typer.Option(metavar="CALL", help="linear_s8:x=1x512,weight=1000x512,bias=1000,multiplier=1000, or a .json."),
    ] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Refuse a kernel that spills registers.")] = False,
    as_json: Json = False,
) -> None:
    """Compile kernels without a GPU: PTX, machine code, a launcher and timing in C, plugins for TensorRT."""
    from edgekit.export import export_kernels

    targets = target or ["agx-orin"]
    report = export_kernels(out, targets, kernels=kernel, shapes=shapes or (), strict=strict)
    emit(report.to_json(), as_json, lambda: str(report))
