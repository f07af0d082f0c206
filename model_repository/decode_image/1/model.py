"""`image` BYTES[1] -> `pixels` UINT8[side,side,3], the side as config.pbtxt has it.

Pictures of a batch are decoded side by side: the decoders let go of Python's lock. One that cannot be used
fails its own request only, with the JSON of the media error as the text of Triton's error.
"""

from __future__ import annotations

import json
import os
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils

from media import Limits, MediaError, decode_image, image_input


class TritonPythonModel:
    def initialize(self, args: dict[str, str]) -> None:
        self._limits = Limits.from_environment(os.environ)
        (output,) = json.loads(args["model_config"])["output"]
        self._side_px = int(output["dims"][0])
        self._pool = ThreadPoolExecutor(len(os.sched_getaffinity(0)), "decode_image")

    def execute(self, requests: list[Any]) -> list[Any]:
        values = [pb_utils.get_input_tensor_by_name(request, "image").as_numpy() for request in requests]
        return [_response(result) for result in self._pool.map(self._decode, values)]

    def finalize(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _decode(self, values: np.ndarray) -> np.ndarray | MediaError:
        try:
            pictures = [decode_image(value, self._limits) for value in values.flat]
            return np.stack([image_input(picture, self._side_px) for picture in pictures])
        except MediaError as error:
            return error


def _response(result: np.ndarray | MediaError) -> Any:
    if isinstance(result, MediaError):
        error = pb_utils.TritonError(result.to_json(), pb_utils.TritonError.INVALID_ARG)
        return pb_utils.InferenceResponse(error=error)
    return pb_utils.InferenceResponse([pb_utils.Tensor("pixels", result)])
