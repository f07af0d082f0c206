"""`video` BYTES[1] -> `frames` UINT8[F,side,side,3], `samples` FP32[N] (16 kHz, padded), `mask` INT64[N].

F and the side are what config.pbtxt has. N is a bucket of the sound track; without one the mask is all zeros.
Videos of a batch are decoded side by side: the decoders let go of Python's lock. One that cannot be used
fails its own request only, with the JSON of the media error as the text of Triton's error.
"""

from __future__ import annotations

import json
import os
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils

from media import AUDIO_BUCKETS_S, Limits, MediaError, Video, decode_video, video_input

_NAMES = ("frames", "samples", "mask")


class TritonPythonModel:
    def initialize(self, args: dict[str, str]) -> None:
        self._limits = Limits.from_environment(os.environ)
        outputs = {each["name"]: each["dims"] for each in json.loads(args["model_config"])["output"]}
        self._frames, self._side_px = (int(size) for size in outputs["frames"][:2])
        self._pool = ThreadPoolExecutor(len(os.sched_getaffinity(0)), "decode_video")

    def execute(self, requests: list[Any]) -> list[Any]:
        values = [pb_utils.get_input_tensor_by_name(request, "video").as_numpy() for request in requests]
        return [_response(result) for result in self._pool.map(self._decode, values)]

    def finalize(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _decode(self, values: np.ndarray) -> list[np.ndarray] | MediaError:
        try:
            rows = [video_input(self._video(value), self._frames, self._side_px) for value in values.flat]
        except MediaError as error:
            return error
        frames, samples, mask = zip(*rows, strict=True)
        return [np.stack(frames), _padded(samples), _padded(mask)]

    def _video(self, value: bytes) -> Video:
        # Of the sound nothing beyond the last bucket is read: nothing beyond it is decoded.
        return decode_video(value, self._limits, frames=self._frames, sound_s=AUDIO_BUCKETS_S[-1])


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
