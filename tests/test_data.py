"""Splits, the varied set and the checks: deterministic, disjoint, and wrong data refused by name."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from edgekit import data
from edgekit.data import split
from edgekit.data.digits import digits as read_digits
from edgekit.data.findings import View, findings
from edgekit.data.npz import npz
from edgekit.errors import CalibrationError, DataError
from edgekit.options import DataConfig, VariedConfig

DIGITS = DataConfig(source="digits", varied=VariedConfig())


@pytest.fixture(scope="module")
def digits() -> data.Dataset:
    return data.load(DIGITS, seed=0, calibration_samples=256)


def rows(part: data.Split) -> list[bytes]:
    return [item.tobytes() for item in part.inputs[0]]


def good(count: int = 200) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {"x": rng.random((count, 1, 4, 4), np.float32), "y": np.arange(count) % 5}


def save(folder: Path, **arrays: np.ndarray) -> DataConfig:
    np.savez(folder / "a.npz", **arrays)
    return DataConfig(source="a.npz")


def test_the_digits_are_scikit_learns(digits: data.Dataset) -> None:
    assert (len(digits.train), len(digits.calibration), len(digits.test), digits.classes) == (1257, 256, 540, 10)
    images = digits.test.inputs[0]
    assert (images.dtype, images.shape[1:]) == (np.float32, (1, 8, 8))
    assert set(np.unique(images * 16)) == set(range(17))
    assert [finding for finding in digits.findings if finding["level"] != "ok"] == []


def test_no_item_stands_on_both_sides(digits: data.Dataset) -> None:
    train, test = set(rows(digits.train)), set(rows(digits.test))
    assert len(train) + len(test) == 1797
    assert not train & test
    assert set(rows(digits.calibration)) < train


def test_classes_keep_their_share(digits: data.Dataset) -> None:
    whole = np.bincount(read_digits().targets[0])
    for part, share in ((digits.test, 540 / 1797), (digits.calibration, 256 / 1797)):
        assert np.abs(np.bincount(part.targets[0]) - share * whole).max() <= 2


def test_the_seed_decides_everything() -> None:
    one, same, other = (data.load(DIGITS, seed, 64) for seed in (3, 3, 4))
    assert rows(one.test) == rows(same.test)
    assert rows(one.calibration) == rows(same.calibration)
    assert one.varied is not None
    assert same.varied is not None
    assert one.varied.inputs[0].tobytes() == same.varied.inputs[0].tobytes()
    assert rows(one.test) != rows(other.test)


def test_the_split_of_seed_0_is_the_one_that_results_are_compared_on(digits: data.Dataset) -> None:
    """numpy guarantees the raw stream of PCG64, so these indices hold under every version of it."""
    chosen = split.stratified(read_digits().targets[0], 540, 0)
    assert chosen[:8].tolist() == [1, 7, 8, 12, 15, 16, 22, 28]
    np.testing.assert_array_equal(read_digits().inputs[0][chosen], digits.test.inputs[0])


@given(st.lists(st.integers(0, 4), min_size=1, max_size=80), st.data())
@settings(deadline=None, max_examples=60)
def test_stratified_takes_each_class_to_within_one(labels: list[int], draw: st.DataObject) -> None:
    count = draw.draw(st.integers(0, len(labels)))
    chosen = split.stratified(np.array(labels), count, draw.draw(st.integers(0, 9)))
    assert len(set(chosen.tolist())) == count
    for label in set(labels):
        taken = sum(labels[i] == label for i in chosen)
        assert abs(taken - labels.count(label) * count / len(labels)) < 1 + 1e-9


def test_batches_and_items_cover_the_split_in_order(digits: data.Dataset) -> None:
    parts = list(digits.test.batches(100))
    assert [len(part) for part in parts] == [100] * 5 + [40]
    np.testing.assert_array_equal(np.concatenate([part.inputs[0] for part in parts]), digits.test.inputs[0])
    items = digits.test.items(7)
    assert [item[0].shape for item in items] == [(1, 1, 8, 8)] * 7
    np.testing.assert_array_equal(np.concatenate([item[0] for item in items]), digits.test.inputs[0][:7])
    assert len(digits.calibration.items()) == 256


def test_the_varied_set_uses_every_test_item_equally(digits: data.Dataset) -> None:
    varied = digits.varied
    assert varied is not None
    assert len(varied) == 5400
    images = varied.inputs[0]
    assert (images.dtype, images.min(), images.max()) == (np.float32, 0.0, 1.0)
    np.testing.assert_array_equal(varied.targets[0], np.tile(digits.test.targets[0], 10))
    assert len(set(rows(varied))) == 5400


@pytest.mark.parametrize("shift", [0, 1, 3])
def test_without_noise_every_image_is_one_whole_shift(digits: data.Dataset, shift: int) -> None:
    """scipy's shift is the oracle; all offsets from -shift to shift occur along both axes."""
    varied = data.vary(digits.test, 540, shift, 0.0, 16, seed=5)
    offsets = [(down, right) for down in range(-shift, shift + 1) for right in range(-shift, shift + 1)]
    seen = set()
    for before, after in zip(digits.test.inputs[0], varied.inputs[0], strict=True):
        matches = [o for o in offsets if np.array_equal(ndimage.shift(before[0], o, order=0), after[0])]
        assert matches
        seen.update(matches)
    assert seen == set(offsets)


