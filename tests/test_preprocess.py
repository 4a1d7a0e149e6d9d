"""Preprocessing: SciPy and formulas by hand are the oracle, and what is captured and exported computes the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import scipy.fft
import scipy.signal
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import edgekit as ek
from edgekit.data.preprocess import Deployed, ScaleImage, Standardize, scale_image, standardize
from edgekit.data.spectrum import FLOOR, LogMel, Mfcc, learn_spectrum, mel_triangles
from edgekit.errors import DataError
from edgekit.graph.quiet import quiet

RATE, WINDOW, HOP, BANDS = 8000, 240, 160, 20


def sounds(count: int = 6, length: int = 4000) -> np.ndarray:
    """Noise of several loudnesses, with a tone."""
    rng = np.random.default_rng(1)
    noise = rng.standard_normal((count, length)) * 10.0 ** -rng.uniform(1, 3, (count, 1))
    tone = 0.3 * np.sin(2 * np.pi * rng.uniform(100, 3000, (count, 1)) * np.arange(length) / RATE)
    return np.clip(noise + tone, -1, 1).astype(np.float32)


def table() -> np.ndarray:
    rng = np.random.default_rng(2)
    columns = [rng.normal(50, 9, 40), rng.integers(0, 3, 40), rng.normal(0, 1e-3, 40), rng.integers(0, 2, 40)]
    return np.stack(columns, axis=1).astype(np.float32)


def gaps() -> np.ndarray:
    x = table()
    x[::3, 0] = np.nan
    return x


def images() -> np.ndarray:
    return np.random.default_rng(3).integers(0, 256, (12, 3, 6, 5), dtype=np.uint8)


def oracle_log_mel(x: np.ndarray, rate: int, window: int, hop: int, bands: int) -> np.ndarray:
    """[N, frames, bands] in float64, by SciPy's transform; each band is drawn point by point."""
    _, _, spectrum = scipy.signal.stft(
        x.astype(np.float64), rate, "hann", window, window - hop, boundary=None, padded=False, detrend=False
    )
    mel = np.linspace(1127.01 * np.log(1 + 20 / 700), 1127.01 * np.log(1 + rate / 2 / 700), bands + 2)
    corners = 700 * (np.exp(mel / 1127.01) - 1)  # the natural form of HTK's formula
    frequencies = np.fft.rfftfreq(window, 1 / rate)
    weights = [np.interp(frequencies, corners[b : b + 3], [0, 1, 0]) for b in range(bands)]
    power = np.einsum("nft,bf->ntb", np.abs(spectrum) ** 2, np.array(weights))
    return np.log(np.maximum(power, FLOOR))


def by_numpy(module: nn.Module, x: np.ndarray) -> np.ndarray:
    result: np.ndarray = module(torch.from_numpy(x)).numpy()
    return result


# A float32 sum over a window errs by about 1e-7 of the loudest tone (amplitude 0.15 in a bin): in a band of power
# 1e-9, some of which lie beside such a tone, that is a share of 1e-3.
@pytest.mark.parametrize(
    ("rate", "window", "hop", "bands"), [(8000, 240, 160, 20), (16000, 480, 320, 40), (16000, 401, 7, 10)]
)
def test_log_mel_is_scipys_transform_in_htks_bands(rate: int, window: int, hop: int, bands: int) -> None:
    found = LogMel(rate, window, hop, bands).bands(torch.from_numpy(sounds())).numpy()
    expected = oracle_log_mel(sounds(), rate, window, hop, bands)
    np.testing.assert_allclose(found[:, :, 0].transpose(0, 2, 1), expected, atol=2e-3)


def test_mfcc_is_scipys_cosine_transform_of_them() -> None:
    found = Mfcc(RATE, WINDOW, HOP, BANDS, 8).bands(torch.from_numpy(sounds())).numpy()
    log_mel = oracle_log_mel(sounds(), RATE, WINDOW, HOP, BANDS)
    expected = scipy.fft.dct(log_mel, type=2, norm="ortho", axis=2)[:, :, :8]
    np.testing.assert_allclose(found[:, :, 0].transpose(0, 2, 1), expected, atol=5e-3)


def test_a_full_tone_has_a_quarter_and_silence_the_floor() -> None:
    """A sine of 1 at the frequency of a bin splits its power of 1/2 in two halves, one of them below zero hertz."""
    time = np.arange(4000) / RATE
    bin_hz = 30 * RATE / WINDOW
    tone, silence = np.sin(2 * np.pi * bin_hz * time), np.zeros(4000)
    module = LogMel(RATE, WINDOW, HOP, BANDS)
    found = module.bands(torch.from_numpy(np.stack([tone, silence]).astype(np.float32))).numpy()
    share = mel_triangles(RATE, WINDOW, BANDS)[:, 29:32]
    # Hann's window spreads a tone over three bins, of half the amplitude beside it.
    expected = share @ np.array([1 / 16, 1 / 4, 1 / 16])
    loud = expected > 0
    np.testing.assert_allclose(np.exp(found[0, loud, 0]), expected[loud, None] * np.ones(found.shape[3]), rtol=1e-4)
    np.testing.assert_allclose(found[1], np.log(FLOOR), rtol=1e-6)


