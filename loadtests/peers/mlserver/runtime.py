"""A custom runtime for MLServer. model-settings.json switches adaptive batching on."""

import os

import numpy as np
import onnxruntime
from mlserver import MLModel
from mlserver.codecs import NumpyCodec, StringCodec
from mlserver.types import InferenceRequest, InferenceResponse
from tokenizers import Tokenizer


class TextEncoder(MLModel):
    async def load(self) -> bool:
        self.session = onnxruntime.InferenceSession(
            os.environ["PEER_MODEL"], providers=["CPUExecutionProvider"]
        )
        self.tokenizer = Tokenizer.from_file(os.environ["PEER_TOKENIZER"])
        self.tokenizer.enable_padding()
        self.tokenizer.no_truncation()
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        rows = self.tokenizer.encode_batch_fast(StringCodec.decode_input(payload.inputs[0]))
        feed = {
            "input_ids": np.array([row.ids for row in rows], np.int64),
            "attention_mask": np.array([row.attention_mask for row in rows], np.int64),
        }
        (vectors,) = self.session.run(None, feed)
        output = NumpyCodec.encode_output("embedding", vectors)
        return InferenceResponse(model_name=self.name, outputs=[output])
