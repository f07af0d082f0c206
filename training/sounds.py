"""Sounds through the frozen speech encoder: spoken training texts, and the catalogue's sound effects."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from catalogue.split import normalise
from media import Limits, MediaError, decode_audio
from training.dataset import Dataset
from training.encoders import Encoders
from training.speech import Utterance, require_espeak, say, utterances
from training.store import Arrays, FeatureStore

__all__ = ["Sounds", "load_effects", "load_speech"]

Floats = npt.NDArray[np.float32]
CATALOGUE_VOICES, OTHER_VOICES, VALIDATION_VOICES = 4, 1, 2


@dataclass(frozen=True)
class Sounds:
    """Rows belong together: pooled [n, 576]; the text a row says, or that of the item it is a sound of."""

    pooled: Floats
    text: tuple[str, ...]
    meaning: tuple[str, ...]


def load_speech(
    data: Dataset, class_names: Sequence[str], encoders: Encoders, store: FeatureStore
) -> tuple[Sounds, Sounds]:
    """Spoken (training, validation) texts.

    Training says the descriptions of the train split, class names and openclipart titles; whatever has the
    meaning of a validation or test description is left out. Validation says its own descriptions.
    """
    require_espeak()
    held = {stamp.meaning for stamp in data.stamps if stamp.split != "train"}
    own = sorted({stamp.description for stamp in data.stamps if stamp.split == "train"})
    others = sorted({name for name in (*class_names, *data.names) if normalise(name) not in held})
    spoken = utterances(own, CATALOGUE_VOICES) + utterances(others, OTHER_VOICES)
    asked = sorted({stamp.description for stamp in data.stamps if stamp.split == "validation"})
    return (
        _speak("speech", spoken, encoders, store),
        _speak("speech-validation", utterances(asked, VALIDATION_VOICES), encoders, store),
    )


def load_effects(
    data: Dataset, split: str, encoders: Encoders, store: FeatureStore, altered: bool = False
) -> Sounds:
    """The sound effects of a split's items; a file that media refuses is left out.

    `altered` gives each as somebody else would record it: its middle seven tenths, quieter, with noise.
    """
    pairs = [(stamp, path) for stamp in data.stamps if stamp.split == split for path in stamp.effects]
    keys = [hashlib.sha256(path.read_bytes()).hexdigest() for _, path in pairs]

    def compute(rows: Sequence[int]) -> Arrays:
        found = [_heard(pairs[row][1]) for row in rows]
        readable = np.array([sound is not None for sound in found])
        sounds = [np.zeros(1, np.float32) if sound is None else sound for sound in found]
        if altered:
            sounds = [_alter(sound, keys[row]) for sound, row in zip(sounds, rows, strict=True)]
        return {"pooled": encoders.audio(sounds), "readable": readable}

    name = f"effects-{split}-altered" if altered else f"effects-{split}"
    arrays = store.get(name, f"sounds-1 altered={altered}", keys, compute, chunk=16)
    kept = np.flatnonzero(arrays["readable"])
    return Sounds(
        arrays["pooled"][kept].astype(np.float32),
        tuple(pairs[row][0].description for row in kept),
        tuple(pairs[row][0].meaning for row in kept),
    )


def _alter(sound: Floats, key: str) -> Floats:
    rng = np.random.default_rng(int(key[:8], 16))
    kept = sound[int(sound.size * 0.15) : max(int(sound.size * 0.85), 1)]
    noise = rng.normal(0.0, 3e-3, kept.size)
    altered: Floats = np.clip(kept * 0.7 + noise, -1, 1).astype(np.float32)
    return altered


def _speak(name: str, spoken: Sequence[Utterance], encoders: Encoders, store: FeatureStore) -> Sounds:
    def compute(rows: Sequence[int]) -> Arrays:
        with ThreadPoolExecutor(2) as pool:
            return {"pooled": encoders.audio(list(pool.map(lambda row: say(spoken[row]), rows)))}

    arrays = store.get(name, "speech-1", [utterance.key for utterance in spoken], compute, chunk=32)
    texts = tuple(utterance.text for utterance in spoken)
    return Sounds(arrays["pooled"].astype(np.float32), texts, tuple(normalise(text) for text in texts))


def _heard(path: Path) -> Floats | None:
    try:
        return decode_audio(path.read_bytes(), Limits()).samples
    except MediaError:
        return None
