"""Spoken words for the recipe `speech`: espeak-ng says them in many voices, in quiet and in noise.

A second of sound holds one of ten command words, another word (`unknown`), or nothing but noise (`silence`). Voice,
accent, speed, pitch, place in the second, loudness, kind of noise and its level are drawn for each item.
"""

from __future__ import annotations

import shutil
import subprocess
import wave
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.signal import resample_poly

from edgekit.errors import DataError, MissingDependency

RATE = 16000
HEADER_BYTES = 44  # of espeak-ng's WAV stream, whose lengths are those of an endless sound
WORDS = ("yes", "no", "up", "down", "left", "right", "on", "off", "stop", "go")
OTHERS = ("bed", "bird", "cat", "eight", "five", "four", "happy", "house", "marvin", "seven", "three", "wow")
ACCENTS = ("en-gb", "en-us", "en-gb-scotland", "en-gb-x-rp", "en-gb-x-gbclan", "en-gb-x-gbcwmd", "en-029")
SPEAKERS = (
    "m1", "f1", "adam", "belinda", "m2", "f2", "caleb", "aunty", "m3", "f3", "benjamin", "linda", "m4", "f4", "boris",
    "steph", "m5", "f5", "david", "Alicia", "m6", "anika", "ed", "Andrea", "m7", "edward", "john", "Annie", "m8", "max",
    "paul", "Andy", "klatt", "quincy", "rob", "Denis", "klatt2", "robert", "sandro", "Gene", "klatt3", "shelby",
    "travis", "Lee", "klatt4", "victor", "zac", "michel",
)  # fmt: skip
NOISES = {"white": 0.0, "pink": 0.5, "brown": 1.0}  # the exponent by which the amplitude falls with frequency

Sound = NDArray[np.float64]


@dataclass(frozen=True)
class Take:
    """One item: what is said, how, and into which noise; `snr_db` is that of the word, `place` that in the second."""

    label: str
    word: str
    speaker: str
    accent: str
    speed: int
    pitch: int
    place: float
    peak: float
    snr_db: float
    exponent: float
    seed: int
    number: int


def make(folder: Path, speakers: int = len(SPEAKERS), takes: int = 7, seed: int = 0) -> None:
    """Write `folder/CLASS/SPEAKER_NUMBER.wav`: for each speaker, `takes` items of each of the twelve classes.

    Args:
        folder: empty.
        speakers: how many of SPEAKERS.
        takes: items for each speaker and class.
        seed: of everything that is drawn; the same words come out for the same version of espeak-ng.

    Raises:
        MissingDependency: there is no espeak-ng on this machine.
        DataError: there are not that many speakers, or espeak-ng fails.
    """
    if shutil.which("espeak-ng") is None:
        raise MissingDependency("espeak-ng is not installed.", "It speaks the words.", "Run: apt-get install espeak-ng")
    if not 1 <= speakers <= len(SPEAKERS):
        raise DataError(f"There are no {speakers} speakers.", fix=f"Ask for 1 to {len(SPEAKERS)}.")
    for label in (*WORDS, "unknown", "silence"):
        (folder / label).mkdir()
    with ThreadPoolExecutor(2) as pool:  # each waits for its espeak-ng most of the time
        for take, sound in pool.map(_perform, _plan(speakers, takes, seed)):
            _write(folder / take.label / f"{take.speaker}_{take.number:03d}.wav", sound)


def _plan(speakers: int, takes: int, seed: int) -> Iterator[Take]:
    rng = np.random.default_rng(seed)
    for speaker in SPEAKERS[:speakers]:
        for label in (*WORDS, "unknown", "silence"):
            for number in range(takes):
                yield Take(
                    label=label,
                    word=str(rng.choice(OTHERS)) if label == "unknown" else label,
                    speaker=speaker,
                    accent=str(rng.choice(ACCENTS)),
                    speed=int(rng.integers(120, 220)),
                    pitch=int(rng.integers(25, 75)),
                    place=rng.random(),
                    peak=rng.uniform(0.1, 0.9),
                    snr_db=rng.uniform(6, 30),
                    exponent=float(rng.choice(list(NOISES.values()))),
                    seed=int(rng.integers(2**32)),
                    number=number,
                )


def _perform(take: Take) -> tuple[Take, Sound]:
    """A second of sound from -1 to 1: the word somewhere in it, and noise."""
    rng = np.random.default_rng(take.seed)
    noise = _noise(take.exponent, rng)
    sound = np.zeros(RATE)
    level = 0.1
    if take.label != "silence":
        word = _speak(take)[:RATE]
        level = float(np.sqrt(np.mean(word**2)))
        start = int(take.place * (RATE - len(word)))
        sound[start : start + len(word)] = word
    mixed = sound + noise * level * 10 ** (-take.snr_db / 20)
    return take, take.peak * mixed / np.abs(mixed).max()


def _speak(take: Take) -> Sound:
    """The word alone, without the silence before and behind it."""
    voice = f"{take.accent}+{take.speaker}"
    command = ["espeak-ng", "--stdout", "-v", voice, "-s", str(take.speed), "-p", str(take.pitch), take.word]
    result = subprocess.run(command, capture_output=True, check=False)
    spoken = np.frombuffer(result.stdout[HEADER_BYTES:], "<i2") / 2**15
    loud = np.flatnonzero(np.abs(spoken) > 0.01)
    if result.returncode or not len(loud):
        reason = result.stderr.decode(errors="replace").strip()
        raise DataError(
            f"espeak-ng says nothing as {voice}: {reason or 'silence'}.", fix="Install espeak-ng 1.50 or newer."
        )
    sound: Sound = resample_poly(spoken[loud[0] : loud[-1] + 1], 320, 441)  # from 22050 to 16000 Hz
    return sound


def _noise(exponent: float, rng: np.random.Generator) -> Sound:
    """A second of noise with power 1 whose spectrum falls as 1 / frequency^exponent."""
    spectrum = np.fft.rfft(rng.standard_normal(RATE))
    spectrum *= np.maximum(np.fft.rfftfreq(RATE, 1 / RATE), 20.0) ** -exponent
    noise = np.fft.irfft(spectrum, RATE)
    sound: Sound = noise / np.sqrt(np.mean(noise**2))
    return sound


def _write(path: Path, sound: Sound) -> None:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes(np.round(sound * (2**15 - 1)).astype("<i2").tobytes())