def test_noise_has_the_asked_width_and_is_clipped() -> None:
    grey = data.Split((np.full((500, 2, 8, 8), 0.5, np.float32),), (np.zeros(500, np.int64),))
    noisy = data.vary(grey, 500, 0, 1.0, 16, seed=1).inputs[0]
    # 64,000 values: the standard error of the deviation is 0.28 %, of the mean 0.0004 of a unit.
    assert noisy.std() == pytest.approx(1 / 16, rel=0.02)
    assert noisy.mean() == pytest.approx(0.5, abs=0.002)
    wide = data.vary(grey, 500, 0, 100.0, 16, seed=1).inputs[0]
    assert (wide.min(), wide.max()) == (0.0, 1.0)


def test_augmented_images_lie_channels_first_as_their_items_do(digits: data.Dataset) -> None:
    images = digits.train.inputs[0][:5]
    for items in (images, images.repeat(3, axis=1)):
        assert data.augment(items, np.random.default_rng(0)).strides == items.strides


def test_augment_leaves_its_input_alone(digits: data.Dataset) -> None:
    images = digits.train.inputs[0][:64]
    before = images.copy()
    assert not np.array_equal(data.augment(images, np.random.default_rng(0)), before)
    np.testing.assert_array_equal(images, before)


def test_the_augmented_digits_are_the_ones_that_results_are_compared_on(digits: data.Dataset) -> None:
    """One whole shift by SciPy, then noise, drawn in this order from the one generator."""
    images = digits.train.inputs[0][:32]
    rng, same = np.random.default_rng(7), np.random.default_rng(7)
    offsets = same.integers(-1, 2, (32, 2))
    noise = same.standard_normal(images.shape, np.float32) * np.float32(1 / 16)
    shifted = np.stack(
        [ndimage.shift(image[0], offset, order=0) for image, offset in zip(images, offsets, strict=True)]
    )
    np.testing.assert_array_equal(data.augment(images, rng), np.clip(shifted[:, None] + noise, 0, 1))


def test_bytes_are_augmented_like_the_values_they_stand_for(digits: data.Dataset) -> None:
    images = (digits.train.inputs[0][:32] * 255).astype(np.uint8)
    found = data.augment(images, np.random.default_rng(7))
    expected = data.augment(images / np.float32(255), np.random.default_rng(7)) * 255
    assert found.dtype == np.uint8
    np.testing.assert_allclose(found, expected, atol=0.5 + 1e-4)


