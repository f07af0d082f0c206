"""Whether anybody speaks in a sound, by a linear score of the encoder's frames (`python -m training speech`).

A decoder that is made to write always finds words: of 89 sound effects it heard "You", "Thank you for
watching." and the like in 73, with the confidence that it has in speech.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import numpy.typing as npt

__all__ = ["SECOND", "SpeechDetector"]

SECOND = round(16_000 / 384)
"""Frames: the convolutions of Moonshine's encoder take 384 samples a step."""

Floats = npt.NDArray[np.float32]


class SpeechDetector:
    """Reads weight [288] and bias from ``path``; above 0 somebody may speak."""

    def __init__(self, path: Path) -> None:
        learned = json.loads(path.read_text(encoding="utf-8"))
        self._weight = np.array(learned["weight"], np.float32)
        self._bias = float(learned["bias"])

    def score(self, frames: Floats) -> float:
        """Of float32 [frames, 288]: the mean of the second that speaks most, for a word in a long silence."""
        values = frames @ self._weight
        second = min(len(values), SECOND)
        sums = np.cumsum(np.concatenate([[0.0], values]))
        return float((sums[second:] - sums[:-second]).max() / second) + self._bias
