"""`text` BYTES[1] -> `input_ids`, `attention_mask` INT64[L], L the smallest bucket that holds the tokens.

All texts of a batch are tokenised in one call. A text that cannot be used fails its own request only, with
the JSON of the media error as the text of Triton's error.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import triton_python_backend_utils as pb_utils

from media import Limits, MediaError, decode_text
from media.tokens import TextTokens, padded


class TritonPythonModel:
    def initialize(self, args: dict[str, str]) -> None:
        path = Path(args["model_repository"]) / args["model_version"] / "tokenizer.json"
        self._limits = Limits.from_environment(os.environ)
        self._tokens = TextTokens(path, self._limits)

    def execute(self, requests: list[Any]) -> list[Any]:
        results: list[list[str] | MediaError] = [self._texts(request) for request in requests]
        texts = [text for result in results if isinstance(result, list) for text in result]
        rows = iter(self._tokens.rows(texts) if texts else ())
        return [
            self._response([next(rows) for _ in result]) if isinstance(result, list) else _refusal(result)
            for result in results
        ]

    def _texts(self, request: Any) -> list[str] | MediaError:
        values = pb_utils.get_input_tensor_by_name(request, "text").as_numpy()
        try:
            return [decode_text(value, self._limits) for value in values.flat]
        except MediaError as error:
            return error

    def _response(self, rows: list[list[int]]) -> Any:
        try:
            ids, mask = padded(rows, self._tokens.bucket(max(rows, key=len)))
        except MediaError as error:
            return _refusal(error)
        return pb_utils.InferenceResponse(
            [pb_utils.Tensor("input_ids", ids), pb_utils.Tensor("attention_mask", mask)]
        )


def _refusal(error: MediaError) -> Any:
    return pb_utils.InferenceResponse(
        error=pb_utils.TritonError(error.to_json(), pb_utils.TritonError.INVALID_ARG)
    )