@pytest.mark.parametrize("coefficients", [None, 8])
def test_features_of_the_training_sounds_have_mean_0_and_deviation_1(coefficients: int | None) -> None:
    features = by_numpy(learn_spectrum(sounds(40), RATE, WINDOW, HOP, BANDS, coefficients), sounds(40))
    assert features.shape == (40, 1, 24, coefficients or BANDS)
    np.testing.assert_allclose(features.mean((0, 1, 2)), 0, atol=1e-4)
    np.testing.assert_allclose(features.std((0, 1, 2)), 1, atol=1e-4)


def test_statistics_do_not_depend_on_how_sounds_are_batched(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = learn_spectrum(sounds(7), RATE, WINDOW, HOP, BANDS)
    monkeypatch.setattr("edgekit.data.spectrum._VALUES", 4000 * 3)
    parts = learn_spectrum(sounds(7), RATE, WINDOW, HOP, BANDS)
    torch.testing.assert_close(parts.shift, whole.shift)
    torch.testing.assert_close(parts.scale, whole.scale)


def test_silence_everywhere_is_finite() -> None:
    quiet_sounds = np.zeros((3, 4000), np.float32)
    assert not by_numpy(learn_spectrum(quiet_sounds, RATE, WINDOW, HOP, BANDS), quiet_sounds).any()


def test_bands_without_a_frequency_are_refused() -> None:
    with pytest.raises(DataError, match=r"Band \d+ of 160 is so narrow"):
        LogMel(RATE, WINDOW, HOP, 160)


@given(st.integers(64, 600), st.integers(1, 12))
@settings(deadline=None, max_examples=40)
def test_triangles_meet_at_their_corners(window: int, bands: int) -> None:
    """Neighbours overlap so that between the first and the last top every frequency counts once."""
    try:
        triangles = mel_triangles(RATE, window, bands)
    except DataError:
        return
    tops = 700 * (10 ** (np.linspace(31.748, 2146.065, bands + 2) / 2595) - 1)
    frequencies = np.fft.rfftfreq(window, 1 / RATE)
    between = (frequencies > tops[1] + 1) & (frequencies < tops[-2] - 1)
    np.testing.assert_allclose(triangles.sum(axis=0)[between], 1, atol=1e-9)
    assert (triangles >= 0).all()


def test_standardize_is_the_formula_by_hand() -> None:
    x = table()
    features = by_numpy(standardize(x, [0, 3, 0, 2]), x)
    numbers = x[:, [0, 2]].astype(np.float64)
    np.testing.assert_allclose(features[:, :2], (numbers - numbers.mean(0)) / numbers.std(0), rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(features[:, 2:5], np.eye(3)[x[:, 1].astype(int)])
    np.testing.assert_array_equal(features[:, 5:], np.eye(2)[x[:, 3].astype(int)])


def test_minmax_reaches_from_0_to_1_and_none_leaves_numbers_alone() -> None:
    x = table()[:, [0, 2]]
    scaled = by_numpy(standardize(x, [0, 0], scale="minmax"), x)
    np.testing.assert_allclose([scaled.min(0), scaled.max(0)], [[0, 0], [1, 1]], atol=1e-6)
    np.testing.assert_array_equal(by_numpy(standardize(x, [0, 0], scale="none"), x), x)


@pytest.mark.parametrize("scale", ["standard", "minmax"])
@pytest.mark.parametrize("value", [0.0, 7.0, 0.1, 1e30])
def test_a_column_that_never_changes_becomes_0(scale: Any, value: float) -> None:
    x = np.full((30, 1), value, np.float32)
    np.testing.assert_allclose(by_numpy(standardize(x, [0], scale=scale), x) / max(value, 1), 0, atol=1e-6)


def test_gaps_become_the_median_and_only_then_are_scaled() -> None:
    x = gaps()
    filled = x.copy()
    filled[::3, 0] = np.nanmedian(x[:, 0])
    module = standardize(x, [0, 3, 0, 2], median=True)
    np.testing.assert_array_equal(by_numpy(module, x), by_numpy(module, filled))
    assert np.isfinite(by_numpy(module, x)).all()


def test_images_are_scaled_by_the_statistics_of_the_training_items() -> None:
    x = images()
    unit = x.astype(np.float64) / 255
    mean, std = unit.mean((0, 2, 3)), unit.std((0, 2, 3))
    expected = (unit - mean[:, None, None]) / std[:, None, None]
    np.testing.assert_allclose(by_numpy(scale_image(x, None, None), x), expected, rtol=1e-4, atol=1e-5)
    given_values = by_numpy(scale_image(x, (0.5, 0.4, 0.3), (0.2, 0.2, 0.1)), x)
    by_hand = (unit - np.array([0.5, 0.4, 0.3])[:, None, None]) / np.array([0.2, 0.2, 0.1])[:, None, None]
    np.testing.assert_allclose(given_values, by_hand, rtol=1e-4, atol=1e-5)


def test_black_images_are_finite() -> None:
    black = np.zeros((4, 1, 3, 3), np.uint8)
    assert not by_numpy(scale_image(black, None, None), black).any()


MODULES = {
    "log-mel": (lambda: learn_spectrum(sounds(), RATE, WINDOW, HOP, BANDS), sounds),
    "mfcc": (lambda: learn_spectrum(sounds(), RATE, WINDOW, HOP, BANDS, 8), sounds),
    "table": (lambda: standardize(table(), [0, 3, 0, 2]), table),
    "gaps": (lambda: standardize(gaps(), [0, 3, 0, 2], median=True), gaps),
    "images": (lambda: scale_image(images(), None, None), images),
}


@pytest.mark.parametrize("name", MODULES)
def test_a_preprocessing_has_buffers_only_and_is_captured_with_any_batch(name: str) -> None:
    make, items = MODULES[name]
    module, x = make(), items()
    assert list(module.parameters()) == []
    graph = ek.capture(module, (torch.from_numpy(x[:2]),))
    assert (graph.inputs[0].shape[0], graph.outputs[0].shape[0], graph.notes) == (None, None, ())
    for part in (x, x[:1], x[:5]):
        np.testing.assert_array_equal(graph(torch.from_numpy(part)).numpy(), by_numpy(module, part))


# Both sum a window in float32, each in its own order; see the bound of the oracle above.
@pytest.mark.parametrize("opset", [17, 18, 20])
@pytest.mark.parametrize("name", MODULES)
def test_the_exported_file_computes_the_same_of_plain_operators(tmp_path: Path, name: str, opset: int) -> None:
    make, items = MODULES[name]
    module, x = make(), items()
    path, batch = tmp_path / "p.onnx", ({0: torch.export.Dim("batch")},)
    with quiet():
        torch.onnx.export(
            module,
            (torch.from_numpy(x[:3]),),
            str(path),
            dynamo=True,
            opset_version=opset,
            dynamic_shapes=batch,
            external_data=False,
            verbose=False,
        )
    model = onnx.load(path)
    assert model.opset_import[0].version == opset
    plain = {
        "Cast",
        "Clip",
        "Concat",
        "Conv",
        "Equal",
        "Gather",
        "IsNaN",
        "Log",
        "Mul",
        "Sub",
        "Transpose",
        "Unsqueeze",
    }
    assert {node.op_type for node in model.graph.node} <= plain | {"Where"}
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    for part in (x, x[:1]):
        (found,) = session.run(None, {session.get_inputs()[0].name: part})
        np.testing.assert_allclose(found, by_numpy(module, part), atol=2e-3 if "m" in name else 1e-5)


class Two(nn.Module):
    """A model of two inputs."""

    def forward(self, left: Tensor, right: Tensor) -> Tensor:
        return left.flatten(1).sum(1, keepdim=True) + right


def test_a_deployed_model_reads_raw_items() -> None:
    scale, model = ScaleImage([0.5] * 3, [0.25] * 3), nn.Sequential(nn.Flatten(), nn.Linear(90, 4))
    x = torch.from_numpy(images())
    deployed = Deployed(scale, model)
    assert [name for name, _ in deployed.named_children()] == ["preprocess", "model"]
    assert [name for name, _ in deployed.named_parameters()] == ["model.1.weight", "model.1.bias"]
    graph = ek.capture(deployed, (x[:2],))
    torch.testing.assert_close(graph(x), model(scale(x)))
    assert graph.inputs[0].dtype == torch.uint8


def test_features_come_second_and_further_inputs_pass() -> None:
    scale, x, other = Standardize(np.ones(3), np.full(3, 2.0)), torch.rand(6, 3), torch.rand(6, 1)
    graph = ek.capture(Deployed(scale, Two(), features=True), (x[:2], other[:2]))
    output, features = graph(x, other)
    torch.testing.assert_close(features, (x - 1) * 2)
    torch.testing.assert_close(output, ((x - 1) * 2).sum(1, keepdim=True) + other)
    assert [info.shape for info in graph.outputs] == [(None, 1), (None, 3)]
