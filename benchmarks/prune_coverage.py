"""Which nets can be pruned to half of their channels, here and by Torch-Pruning, and what becomes of them.

    python benchmarks/prune_coverage.py [--only "reg net" swin] [--json benchmarks/results/prune-coverage.json]

A net passes where, with random weights and a ratio of 0.5, forward, backward, export to ONNX and a run of the file all
work, the outputs keep their shapes, and both multiply-accumulates and parameters fall by at least 40 %. Everything else
counts as a failure, also a refusal, or no end within four minutes. Rows are the patterns of ``tests/prune_nets.py``,
the nets that ship, and families of Hugging Face from small configurations. The peer gets the same nets and the same
layers protected; without it (``pip install torch-pruning``) its column says so.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import importlib.util
import json
import logging
import signal
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))

import prune_hf  # noqa: E402  what the tests hold against the oracle
import prune_nets  # noqa: E402

import edgekit as ek  # noqa: E402
from edgekit import device, disk  # noqa: E402
from edgekit.graph import cost  # noqa: E402
from edgekit.models import MODELS, example  # noqa: E402

RATIO, LEAST = 0.5, 0.4
PATIENCE_S = 240  # for one net by one tool
Made = tuple[nn.Module, tuple[Tensor, ...]]


@dataclass(frozen=True)
class Cell:
    """One net by one tool: what is left of it, or why it failed."""

    macs: float | None
    parameters: float | None
    failure: str

    @property
    def passes(self) -> bool:
        """Whether it counts."""
        return not self.failure

    def __str__(self) -> str:
        if self.macs is None:
            return self.failure
        return f"{'ok  ' if self.passes else 'NOT '} {1 - self.macs:4.0%} {1 - (self.parameters or 0):4.0%}"


def nets() -> Iterator[tuple[str, str, Callable[[], Made]]]:
    """Kind, name and maker of every row."""
    yield from (("pattern", name, lambda name=name: prune_nets.made(name)) for name in prune_nets.PATTERNS)
    yield from (("net", name, lambda name=name: _shipped(name)) for name in MODELS)
    if importlib.util.find_spec("transformers"):
        yield from (("hugging face", name, lambda name=name: prune_hf.made(name)) for name in prune_hf.FAMILIES)


def _shipped(name: str) -> Made:
    torch.manual_seed(0)
    model, inputs = example(name, seed=0, **MODELS[name].small)
    return model.eval(), tuple(torch.cat([x, x]) if len(x) == 1 else x for x in inputs)


def by_edgekit(model: nn.Module, inputs: tuple[Tensor, ...], folder: Path) -> tuple[float, float]:
    """What is left of multiply-accumulates and parameters, once everything has worked."""
    graph = ek.capture(model, inputs)
    result = ek.prune(graph, RATIO)
    _same_shapes(result.graph(*inputs), graph(*inputs))
    _backward(result.graph.copy().train(), inputs)
    file = folder / "pruned.onnx"
    ek.export_onnx(result.graph, file, inputs=inputs)  # runs the file against the graph
    found = result.report
    return found.macs_after / found.macs_before, found.parameters_after / found.parameters_before


def by_torch_pruning(model: nn.Module, inputs: tuple[Tensor, ...], folder: Path) -> tuple[float, float]:
    """The same by the peer."""
    import torch_pruning as tp

    protected = _protected(model, inputs)
    before = [y.shape for y in _outputs(model(*inputs))]
    sizes = _size(model, inputs)
    pruner = tp.pruner.MagnitudePruner(
        model, inputs, importance=tp.importance.GroupMagnitudeImportance(), pruning_ratio=RATIO,
        ignored_layers=protected,
    )  # fmt: skip
    pruner.step()
    if [y.shape for y in _outputs(model(*inputs))] != before:
        raise ValueError("the outputs have other shapes")
    left = _size(model, inputs)
    _backward(copy.deepcopy(model).train(), inputs)
    file = folder / "peer.onnx"
    torch.onnx.export(model, inputs, str(file), dynamo=True, external_data=False, verbose=False)
    ek.load(file).run(*(x.numpy() for x in inputs))
    return left[0] / sizes[0], left[1] / sizes[1]


def _size(model: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[int, int]:
    """Counted by the same rules for both tools."""
    graph = ek.capture(model, inputs)
    return cost.total_macs(graph), cost.total_parameters(graph)


def _protected(model: nn.Module, inputs: tuple[Tensor, ...]) -> list[nn.Module]:
    """The layers whose channels are the model's outputs."""
    report = ek.prune(ek.capture(model, inputs), RATIO).report
    names = {name.rpartition(".")[0] for name, reason in report.not_pruned if "model output" in reason}
    return [module for name, module in model.named_modules() if name in names]