def test_sounds_move_by_at_most_100_ms_and_silence_comes_in() -> None:
    """With a single click the offset can be read; over 400 sounds every tenth of the range occurs."""
    clicks = np.zeros((400, 16000), np.float32)
    clicks[:, 8000] = 0.5
    before = clicks.copy()
    moved = data.augment(clicks, np.random.default_rng(0), noise=0.0)
    np.testing.assert_array_equal(clicks, before)
    offsets = moved.argmax(axis=1) - 8000
    assert np.abs(offsets).max() <= 1600
    assert (np.histogram(offsets, 10, (-1600, 1600))[0] > 0).all()
    np.testing.assert_array_equal(np.sort(moved, axis=1), np.sort(clicks, axis=1))
    late = np.full((9, 1000), 0.5, np.float32)
    assert {int((row == 0).sum()) for row in data.augment(late, np.random.default_rng(1), noise=0.0)} <= set(range(101))


def test_noise_in_sounds_follows_their_loudness() -> None:
    loudness = np.array([[0.3], [0.003]], np.float32)
    sounds = loudness * np.sign(np.random.default_rng(0).standard_normal((2, 40_000), np.float32))
    change = data.augment(sounds, np.random.default_rng(1)) - data.augment(sounds, np.random.default_rng(1), noise=1e-9)
    np.testing.assert_allclose(change.std(axis=1), 0.05 * loudness[:, 0], rtol=0.03)  # 40,000 values: 0.4 %
    assert np.abs(data.augment(sounds * 3, np.random.default_rng(1), noise=9.0)).max() == 1.0
    assert not data.augment(np.zeros((2, 900), np.float32), np.random.default_rng(0)).any()


@pytest.mark.parametrize("items", [np.zeros((4, 64), np.float32), np.zeros((4, 1, 8, 8), np.int64), np.zeros((4, 900))])
def test_only_images_and_sounds_can_be_augmented(items: np.ndarray) -> None:
    with pytest.raises(DataError, match=r"\[N, C, H, W\]"):
        data.augment(items, np.random.default_rng(0))


def test_only_images_from_0_to_1_can_be_varied(tmp_path: Path) -> None:
    arrays = good()
    for x in (arrays["x"] * 2, arrays["x"] - 1, arrays["x"].reshape(200, 16)):
        config = save(tmp_path, x=x, y=arrays["y"]).model_copy(update={"varied": VariedConfig()})
        with pytest.raises(DataError, match=r"data\.varied"):
            data.load(config, 0, 64, tmp_path)


def test_npz_reads_what_numpy_wrote(tmp_path: Path) -> None:
    arrays = good()
    for x in (arrays["x"], arrays["x"].astype(np.float64), np.asfortranarray(arrays["x"])):
        loaded = data.load(save(tmp_path, x=x, y=arrays["y"].astype(np.uint8)), 0, 64, tmp_path)
        assert (loaded.classes, len(loaded.train) + len(loaded.test)) == (5, 200)
        assert set(rows(loaded.train)) | set(rows(loaded.test)) == {item.tobytes() for item in arrays["x"]}


def spoiled(value: float) -> np.ndarray:
    x = good()["x"]
    x[7, 0, 2, 3] = value
    return x


@pytest.mark.parametrize(
    ("arrays", "expected"),
    [
        ({"x": spoiled(np.nan)}, "x: item 7 holds NaN"),
        ({"x": spoiled(np.inf)}, "x: item 7 holds an infinite value"),
        ({"x": good()["x"].astype(np.float64) * 1e300}, "x: item 0 holds an infinite value"),
        ({"x": good()["x"].astype(np.complex64)}, "x is complex64"),
        ({"x": np.array([None] * 200)}, "pickled"),
        ({"x": good()["x"][:, 0, 0, 0]}, r"shape \[200\]"),
        ({"x": good()["x"][:0], "y": good()["y"][:0]}, r"shape \[0, 1, 4, 4\]"),
        ({"x": good()["x"][:1], "y": good()["y"][:1]}, "1 items"),
        ({"y": good()["y"] - 1}, "y: item 0 has label -1"),
        ({"y": good()["y"].astype(np.float32)}, "y is float32"),
        ({"y": good()["y"][:-1]}, "There are 200 items"),
        ({"y": good()["y"][:, None]}, r"y is int64 of shape \[200, 1\]"),
        ({"y": np.array([None] * 200)}, "pickled"),
    ],
)
def test_wrong_arrays_are_refused_by_name(tmp_path: Path, arrays: dict[str, np.ndarray], expected: str) -> None:
    with pytest.raises(DataError, match=expected) as caught:
        data.load(save(tmp_path, **{**good(), **arrays}), 0, 64, tmp_path)
    assert caught.value.exit_code == 3


