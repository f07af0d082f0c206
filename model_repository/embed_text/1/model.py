"""`text` BYTES[1] -> `embedding` FP32[1024]: both steps of the ensemble in one process.

Used under configs/embedded.pbtxt alone (docs/adr/0010-text-in-one-process.md). Tokenizer and graph are
those of the ensemble's steps, in the versions that embedding.json names, or else the newest; a release's
stand beside this file (docs/adr/0020-releases.md). Rows of a batch that share a bucket share a call of the
graph: few of them on all threads at once, many in one part for each thread, which then need not meet after
every operator. A text that cannot be used fails its own request only, with the JSON of the media error as the
text of Triton's error.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import triton_python_backend_utils as pb_utils

from media import Limits, MediaError, decode_text
from media.tokens import TextTokens, padded

_DECODER, _ENCODER = "decode_text", "encode_text"
# (tokens, rows): first calls of a shape allocate, and no client should wait for that.
_WARM_UP = ((8, 1), (8, 32), (16, 32), (32, 32), (64, 8), (128, 4), (256, 1), (512, 1))
# From so many rows on, parts side by side take less processor time than one call on all threads.
_ROWS_TO_SPLIT = 8


class TritonPythonModel:
    def initialize(self, args: dict[str, str]) -> None:
        repository = Path(args["model_repository"]).parent
        own = Path(args["model_repository"]) / args["model_version"]
        self._limits = Limits.from_environment(os.environ)
        self._tokens = TextTokens(_file(own, repository / _DECODER, "tokenizer.json"), self._limits)
        graph = _file(own, repository / _ENCODER, "model.onnx")
        parameters = json.loads(args["model_config"])["parameters"]
        self._threads = int(parameters["intra_op_thread_count"]["string_value"])
        self._wide = _session(graph, parameters, self._threads)
        self._narrow = _session(graph, parameters, 1)
        self._pool = ThreadPoolExecutor(self._threads)
        for length, rows in _WARM_UP:
            self._embed([[0] * length] * rows, length)

    def execute(self, requests: list[Any]) -> list[Any]:
        results: list[list[str] | MediaError] = [self._texts(request) for request in requests]
        texts = [text for result in results if isinstance(result, list) for text in result]
        rows = self._tokens.rows(texts) if texts else []
        vectors: list[Any] = [None] * len(rows)
        by_bucket: dict[int, list[int]] = {}
        for place, row in enumerate(rows):
            try:
                by_bucket.setdefault(self._tokens.bucket(row), []).append(place)
            except MediaError as error:
                vectors[place] = error
        for length, places in by_bucket.items():
            for place, vector in zip(places, self._embed([rows[p] for p in places], length), strict=True):
                vectors[place] = vector
        answers = iter(vectors)
        return [
            _response([next(answers) for _ in result]) if isinstance(result, list) else _refusal(result)
            for result in results
        ]

    def _texts(self, request: Any) -> list[str] | MediaError:
        values = pb_utils.get_input_tensor_by_name(request, "text").as_numpy()
        try:
            return [decode_text(value, self._limits) for value in values.flat]
        except MediaError as error:
            return error

    def finalize(self) -> None:
        self._pool.shutdown()

    def _embed(self, rows: list[list[int]], length: int) -> Any:
        if len(rows) < _ROWS_TO_SPLIT:
            return _run(self._wide, rows, length)
        size = -(-len(rows) // self._threads)
        parts = [rows[start : start + size] for start in range(0, len(rows), size)]
        return np.concatenate(list(self._pool.map(lambda part: _run(self._narrow, part, length), parts)))


def _run(session: ort.InferenceSession, rows: Sequence[list[int]], length: int) -> Any:
    ids, mask = padded(rows, length)
    return session.run(["embedding"], {"input_ids": ids, "attention_mask": mask})[0]


def _response(rows: list[Any]) -> Any:
    for row in rows:
        if isinstance(row, MediaError):
            return _refusal(row)
    return pb_utils.InferenceResponse([pb_utils.Tensor("embedding", np.stack(rows))])


def _refusal(error: MediaError) -> Any:
    return pb_utils.InferenceResponse(
        error=pb_utils.TritonError(error.to_json(), pb_utils.TritonError.INVALID_ARG)
    )


def _file(own: Path, model: Path, file: str) -> Path:
    return own / file if (own / file).is_file() else _served(model, file)


def _served(model: Path, file: str) -> Path:
    """A newer version than the one that embedding.json names is not there to be served."""
    try:
        released = json.loads((model.parent / "embedding.json").read_text(encoding="utf-8"))["models"]
    except FileNotFoundError:
        released = {}
    if model.name in released:
        return model / released[model.name]["version"] / file
    versions = [path.parent for path in model.glob(f"[0-9]*/{file}")]
    return max(versions, key=lambda version: int(version.name)) / file


def _session(graph: Path, parameters: dict[str, dict[str, str]], threads: int) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    for key, value in parameters.items():
        if key.startswith("session."):
            options.add_session_config_entry(key, value["string_value"])
    return ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
