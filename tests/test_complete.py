"""What is listed exists, and what exists is listed: specs, tiers, files and the table of C++ kernels agree."""

from __future__ import annotations

import platform
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from edgekit.ops import OPS, Case, Cost, OpSpec
from edgekit.ops.spec import results

ROOT = Path(__file__).parent.parent
NAMES = {spec.name for spec in OPS}
MULTIPLY = {
    "linear_s8",
    "conv2d_s8",
    "conv_transpose2d_s8",
    "matmul_s8",
    "gru_s8",
    "lstm_s8",
    "attention_s8",
    "linear_dynamic",
}
CPP = {(spec.name, tier) for spec in OPS for tier in spec.tiers if tier != "triton"}
ROW = re.compile(r"^EDGEKIT_KERNEL\((\w+),\s+(\w+),\s+(\w+),\s+([\w |]+)\)$", re.MULTILINE)

each = pytest.mark.parametrize("spec", OPS, ids=lambda spec: spec.name)


def table() -> list[tuple[str, ...]]:
    return ROW.findall((ROOT / "csrc" / "kernels.def").read_text())


def test_names_are_unique_and_each_operator_has_its_file() -> None:
    assert len(NAMES) == len(OPS)
    files = {path.stem for path in (ROOT / "edgekit" / "ops").glob("*.py") if "OP = OpSpec(" in path.read_text()}
    assert files == NAMES


@each
def test_a_spec_is_whole(spec: OpSpec) -> None:
    cases = list(spec.cases())
    names = [case.name for case in cases]
    assert len(names) == len(set(names))
    assert any(case.layer for case in cases), "benchmarks need the size of a real layer"
    assert any(case.args[0].numel() == 0 for case in cases), "nothing at all is a case"
    assert "ref" in spec.tiers
    assert (spec.reference.__doc__ or "").strip()
    assert reference_length(spec) <= 30


def reference_length(spec: OpSpec) -> int:
    """Lines of the reference that do something: without signature, docstring and blank lines."""
    code = spec.reference.__code__
    return len({line for _, _, line in code.co_lines() if line is not None and line > code.co_firstlineno})


@each
def test_costs_count_what_a_call_moves(spec: OpSpec) -> None:
    for case in spec.cases():
        cost = spec.cost(*case.args)
        assert isinstance(case, Case)
        assert isinstance(cost, Cost)
        moved = sum(arg.nbytes for arg in case.args if isinstance(arg, torch.Tensor))
        moved += sum(one.nbytes for one in results(spec.shape(*case.args)))
        assert cost.bytes == moved, case.name
        assert cost.macs == 0 or spec.name in MULTIPLY, case.name


def test_the_table_holds_the_listed_tiers_and_no_other() -> None:
    rows = table()
    assert {(op, isa) for op, isa, *_ in rows} == CPP
    for op, isa, function, _ in rows:
        assert re.fullmatch(rf"{op}(_\d+x\d+)?_{isa}", function), function


def test_every_cpp_kernel_file_belongs_to_a_listed_tier() -> None:
    files = {path.stem for path in (ROOT / "csrc" / "cpu").iterdir()}
    assert files == {f"{op}_{isa}" for op, isa in CPP}


def test_the_built_extension_holds_this_table() -> None:
    native = pytest.importorskip("edgekit._C", reason="the extension is not built")
    rows = native.kernels()
    other = "neon" if platform.machine() in ("x86_64", "AMD64") else "avx"  # not compiled for this processor
    expected = [row[:3] for row in table() if not row[1].startswith(other)]
    assert [(row["op"], row["isa"], row["function"]) for row in rows] == expected
    assert all(row["available"] == (row["isa"] in native.isa_flags()) for row in rows)
    assert native.isa_flags()[0] == "ref"
    assert set(native.__dict__) >= NAMES


def test_isa_flags_agree_with_the_kernel_of_the_operating_system() -> None:
    native = pytest.importorskip("edgekit._C", reason="the extension is not built")
    cpuinfo = Path("/proc/cpuinfo")
    flags = re.search(r"^flags\s*:(.*)$", cpuinfo.read_text(), re.MULTILINE) if cpuinfo.exists() else None
    if flags is None:
        pytest.skip("/proc/cpuinfo lists no x86 flags here")
    words = set(flags[1].split())
    assert ("avx2" in native.isa_flags()) == ({"avx2", "fma"} <= words)
    vnni = {"avx512f", "avx512dq", "avx512bw", "avx512vl", "avx512_vnni"} <= words
    assert ("avx512vnni" in native.isa_flags()) == vnni


SHARED = {"__init__", "launch", "phases", "requant", "sums", "batches", "depthwise", "epilogue", "pixels", "tiles"}
SHARED |= {"broadcast", "recurrent", "rows"}


def test_every_triton_kernel_belongs_to_a_listed_tier() -> None:
    files = {path.stem for path in (ROOT / "kernels").glob("*.py")} - SHARED
    assert files == {spec.name for spec in OPS if "triton" in spec.tiers}
    for name in files:
        assert re.search(rf"^def {name}\($", (ROOT / "kernels" / f"{name}.py").read_text(), re.MULTILINE)


def test_the_stub_types_what_the_binding_defines() -> None:
    stub = set(re.findall(r"^def (\w+)\(", (ROOT / "edgekit" / "_C.pyi").read_text(), re.MULTILINE))
    bindings = "".join(path.read_text() for path in (ROOT / "csrc").glob("bind*.cc"))
    bound = set(re.findall(r'm\.def\("(\w+)"', bindings))
    assert stub == bound == NAMES | {"kernels", "isa_flags", "plan_layout", "instructions", "instruction_rate"}


def test_importing_the_kernels_does_not_import_triton() -> None:
    code = "import sys, edgekit.kernels; sys.exit('triton' in sys.modules or 'torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
