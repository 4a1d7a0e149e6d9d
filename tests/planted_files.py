"""Defects in tables, folders of images, sounds and text, and in a user's own data set: beside those of ``planted``."""

from __future__ import annotations

import wave
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from planted import Case, Clean, Spoil

RATE = 8000
CSV = "data: {csv: {path: a.csv, target: kind}}"
CSV_GAPS = "data: {csv: {path: a.csv, target: kind, missing: median}}"
CSV_VALUE = "data: {csv: {path: a.csv, target: age}}\ntask: {kind: regression}"
WAV = f"data: {{wav: {{path: wavs, rate: {RATE}, seconds: 0.25, group_separator: _}}}}"
IMAGES = "data: {images: {path: images, size: [12, 12], channels: 1}}"
TEXT = "data: {text: {path: lines, length: 40}}"
OWN = "data: {dataset: {file: mine.py, object: load}}"
SIDES = {"train": 40, "test": 20}  # items of each class


def table(sections: str) -> Clean:
    """``a.csv``: two columns of numbers, one of words, and a class of two."""

    def clean(folder: Path) -> str:
        rng = np.random.default_rng(0)
        lines = ["age,height,town,kind"]
        for row in range(300):
            age, height = rng.normal(40, 10), rng.normal(170, 9)
            town = rng.choice(["Ulm", "Kiel", "Bonn"])
            lines.append(f"{age:.3f},{height + 9 * (row % 2):.3f},{town},{'ab'[row % 2]}")
        (folder / "a.csv").write_text("\n".join(lines) + "\n")
        return sections

    return clean


def cells(function: Callable[[int, list[str]], list[str]]) -> Spoil:
    """Change the cells of every line below the header."""

    def spoil(folder: Path) -> None:
        header, *lines = (folder / "a.csv").read_text().splitlines()
        changed = [",".join(function(row, line.split(","))) for row, line in enumerate(lines)]
        (folder / "a.csv").write_text("\n".join([header, *changed]) + "\n")

    return spoil


def at(rows: range, place: int, value: str) -> Spoil:
    """Write a cell of some lines."""
    return cells(lambda row, line: [*line[:place], value, *line[place + 1 :]] if row in rows else line)


def write_wav(path: Path, samples: np.ndarray, rate: int = RATE) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes((samples * 32767).astype("<i2").tobytes())


def names() -> Iterator[tuple[str, str, int]]:
    """Side, class and number of every item of a folder."""
    for side, count in SIDES.items():
        for label in ("high", "low"):
            for number in range(count):
                yield side, label, number


