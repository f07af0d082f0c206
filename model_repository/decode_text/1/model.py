"""`text` BYTES[1] -> `input_ids`, `attention_mask` INT64[L], L the smallest bucket that holds the tokens.

All texts of a batch are tokenised in one call. A text that cannot be used fails its own request only, with
the JSON of the media error as the text of Triton's error.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils
from tokenizers import Encoding, Tokenizer

from media import Limits, MediaError, TextTooLongError, decode_text, token_bucket


class TritonPythonModel:
    def initialize(self, args: dict[str, str]) -> None:
        path = Path(args["model_repository"]) / args["model_version"] / "tokenizer.json"
        self._limits = Limits.from_environment(os.environ)
        self._tokenizer = Tokenizer.from_file(str(path))
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()  # too long is an error, never a silent cut
        self._tokenizer.encode("warm up")

    def execute(self, requests: list[Any]) -> list[Any]:
        results: list[list[str] | MediaError] = [self._texts(request) for request in requests]
        encodings = iter(
            self._encode([text for texts in results if isinstance(texts, list) for text in texts])
        )
        responses = []
        for result in results:
            if isinstance(result, list):
                responses.append(self._response([next(encodings) for _ in result]))
            else:
                responses.append(_refusal(result))
        return responses

    def _texts(self, request: Any) -> list[str] | MediaError:
        values = pb_utils.get_input_tensor_by_name(request, "text").as_numpy()
        try:
            return [decode_text(value, self._limits) for value in values.flat]
        except MediaError as error:
            return error

    def _encode(self, texts: list[str]) -> list[Encoding]:
        if len(texts) == 1:  # the batch call would start threads for it
            return [self._tokenizer.encode(texts[0])]
        return self._tokenizer.encode_batch_fast(texts)

    def _response(self, encodings: list[Encoding]) -> Any:
        rows = [encoding.ids for encoding in encodings]
        longest = max(map(len, rows))
        try:
            if longest > self._limits.max_text_tokens:
                raise TextTooLongError(kind="text", limit=f"max_text_tokens={self._limits.max_text_tokens}")
            length = token_bucket(longest)
        except MediaError as error:
            return _refusal(error)
        ids = np.zeros((len(rows), length), np.int64)
        mask = np.zeros((len(rows), length), np.int64)
        for index, row in enumerate(rows):
            ids[index, : len(row)] = row
            mask[index, : len(row)] = 1
        return pb_utils.InferenceResponse(
            [pb_utils.Tensor("input_ids", ids), pb_utils.Tensor("attention_mask", mask)]
        )


def _refusal(error: MediaError) -> Any:
    return pb_utils.InferenceResponse(
        error=pb_utils.TritonError(error.to_json(), pb_utils.TritonError.INVALID_ARG)
    )
