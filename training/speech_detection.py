"""Whether anybody speaks: one logistic on the frames of the encoder that transcription reads.

Of the train split: readings of descriptions (espeak-ng) and recordings in other languages than English, as
they are and in noise, against sound effects, noise and silence, a second at a time. English recordings stay
out, so they can be asked about.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator, Sequence
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime
import torch
from torch.nn.functional import binary_cross_entropy_with_logits

from catalogue import read_manifest
from export.profile import load_profile
from export.settings import Settings
from export.sources import file_of
from media import SAMPLE_RATE_HZ, Limits, MediaError, audio_input, decode_audio
from training.catalogue_data import Stamp, load_stamps
from training.checkpoints import write_json
from training.speech import require_espeak, say, utterances
from training.store import Progress

__all__ = ["learn_speech"]

TARGET = "transcribe_audio/1/speech.json"
_LISTEN_LOGIT = 1.0
"""A sound is listened to unless the odds are e to 1 against speech: words lost cost more than time."""
_DECAY = 1e-2
_VOICES = 1
_RECORDINGS = 300
_SNR_DB = (3.0, 20.0)
_AMPLITUDES = (0.0, 1e-3, 3e-3, 1e-2, 1e-1)

Floats = npt.NDArray[np.float32]


def learn_speech(profile_name: str, settings: Settings, progress: Progress, seed: int = 0) -> dict[str, Any]:
    """Fits on the train split, writes ``<model_repository>/transcribe_audio/1/speech.json`` and returns it.

    ``held_out`` in it says how many sounds that it was not fitted on are listened to.

    Raises:
        TrainingError, ExportError, CatalogueError: something cannot be fetched, read or written.
    """
    require_espeak()
    path = settings.model_repository / TARGET
    step = _step(path.with_name("speech.py"))
    encoder = _Encoder(file_of(load_profile(profile_name), "moonshine/encoder", settings))
    speech, other, asked = _sounds(settings.home / "catalogues" / "stamps" / "manifest.jsonl", seed)
    spoken = [frames.mean(axis=0) for frames in encoder.read(speech, progress, "speech")]
    silent = [_seconds(frames, step.SECOND) for frames in encoder.read(other, progress, "no speech")]
    rows = np.concatenate([np.stack(spoken), *silent])
    weight, bias = _fit(rows, np.arange(len(rows)) < len(spoken))
    learned: dict[str, Any] = {
        "weight": [round(value, 5) for value in weight.tolist()],
        "bias": round(bias + _LISTEN_LOGIT, 5),
        "fitted_on": {"speech": len(spoken), "no_speech": len(rows) - len(spoken)},
        "held_out": {},
    }
    write_json(path, learned)
    detector = step.SpeechDetector(path)
    for name, sounds in asked.items():
        heard = encoder.read(sounds, progress, f"held out: {name}")
        listened = sum(detector.score(frames) > 0 for frames in heard)
        learned["held_out"][name] = {"of": len(heard), "listened_to": listened}
    write_json(path, learned)
    return learned


def _step(path: Path) -> Any:
    """The module of Triton's step: what is held out is asked of the code that serves."""
    specification = spec_from_file_location("speech", path)
    assert specification is not None
    assert specification.loader is not None
    module = module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def _sounds(manifest: Path, seed: int) -> tuple[list[Floats], list[Floats], dict[str, list[Floats]]]:
    """Of the train split sounds with speech and without, and what is held out by name."""
    stamps = load_stamps(manifest)
    rng = np.random.default_rng(seed)
    effects = _effects(stamps)
    spoken = {
        split: [
            say(each)
            for each in utterances(sorted({s.description for s in stamps if s.split == split}), _VOICES)
        ]
        for split in effects
    }
    hiss = rng.standard_normal(3 * SAMPLE_RATE_HZ).astype(np.float32)
    steady: list[Floats] = [hiss * amplitude for amplitude in _AMPLITUDES]
    noises: list[Floats] = [*effects["train"], *steady[1:]]
    foreign = _recordings(manifest, ("train",), english=False)
    voices = [*spoken["train"], *(foreign[row] for row in rng.permutation(len(foreign))[:_RECORDINGS])]
    noisy = [_mixed(voice, noises[rng.integers(len(noises))], rng.uniform(*_SNR_DB)) for voice in voices]
    held_out = {
        "readings": spoken["validation"],
        "recordings": _recordings(manifest, ("train", "validation"), english=True),
        "effects": effects["validation"],
    }
    return [*voices, *noisy], [*effects["train"], *steady], held_out


