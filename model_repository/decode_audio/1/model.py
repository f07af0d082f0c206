"""`audio` BYTES[1] -> `samples` FP32[N] (16 kHz, padded with silence), `mask` INT64[N], N a bucket.

Sounds of a batch are decoded side by side: the decoders let go of Python's lock. One that cannot be used
fails its own request only, with the JSON of the media error as the text of Triton's error.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils

from media import AUDIO_BUCKETS_S, Limits, MediaError, audio_input, decode_audio

_NAMES = ("samples", "mask")


class TritonPythonModel:
    def initialize(self, args: dict[str, str]) -> None:
        self._limits = Limits.from_environment(os.environ)
        self._pool = ThreadPoolExecutor(len(os.sched_getaffinity(0)), "decode_audio")

    def execute(self, requests: list[Any]) -> list[Any]:
        values = [pb_utils.get_input_tensor_by_name(request, "audio").as_numpy() for request in requests]
        return [_response(result) for result in self._pool.map(self._decode, values)]

    def finalize(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _decode(self, values: np.ndarray) -> list[np.ndarray] | MediaError:
        try:
            # Nothing beyond the last bucket is read: nothing beyond it is decoded.
            sounds = [decode_audio(v, self._limits, first_s=AUDIO_BUCKETS_S[-1]) for v in values.flat]
            rows = [audio_input(sound.samples) for sound in sounds]
        except MediaError as error:
            return error
        return [_padded(arrays) for arrays in zip(*rows, strict=True)]


def _padded(arrays: tuple[np.ndarray, ...]) -> np.ndarray:
    """Rows of one request, brought to the longest of their buckets: [rows, N]."""
    joined = np.zeros((len(arrays), max(array.size for array in arrays)), arrays[0].dtype)
    for row, array in zip(joined, arrays, strict=True):
        row[: array.size] = array
    return joined


def _response(result: list[np.ndarray] | MediaError) -> Any:
    if isinstance(result, MediaError):
        error = pb_utils.TritonError(result.to_json(), pb_utils.TritonError.INVALID_ARG)
        return pb_utils.InferenceResponse(error=error)
    return pb_utils.InferenceResponse([pb_utils.Tensor(n, a) for n, a in zip(_NAMES, result, strict=True)])
