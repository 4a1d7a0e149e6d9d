"""The checks of data: each planted defect is found where a user meets it, and sound data raises no alarm."""

from __future__ import annotations

import contextlib
import io
import json
import re
from pathlib import Path

import planted
import planted_files
import pytest

from edgekit import cli

CASES = (*planted.ARRAYS, *planted_files.FILES)


def examine(recipe: Path, *options: str) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of ``edgekit data``."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), pytest.raises(SystemExit) as stop:
        cli.main(["data", str(recipe), *options])
    return int(stop.value.code or 0), out.getvalue(), err.getvalue()


def warnings(recipe: Path) -> dict[str, str]:
    """What ``edgekit data`` warns of: the messages of each check."""
    code, out, err = examine(recipe, "--json")
    assert code == 0, err
    found: dict[str, str] = {}
    for finding in json.loads(out)["findings"]:
        if finding["level"] == "warn":
            found[finding["check"]] = f"{found.get(finding['check'], '')} {finding['message']}"
    return found


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_planted_defect_is_found_and_its_clean_twin_is_not(case: planted.Case, tmp_path: Path) -> None:
    recipe = planted.write(tmp_path, case.clean(tmp_path))
    assert warnings(recipe) == {}
    case.spoil(tmp_path)
    if case.check is None:
        code, out, err = examine(recipe)
        assert (code, out) == (3, "")
        assert re.search(case.says, err), err
    else:
        found = warnings(recipe)
        assert set(found) == {case.check, *case.also}, found
        assert re.search(case.says, found[case.check]), found
