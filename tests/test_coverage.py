"""The table of nets and steps: it says what works, and a wrong number or a crash cannot pass for a refusal."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from edgekit.errors import OperatorError

pytest.importorskip("onnxruntime")
PATH = Path(__file__).parent.parent / "benchmarks" / "coverage.py"


@pytest.fixture(scope="module")
def coverage() -> ModuleType:
    import sys

    spec = importlib.util.spec_from_file_location("coverage_table", PATH)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules["coverage_table"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_net_of_known_operators_gets_through_every_step(coverage: ModuleType) -> None:
    found = list(coverage.cells("mlp", full=False))
    assert {cell.step: cell.status for cell in found} == dict.fromkeys(coverage.STEPS, "ok")


def test_the_table_says_how_much_is_in_int8(coverage: ModuleType) -> None:
    found = {cell.step: cell for cell in coverage.cells("gru_classifier", full=False)}
    assert found["INT8"].figure.endswith("100 %")
    assert {cell.status for step, cell in found.items() if step != "prune"} == {"ok"}


def test_outcomes_are_told_apart(coverage: ModuleType) -> None:
    outcomes = {
        "refused": OperatorError(f"no such operator at {PATH}:3"),
        "nothing": coverage.NothingDone("nothing", "why"),
        "WRONG": coverage.WrongNumber("3 is not 4"),
        "CRASH": ZeroDivisionError("division by zero"),
    }
    for status, error in outcomes.items():

        def raises(_: object, error: Exception = error) -> str:
            raise error

        assert coverage._attempt(raises, None)[0] == status
    reason = coverage._attempt(lambda _: (_ for _ in ()).throw(outcomes["refused"]), None)[2]
    assert "at benchmarks/coverage.py:3" in reason, "nothing of the machine's folders"


def test_a_net_that_stays_in_float_is_no_int8(coverage: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coverage, "SHARE", 1.1)
    found = {cell.step: cell for cell in coverage.cells("mlp", full=False)}
    assert found["INT8"].status == "WRONG"
    assert "100.0% of the products" in found["INT8"].reason
