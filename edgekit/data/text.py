"""Lines of text, a file for each class, as int64 [N, length]; at most 4 GiB in memory.

Bytes are their own numbers, 0 at the end of a short line. Word pieces (WordPiece; Wu et al. 2016) are learned from the
training lines alone: 0 is the padding and 1 an unknown word; ``tokenizer.json`` among the assets says the rest.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekit.data.source import MAX_BYTES, Learned, Source, allocate
from edgekit.data.split import Split
from edgekit.errors import DataError, MissingDependency
from edgekit.options import TaskKind, TextConfig

PAD, UNKNOWN = "[PAD]", "[UNK]"
Lines = list[bytes]


def read_text(config: TextConfig, base: Path, _: TaskKind) -> Source:
    """Read all lines of ``CLASS.txt``, or of ``train/CLASS.txt`` and ``test/CLASS.txt``.

    Raises:
        DataError: the folder has another form, or a line is empty, not UTF-8 or holds NUL; names the file and line.
        MissingDependency: word pieces are asked for without ``tokenizers``.
    """
    root = base / str(config.path)
    sides = [_files(side) for side in _sides(root)]
    classes = tuple(sorted({path.stem for side in sides for path in side}))
    lines: Lines = []
    labels: list[int] = []
    counts: list[int] = []
    for side in sides:
        for path in side:
            lines += _lines(path)
            labels += [classes.index(path.stem)] * (len(lines) - len(labels))
        counts.append(len(lines))
    targets = np.array(labels, np.int64)
    learn = None
    if config.tokens == "bytes":
        items = _padded(root, [np.frombuffer(line[: config.length], np.uint8) for line in lines], config.length)
    else:
        _tokenizers()
        items = np.arange(len(lines), dtype=np.int64)[:, None]  # which line, until the pieces are known

        def learn(train: Split) -> Learned:
            return _pieces(root, lines, train, config)

    parts = [Split((items[at],), (targets[at],)) for at in (slice(counts[0]), slice(counts[0], None))]
    facts = {"kind": "text", "tokens": config.tokens, "length": config.length}
    return Source(parts[0], parts[1] if len(counts) > 1 else None, classes, facts=facts, learn=learn)


def _sides(root: Path) -> list[Path]:
    if not root.is_dir():
        raise DataError(
            f"There is no folder {root}.", fix="Check `data.text.path`; a relative path starts at the recipe."
        )
    sides = [root / "train", root / "test"]
    return sides if all(side.is_dir() for side in sides) else [root]


def _files(side: Path) -> list[Path]:
    files = sorted(path for path in side.iterdir() if path.suffix == ".txt" and not path.name.startswith("."))
    if not files:
        raise DataError(f"{side} has no file CLASS.txt.", fix="Write the lines of each class to such a file.")
    for path in files:
        if not path.is_file() or not path.resolve().is_relative_to(side.resolve()):
            raise DataError(f"{path} is no file of this folder.", fix="Copy what it leads to into the folder.")
    return files


def _lines(path: Path) -> Iterator[bytes]:
    """Yield the lines of a file as bytes, without what ends them."""
    if path.stat().st_size > MAX_BYTES:
        raise DataError(f"{path} is larger than {MAX_BYTES:,} bytes.", fix="Use fewer lines.")
    number = 0
    with path.open("rb") as file:
        for number, raw in enumerate(file, 1):
            line = raw.rstrip(b"\r\n").removeprefix(b"\xef\xbb\xbf" if number == 1 else b"")
            _check(path, number, line)
            yield line
    if not number:
        raise DataError(f"{path} is empty.", fix="Remove the class, or give it lines.")


def _check(path: Path, number: int, line: bytes) -> None:
    try:
        text = line.decode()
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path}, line {number} is not UTF-8: byte {error.start + 1} of it cannot be read.", fix="Save it as UTF-8."
        ) from error
    if not text.strip():
        raise DataError(f"{path}, line {number} is empty.", fix="Remove it.")
    if "\0" in text:
        raise DataError(f"{path}, line {number} holds NUL, which marks the end of a line here.", fix="Remove it.")


def _padded(root: Path, rows: Sequence[Any], length: int) -> NDArray[np.int64]:
    items = allocate(str(root), (len(rows), length), np.int64)
    for place, row in enumerate(rows):
        items[place, : len(row)] = row[:length]
    return items


def _pieces(root: Path, lines: Lines, train: Split, config: TextConfig) -> Learned:
    """Learn word pieces from the training lines, and encode any by their numbers."""
    tokenizers = _tokenizers()
    learner = _tokenizer(tokenizers, {PAD: 0, UNKNOWN: 1})
    texts = [lines[place].decode() for place in train.inputs[0][:, 0]]
    trainer = tokenizers.trainers.WordPieceTrainer(
        vocab_size=config.vocabulary,
        special_tokens=[PAD, UNKNOWN, *_continuations(root, learner, texts, config.vocabulary)],
        show_progress=False,
    )
    learner.train_from_iterator(texts, trainer)
    tokenizer = _tokenizer(tokenizers, learner.get_vocab())  # without the special tokens, which text may not name

    def encode(items: Split) -> Split:
        batch = [lines[place].decode() for place in items.inputs[0][:, 0]]
        rows = [encoding.ids for encoding in tokenizer.encode_batch(batch)]
        return Split((_padded(root, rows, config.length),), items.targets)

    known = {"vocabulary": tokenizer.get_vocab_size()}
    return Learned(encode, known, {"tokenizer.json": tokenizer.to_str().encode()})


def _tokenizer(tokenizers: Any, vocabulary: dict[str, int]) -> Any:
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordPiece(vocabulary, unk_token=UNKNOWN))
    tokenizer.normalizer = tokenizers.normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = tokenizers.decoders.WordPiece()
    return tokenizer


def _continuations(root: Path, tokenizer: Any, texts: list[str], vocabulary: int) -> list[str]:
    """Every character as it stands within a word, in order: the trainer would number them in the order of a hash."""
    characters = sorted({character for text in texts for character in tokenizer.normalizer.normalize_str(text)} - {" "})
    if 2 * len(characters) > vocabulary // 2:
        raise DataError(
            f"{root} has {len(characters)} different characters.",
            f"Half of {vocabulary} word pieces cannot hold each of them at the start and within a word.",
            "Set `data.text.tokens: bytes`, or a larger `vocabulary`.",
        )
    return [f"##{character}" for character in characters]


def _tokenizers() -> Any:
    try:
        import tokenizers
    except ImportError as error:
        raise MissingDependency("Word pieces need tokenizers.", fix="pip install 'edgekit[text]'") from error
    return tokenizers