def _outputs(result: Any) -> list[Tensor]:
    return [result] if isinstance(result, Tensor) else list(result)


def _same_shapes(got: Any, wanted: Any) -> None:
    if [y.shape for y in _outputs(got)] != [y.shape for y in _outputs(wanted)]:
        raise ValueError("the outputs have other shapes")


def _backward(model: Any, inputs: tuple[Tensor, ...]) -> None:
    loss = sum(y.square().mean() for y in _outputs(model(*inputs)))
    assert isinstance(loss, Tensor)
    loss.backward()  # type: ignore[no-untyped-call]


@contextlib.contextmanager
def at_most(seconds: int) -> Iterator[None]:
    """Raise TimeoutError in what takes longer."""

    def stop(*_: object) -> None:
        raise TimeoutError(f"did not end within {seconds} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def cell(tool: Callable[[nn.Module, tuple[Tensor, ...], Path], tuple[float, float]], make: Callable[[], Made]) -> Cell:
    """One net by one tool."""
    model, inputs = make()
    try:
        with tempfile.TemporaryDirectory() as folder, at_most(PATIENCE_S):
            macs, parameters = tool(model, inputs, Path(folder))
    except Exception as error:  # the peer fails in any way that there is
        first, _, _ = str(error).partition("\n")
        return Cell(None, None, f"{type(error).__name__}: {first[:150]}")
    enough = max(macs, parameters) <= 1 - LEAST
    return Cell(macs, parameters, "" if enough else "less than 40 % is gone")


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", help="names of nets")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    for name in ("torch.onnx", "onnxscript", "onnx_ir", "transformers"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    peer = importlib.util.find_spec("torch_pruning") is not None
    rows = []
    print(f"{'net':24} {'edgekit: MACs, parameters less':32} torch-pruning")
    for kind, name, make in nets():
        if options.only and name not in options.only:
            continue
        own = cell(by_edgekit, make)
        other = cell(by_torch_pruning, make) if peer else Cell(None, None, "not installed")
        rows.append({"kind": kind, "net": name, "edgekit": asdict(own), "torch_pruning": asdict(other)})
        print(f"{name:24} {own!s:32} {other}", flush=True)
    passed = {tool: sum(not row[tool]["failure"] for row in rows) for tool in ("edgekit", "torch_pruning")}  # type: ignore[index]
    lost = [row["net"] for row in rows if row["edgekit"]["failure"] and not row["torch_pruning"]["failure"]]  # type: ignore[index]
    counted = passed["torch_pruning"] if peer else "not measured"
    print(f"\nedgekit {passed['edgekit']} of {len(rows)}, torch-pruning {counted}")
    print(f"passed by the peer alone: {', '.join(map(str, lost)) or 'none'}")
    if options.json:
        result = {"benchmark": "prune_coverage", "ratio": RATIO, "device": device.describe(), "nets": rows}
        disk.write_file(options.json, (json.dumps(result, indent=1) + "\n").encode())
    sys.exit(bool(lost) or passed["edgekit"] < 0.9 * len(rows))


if __name__ == "__main__":
    main()
