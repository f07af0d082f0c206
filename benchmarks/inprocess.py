"""The bound: one encoder in this process, from encoded bytes to embeddings, with nothing in between.

Run by the interpreter of `.venv-triton`, so that ONNX Runtime and NumPy are the ones Triton's steps use:

    python -m benchmarks.inprocess text model_repository/encode_text/1/model.onnx PAYLOAD_FILE

It loads the model, then answers each line `BATCH SECONDS` on standard input with one JSON line
`{"per_second": inputs per second}`, so that a driver can interleave it with other measurements.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime

from benchmarks.candidates import candidates
from media import Limits, decode_audio, decode_image, decode_text, decode_video
from media.inputs import audio_input, image_input, video_input
from media.tokens import TextTokens, padded

__all__ = ["prepare"]

Feed = dict[str, np.ndarray]
REPOSITORY = Path(__file__).parent.parent / "model_repository"
THREADS = 2


def prepare(modality: str, payload: bytes) -> Callable[[int], Feed]:
    """What turns a batch of `n` copies of the payload into the encoder's inputs; it works anew on each call.

    The same media functions as Triton's decode steps use. The re-ranker reads candidates, and no payload.
    """
    limits = Limits()
    if modality == "text":
        return text_feed(payload, limits)
    if modality == "rerank":
        return candidates

    def one() -> tuple[tuple[str, np.ndarray], ...]:
        if modality == "image":
            return (("pixels", image_input(decode_image(payload, limits))),)
        if modality == "audio":
            samples, mask = audio_input(decode_audio(payload, limits).samples)
            return (("samples", samples), ("mask", mask))
        frames, samples, mask = video_input(decode_video(payload, limits, frames=8))
        return (("frames", frames), ("samples", samples), ("mask", mask))

    def batch(n: int) -> Feed:
        rows = [one() for _ in range(n)]
        return {column[0][0]: np.stack([value for _, value in column]) for column in zip(*rows, strict=True)}

    return batch


def text_feed(payload: bytes, limits: Limits) -> Callable[[int], Feed]:
    tokens = TextTokens(REPOSITORY / "decode_text" / "1" / "tokenizer.json", limits)

    def batch(n: int) -> Feed:
        rows = tokens.rows([decode_text(payload, limits) for _ in range(n)])
        ids, mask = padded(rows, max(map(tokens.bucket, rows)))
        return {"input_ids": ids, "attention_mask": mask}

    return batch


def main() -> None:
    modality, model, payload_file = sys.argv[1:]
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = THREADS
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    feed = prepare(modality, Path(payload_file).read_bytes())
    for line in sys.stdin:
        batch, seconds = line.split()
        session.run(None, feed(int(batch)))
        count, started = 0, time.perf_counter()
        while (elapsed := time.perf_counter() - started) < float(seconds):
            session.run(None, feed(int(batch)))
            count += int(batch)
        print(json.dumps({"per_second": count / elapsed}), flush=True)


if __name__ == "__main__":
    main()
