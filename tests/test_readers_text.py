"""Lines of text: bytes as Python encodes them, word pieces that are the same on every day, defects by line."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekit import data
from edgekit.data.source import Source
from edgekit.data.text import read_text
from edgekit.errors import DataError, MissingDependency
from edgekit.options import DataConfig, TextConfig

ROOT = Path(__file__).parent.parent
WORDS = ["der", "die", "und", "in", "zu", "mit", "für", "über", "größe", "the", "of", "and", "to", "is", "that"]


def lines(seed: int, count: int = 60) -> list[str]:
    rng = np.random.default_rng(seed)
    return [" ".join(rng.choice(WORDS, 8)) + f" {rng.integers(1000)}" for _ in range(count)]


def fill(root: Path) -> Path:
    root.mkdir(parents=True)
    for seed, name in enumerate(("de", "en")):
        (root / f"{name}.txt").write_text("\n".join(lines(seed)) + "\n", encoding="utf-8")
    return root


def read(root: Path, **options: Any) -> Source:
    return read_text(TextConfig(path=str(root), **options), Path(), "classification")


def test_bytes_are_pythons_own_padded_at_the_end(tmp_path: Path) -> None:
    source = read(fill(tmp_path / "d"), length=40)
    assert (source.classes, source.items.inputs[0].dtype, len(source.items)) == (("de", "en"), np.int64, 120)
    np.testing.assert_array_equal(source.items.targets[0], [0] * 60 + [1] * 60)
    for row, line in zip(source.items.inputs[0], lines(0) + lines(1), strict=True):
        encoded = line.encode()[:40]
        assert bytes(row.tolist()) == encoded.ljust(40, b"\0")


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_ends_of_lines_and_a_byte_order_mark_are_not_text(tmp_path: Path, end: str) -> None:
    (tmp_path / "a.txt").write_bytes(("\ufeffone" + end + "two").encode())
    np.testing.assert_array_equal(read(tmp_path, length=3).items.inputs[0], [list(b"one"), list(b"two")])


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"good\n\nmore\n", r"a\.txt, line 2 is empty"),
        (b"good\n \t\n", r"a\.txt, line 2 is empty"),
        (b"good\nb\xe4d\n", r"a\.txt, line 2 is not UTF-8: byte 2"),
        (b"good\nb\0d\n", r"a\.txt, line 2 holds NUL"),
        (b"", r"a\.txt is empty"),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, content: bytes, expected: str) -> None:
    (tmp_path / "a.txt").write_bytes(content)
    with pytest.raises(DataError, match=expected):
        read(tmp_path)


def test_no_folder_no_files_and_links_out_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataError, match="There is no folder"):
        read(tmp_path / "none")
    with pytest.raises(DataError, match=r"has no file CLASS\.txt"):
        read(tmp_path)
    (tmp_path / "secret").write_text("x\n")
    root = fill(tmp_path / "d")
    (root / "x.txt").symlink_to(tmp_path / "secret")
    with pytest.raises(DataError, match=r"x\.txt is no file of this folder"):
        read(root)
    (root / "x.txt").unlink()
    (root / "x.txt").mkdir()
    with pytest.raises(DataError, match=r"x\.txt is no file of this folder"):
        read(root)
    (root / "x.txt").rmdir()
    monkeypatch.setattr("edgekit.data.text.MAX_BYTES", 10)
    with pytest.raises(DataError, match=r"de\.txt is larger than 10 bytes"):
        read(root)


def test_its_own_test_lines_stay_the_test_set(tmp_path: Path) -> None:
    fill(tmp_path / "d" / "train")
    fill(tmp_path / "d" / "test")
    loaded = data.load(DataConfig(text=TextConfig(path="d", length=16)), 0, 32, tmp_path)
    assert (len(loaded.train), len(loaded.test)) == (120, 120)


def pieces(folder: Path, **options: Any) -> data.Dataset:
    pytest.importorskip("tokenizers", reason="tokenizers is not installed")
    text = TextConfig(path="d", tokens="pieces", vocabulary=300, **{"length": 24, **options})
    return data.load(DataConfig(text=text), 0, 32, folder)


def test_word_pieces_spell_the_line_again(tmp_path: Path) -> None:
    fill(tmp_path / "d")
    loaded = pieces(tmp_path)
    vocabulary = json.loads(loaded.assets["tokenizer.json"])["model"]["vocab"]
    names = {number: piece for piece, number in vocabulary.items()}
    assert (names[0], names[1], loaded.facts["vocabulary"]) == ("[PAD]", "[UNK]", len(vocabulary))
    assert len(vocabulary) <= 300
    known = {line.replace(" ", "").replace("ü", "u").replace("ö", "o") for line in lines(0) + lines(1)}
    for row in (*loaded.train.inputs[0], *loaded.test.inputs[0]):
        spelled = "".join(names[number].removeprefix("##") for number in row if number)
        assert spelled in known


def test_pieces_are_learned_from_training_lines_alone(tmp_path: Path) -> None:
    fill(tmp_path / "d" / "train")
    fill(tmp_path / "d" / "test")
    before = pieces(tmp_path)
    (tmp_path / "d" / "test" / "de.txt").write_text("zyxw qqq\n")
    after = pieces(tmp_path)
    assert after.assets == before.assets
    assert (after.test.inputs[0][0] == 1).any()  # a word of unknown letters


def test_markup_in_a_line_is_text_and_no_padding(tmp_path: Path) -> None:
    root = fill(tmp_path / "d")
    (root / "en.txt").write_text("[PAD] [UNK] ##a\n" * 40)
    assert pieces(tmp_path).train.inputs[0][:, 0].all()


def test_the_same_lines_give_the_same_pieces_in_every_process(tmp_path: Path) -> None:
    fill(tmp_path / "d")
    here = pieces(tmp_path).assets["tokenizer.json"]
    code = (
        "import sys; from pathlib import Path; from edgekit import data; from edgekit.options import *\n"
        "text = TextConfig(path='d', tokens='pieces', vocabulary=300, length=24)\n"
        "found = data.load(DataConfig(text=text), 0, 32, Path(sys.argv[1]))\n"
        "sys.stdout.buffer.write(found.assets['tokenizer.json'])"
    )
    for _ in range(2):
        there = subprocess.run([sys.executable, "-c", code, str(tmp_path)], cwd=ROOT, capture_output=True, check=True)
        assert there.stdout == here


def test_more_letters_than_pieces_are_refused(tmp_path: Path) -> None:
    root = fill(tmp_path / "d")
    (root / "zh.txt").write_text("".join(chr(0x4E00 + i) + ("\n" if i % 9 == 8 else "") for i in range(900)))
    with pytest.raises(DataError, match="different characters"):
        pieces(tmp_path)


def test_without_the_library_pieces_say_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    fill(tmp_path / "d")
    with pytest.raises(MissingDependency, match=r"edgekit\[text\]"):
        read(tmp_path / "d", tokens="pieces")
