"""`audio` BYTES[1], optional `phrases` BYTES[1] (a JSON list of strings) -> `text` BYTES[1], `score` FP32[1].

The logits are those of the `encode_audio` that config.pbtxt names, so embedding and transcribing a sound take
one set of weights. `score` is the mean log-probability of a symbol. Sounds of equal bucket
are read together. A sound, or a list of phrases, that cannot be used fails its own request only, with the
JSON of the media error as the text of Triton's error.
"""

from __future__ import annotations

import json
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils
from ctc import best_path, choose, log_probabilities, spelled, written
from vocabulary import MAX_PHRASES_BYTES, read_phrases

from media import AUDIO_BUCKETS_S, Limits, MediaError, TextTooLongError, audio_input, decode_audio


@dataclass(frozen=True, slots=True)
class _Sound:
    samples: np.ndarray  # float32 [N]
    mask: np.ndarray  # int64 [N]
    phrases: list[tuple[str, list[int]]]


class EncoderError(RuntimeError):
    """The encoder did not answer."""


class TritonPythonModel:
    def initialize(self, args: dict[str, str]) -> None:
        self._limits = Limits.from_environment(os.environ)
        parameters = json.loads(args["model_config"])["parameters"]
        self._encoder = parameters["required_models"]["string_value"]
        self._pool = ThreadPoolExecutor(len(os.sched_getaffinity(0)), "transcribe_audio")

    def execute(self, requests: list[Any]) -> list[Any]:
        decoded = list(self._pool.map(self._read, requests))
        sounds = [sound for rows in decoded if isinstance(rows, list) for sound in rows]
        try:
            found = iter(self._transcribe(sounds))
        except EncoderError as error:
            failed = pb_utils.TritonError(str(error), pb_utils.TritonError.UNAVAILABLE)
            return [
                _refusal(rows) if isinstance(rows, MediaError) else pb_utils.InferenceResponse(error=failed)
                for rows in decoded
            ]
        return [
            _refusal(rows) if isinstance(rows, MediaError) else _response([next(found) for _ in rows])
            for rows in decoded
        ]

    def finalize(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _read(self, request: Any) -> list[_Sound] | MediaError:
        try:
            phrases = [_spelled(data) for data in _flat(request, "phrases")]
            rows = []
            for place, content in enumerate(_flat(request, "audio")):
                sound = decode_audio(content, self._limits, first_s=AUDIO_BUCKETS_S[-1])
                rows.append(_Sound(*audio_input(sound.samples), phrases[place] if phrases else []))
            return rows
        except MediaError as error:
            return error

    def _transcribe(self, sounds: list[_Sound]) -> list[tuple[str, float]]:
        """In the order given; sounds of one bucket together."""
        found: dict[int, tuple[str, float]] = {}
        for size in {sound.samples.size for sound in sounds}:
            places = [place for place, sound in enumerate(sounds) if sound.samples.size == size]
            logits = self._logits([sounds[place] for place in places])
            for place, row in zip(places, logits, strict=True):
                frames = log_probabilities(row[: _heard(sounds[place], len(row))])
                symbols, score = best_path(frames)
                phrase = choose(frames, symbols, sounds[place].phrases)
                found[place] = (written(symbols) if phrase is None else phrase, score)
        return [found[place] for place in range(len(sounds))]

    def _logits(self, sounds: list[_Sound]) -> np.ndarray:
        inputs = [
            pb_utils.Tensor("samples", np.stack([sound.samples for sound in sounds])),
            pb_utils.Tensor("mask", np.stack([sound.mask for sound in sounds])),
        ]
        asked = pb_utils.InferenceRequest(
            model_name=self._encoder, requested_output_names=["logits"], inputs=inputs
        )
        answer = asked.exec()
        if answer.has_error():
            raise EncoderError(f"{self._encoder}: {answer.error().message()}")
        logits: np.ndarray = pb_utils.get_output_tensor_by_name(answer, "logits").as_numpy()
        return logits


def _heard(sound: _Sound, frames: int) -> int:
    """Frames of the sound itself, at least one: behind them there is padding."""
    return max(1, round(frames * int(sound.mask.sum()) / sound.mask.size))


def _spelled(data: bytes) -> list[tuple[str, list[int]]]:
    if len(data) > MAX_PHRASES_BYTES:
        raise TextTooLongError(
            "too many phrases", kind="phrases", limit=f"max_phrases_bytes={MAX_PHRASES_BYTES}"
        )
    return [(phrase, form) for phrase in read_phrases(data) for form in spelled(phrase)]


def _flat(request: Any, name: str) -> list[bytes]:
    tensor = pb_utils.get_input_tensor_by_name(request, name)
    return [] if tensor is None else list(tensor.as_numpy().flat)


def _response(transcripts: list[tuple[str, float]]) -> Any:
    text = np.array([[text.encode()] for text, _ in transcripts], dtype=object)
    score = np.array([[score] for _, score in transcripts], dtype=np.float32)
    return pb_utils.InferenceResponse([pb_utils.Tensor("text", text), pb_utils.Tensor("score", score)])


def _refusal(error: MediaError) -> Any:
    return pb_utils.InferenceResponse(
        error=pb_utils.TritonError(error.to_json(), pb_utils.TritonError.INVALID_ARG)
    )
