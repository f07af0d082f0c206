"""Sounds as queries: texts read by espeak-ng, and sound effects as somebody else would have recorded them."""

from __future__ import annotations

import io
import subprocess
from pathlib import Path

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from catalogue.split import Split
from media import SAMPLE_RATE_HZ, Limits, MediaError, decode_audio
from queries.errors import SourceError, ToolError

__all__ = ["VOICES", "effect", "speech"]

VOICES: dict[Split, tuple[str, ...]] = {
    "train": ("en-us", "en-gb", "en-gb-scotland", "en-us+f3", "en-gb+f2", "en-us+m3", "en-gb+m7"),
    "validation": ("en-gb-x-rp", "en-gb-x-gbclan+f2", "en-us+m1", "en-us+f4"),
    "test": ("en-029", "en-gb-x-gbcwmd", "en-gb-x-rp+f5", "en-us+m5", "en-gb+f4"),
}
"""No voice of one split speaks for another: what was learned from a voice cannot help it elsewhere."""
WORDS_PER_MINUTE = (125, 195)
PITCH = (25, 75)
TIMEOUT_S = 20.0
MIN_S, MAX_S = 0.5, 12.0

Floats = NDArray[np.float32]


def speech(text: str, split: Split, random: np.random.Generator) -> bytes:
    """A WAV of the text in one of the split's voices: 16 kHz, mono, with some silence around and noise.

    Raises:
        ToolError: espeak-ng is missing, failed, or took more than 20 s.
    """
    voices = VOICES[split]
    voice = voices[int(random.integers(len(voices)))]
    speed, pitch = int(random.integers(*WORDS_PER_MINUTE)), int(random.integers(*PITCH))
    command = ["espeak-ng", "--stdout", "-v", voice, "-s", str(speed), "-p", str(pitch), "--", text]
    try:
        done = subprocess.run(command, capture_output=True, timeout=TIMEOUT_S, check=True)
    except FileNotFoundError as error:
        raise ToolError("espeak-ng is needed to speak queries: apt-get install espeak-ng") from error
    except (OSError, subprocess.SubprocessError) as error:
        raise ToolError(f"espeak-ng -v {voice}: {error}") from error
    spoken, rate = soundfile.read(io.BytesIO(done.stdout), dtype="float32")
    samples = soxr.resample(spoken, rate, SAMPLE_RATE_HZ).astype(np.float32)
    pauses = [np.zeros(int(random.uniform(0.05, 0.4) * SAMPLE_RATE_HZ), np.float32) for _ in range(2)]
    return _encoded(_recorded(np.concatenate([pauses[0], samples, pauses[1]]), random), "WAV", "PCM_16")


def effect(sound: Path, random: np.random.Generator) -> bytes:
    """A sound effect, cut to a part of it, quieter, with noise, at a lower rate, as an MP3.

    Raises:
        SourceError: the sound cannot be read.
    """
    try:
        samples = decode_audio(sound.read_bytes(), Limits()).samples
    except (OSError, MediaError) as error:
        raise SourceError(f"{sound.name}: {error}") from error
    length = int(
        np.clip(samples.size * random.uniform(0.6, 0.9), MIN_S * SAMPLE_RATE_HZ, MAX_S * SAMPLE_RATE_HZ)
    )
    start = int(random.uniform(0, 0.3) * max(samples.size - length, 0))
    return _encoded(_recorded(samples[start : start + length], random), "MP3", "MPEG_LAYER_III")


def _recorded(samples: Floats, random: np.random.Generator) -> Floats:
    loud = samples / max(float(np.abs(samples).max(initial=0.0)), 1e-3) * random.uniform(0.2, 0.9)
    noisy = loud + random.normal(0, 10 ** random.uniform(-4, -2), samples.size)
    return np.clip(noisy, -1, 1).astype(np.float32)


def _encoded(samples: Floats, container: str, subtype: str) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, SAMPLE_RATE_HZ, format=container, subtype=subtype)
    return file.getvalue()