def sounds(folder: Path) -> str:
    """Tones in noise by 10 speakers in train and 5 others in test."""
    rng, time = np.random.default_rng(0), np.arange(RATE // 4) / RATE
    for side, label, number in names():
        tone = np.sin(2 * np.pi * (300 if label == "low" else 900) * time + rng.uniform(0, 6))
        speaker = f"{side}{number % (10 if side == 'train' else 5)}"
        path = folder / "wavs" / side / label / f"{speaker}_{number:02}.wav"
        write_wav(path, rng.uniform(0.1, 0.3) * tone + 0.1 * rng.standard_normal(len(time)).clip(-3, 3))
    return WAV


def sound(folder: Path, side: str = "train") -> Path:
    """One of the sounds."""
    return sorted((folder / "wavs" / side / "low").iterdir())[3]


def silence(folder: Path) -> None:
    write_wav(sound(folder), np.zeros(RATE // 4))


def clip(folder: Path) -> None:
    write_wav(sound(folder), 3 * np.sin(np.arange(RATE // 4)).clip(-1 / 3, 1 / 3))


def slower(folder: Path) -> None:
    write_wav(sound(folder), np.zeros(RATE // 4), rate=RATE // 2)


def truncate(name: Callable[[Path], Path]) -> Spoil:
    """Cut a file in the middle."""

    def spoil(folder: Path) -> None:
        path = name(folder)
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])

    return spoil


def same_speaker(folder: Path) -> None:
    path = sound(folder, "test")
    path.rename(path.with_name("train3_99.wav"))


def recorded_twice(folder: Path) -> None:
    """A sound of train, at another volume and with a faint hiss, in test."""
    with wave.open(str(sound(folder))) as file:
        samples = np.frombuffer(file.readframes(RATE), "<i2") / 32768
    hiss = 0.002 * np.random.default_rng(1).standard_normal(len(samples))
    write_wav(sound(folder, "test"), 0.6 * samples + hiss)


def pictures(folder: Path) -> str:
    """Noise, darker on one side."""
    rng = np.random.default_rng(0)
    for side, label, number in names():
        pixels = rng.integers(40, 216, (12, 12), dtype=np.uint8)
        pixels[:, 6:] += 40 if label == "high" else 0
        save(folder / "images" / side / label / f"{number:02}.png", pixels)
    return IMAGES


def save(path: Path, pixels: np.ndarray) -> None:
    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def picture(folder: Path) -> Path:
    """One of the pictures."""
    return folder / "images/train/low/07.png"


def blank(folder: Path) -> None:
    save(picture(folder), np.full((12, 12), 255, np.uint8))


def both_classes(folder: Path) -> None:
    (folder / "images/train/high/40.png").write_bytes(picture(folder).read_bytes())


def in_test(folder: Path) -> None:
    (folder / "images/test/low/90.png").write_bytes(picture(folder).read_bytes())


def brighter(folder: Path) -> None:
    """Test pictures from another camera, at half the contrast."""
    from PIL import Image

    for path in sorted((folder / "images/test").rglob("*.png")):
        save(path, 100 + np.asarray(Image.open(path)) // 2)


def only_low(folder: Path) -> None:
    for path in (folder / "images/test/high").iterdir():
        path.unlink()
    (folder / "images/test/high").rmdir()


def emptied(folder: Path) -> None:
    for path in (folder / "images/train/high").iterdir():
        path.unlink()


def text(folder: Path) -> str:
    """Lines of random words."""
    rng = np.random.default_rng(0)
    words = ["".join(rng.choice(list("abcdefghij"), 4)) for _ in range(400)]
    for label in ("one", "two"):
        lines = [" ".join(rng.choice(words, rng.integers(3, 8))) for _ in range(150)]
        path = folder / "lines" / f"{label}.txt"
        path.parent.mkdir(exist_ok=True)
        path.write_text("\n".join(lines) + "\n")
    return TEXT


def line(change: Callable[[str], str], every: bool = False) -> Spoil:
    """Change line 5 of one class, or every line of all."""

    def spoil(folder: Path) -> None:
        for path in (folder / "lines").glob("*.txt" if every else "one.txt"):
            lines = path.read_text().splitlines()
            changed = [change(words) if every or number == 4 else words for number, words in enumerate(lines)]
            path.write_bytes(("\n".join(changed) + "\n").encode("utf-8", "surrogateescape"))

    return spoil


def twice(folder: Path) -> None:
    path = folder / "lines/one.txt"
    path.write_text(path.read_text() + path.read_text())


MINE = """\
import numpy as np
from edgekit.data.split import Split
from edgekit.data.source import Source

def load():
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((300, 5), np.float32), np.arange(300) % 2
    x[:, 0] += y
    train, test = np.arange(200), np.arange(200, 300)
    groups = np.arange(300) // 10
    {spoilt}
    part = lambda at: Split((x[at],), (y[at],))
    return Source(part(train), part(test), groups=groups[train], test_groups=groups[test])
"""


def own(folder: Path) -> str:
    """A function that returns a source with train and test items of different groups."""
    (folder / "mine.py").write_text(MINE.format(spoilt="pass"))
    return OWN


def code(statement: str) -> Spoil:
    """Run a statement in the user's function."""
    return lambda folder: (folder / "mine.py").write_text(MINE.format(spoilt=statement)) and None


FILES = (
    Case("csv: a line with too few cells", table(CSV), cells(lambda r, c: c[:3] if r == 8 else c), None, "line 10"),
    Case("csv: an empty cell", table(CSV), at(range(20, 21), 1, ""), None, "line 22, column 'height'"),
    Case("csv: a word among numbers", table(CSV), at(range(20, 21), 0, "old"), None, "line 22, column 'age'"),
    Case("csv: nan spelled out", table(CSV), at(range(20, 21), 0, "nan"), None, "line 22, column 'age'"),
    Case("csv: a column that is mostly empty", table(CSV_GAPS), at(range(200), 1, ""), "missing values",
         r"column 1 \(height\)"),
    Case("csv: a code for a missing value", table(CSV), at(range(0, 300, 60), 0, "-9999"), "outliers",
         r"-9999 in column 0 \(age\)"),
    Case("csv: a column of one word", table(CSV), at(range(300), 2, "Ulm"), "constant features", r"2 \(town\)"),
    Case("csv: a word for the label", table(CSV), cells(lambda r, c: [*c[:2], c[3] * 2, c[3]]), "target leakage",
         r"2 \(town\)"),
    Case("csv: a row number", table(CSV), cells(lambda r, c: [str(r), *c[1:]]), "identifiers", r"0 \(age\)"),
    Case("csv: lines twice", table(CSV), cells(lambda r, c: c if r < 280 else [f"{40 + r % 2}", "170", "Ulm", c[3]]),
         "duplicates", "copies", ("leakage",)),
    Case("csv: lines with either label", table(CSV), cells(lambda r, c: c if r < 280 else ["40", "170", "Ulm", c[3]]),
         "conflicting labels", "1 items occur", ("duplicates", "leakage")),
    Case("csv: one target for all", table(CSV_VALUE), at(range(300), 0, "33"), None, "has the target 33"),
    Case("csv: a target far out", table(CSV_VALUE), at(range(5, 6), 0, "1e9"), "outliers", "1e[+]09 in target 0"),
    Case("wav: a damaged file", sounds, truncate(sound), None, "is cut off"),
    Case("wav: another rate", sounds, slower, None, "4000 samples a second, not 8000"),
    Case("wav: silence", sounds, silence, "blank items", "1 items are blank"),
    Case("wav: clipped", sounds, clip, "clipped sounds", "1 of 120"),
    Case("wav: a speaker on both sides", sounds, same_speaker, "group leakage", "1 of 6 groups of test"),
    Case("wav: one sound at two volumes", sounds, recorded_twice, "near duplicates", "1 of 40 test items"),
    Case("images: a damaged file", pictures, truncate(picture), None, "07.png cannot be read as an image"),
    Case("images: a class without items", pictures, emptied, None, "high has no items"),
    Case("images: blank", pictures, blank, "blank items", "1 items are blank"),
    Case("images: in both classes", pictures, both_classes, "conflicting labels", "1 items occur", ("duplicates",)),
    Case("images: a test picture in train", pictures, in_test, "leakage", "1 of 41 test items"),
    Case("images: another camera", pictures, brighter, "drift", "test against train"),
    Case("images: a class that is not tested", pictures, only_low, "missing classes", "test has no item of class 0",
         ("held-out size",)),
    Case("text: not UTF-8", text, line(lambda words: "\udcff" + words), None, "line 5 is not UTF-8"),
    Case("text: an empty line", text, line(lambda words: " "), None, "line 5 is empty"),
    Case("text: long lines", text, line(lambda words: 3 * words, every=True), "cut lines", "fill all 40 tokens"),
    Case("text: lines twice", text, twice, "duplicates", "copies", ("leakage",)),
    Case("own: a group on both sides", own, code("groups[150] = 25"), "group leakage", "1 of 10 groups"),
    Case("own: NaN", own, code("x[205, 3] = np.nan"), None, "test.*item 5 holds NaN"),
    Case("own: test from elsewhere", own, code("x[200:] += 2"), "drift", "test against train"),
)  # fmt: skip
