"""Folders of images: Pillow and numpy agree with what is read, and every broken file or folder is named."""

from __future__ import annotations

import io
import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit import data
from edgekit.data import folders
from edgekit.data.images import read_images
from edgekit.data.source import Source
from edgekit.errors import DataError
from edgekit.options import DataConfig, ImagesConfig, TaskConfig, VariedConfig

Image = pytest.importorskip("PIL.Image", reason="Pillow is not installed")


def picture(seed: int, mode: str = "RGB", size: tuple[int, int] = (8, 6)) -> Image.Image:
    rng = np.random.default_rng(seed)
    return Image.fromarray(rng.integers(0, 256, (*size[::-1], 3), dtype=np.uint8)).convert(mode)


def fill(root: Path, classes: tuple[str, ...] = ("cat", "dog"), count: int = 3) -> Path:
    for label, name in enumerate(classes):
        (root / name).mkdir(parents=True)
        for i in range(count):
            picture(100 * label + i).save(root / name / f"{i}.png")
    return root


def read(root: Path, channels: int = 3, size: tuple[int, int] = (6, 8)) -> Source:
    return read_images(ImagesConfig(path=str(root), size=size, channels=channels), Path(), "classification")


def test_pixels_arrive_as_they_were_saved_in_sorted_order(tmp_path: Path) -> None:
    source = read(fill(tmp_path / "d"))
    assert (source.classes, source.test) == (("cat", "dog"), None)
    np.testing.assert_array_equal(source.items.targets[0], [0, 0, 0, 1, 1, 1])
    assert (source.items.inputs[0].dtype, source.items.inputs[0].shape) == (np.uint8, (6, 3, 6, 8))
    for item, seed in zip(source.items.inputs[0], (0, 1, 2, 100, 101, 102), strict=True):
        np.testing.assert_array_equal(item.transpose(1, 2, 0), np.asarray(picture(seed)))


def test_grey_and_other_sizes_are_made_by_pillow(tmp_path: Path) -> None:
    source = read(fill(tmp_path / "d"), channels=1, size=(3, 5))
    expected = np.asarray(picture(0).convert("L").resize((5, 3), Image.Resampling.BILINEAR))
    np.testing.assert_array_equal(source.items.inputs[0][0, 0], expected)


@pytest.mark.parametrize("mode", ["L", "P", "1", "RGBA", "LA", "CMYK"])
def test_modes_become_the_channels_asked_for(tmp_path: Path, mode: str) -> None:
    root = fill(tmp_path / "d", count=1)
    picture(5, mode).save(root / "cat" / ("9.jpg" if mode == "CMYK" else "9.png"))
    assert read(root).items.inputs[0].shape == (3, 3, 6, 8)
    assert read(root, channels=1).items.inputs[0].shape == (3, 1, 6, 8)


def test_an_image_is_turned_as_its_exif_says(tmp_path: Path) -> None:
    root = fill(tmp_path / "d", count=1)
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down
    picture(7).save(root / "cat" / "0.png", exif=exif)
    np.testing.assert_array_equal(read(root).items.inputs[0][0].transpose(1, 2, 0), np.asarray(picture(7))[::-1, ::-1])


def test_folders_train_and_test_stay_what_they_are(tmp_path: Path) -> None:
    fill(tmp_path / "d" / "train", ("a", "b"), 20)
    fill(tmp_path / "d" / "test", ("b", "a"), 4)
    config = DataConfig(images=ImagesConfig(path="d", size=(6, 8)))
    loaded = data.load(config, 0, 8, tmp_path, allow_few=True)
    assert (len(loaded.train), len(loaded.test), loaded.classes, loaded.class_names) == (40, 8, 2, ("a", "b"))
    np.testing.assert_array_equal(loaded.test.inputs[0][4:], read(tmp_path / "d" / "test").items.inputs[0][4:])


def test_a_class_that_is_only_tested_is_refused_but_not_as_an_anomaly(tmp_path: Path) -> None:
    fill(tmp_path / "d" / "train", ("good",), 40)
    fill(tmp_path / "d" / "test", ("good", "scratch"), 4)
    config = DataConfig(images=ImagesConfig(path="d", size=(6, 8)))
    with pytest.raises(DataError, match="class scratch is tested, but never trained on"):
        data.load(config, 0, 32, tmp_path)
    loaded = data.load(config, 0, 32, tmp_path, task=TaskConfig(kind="reconstruction"))
    np.testing.assert_array_equal(loaded.test.targets[0], [0] * 4 + [1] * 4)
    assert not loaded.train.targets[0].any()


