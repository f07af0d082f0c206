"""The plain baseline: FastAPI, ONNX Runtime and tokenizers, one text a request, no batching.

Run in an environment of its own: python server.py MODEL TOKENIZER PORT
"""

import sys

import numpy as np
import onnxruntime
import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel
from tokenizers import Tokenizer


class Text(BaseModel):
    text: str


class Embedding(BaseModel):
    embedding: list[float]


def application(model: str, tokenizer_file: str) -> FastAPI:
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    tokenizer = Tokenizer.from_file(tokenizer_file)
    tokenizer.no_padding()
    tokenizer.no_truncation()
    app = FastAPI()

    def encode(body: Text) -> Embedding:
        ids = np.array([tokenizer.encode(body.text).ids], np.int64)
        (vectors,) = session.run(None, {"input_ids": ids, "attention_mask": np.ones_like(ids)})
        return Embedding(embedding=vectors[0].tolist())

    @app.post("/embed")
    def embed(body: Text) -> Embedding:
        """In a thread of the pool, as the documentation advises for work that blocks."""
        return encode(body)

    @app.post("/embed-in-loop")
    async def embed_in_loop(body: Text) -> Embedding:
        """In the event loop: nobody else is served meanwhile, and one caller alone is served sooner."""
        return encode(body)

    return app


if __name__ == "__main__":
    uvicorn.run(
        application(sys.argv[1], sys.argv[2]), host="127.0.0.1", port=int(sys.argv[3]), access_log=False
    )
