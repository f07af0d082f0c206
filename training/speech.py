"""Spoken training texts: espeak-ng says them in several voices, and noise and loudness vary.

English recordings of people stay out of training altogether.
"""

from __future__ import annotations

import hashlib
import io
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import soundfile
import soxr

from media import SAMPLE_RATE_HZ
from training.errors import ToolError

__all__ = ["Utterance", "require_espeak", "say", "utterances"]

VOICES = ("en-us", "en-gb", "en-gb-scotland", "en-gb-x-rp", "en-us+f3", "en-gb+f2", "en-us+m3", "en-gb+m7")
TIMEOUT_S = 20.0


@dataclass(frozen=True)
class Utterance:
    """One text said one way; `key` says everything that goes into the sound."""

    text: str
    voice: str
    words_per_minute: int
    pitch: int
    noise: float

    @property
    def key(self) -> str:
        return f"{self.voice}|{self.words_per_minute}|{self.pitch}|{self.noise:.4f}|{self.text}"


def utterances(texts: Sequence[str], each: int) -> list[Utterance]:
    """`each` ways of saying every text, chosen by the text's hash: the same on every machine."""
    spoken = []
    for text in texts:
        seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8])
        rng = np.random.default_rng(seed)
        for voice in rng.permutation(VOICES)[:each]:
            speed, pitch = int(rng.integers(120, 190)), int(rng.integers(25, 75))
            spoken.append(Utterance(text, str(voice), speed, pitch, float(10 ** rng.uniform(-4, -2))))
    return spoken


def require_espeak() -> None:
    """Raises ToolError when espeak-ng is not installed."""
    if shutil.which("espeak-ng") is None:
        raise ToolError("espeak-ng is needed to speak the training texts: apt-get install espeak-ng")


def say(utterance: Utterance) -> npt.NDArray[np.float32]:
    """FP32 mono at 16 kHz, within [-1, 1].

    Raises:
        ToolError: espeak-ng is missing, failed, or took more than 20 s.
    """
    command = ["espeak-ng", "--stdout", "-v", utterance.voice, "-s", str(utterance.words_per_minute)]
    command += ["-p", str(utterance.pitch), "--", utterance.text]
    try:
        done = subprocess.run(command, capture_output=True, timeout=TIMEOUT_S, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        raise ToolError(f"espeak-ng -v {utterance.voice}: {error}") from error
    sound, rate = soundfile.read(io.BytesIO(done.stdout), dtype="float32")
    samples = soxr.resample(sound, rate, SAMPLE_RATE_HZ)
    seed = int.from_bytes(hashlib.sha256(utterance.key.encode()).digest()[:8])
    rng = np.random.default_rng(seed)
    silence = [np.zeros(int(rng.uniform(0.02, 0.4) * SAMPLE_RATE_HZ), np.float32) for _ in range(2)]
    whole = np.concatenate([silence[0], samples, silence[1]])
    whole = whole / max(float(np.abs(whole).max()), 1e-3) * rng.uniform(0.2, 0.9)
    noisy = whole + rng.normal(0.0, utterance.noise, whole.size)
    heard: npt.NDArray[np.float32] = np.clip(noisy, -1, 1).astype(np.float32)
    return heard
