"""LitServe with batching, as its documentation writes an API.

Run in an environment of its own: python server.py MODEL TOKENIZER PORT
"""

import sys
from typing import Any

import litserve
import numpy as np
import onnxruntime
from tokenizers import Tokenizer


class TextEncoder(litserve.LitAPI):
    def __init__(self, model: str, tokenizer_file: str, **options: Any) -> None:
        super().__init__(**options)
        self._model, self._tokenizer_file = model, tokenizer_file

    def setup(self, device: str) -> None:
        self.session = onnxruntime.InferenceSession(self._model, providers=["CPUExecutionProvider"])
        self.tokenizer = Tokenizer.from_file(self._tokenizer_file)
        self.tokenizer.enable_padding()
        self.tokenizer.no_truncation()

    def decode_request(self, request: dict[str, str]) -> str:
        return request["text"]

    def batch(self, inputs: list[str]) -> list[str]:
        return inputs

    def predict(self, texts: list[str]) -> Any:
        rows = self.tokenizer.encode_batch_fast(texts)
        feed = {
            "input_ids": np.array([row.ids for row in rows], np.int64),
            "attention_mask": np.array([row.attention_mask for row in rows], np.int64),
        }
        return self.session.run(None, feed)[0]

    def unbatch(self, output: Any) -> list[Any]:
        return list(output)

    def encode_response(self, output: Any) -> dict[str, list[float]]:
        return {"embedding": output.tolist()}


if __name__ == "__main__":
    api = TextEncoder(sys.argv[1], sys.argv[2], max_batch_size=32, batch_timeout=0.001)
    server = litserve.LitServer(api, accelerator="cpu", fast_queue=True)
    server.run(host="127.0.0.1", port=int(sys.argv[3]), generate_client_file=False, access_log=False)
