"""The pages tell the truth: files they name are there, the example runs, verbs and exit codes are the program's own."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from edgekit import errors

ROOT = Path(__file__).parent.parent
PAGES = ("README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md")


def page(name: str) -> str:
    return (ROOT / name).read_text("utf-8")


def test_files_that_the_pages_name_are_there() -> None:
    named = re.findall(r"`((?:edgekit|csrc|kernels|tests|benchmarks|\.ci)/[\w./-]*)`", "".join(map(page, PAGES)))
    assert len(named) > 20
    # `foo_s8` is the operator that the reader adds.
    assert [name for name in named if "foo_s8" not in name and not (ROOT / name).exists()] == []


def test_links_between_pages_lead_somewhere() -> None:
    links = [link for name in PAGES for link in re.findall(r"\[[^]]+\]\(([^)#]+)\)", page(name)) if "://" not in link]
    assert {"CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md"} <= set(links)
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_the_example_of_the_readme_runs(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    (example,) = re.findall(r"```python\n(.*?)```", page("README.md"), re.DOTALL)
    script = tmp_path / "example.py"
    script.write_text(example)
    result = subprocess.run([sys.executable, str(script)], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "model.onnx").exists()


def test_the_readme_lists_the_verbs_and_no_other() -> None:
    shown = subprocess.run(
        [sys.executable, "-m", "edgekit", "--help"], capture_output=True, text=True, check=True
    ).stdout
    verbs = set(re.findall(r"^  (\w+)  ", shown.partition("Commands:")[2], re.MULTILINE))
    assert verbs
    assert set(re.findall(r"^\| `edgekit (\w+)", page("README.md"), re.MULTILINE)) == verbs


def test_the_readme_shows_the_nets_that_ship() -> None:
    models = pytest.importorskip("edgekit.models")
    assert models.show() in page("README.md")


def test_the_readme_shows_the_recipes_that_ship() -> None:
    from edgekit import recipe

    table = page("README.md").partition("## Recipes that ship")[2].partition("\n## ")[0]
    assert set(re.findall(r"^\| `([\w-]+)`", table, re.MULTILINE)) == set(recipe.shipped())


def test_the_readme_lists_the_exit_codes() -> None:
    classes = [
        thing for thing in vars(errors).values() if isinstance(thing, type) and issubclass(thing, errors.EdgekitError)
    ]
    codes = {thing.exit_code for thing in classes} | {errors.EXIT_OK, errors.EXIT_BUG, errors.EXIT_INTERRUPTED}
    assert {int(code) for code in re.findall(r"^\| (\d+) \|", page("README.md"), re.MULTILINE)} == codes


def test_contributing_has_the_order_of_imports_that_is_tested() -> None:
    from test_structure import ORDER

    table = page("CONTRIBUTING.md").partition("| rooms |")[2].partition("\n\n")[0]
    rows = [re.findall(r"`(\w+)`", row.split("|")[1]) for row in table.splitlines()[2:]]
    hidden = {"__init__", "__main__"}
    assert [sorted(row) for row in rows] == [
        sorted(set(line.split()) - hidden) for line in ORDER if set(line.split()) - hidden
    ]