def test_a_missing_array_or_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no array 'y'"):
        data.load(save(tmp_path, x=good()["x"]), 0, 64, tmp_path)
    with pytest.raises(DataError, match=r"none\.npz does not exist"):
        data.load(DataConfig(source="none.npz"), 0, 64, tmp_path)


@pytest.mark.parametrize(("shape", "expected"), [((2**40, 4), "x says it has"), ((-4, -4), "negative length")])
def test_a_header_that_lies_is_refused_before_memory_is_taken(
    tmp_path: Path, shape: tuple[int, int], expected: str
) -> None:
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f4", "fortran_order": False, "shape": shape})
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("x.npy", header.getvalue() + bytes(64))
    with pytest.raises(DataError, match=expected):
        data.load(DataConfig(source="a.npz"), 0, 64, tmp_path)


@given(st.data())
@settings(deadline=None, max_examples=150)
def test_a_damaged_file_is_data_or_a_typed_error(tmp_path_factory: pytest.TempPathFactory, draw: st.DataObject) -> None:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **good(40))
    broken = bytearray(buffer.getvalue())
    for _ in range(draw.draw(st.integers(1, 3))):
        broken[draw.draw(st.integers(0, len(broken) - 1))] ^= draw.draw(st.integers(1, 255))
    path = tmp_path_factory.mktemp("npz") / "a.npz"
    path.write_bytes(broken[: draw.draw(st.integers(0, len(broken)))] if draw.draw(st.booleans()) else broken)
    try:
        assert len(npz(path).items) == 40
    except DataError as error:
        assert str(path) in str(error)  # noqa: PT017  either outcome is right


def test_too_few_calibration_items_are_refused_with_the_way_out(tmp_path: Path) -> None:
    with pytest.raises(CalibrationError, match=r"has 3 items.*calibration_samples.*allow_few") as caught:
        data.load(DIGITS, 0, 3)
    assert (caught.value.exit_code, caught.value.code) == (3, "EK3003")
    assert len(data.load(DIGITS, 0, 3, allow_few=True).calibration) == 3
    assert len(data.load(DIGITS, 0, 32).calibration) == 32
    with pytest.raises(CalibrationError, match="has 0 items"):
        data.check_calibration([], allow_few=True)


def test_a_bad_calibration_item_is_named() -> None:
    items = [{"image": np.zeros((1, 2), np.float32)} for _ in range(40)]
    data.check_calibration(items)
    items[5]["image"][0, 1] = np.nan
    with pytest.raises(CalibrationError, match="item 5, input image"):
        data.check_calibration(items)


def part(x: list[list[float]], y: list[int]) -> data.Split:
    return data.Split((np.array(x, np.float32),), (np.array(y),))


@pytest.mark.parametrize(
    ("train", "test", "expected"),
    [
        (part([[0, 1], [0, 1], [1, 0]], [0, 0, 1]), part([[2, 2], [3, 3]], [0, 1]), "train: 1 of 3 items are copies"),
        (part([[0, 1], [1, 0]], [0, 1]), part([[5, 5], [1, 0]], [0, 1]), "in train, the first is item 1"),
        (part([[0, 1], [1, 0]], [0, 0]), part([[2, 2], [3, 3]], [0, 1]), "train has no item of class 1"),
        (part([[0, 1, 3], [0, 1, 4]], [0, 1]), part([[2, 2, 2], [3, 3, 3]], [0, 1]), "2 of 3 columns never change"),
    ],
)  # fmt: skip
def test_what_makes_a_result_doubtful_is_reported(train: data.Split, test: data.Split, expected: str) -> None:
    warnings = [finding["message"] for finding in findings(View(train, test, 2)) if finding["level"] == "warn"]
    assert any(expected in message for message in warnings), warnings
