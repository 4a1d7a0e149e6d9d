"""Folders of sounds: the standard library and SciPy wrote the files, and every broken one is named."""

from __future__ import annotations

import io
import struct
import wave
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io.wavfile
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit import data
from edgekit.data.riff import read_riff
from edgekit.data.source import Source
from edgekit.data.wav import read_wav
from edgekit.errors import DataError
from edgekit.options import DataConfig, WavConfig

RATE = 8000
WHOLE = np.array([-(2**15), -1, 0, 1, 12345, 2**15 - 1], np.int16)


def write(path: Path, samples: np.ndarray, rate: int = RATE) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    scipy.io.wavfile.write(path, rate, samples)
    return path


def noise(seed: int, length: int = 8000) -> np.ndarray:
    return (np.random.default_rng(seed).standard_normal(length) * 3000).astype(np.int16)


def fill(root: Path, per_class: int = 20) -> Path:
    for label, name in enumerate(("no", "yes")):
        for i in range(per_class):
            write(root / name / f"speaker{i // 4}_{i}.wav", noise(100 * label + i))
    return root


def read(root: Path, **options: Any) -> Source:
    values = {"path": str(root), "rate": RATE, "features": "none", **options}
    return read_wav(WavConfig(**values), Path(), "classification")


def test_sixteen_bits_reach_from_minus_1_to_1(tmp_path: Path) -> None:
    samples = read_riff(write(tmp_path / "a.wav", WHOLE), RATE, 100)
    assert samples.dtype == np.float32
    np.testing.assert_array_equal(samples, WHOLE / 2**15)


def test_every_depth_is_read_to_its_last_bit(tmp_path: Path) -> None:
    eight = np.arange(256, dtype=np.uint8)
    np.testing.assert_array_equal(
        read_riff(write(tmp_path / "8.wav", eight), RATE, 999), (np.arange(256) - 128) / np.float32(128)
    )
    wide = np.array([-(2**31), -1, 0, 2**30, 2**31 - 1], np.int32)
    np.testing.assert_array_equal(
        read_riff(write(tmp_path / "32.wav", wide), RATE, 999), (wide / 2**31).astype(np.float32)
    )
    floats = np.array([-1, -0.25, 0, 1e-9, 1], np.float32)
    np.testing.assert_array_equal(read_riff(write(tmp_path / "f.wav", floats), RATE, 999), floats)


def test_twenty_four_bits_are_read_as_the_standard_library_wrote_them(tmp_path: Path) -> None:
    values = np.array([-(2**23), -1, 0, 1, 2**22, 2**23 - 1])
    with wave.open(str(tmp_path / "a.wav"), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(3)
        file.setframerate(RATE)
        file.writeframes(b"".join(int(v).to_bytes(3, "little", signed=True) for v in values))
    np.testing.assert_array_equal(read_riff(tmp_path / "a.wav", RATE, 99), (values / 2**23).astype(np.float32))


def test_two_channels_become_their_mean(tmp_path: Path) -> None:
    stereo = np.stack([noise(1), noise(2)], axis=1)
    found = read_riff(write(tmp_path / "a.wav", stereo), RATE, 9000)
    np.testing.assert_allclose(found, stereo.mean(axis=1) / 2**15, atol=1e-7)


def riff(chunks: list[tuple[bytes, bytes]], form: bytes = b"WAVE") -> bytes:
    body = b"".join(n + struct.pack("<I", len(d)) + d + b"\0" * (len(d) % 2) for n, d in chunks)
    return b"RIFF" + struct.pack("<I", 4 + len(body)) + form + body


def fmt(kind: int = 1, channels: int = 1, rate: int = RATE, frame: int = 2, bits: int = 16) -> tuple[bytes, bytes]:
    return b"fmt ", struct.pack("<HHIIHH", kind, channels, rate, rate * frame, frame, bits)


def extensible(kind: int) -> tuple[bytes, bytes]:
    guid = struct.pack("<H", kind) + bytes.fromhex("000000001000800000aa00389b71")
    return b"fmt ", struct.pack("<HHIIHHHHI", 0xFFFE, 1, RATE, RATE * 2, 2, 16, 22, 16, 4) + guid


PCM = (b"data", WHOLE.tobytes())


def test_other_chunks_and_the_extensible_form_are_understood(tmp_path: Path) -> None:
    note = (b"LIST", b"odd")
    for number, chunks in enumerate([[note, fmt(), note, PCM], [extensible(1), PCM, note]]):
        (tmp_path / f"{number}.wav").write_bytes(riff(chunks))
        np.testing.assert_array_equal(read_riff(tmp_path / f"{number}.wav", RATE, 99), WHOLE / 2**15)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "is no whole WAV file"),
        (b"ID3" + bytes(99), "is no WAV file"),
        (riff([fmt(), PCM], b"AVI "), "is no WAV file"),
        (riff([fmt(), PCM])[:-4], "is cut off: its b'data' has 12 bytes, 8 are there"),
        (riff([fmt()]), "is no whole WAV file"),
        (riff([PCM, fmt()]), "samples before their format"),
        (riff([(b"fmt ", b"\1\0"), PCM]), "is no whole WAV file"),
        (riff([fmt(), (b"data", b"")]), "has 0 bytes of samples"),
        (riff([fmt(), (b"data", b"abc")]), "has 3 bytes of samples, of 2 each"),
        (riff([fmt(rate=44100), PCM]), "has 44100 samples a second, not 8000"),
        (riff([fmt(kind=2, bits=4), PCM]), "has format 0x2 of 4 bits"),
        (riff([fmt(kind=6, bits=8, frame=1), PCM]), "has format 0x6 of 8 bits"),
        (riff([extensible(2), PCM]), "has format 0x2"),
        (riff([fmt(channels=0), PCM]), "0 channels"),
        (riff([fmt(channels=6, frame=12), PCM]), "6 channels"),
        (riff([fmt(bits=12), PCM]), "of 12 bits"),
        (riff([fmt(frame=4), PCM]), "takes 4 bytes"),
        (riff([fmt(3, frame=4, bits=32), (b"data", np.array([0, np.nan], "<f4").tobytes())]), "sample 1 is .*nan"),
        (riff([fmt(3, frame=4, bits=32), (b"data", np.array([1.5, 0], "<f4").tobytes())]), "sample 0 is .*1.5"),
    ],
)
def test_a_broken_sound_is_named(tmp_path: Path, content: bytes, expected: str) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x.wav").write_bytes(content)
    with pytest.raises(DataError, match=expected) as caught:
        read(tmp_path)
    assert str(tmp_path / "a" / "x.wav") in str(caught.value)


