"""Sounds of a machine, and a net that knows them, for the recipe `anomaly`.

A motor turns under changing load in a noisy hall. Its harmonics swell with the load, its housing rings at fixed
frequencies, the air around it hisses. Four faults are mixed in faintly: a bearing that clicks, a rotor out of balance,
a belt that slips, and a part that came loose.
"""

from __future__ import annotations

import wave
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.signal import lfilter
from torch import Tensor, nn

from edgekit.models import create

RATE = 16000
TURNS = 29.0  # of the shaft in a second, at half load
HARMONICS = 24
BEARING = 3.57  # impacts of a damaged outer ring for each turn
HOUSING = ((640.0, 60.0), (1480.0, 90.0), (2900.0, 160.0))  # where the housing rings, and how broadly, in Hz

Sound = NDArray[np.float64]


def make(folder: Path, normal: int = 1200, anomalous: int = 400, seconds: float = 1.0, seed: int = 0) -> None:
    """Write `folder/normal/NUMBER.wav` and `folder/anomalous/FAULT_NUMBER.wav`.

    Args:
        folder: empty.
        normal, anomalous: sounds of each class; the faults take turns.
        seconds: length of a sound.
        seed: of everything that is drawn.
    """
    rng, length = np.random.default_rng(seed), round(RATE * seconds)
    faults: list[Callable[[Sound, np.random.Generator], Sound]] = [_bearing, _imbalance, _belt, _loose]
    for name in ("normal", "anomalous"):
        (folder / name).mkdir()
    for number in range(normal):
        turn = _turn(length, rng)
        _write(folder / "normal" / f"{number:05d}.wav", _machine(turn, rng))
    for number in range(anomalous):
        fault, turn = faults[number % len(faults)], _turn(length, rng)
        extra = fault(turn, rng) * 10 ** (rng.uniform(-3, 9) / 20)
        _write(folder / "anomalous" / f"{fault.__name__[1:]}_{number:05d}.wav", _machine(turn, rng) + extra)


class Rebuilding(nn.Module):
    """The autoencoder that ships, from a spectrogram [N, 1, frames, bands] to a spectrogram."""

    def __init__(self, frames: int = 20, bands: int = 32, hidden: int = 64, depth: int = 2) -> None:
        super().__init__()
        self.flat = create("autoencoder", inputs=frames * bands, hidden=hidden, depth=depth)

    def forward(self, x: Tensor) -> Tensor:
        """Return what the net makes of a spectrogram."""
        y: Tensor = self.flat(x.flatten(1))
        return y.reshape(-1, *x.shape[1:])


def _turn(length: int, rng: np.random.Generator) -> Sound:
    """The angle of the shaft in turns: its rate follows a load that changes slowly."""
    swing = rng.uniform(0.2, 1.5) * np.arange(length) / RATE + rng.random()
    load = rng.uniform(-1, 1) + 0.2 * np.sin(2 * np.pi * swing)
    return rng.random() + np.cumsum(TURNS * (1 - 0.04 * load)) / RATE


def _machine(turn: Sound, rng: np.random.Generator) -> Sound:
    """What a sound machine gives: harmonics that fall off, a housing that rings, hissing air, and the hall."""
    orders = np.arange(1, HARMONICS + 1)
    strength = orders**-0.8 * rng.lognormal(0, 0.15, HARMONICS)
    phases = rng.random(HARMONICS)
    tones = sum(a * np.sin(2 * np.pi * (k * turn + p)) for k, a, p in zip(orders, strength, phases, strict=True))
    hiss = rng.standard_normal(len(turn)) * rng.uniform(0.25, 0.5)
    hall = lfilter([0.05], [1, -0.95], rng.standard_normal(len(turn))) * rng.uniform(0.5, 2)
    sound: Sound = 0.3 * tones + _ring(hiss) + hall
    return sound


def _bearing(turn: Sound, rng: np.random.Generator) -> Sound:
    """A click whenever a ball rolls over the damage, now and then a weak one."""
    passes = np.flatnonzero(np.diff(np.floor(BEARING * turn)) > 0)
    clicks = np.zeros(len(turn))
    clicks[passes] = rng.lognormal(0, 0.5, len(passes))
    return 3.0 * _ring(clicks)


def _imbalance(turn: Sound, rng: np.random.Generator) -> Sound:
    """The hiss and the tones beat once a turn."""
    beat = 1 + np.sin(2 * np.pi * (turn + rng.random()))
    return 0.35 * beat * (np.sin(2 * np.pi * turn) + _ring(rng.standard_normal(len(turn)) * 0.5))


def _belt(turn: Sound, rng: np.random.Generator) -> Sound:
    """Short chirps that fall by a third, where the belt slips."""
    sound = np.zeros(len(turn))
    span = np.arange(int(0.08 * RATE)) / RATE
    for start in rng.integers(0, len(turn) - len(span), 3):
        pitch = rng.uniform(1200, 2400)
        chirp = np.sin(2 * np.pi * pitch * (span - span**2 / (6 * span[-1])))
        sound[start : start + len(span)] += 0.25 * np.hanning(len(span)) * chirp
    return sound


def _loose(turn: Sound, rng: np.random.Generator) -> Sound:
    """A rattle in bursts, above the rest."""
    bursts = lfilter([0.002], [1, -0.998], rng.standard_normal(len(turn))) ** 2
    rattle = np.diff(rng.standard_normal(len(turn)), prepend=0.0)
    sound: Sound = 0.12 * rattle * bursts / bursts.max()
    return sound


def _ring(excitation: Sound) -> Sound:
    """What the housing makes of an excitation: it, and its echo at each resonance."""
    sound = 0.2 * excitation
    for frequency, width in HOUSING:
        radius = np.exp(-np.pi * width / RATE)
        poles = [1, -2 * radius * np.cos(2 * np.pi * frequency / RATE), radius**2]
        sound = sound + lfilter([1 - radius], poles, excitation)
    return sound


def _write(path: Path, sound: Sound) -> None:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes(np.round(np.clip(sound / 8, -1, 1) * (2**15 - 1)).astype("<i2").tobytes())