def test_the_varied_set_of_bytes_stays_bytes(tmp_path: Path) -> None:
    fill(tmp_path / "d", count=40)
    config = DataConfig(images=ImagesConfig(path="d", size=(6, 8)), varied=VariedConfig(items=50, shift=0, noise=1))
    loaded = data.load(config, 0, 32, tmp_path)
    assert loaded.varied is not None
    assert (loaded.varied.inputs[0].dtype, len(loaded.varied)) == (np.uint8, 50)
    inside = np.abs(loaded.test.inputs[0][np.arange(50) % len(loaded.test)].astype(int) - 128) < 60
    change = loaded.varied.inputs[0].astype(int) - loaded.test.inputs[0][np.arange(50) % len(loaded.test)]
    assert change[inside].std() == pytest.approx(255 / 16, rel=0.1)  # noise of one of 16 levels


def test_preprocess_learns_from_training_items_alone(tmp_path: Path) -> None:
    fill(tmp_path / "d", count=40)
    loaded = data.load(DataConfig(images=ImagesConfig(path="d", size=(6, 8))), 0, 32, tmp_path)
    assert loaded.preprocess is not None
    buffers = dict(loaded.preprocess.named_buffers())
    mean = loaded.train.inputs[0].astype(np.float64).mean((0, 2, 3))
    np.testing.assert_allclose(buffers["shift"].flatten().numpy(), mean, rtol=1e-6)


def test_hidden_files_and_notes_beside_the_classes_are_left_out(tmp_path: Path) -> None:
    root = fill(tmp_path / "d")
    (root / "cat" / ".DS_Store").write_bytes(b"x")
    (root / ".git").mkdir()
    (root / "DONE").write_text("{}")
    assert len(read(root).items) == 6


def test_a_link_inside_the_folder_is_followed(tmp_path: Path) -> None:
    root = fill(tmp_path / "d")
    (root / "dog" / "9.png").symlink_to(root / "cat" / "0.png")
    assert len(read(root).items) == 7


def broken_png(mutate: slice, value: bytes) -> bytes:
    buffer = io.BytesIO()
    picture(0).save(buffer, "PNG")
    content = bytearray(buffer.getvalue())
    content[mutate] = value
    return bytes(content)


def bomb() -> bytes:
    """A PNG of a few bytes that claims 40,000 x 40,000 pixels."""
    header = struct.pack(">IIBBBBB", 40_000, 40_000, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(b"\0" * 100)), (b"IEND", b"")]
    parts = [struct.pack(">I", len(d)) + n + d + struct.pack(">I", zlib.crc32(n + d)) for n, d in chunks]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "cannot be read as an image"),
        (b"no image", "cannot be read as an image"),
        (broken_png(slice(60, None), b""), "cannot be read as an image"),
        (broken_png(slice(45, 60), bytes(15)), "cannot be read as an image"),
        (bomb(), "pixels"),
    ],
)
def test_a_damaged_image_is_named(tmp_path: Path, content: bytes, expected: str) -> None:
    root = fill(tmp_path / "d")
    (root / "dog" / "1.png").write_bytes(content)
    with pytest.raises(DataError, match=expected) as caught:
        read(root)
    assert str(root / "dog" / "1.png") in str(caught.value)


def test_an_image_just_above_the_limit_is_not_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = fill(tmp_path / "d")
    monkeypatch.setattr("edgekit.data.images.MAX_PIXELS", 48)
    assert len(read(root).items) == 6
    monkeypatch.setattr("edgekit.data.images.MAX_PIXELS", 47)
    with pytest.raises(DataError, match=r"8 x 6 pixels; the limit is 47"):
        read(root)


def test_sixteen_bits_are_not_cut_off_in_silence(tmp_path: Path) -> None:
    root = fill(tmp_path / "d")
    Image.fromarray(np.full((6, 8), 40_000, np.uint16)).save(root / "cat" / "0.png")
    with pytest.raises(DataError, match=r"0\.png has more than 8 bits"):
        read(root)


