"""Tables: pandas' and csv's view of a file is ours, and every planted defect is named with its line and column."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit import data
from edgekit.data import column
from edgekit.data.source import Source
from edgekit.data.table import read_table
from edgekit.errors import DataError
from edgekit.options import CsvConfig, DataConfig, TaskConfig, TaskKind

GOOD = "height,colour,label\n1.5,red,yes\n-2,blue,no\n3e1,red,no\n"


def read(folder: Path, text: str | bytes, kind: TaskKind = "classification", **options: Any) -> Source:
    (folder / "t.csv").write_bytes(text.encode() if isinstance(text, str) else text)
    return read_table(CsvConfig(path="t.csv", **{"target": "label", **options}), folder, kind)


def test_numbers_stay_raw_and_words_become_their_place_in_the_sorted_list(tmp_path: Path) -> None:
    source = read(tmp_path, GOOD)
    np.testing.assert_array_equal(source.items.inputs[0], np.array([[1.5, 1], [-2, 0], [30, 1]], np.float32))
    assert (source.items.inputs[0].dtype, source.classes) == (np.float32, ("no", "yes"))
    np.testing.assert_array_equal(source.items.targets[0], [1, 0, 0])
    assert source.facts["columns"] == [{"name": "height", "words": []}, {"name": "colour", "words": ["blue", "red"]}]


@pytest.mark.parametrize(
    "text",
    [
        GOOD.replace("\n", "\r\n"),
        "\ufeff" + GOOD,
        GOOD.replace(",", " , "),
        GOOD + "\n\n",
        GOOD.rstrip("\n"),
        GOOD.replace("red", '"red"').replace("height", '"height"'),
    ],
)
def test_forms_of_the_same_table_read_alike(tmp_path: Path, text: str) -> None:
    source, plain = read(tmp_path, text), read(tmp_path, GOOD)
    np.testing.assert_array_equal(source.items.inputs[0], plain.items.inputs[0])
    assert source.facts == plain.facts


@pytest.mark.parametrize(
    ("text", "options", "expected"),
    [
        (GOOD + "4,red\n", {}, r"t\.csv, line 5 has 2 cells, line 1 has 3"),
        (GOOD + "4,red,no,1\n", {}, "line 5 has 4 cells"),
        (GOOD + "\n4,red,no\n", {}, "line 5 is empty"),
        (GOOD.encode() + b"4,r\xe9d,no\n", {}, "line 5 is not UTF-8: byte 4"),
        (GOOD.replace("colour", "height"), {}, "line 1: the name 'height' stands twice"),
        (GOOD.replace("colour", " "), {}, "line 1: a name is missing"),
        ("", {}, "line 1: it is empty"),
        ("height,label\n", {}, "no line to learn from"),
        (GOOD + "tall,red,no\n", {}, r"line 5, column 'height': 'tall' stands in a column of numbers.*line 2"),
        (GOOD + "4,7,no\n", {}, r"line 5, column 'colour': '7' stands in a column of words"),
        (GOOD + "NaN,red,no\n", {}, r"line 5, column 'height' is NaN"),
        (GOOD + "-inf,red,no\n", {}, r"line 5, column 'height' is -inf"),
        (GOOD + "4,nan,no\n", {}, r"line 5, column 'colour' is nan"),
        (GOOD + "1e39,red,no\n", {}, "line 5, column 'height' is 1e39"),
        (GOOD + "1_000,red,no\n", {}, "'1_000' stands in a column of numbers"),
        (GOOD + ",red,no\n", {}, "line 5, column 'height' is empty"),
        (GOOD + "4,red,\n", {}, "line 5, column 'label' is empty"),
        (GOOD + "4,red,\n", {"missing": "median"}, "line 5, column 'label' is empty"),
        (GOOD + "4,,no\n", {"missing": "median"}, "line 5, column 'colour' is empty.*no median"),
        ("a,c,label\n1,,no\n1,red,no\n", {"missing": "median"}, "line 2, column 'c' is empty.*no median"),
        ("a,label\n,no\n,yes\n", {"missing": "median"}, "column 'a' is empty"),
        ("a,label\n,no\n,yes\n", {"missing": "drop"}, r"no line to learn from \(2 dropped\)"),
        (GOOD, {"target": "lable"}, r"no column 'lable'.*Did you mean 'label'"),
        (GOOD, {"drop": ("size",)}, r"no column 'size' \(`data\.csv\.drop`\)"),
        (GOOD, {"group": "who"}, r"no column 'who' \(`data\.csv\.group`\)"),
        (GOOD, {"drop": ("label",)}, "no column twice"),
        (GOOD, {"drop": ("height", "colour")}, "leaves the model no column"),
        (GOOD, {"delimiter": ";"}, "no column 'label'.*delimiter"),
        (GOOD, {"delimiter": "\n"}, "delimiter` cannot be"),
        (GOOD, {"delimiter": '"'}, "delimiter` cannot be"),
        (GOOD + '4,"red,no\n', {}, "line 5: unexpected end of data"),
        (GOOD + '4,"r"ed,no\n', {}, "line 5: .*expected after"),
        (GOOD + "4," + "r" * 200_000 + ",no\n", {}, "line 5: field larger"),
        ("a,label\n" + "".join(f"w{i},no\n" for i in range(300)), {}, "line 258, column 'a': .*more than 256"),
    ],
)
def test_every_defect_is_named_by_its_place(
    tmp_path: Path, text: str | bytes, options: dict[str, Any], expected: str
) -> None:
    with pytest.raises(DataError, match=expected) as caught:
        read(tmp_path, text, **options)
    assert caught.value.code == "EK3002"


def test_no_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    for path in ("none.csv", "."):
        with pytest.raises(DataError, match="is no file"):
            read_table(CsvConfig(path=path, target="label"), tmp_path, "classification")


def test_a_file_above_the_limit_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgekit.data.table.MAX_BYTES", len(GOOD) - 1)
    with pytest.raises(DataError, match=r"t\.csv is larger than"):
        read(tmp_path, GOOD)


def test_lines_with_empty_cells_are_dropped_where_asked(tmp_path: Path) -> None:
    source = read(tmp_path, GOOD + ",red,no\n4,,no\n5,red,\n6,blue,no\n", missing="drop")
    np.testing.assert_array_equal(source.items.inputs[0][:, 0], np.array([1.5, -2, 30, 6], np.float32))
    assert source.facts["dropped_lines"] == 3


def test_empty_cells_of_a_dropped_column_do_not_matter(tmp_path: Path) -> None:
    source = read(tmp_path, GOOD + "4,,no\n", drop=("colour",))
    assert source.items.inputs[0].shape == (4, 1)


def test_labels_are_words_even_where_they_are_numbers(tmp_path: Path) -> None:
    source = read(tmp_path, "a,label\n1,10\n2,9\n3,10\n")
    assert source.classes == ("9", "10")
    np.testing.assert_array_equal(source.items.targets[0], [1, 0, 1])


def test_a_regression_has_a_row_of_values(tmp_path: Path) -> None:
    source = read(tmp_path, "a,u,b,v\n1,2,3,4\n5,6,7,8\n", "regression", target=("u", "v"))
    np.testing.assert_array_equal(source.items.targets[0], np.array([[2, 4], [6, 8]], np.float32))
    np.testing.assert_array_equal(source.items.inputs[0], np.array([[1, 3], [5, 7]], np.float32))
    assert source.classes == ()


def test_words_are_no_values_and_a_table_no_picture(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(GOOD)
    config = DataConfig(csv=CsvConfig(path="t.csv", target="label"))
    with pytest.raises(DataError, match="are classes"):
        data.load(config, 0, 32, tmp_path, task=TaskConfig(kind="regression"))
    with pytest.raises(DataError, match="no targets for segmentation"):
        data.load(config, 0, 32, tmp_path, task=TaskConfig(kind="segmentation"))


@given(st.lists(st.tuples(st.floats(-1e6, 1e6, width=32), st.text('ab",; ', min_size=1, max_size=4)), min_size=2))
@settings(deadline=None, max_examples=50)
def test_what_the_csv_module_writes_is_read(tmp_path_factory: pytest.TempPathFactory, rows: list[Any]) -> None:
    folder, buffer = tmp_path_factory.mktemp("csv"), io.StringIO()
    words = [word.strip() or "x" for _, word in rows]
    csv.writer(buffer).writerows(
        [["v", "w", "label"], *([repr(v), f"w{word}", "y"] for (v, _), word in zip(rows, words, strict=True))]
    )
    source = read(folder, buffer.getvalue())
    np.testing.assert_array_equal(source.items.inputs[0][:, 0], np.array([v for v, _ in rows], np.float32))
    known = source.facts["columns"][1]["words"]
    assert [known[int(place)] for place in source.items.inputs[0][:, 1]] == [f"w{word}" for word in words]


@given(st.binary(max_size=200))
@settings(deadline=None, max_examples=200)
def test_any_bytes_are_a_table_or_a_typed_error(tmp_path_factory: pytest.TempPathFactory, tail: bytes) -> None:
    try:
        source = read(tmp_path_factory.mktemp("csv"), GOOD.encode() + tail, missing="median")
    except DataError as error:
        assert "t.csv" in str(error)  # noqa: PT017  either outcome is right
    else:
        assert len(source.items) >= 3


def table(count: int = 300) -> str:
    rng = np.random.default_rng(0)
    sizes = ["" if i % 5 == 0 else f"{size:.6}" for i, size in enumerate(rng.normal(7, 3, count))]
    kinds = rng.choice(["a", "b", "c"], count)
    lines = [f"{sizes[i]},{kinds[i]},p{i // 6},{'yes' if i % 3 else 'no'}" for i in range(count)]
    return "\n".join(["size,kind,who,label", *lines])


def test_a_group_never_stands_on_both_sides(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(table())
    config = CsvConfig(path="t.csv", target="label", group="who", missing="median")
    loaded = data.load(DataConfig(csv=config, validation_fraction=0.2), 0, 64, tmp_path)
    lines = [line.split(",") for line in table().splitlines()[1:]]
    where: dict[str, set[str]] = {}
    words = ["a", "b", "c"]
    assert loaded.validation is not None
    for name, part in (("train", loaded.train), ("validation", loaded.validation), ("test", loaded.test)):
        for size, kind in part.inputs[0]:
            for cells in lines:
                if words[int(kind)] == cells[1] and size == np.float32(cells[0] or np.nan):
                    where.setdefault(cells[2], set()).add(name)
    assert {len(names) for names in where.values()} == {1}
    assert len(loaded.train) + len(loaded.validation) + len(loaded.test) == 300
    assert loaded.train.inputs[0].shape[1] == 2  # the group is no feature


def test_the_graph_fills_gaps_with_the_training_median_and_calibration_has_none(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(table())
    config = CsvConfig(path="t.csv", target="label", drop=("who",), missing="median")
    loaded = data.load(DataConfig(csv=config), 0, 64, tmp_path)
    assert np.isnan(loaded.train.inputs[0]).any()
    assert not np.isnan(loaded.calibration.inputs[0]).any()
    sizes = loaded.train.inputs[0][:, 0]
    known = sizes[~np.isnan(sizes)].astype(np.float64)
    filled = np.where(np.isnan(sizes), np.median(known), sizes)
    assert loaded.preprocess is not None
    features = loaded.preprocess(torch.from_numpy(loaded.train.inputs[0])).numpy()
    np.testing.assert_allclose(features[:, 0], (filled - known.mean()) / known.std(), rtol=1e-5, atol=1e-6)
    one_hot = loaded.train.inputs[0][:, 1:] == np.arange(3)
    np.testing.assert_array_equal(features[:, 1:], one_hot.astype(np.float32))


def test_the_limit_of_words_is_the_largest_that_is_read(tmp_path: Path) -> None:
    text = "a,label\n" + "".join(f"w{i % column.MAX_WORDS},no\n" for i in range(600))
    assert len(read(tmp_path, text).facts["columns"][0]["words"]) == column.MAX_WORDS
