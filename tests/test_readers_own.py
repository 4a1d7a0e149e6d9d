"""Data of the user's own code: sets of every form that is documented, makers whose work is kept, and their mistakes."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from edgekit import data
from edgekit.data import generate
from edgekit.data.own import read_own
from edgekit.data.source import Source
from edgekit.errors import DataError, OutputError
from edgekit.options import CsvConfig, DataConfig, TaskConfig, UserObject

HEAD = """
import numpy as np, torch
from torch import nn
from edgekit.data import Source, Split
X = np.arange(120, dtype=np.float32).reshape(40, 3)
Y = np.arange(40) % 4
class Items:
    def __init__(self, item): self.item = item
    def __len__(self): return 40
    def __getitem__(self, i): return self.item(i)
"""


def returns(folder: Path, expression: str, **args: Any) -> Source:
    (folder / "mine.py").write_text(f"{HEAD}\ndef load(**kw):\n    return {expression}\n")
    return read_own(UserObject(file="mine.py", object="load", args=args), folder, "classification")


@pytest.mark.parametrize(
    "expression",
    [
        "torch.utils.data.TensorDataset(torch.from_numpy(X), torch.from_numpy(Y))",
        "[(x, y) for x, y in zip(X, Y)]",
        "Items(lambda i: (torch.from_numpy(X[i]).requires_grad_(), int(Y[i])))",
        "Items(lambda i: {'pixels': X[i].astype(np.float64), 'label': np.int32(Y[i])})",
        "Split((X,), (Y,))",
        "(X, Y)",
        "((X,), (Y,))",
        "(torch.from_numpy(X), torch.from_numpy(Y))",
        "Source(Split((X,), (Y,)))",
    ],
)
def test_every_documented_form_gives_the_same_arrays(tmp_path: Path, expression: str) -> None:
    items = returns(tmp_path, expression).items
    np.testing.assert_array_equal(items.inputs[0], np.arange(120, dtype=np.float32).reshape(40, 3))
    np.testing.assert_array_equal(items.targets[0], np.arange(40) % 4)
    assert (items.inputs[0].dtype, items.targets[0].dtype) == (np.float32, np.int64)


def test_several_inputs_and_arguments(tmp_path: Path) -> None:
    source = returns(tmp_path, "Items(lambda i: (X[i] * kw['k'], np.uint8([i, 1]), np.int16([i]), float(i)))", k=2)
    assert [array.dtype for array in source.items.inputs] == [np.float32, np.uint8, np.int64]
    assert source.items.inputs[0][1].tolist() == [6, 8, 10]
    assert source.items.targets[0].dtype == np.float32


def test_train_and_test_stay_what_they_are(tmp_path: Path) -> None:
    source = returns(tmp_path, "{'train': (X, Y), 'test': [(x, y) for x, y in zip(X[:4] + 500, Y[:4])]}")
    assert source.test is not None
    assert (len(source.items), len(source.test)) == (40, 4)


def test_a_source_brings_classes_groups_and_a_preprocessing(tmp_path: Path) -> None:
    expression = (
        "Source(Split((X,), (Y,)), classes=('a', 'b', 'c', 'd'), groups=np.arange(40) // 8,"
        " preprocess=lambda train: nn.Hardtanh(-len(train), len(train)))"
    )
    (tmp_path / "mine.py").write_text(f"{HEAD}\ndef load():\n    return {expression}\n")
    config = DataConfig(dataset=UserObject(file="mine.py", object="load"))
    loaded = data.load(config, 0, 8, tmp_path, allow_few=True)
    assert (loaded.name, loaded.class_names) == ("mine.py: load", ("a", "b", "c", "d"))
    assert len(loaded.test) % 8 == 0
    assert loaded.preprocess(torch.tensor(1e9)) == len(loaded.train)  # type: ignore[misc]


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("None", "returned NoneType"),
        ("X", "returned ndarray"),
        ("'data.csv'", "returned str"),
        ("{'train': (X, Y)}", r"a dict of \['train'\]"),
        ("[]", "has no items"),
        ("1 / 0", "line 13.*ZeroDivisionError"),
        ("Items(lambda i: 1 / (i - 7))", "item 0 is float, not"),
        ("Items(lambda i: (X[i] / (1 if i < 7 else None), 1))", "item 7 cannot be read.*TypeError"),
        ("Items(lambda i: (X[i],))", "item 0 is tuple, not"),
        ("Items(lambda i: (X[i][: 3 if i < 9 else 2], 1))", r"item 9 is float32 \[2\].*item 0 is float32 \[3\]"),
        ("Items(lambda i: (X[i].astype('f8' if i == 5 else 'f4'), 1))", "item 5 is float64"),
        ("Items(lambda i: (X[i], 'cat'))", "item 0, part 1, is <U3, not numbers"),
        ("Items(lambda i: (X[i], [[1], [2, 3]]))", "item 0, part 1, is object"),
        ("(X * np.nan, Y)", "input 0: item 0 holds NaN"),
        ("(X, Y + np.inf)", "target 0: item 0 holds"),
        ("(X.astype(complex), Y)", "input 0 is complex128"),
        ("(X, Y[:-1])", "target 0 has 39 items"),
        ("((X, X[:-1]), Y)", r"the inputs have \[40, 39\] items"),
        ("(X[:, 0], Y)", r"input 0 has shape \[40\]"),
        ("(X, ())", "gives 1 inputs and 0 targets"),
        ("Source(Split((X,), (Y,)), groups=Y / 2)", "groups are float32"),
        ("Source(Split((X,), (Y,)), test=Split((X[:, :2],), (Y,)))", "other types or shapes"),
    ],
)
def test_what_cannot_be_used_is_named(tmp_path: Path, expression: str, expected: str) -> None:
    with pytest.raises(DataError, match=rf"mine\.py: load.*{expected}"):
        returns(tmp_path, expression)


@pytest.mark.parametrize(
    ("preprocess", "expected"),
    [("lambda train: nn.Linear(3, 3)", "has parameters"), ("lambda train: train.nothing", "AttributeError")],
)
def test_a_preprocessing_that_trains_or_fails_is_refused(tmp_path: Path, preprocess: str, expected: str) -> None:
    source = returns(tmp_path, f"Source(Split((X,), (Y,)), preprocess={preprocess})")
    assert source.preprocess is not None
    with pytest.raises(DataError, match=expected):
        source.preprocess(source.items)


MAKER = """
def table(folder, count=100, log=None):
    assert not list(folder.iterdir())
    with open(folder / "table.csv", "w") as file:
        file.write("a,b,y\\n" + "".join(f"{i},{-i},{2 * i}\\n" for i in range(count)))
    if log:
        with open(log, "a") as file:
            file.write("made ")
