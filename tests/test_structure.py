"""The house keeps its shape: rooms import only from rooms before them, files stay short, one module writes."""

from __future__ import annotations

import ast
import statistics
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "edgekit"

# Each line may import only from lines above it; rooms that share a line are strangers. A room is a module or a package.
ORDER = (
    "__init__ errors",
    "callable device disk progress strictyaml targets userfile",
    "section",
    "options journal sqnr",
    "answer recipe data models kernels",
    "ops",
    "graph recipes",
    "train",
    "prune quant fuse",
    "runtime",
    "export",
    "bench debug",
    "preflight inspection",
    "stages results",
    "pipeline",
    "doctor kernel_cli",
    "cli",
    "__main__",
)
LEVEL = {room: level for level, line in enumerate(ORDER) for room in line.split()}
FORBIDDEN = {"utils", "util", "common", "core", "backends", "configs", "helpers", "misc"}
SUFFIXES = {".py", ".cc", ".h", ".toml", ".yaml"}


def sources(*suffixes: str) -> list[Path]:
    """Every source of ours once: the symlink edgekit/kernels is not followed."""
    folders = [PACKAGE, ROOT / "kernels", ROOT / "csrc", ROOT / "tests", ROOT / "benchmarks"]
    found = [path for folder in folders for path in folder.rglob("*") if path.suffix in (suffixes or SUFFIXES)]
    return sorted(path for path in found if path.is_file() and "build" not in path.relative_to(ROOT).parts)


def python(folder: str) -> list[Path]:
    return [path for path in sources(".py") if path.relative_to(ROOT).parts[0] == folder]


def room(path: Path) -> str:
    parts = path.relative_to(ROOT).parts
    return "kernels" if parts[0] == "kernels" else parts[1].removesuffix(".py")