def test_a_format_that_is_not_listed_is_not_tried(tmp_path: Path) -> None:
    root = fill(tmp_path / "d")
    picture(0, "P").save(root / "cat" / "0.png", "GIF")
    with pytest.raises(DataError, match=r"0\.png cannot be read"):
        read(root)


def spoil_empty(root: Path) -> None:
    (root / "empty").mkdir()


def spoil_stray(root: Path) -> None:
    picture(0).save(root / "lost.png")


def spoil_kind(root: Path) -> None:
    (root / "cat" / "readme.txt").write_text("x")


def spoil_nested(root: Path) -> None:
    (root / "cat" / "more.png").mkdir()


def spoil_link(root: Path) -> None:
    (root.parent / "secret.png").write_bytes(b"x")
    (root / "cat" / "9.png").symlink_to(root.parent / "secret.png")


def spoil_folder_link(root: Path) -> None:
    (root / "up").symlink_to(root.parent)


def spoil_circle(root: Path) -> None:
    (root / "cat" / "9.png").symlink_to(root / "cat" / "9.png")


def spoil_pipe(root: Path) -> None:
    os.mkfifo(root / "cat" / "9.png")


@pytest.mark.parametrize(
    ("spoil", "expected"),
    [
        (spoil_empty, "empty has no items"),
        (spoil_stray, r"lost\.png stands in no class folder"),
        (spoil_kind, r"readme\.txt is no file for `data\.images`"),
        (spoil_nested, r"more\.png is no file for"),
        (spoil_link, r"9\.png is a link that leads out"),
        (spoil_folder_link, "up is a link that leads out"),
        (spoil_circle, r"9\.png is a link that leads out"),
        (spoil_pipe, r"9\.png is no file for"),
    ],
)
def test_a_folder_of_another_form_is_refused(tmp_path: Path, spoil: object, expected: str) -> None:
    root = fill(tmp_path / "d")
    assert callable(spoil)
    spoil(root)
    with pytest.raises(DataError, match=expected):
        read(root)


def test_no_folder_no_classes_and_too_many_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataError, match="There is no folder"):
        read(tmp_path / "none")
    with pytest.raises(DataError, match="has no class folders"):
        read(tmp_path)
    root = fill(tmp_path / "d")
    monkeypatch.setattr(folders, "MAX_FILES", 5)
    with pytest.raises(DataError, match="holds 6 files; the limit is 5"):
        read(root)


def test_what_does_not_fit_in_memory_is_refused_before_it_is_read(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"would take .* bytes of memory"):
        read(fill(tmp_path / "d"), size=(40_000, 40_000))


def test_mean_and_deviation_fit_the_channels(tmp_path: Path) -> None:
    config = ImagesConfig(path=str(fill(tmp_path / "d")), size=(6, 8), channels=1, mean=(0.5, 0.5, 0.5))
    with pytest.raises(DataError, match="mean` has 3 values for 1 channels"):
        read_images(config, Path(), "classification")


@pytest.mark.parametrize("form", ["PNG", "JPEG", "BMP", "PPM"])
@given(st.data())
@settings(deadline=None, max_examples=60)
def test_damage_anywhere_is_an_image_or_a_typed_error(
    tmp_path_factory: pytest.TempPathFactory, form: str, draw: st.DataObject
) -> None:
    buffer = io.BytesIO()
    picture(0).save(buffer, form)
    broken = bytearray(buffer.getvalue())
    for _ in range(draw.draw(st.integers(1, 4))):
        broken[draw.draw(st.integers(0, len(broken) - 1))] = draw.draw(st.integers(0, 255))
    root = tmp_path_factory.mktemp("images") / "d"
    (root / "a").mkdir(parents=True)
    path = root / "a" / f"x.{form.lower()}"
    path.write_bytes(broken[: draw.draw(st.integers(0, len(broken)))] if draw.draw(st.booleans()) else broken)
    try:
        assert read(root).items.inputs[0].shape == (1, 3, 6, 8)
    except DataError as error:
        assert str(path) in str(error)  # noqa: PT017  either outcome is right
