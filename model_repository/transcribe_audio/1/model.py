"""`audio` BYTES[1], optional `phrases` BYTES[1] (a JSON list of strings) -> `text` BYTES[1], `score` FP32[1].

`score` is the mean log-probability of a token; where nobody speaks the text is empty and the score 0. Each
sound is read and decoded for itself, as many at once as there are cores: the graphs scale their activations
by the whole batch, so beside others it would be heard differently. A sound, or a list of phrases, that
cannot be used fails its own request only, with the JSON of the media error as the text of Triton's error.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils
from moonshine import Moonshine
from search import Transcript, choose, greedy
from speech import SpeechDetector
from tokens import Tokens
from vocabulary import Vocabularies, Vocabulary

from media import AUDIO_BUCKETS_S, SAMPLE_RATE_HZ, Limits, MediaError, audio_input, decode_audio

_THREADS = 1
_TOKENS_A_SECOND = 6.5  # Moonshine's own bound against endless repetition
_LEAST_TOKENS = 4


@dataclass(frozen=True, slots=True)
class _Sound:
    samples: np.ndarray  # float32 [N]
    mask: np.ndarray  # int64 [N]
    vocabulary: Vocabulary | None


class TritonPythonModel:
    def initialize(self, args: dict[str, str]) -> None:
        folder = Path(args["model_repository"]) / args["model_version"]
        self._limits = Limits.from_environment(os.environ)
        self._tokens = Tokens(folder / "tokenizer.bin")
        self._vocabularies = Vocabularies(self._tokens)
        self._model = Moonshine(folder, _THREADS)
        self._detector = SpeechDetector(folder / "speech.json")
        self._pool = ThreadPoolExecutor(len(os.sched_getaffinity(0)), "transcribe_audio")

    def execute(self, requests: list[Any]) -> list[Any]:
        values = [_flat(request, "audio") for request in requests]
        decoded = self._pool.map(self._decode, values)
        results = [
            rows if isinstance(rows, MediaError) else self._with_phrases(rows, _flat(request, "phrases"))
            for rows, request in zip(decoded, requests, strict=True)
        ]
        sounds = [sound for rows in results if isinstance(rows, list) for sound in rows]
        transcripts = list(self._pool.map(self._transcribe, sounds))
        responses, start = [], 0
        for result in results:
            if isinstance(result, MediaError):
                responses.append(_refusal(result))
            else:
                responses.append(_response(transcripts[start : start + len(result)]))
                start += len(result)
        return responses

    def finalize(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _decode(self, values: list[bytes]) -> list[_Sound] | MediaError:
        try:
            sounds = [decode_audio(v, self._limits, first_s=AUDIO_BUCKETS_S[-1]) for v in values]
            return [_Sound(*audio_input(sound.samples), None) for sound in sounds]
        except MediaError as error:
            return error

    def _with_phrases(self, sounds: list[_Sound], phrases: list[bytes]) -> list[_Sound] | MediaError:
        if not phrases:
            return sounds
        try:
            return [
                _Sound(sound.samples, sound.mask, self._vocabularies.get(data))
                for sound, data in zip(sounds, phrases, strict=True)
            ]
        except MediaError as error:
            return error

    def _transcribe(self, sound: _Sound) -> Transcript:
        mask = sound.mask[None]
        memory = self._model.read(sound.samples[None], mask)
        heard = memory[0, : max(1, round(memory.shape[1] * mask.mean()))]
        if self._detector.score(heard) <= 0:
            return Transcript("", 0.0)
        first = self._model.start(memory, mask)
        ids, score = greedy(self._model, first, _token_limit(sound))
        transcript = Transcript(self._tokens.decode(ids), score)
        return choose(self._model, first, transcript, sound.vocabulary) if sound.vocabulary else transcript


def _flat(request: Any, name: str) -> list[bytes]:
    tensor = pb_utils.get_input_tensor_by_name(request, name)
    return [] if tensor is None else list(tensor.as_numpy().flat)


def _token_limit(sound: _Sound) -> int:
    return int(sound.mask.sum() / SAMPLE_RATE_HZ * _TOKENS_A_SECOND) + _LEAST_TOKENS


def _response(transcripts: list[Transcript]) -> Any:
    text = np.array([[transcript.text.encode()] for transcript in transcripts], dtype=object)
    score = np.array([[transcript.score] for transcript in transcripts], dtype=np.float32)
    return pb_utils.InferenceResponse([pb_utils.Tensor("text", text), pb_utils.Tensor("score", score)])


def _refusal(error: MediaError) -> Any:
    return pb_utils.InferenceResponse(
        error=pb_utils.TritonError(error.to_json(), pb_utils.TritonError.INVALID_ARG)
    )