def imported_rooms(text: str) -> Iterator[tuple[int, str]]:
    """Line and room of every import from edgekit, those inside functions and for type checkers too."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        yield from ((node.lineno, name.split(".")[1]) for name in names if name.startswith("edgekit."))


def against_the_order(here: str, text: str) -> list[str]:
    level = LEVEL[here]
    return [
        f"line {line} imports {there}"
        for line, there in imported_rooms(text)
        if there != here and there in LEVEL and LEVEL[there] >= level
    ]


def test_every_room_has_its_place_in_the_order() -> None:
    assert {room(path) for path in python("edgekit") + python("kernels")} <= set(LEVEL)


def test_rooms_import_only_from_rooms_before_them() -> None:
    # edgekit/__init__.py names the public functions of every room and imports them on first use.
    files = [path for path in python("edgekit") + python("kernels") if path != PACKAGE / "__init__.py"]
    found = [
        f"{path.relative_to(ROOT)} {wrong}"
        for path in files
        for wrong in against_the_order(room(path), path.read_text())
    ]
    assert found == []


def test_no_import_is_relative() -> None:
    for path in python("edgekit") + python("kernels"):
        nodes = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ImportFrom)]
        assert all(node.level == 0 for node in nodes), path


@pytest.mark.parametrize(
    ("here", "text", "wrong"),
    [
        ("prune", "from edgekit.quant import quantize", 1),
        ("graph", "def f():\n    import edgekit.export.onnx", 1),
        ("disk", "from edgekit import recipe, errors", 1),
        ("kernels", "from edgekit.ops import OPS\nfrom edgekit.kernels import requant", 1),
        ("pipeline", "from edgekit import bench, disk\nfrom edgekit import __version__", 0),
        ("graph", "from edgekit.graph import edit", 0),
    ],
)
def test_the_order_check_sees(here: str, text: str, wrong: int) -> None:
    assert len(against_the_order(here, text)) == wrong


def writes(text: str) -> list[int]:
    """Lines that write a file other than through edgekit.disk."""
    lines = []
    for node in ast.walk(ast.parse(text)):
        if not isinstance(node, ast.Call):
            continue
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        owner = ast.unparse(node.func.value) if isinstance(node.func, ast.Attribute) else ""
        by_library = (owner in ("np", "numpy") and name.startswith("save")) or (
            owner in ("onnx", "torch") and name == "save"
        )
        if (
            name in ("write_text", "write_bytes", "save_file", "savefig", "touch", "NamedTemporaryFile", "mkstemp")
            or by_library
        ):
            lines.append(node.lineno)
        if name == "open" and _mode(node, 0 if owner else 1) & set("wax+"):
            lines.append(node.lineno)
    return lines


def _mode(call: ast.Call, position: int) -> set[str]:
    modes = [keyword.value for keyword in call.keywords if keyword.arg == "mode"] + call.args[position : position + 1]
    return {
        letter
        for mode in modes
        if isinstance(mode, ast.Constant) and isinstance(mode.value, str)
        for letter in mode.value
    }


def test_only_disk_writes_files() -> None:
    files = [path for path in python("edgekit") + python("kernels") if path != PACKAGE / "disk.py"]
    files = [path for path in files if room(path) != "recipes"]  # they fill a folder that disk.commit makes whole
    assert [f"{path.relative_to(ROOT)}:{line}" for path in files for line in writes(path.read_text())] == []


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("open('a', 'w')", 1),
        ("open('a', mode='ab')", 1),
        ("path.open('r+b')", 1),
        ("path.write_text('x')", 1),
        ("np.savez('a', x=1)", 1),
        ("onnx.save(model, path)", 1),
        ("safetensors.torch.save_file(t, path)", 1),
        ("open('a')\nopen('b', 'rb')\npath.open()\ngraph.save(path)\narchive.open(info)", 0),
        ("buffer.write(b'x')\nsafetensors.torch.save(t)", 0),
    ],
)
def test_the_write_check_sees(text: str, count: int) -> None:
    assert len(writes(text)) == count


def test_files_are_short() -> None:
    """Median at most 150 lines, nine of ten at most 350, none over 500 without a reason in its docstring."""
    lengths = {path: len(path.read_text().splitlines()) for path in sources(".py", ".cc", ".h")}
    long = [
        path for path, length in lengths.items() if length > 500 and "over 500 lines because" not in path.read_text()
    ]
    assert long == []
    assert statistics.median(lengths.values()) <= 150
    assert statistics.quantiles(lengths.values(), n=10)[-1] <= 350


def test_functions_are_short() -> None:
    """Median at most 10 lines in the package."""
    lengths = [
        node.end_lineno - node.lineno + 1
        for path in python("edgekit") + python("kernels")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef) and node.end_lineno
    ]
    assert statistics.median(lengths) <= 10


def test_no_drawer_and_no_empty_room() -> None:
    tracked = [Path(name) for name in _tracked()]
    assert not {part for path in tracked for part in path.parts[:-1]} & FORBIDDEN
    assert not {path.stem for path in tracked if path.suffix == ".py"} & FORBIDDEN


def _tracked() -> list[str]:
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout: what belongs to the project is not known")
    listing = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True)
    return listing.stdout.split("\0")[:-1]


def test_kernels_are_one_folder_under_two_names() -> None:
    link = PACKAGE / "kernels"
    assert link.is_symlink()
    assert link.readlink() == Path("../kernels")
    assert (link / "__init__.py").samefile(ROOT / "kernels" / "__init__.py")


def test_recipes_and_tables_are_packaged() -> None:
    """What the package reads beside its code matches a pattern of ``package-data``."""
    lines = (ROOT / "pyproject.toml").read_text().splitlines()
    patterns = next(line for line in lines if line.startswith("edgekit = ["))
    data = [path for path in PACKAGE.rglob("*") if path.suffix in (".toml", ".yaml", ".j2", ".css")]
    assert data
    for path in data:
        relative = path.relative_to(PACKAGE)
        assert f'"{relative}"' in patterns or f'"{relative.parent}/*{relative.suffix}"' in patterns, relative