def nothing(folder): (folder / "sub").mkdir()
def fails(folder): (folder / "half.csv").write_text("a"); raise OSError("no such voice")
def leaves(folder): raise SystemExit(3)
def linked(folder): (folder / "table.csv").symlink_to("/etc/hostname")
def sealed(folder): (folder / "table.csv").write_text("a,y\\n1,1\\n"); (folder / "DONE").write_text("mine")
"""


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "maker.py").write_text(MAKER)
    return tmp_path / "cache" / "edgekit" / "generated"


def made(folder: Path, name: str = "table", **args: Any) -> data.Dataset:
    config = DataConfig(csv=CsvConfig(target="y"), generate=UserObject(file="maker.py", object=name, args=args))
    return data.load(config, 0, 32, folder, task=TaskConfig(kind="regression"))


def test_a_maker_runs_once_until_its_file_its_name_or_its_arguments_change(cache: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.touch()
    first = made(tmp_path, log=str(log))
    again = made(tmp_path, log=str(log))
    assert (first.name, len(first.train) + len(first.test), log.read_text()) == ("maker.py: table", 100, "made ")
    np.testing.assert_array_equal(first.test.inputs[0], again.test.inputs[0])
    assert len(made(tmp_path, log=str(log), count=50).train) == 35
    (tmp_path / "maker.py").write_text(MAKER + "other = table\n")
    made(tmp_path, log=str(log))
    made(tmp_path, "other", log=str(log))
    assert log.read_text() == "made " * 4
    assert len(list(cache.iterdir())) == 4


def test_what_was_touched_since_is_made_anew(cache: Path, tmp_path: Path) -> None:
    made(tmp_path)
    (table,) = cache.glob("*/table.csv")
    table.write_text("a,y\n1,1\n")
    assert len(made(tmp_path).train) == 70


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("nothing", "nothing left its folder empty"),
        ("fails", "fails cannot make data.*maker.py, line .*OSError: no such voice"),
        ("leaves", "leaves cannot make data.*SystemExit"),
        ("linked", r"linked made table\.csv, which is no plain file"),
        ("tabel", "no object 'tabel'.*Did you mean 'table'"),
    ],
)
def test_a_maker_that_fails_leaves_nothing(cache: Path, tmp_path: Path, name: str, expected: str) -> None:
    with pytest.raises(DataError, match=expected):
        made(tmp_path, name)
    assert not cache.exists() or list(cache.iterdir()) == []


def test_a_maker_cannot_seal_its_own_folder(cache: Path, tmp_path: Path) -> None:
    with pytest.raises(OutputError):
        made(tmp_path, "sealed")
    assert list(cache.iterdir()) == []


def test_no_file_is_said_and_a_cache_that_cannot_be_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataError, match=r"There is no file .*maker\.py"):
        made(tmp_path)
    (tmp_path / "maker.py").write_text(MAKER)
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(OutputError, match="XDG_CACHE_HOME"):
        made(tmp_path)


def test_a_relative_cache_is_ignored_as_the_specification_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "here")
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "maker.py").write_text(MAKER)
    folder = generate.generated(UserObject(file="maker.py", object="table"), tmp_path)
    assert folder.is_relative_to(tmp_path / ".cache" / "edgekit" / "generated")
    assert os.listdir(folder) != []