@given(st.data())
@settings(deadline=None, max_examples=150)
def test_damage_anywhere_is_a_sound_or_a_typed_error(
    tmp_path_factory: pytest.TempPathFactory, draw: st.DataObject
) -> None:
    buffer = io.BytesIO()
    scipy.io.wavfile.write(buffer, RATE, WHOLE)
    broken = bytearray(buffer.getvalue())
    for _ in range(draw.draw(st.integers(1, 4))):
        broken[draw.draw(st.integers(0, len(broken) - 1))] = draw.draw(st.integers(0, 255))
    path = tmp_path_factory.mktemp("wav") / "x.wav"
    path.write_bytes(broken[: draw.draw(st.integers(0, len(broken)))])
    try:
        samples = read_riff(path, RATE, 100)
    except DataError as error:
        assert str(path) in str(error)  # noqa: PT017  either outcome is right
    else:
        assert (np.abs(samples) <= 1).all()


def test_short_sounds_end_in_silence_and_long_ones_are_cut(tmp_path: Path) -> None:
    for name, length in (("a", 100), ("b", 500), ("c", 400)):
        write(tmp_path / "k" / f"{name}.wav", noise(1, length))
    items = read(tmp_path, seconds=0.05).items.inputs[0]
    assert items.shape == (3, 400)
    np.testing.assert_array_equal(items[0], np.concatenate([noise(1, 100), np.zeros(300)]) / 2**15)
    np.testing.assert_array_equal(items[1], noise(1, 500)[:400] / 2**15)


def test_a_speaker_never_stands_on_both_sides(tmp_path: Path) -> None:
    fill(tmp_path / "d")
    wav = WavConfig(path="d", rate=RATE, features="none", group_separator="_")
    loaded = data.load(DataConfig(wav=wav), 0, 8, tmp_path, allow_few=True)
    test = {item.tobytes() for item in loaded.test.inputs[0]}
    known = {(label, i): (noise(100 * label + i) / 2**15).astype(np.float32) for label in (0, 1) for i in range(20)}
    speakers = {i // 4 for (_, i), sound in known.items() if sound.tobytes() in test}
    assert len(loaded.test) == 8 * len(speakers)
    assert 0 < len(speakers) < 5


def test_a_file_without_a_speaker_is_named(tmp_path: Path) -> None:
    write(fill(tmp_path / "d") / "no" / "anna.wav", noise(5))
    with pytest.raises(DataError, match=r"anna\.wav names no group before '_'"):
        read(tmp_path / "d", group_separator="_")


def test_features_learn_from_training_items_and_have_their_form(tmp_path: Path) -> None:
    import torch

    fill(tmp_path / "d")
    for features, bands in (("logmel", 20), ("mfcc", 10)):
        wav = WavConfig(path="d", rate=RATE, features=features, bands=20, seconds=0.5)
        loaded = data.load(DataConfig(wav=wav), 0, 8, tmp_path, allow_few=True)
        assert loaded.preprocess is not None
        found = loaded.preprocess(torch.from_numpy(loaded.train.inputs[0])).numpy()
        assert found.shape == (len(loaded.train), 1, 24, bands)  # 1 + (4000 - 240) // 160 windows
        np.testing.assert_allclose(found.mean((0, 1, 2)), 0, atol=1e-3)
    assert read(tmp_path / "d").preprocess is None


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"seconds": 1e-5}, "less than one sample"),
        ({"seconds": 0.01, "features": "logmel"}, "A window of 240 samples every 160 does not fit a sound of 80"),
        ({"hop_ms": 0.01, "features": "logmel"}, "every 0"),
        ({"bands": 8, "features": "mfcc"}, "8 bands cannot give 10 coefficients"),
        ({"seconds": 1e6}, "would take"),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path: Path, options: dict[str, Any], expected: str) -> None:
    with pytest.raises(DataError, match=expected):
        read(fill(tmp_path / "d", 1), **options)