class _Encoder:
    def __init__(self, path: Path) -> None:
        self._session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])

    def read(self, sounds: Sequence[Floats], progress: Progress, name: str) -> list[Floats]:
        """Each for itself -> float32 [frames, 288], without those of padding."""
        found = []
        for number, sound in enumerate(sounds):
            progress(name, number, len(sounds))
            samples, mask = audio_input(np.asarray(sound, np.float32))
            feed = {"input_values": samples[None], "attention_mask": mask[None]}
            frames = self._session.run(None, feed)[0][0]
            found.append(frames[: max(1, round(len(frames) * mask.mean()))])
        progress(name, len(sounds), len(sounds))
        return found


def _seconds(frames: Floats, second: int) -> Floats:
    """Means over ``second`` frames that overlap by half, [seconds, 288]; over all where there are fewer."""
    size = min(len(frames), second)
    starts = range(0, len(frames) - size + 1, second // 2)
    return np.stack([frames[start : start + size].mean(axis=0) for start in starts])


def _fit(rows: Floats, is_speech: npt.NDArray[np.bool_]) -> tuple[npt.NDArray[np.float64], float]:
    """Logistic regression, both sides of equal weight, on standardised rows; the answer is for raw ones."""
    mean, deviation = rows.mean(axis=0), rows.std(axis=0) + 1e-6
    x = torch.from_numpy((rows - mean) / deviation).double()
    y = torch.from_numpy(is_speech).double()
    each = torch.where(y > 0, 0.5 / y.sum(), 0.5 / (1 - y).sum())
    weight = torch.zeros(x.shape[1], dtype=torch.float64, requires_grad=True)
    bias = torch.zeros((), dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS([weight, bias], max_iter=500, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        optimiser.zero_grad()
        loss = (each * binary_cross_entropy_with_logits(x @ weight + bias, y, reduction="none")).sum()
        loss = loss + _DECAY * weight @ weight
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    optimiser.step(closure)  # type: ignore[no-untyped-call]
    raw = weight.detach().numpy() / deviation
    return raw, float(bias.detach()) - float(raw @ mean)


def _mixed(sound: Floats, noise: Floats, snr_db: float) -> Floats:
    noise = np.resize(noise, sound.size)
    power = float((noise**2).mean())
    if power == 0:
        return sound
    scale = math.sqrt(float((sound**2).mean()) / power / 10 ** (snr_db / 10))
    mixed: Floats = np.clip(sound + noise * scale, -1, 1).astype(np.float32)
    return mixed


def _effects(stamps: Sequence[Stamp]) -> dict[str, list[Floats]]:
    """Sound effects by split, each file once and in the first that has it: items share them."""
    found: dict[str, list[Floats]] = {}
    known: set[bytes] = set()
    for split in ("train", "validation"):
        contents = {path.read_bytes() for stamp in stamps if stamp.split == split for path in stamp.effects}
        found[split] = list(_decoded(sorted(contents - known)))
        known |= contents
    return found


def _recordings(manifest: Path, splits: Collection[str], english: bool) -> list[Floats]:
    """What people said of the items of these splits, in English or in other languages."""
    items = [item for item in read_manifest(manifest) if item.split in splits]
    queries = [query for item in items for query in item.queries if (query.language == "en") == english]
    return list(_decoded(query.path.read_bytes() for query in queries))


def _decoded(contents: Iterable[bytes]) -> Iterator[Floats]:
    for content in contents:
        try:
            yield decode_audio(content, Limits()).samples
        except MediaError:
            continue
