"""Moonshine (arXiv 2410.15608) on ONNX Runtime: an encoder of raw sound and a decoder with a cache.

The merged decoder has two branches in one graph. The first step computes the encoder's keys and values and
returns them; later steps read them back unchanged and let the decoder's own grow.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime as ort

__all__ = ["END", "START", "Moonshine", "State"]

START, END = 1, 2
_LAYERS, _HEADS, _HEAD_SIZE = 6, 8, 36

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class State:
    """What the decoder has read of B hypotheses. Arrays are float32 [B, 8, length, 36], by input name.

    Those of the encoder, memory and mask may have one row for all.
    """

    memory: Floats  # float32 [B, frames, 288]
    mask: Ints  # int64 [B, samples]
    encoder: dict[str, Floats]
    decoder: dict[str, Floats]

    def branch(self, rows: list[int]) -> State:
        """Hypotheses about one sound, each going on from one of `rows`.

        What the encoder gave stays one row: the graph broadcasts it, so it need not be copied for each.
        """
        index = np.asarray(rows, np.intp)
        decoder = {name: array[index] for name, array in self.decoder.items()}
        return State(self.memory, self.mask, self.encoder, decoder)


class Moonshine:
    """Two sessions. Several threads may call it at once, each about a sound of its own."""

    def __init__(self, folder: Path, threads: int) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        providers = ["CPUExecutionProvider"]
        self._encoder = ort.InferenceSession(str(folder / "encoder_model.ort"), options, providers=providers)
        path = str(folder / "decoder_model_merged.ort")
        self._decoder = ort.InferenceSession(path, options, providers=providers)
        self._own = _names("decoder")
        self._cross = _names("encoder")

    def read(self, samples: Floats, mask: Ints) -> Floats:
        """Sound float32 [B, N] at 16 kHz, mask int64 [B, N] -> the encoder's frames float32 [B, F, 288]."""
        memory: Floats = self._encoder.run(None, {"input_values": samples, "attention_mask": mask})[0]
        return memory

    def start(self, memory: Floats, mask: Ints) -> tuple[Floats, State]:
        """Frames and mask -> (log-probabilities of the first token, float32 [B, 32768], and the state)."""
        batch = memory.shape[0]
        own = {name: np.zeros((batch, _HEADS, 0, _HEAD_SIZE), np.float32) for name in self._own}
        cross = {name: np.zeros((batch, _HEADS, 0, _HEAD_SIZE), np.float32) for name in self._cross}
        outputs = self._run(np.full((batch, 1), START, np.int64), State(memory, mask, cross, own), False)
        count = len(self._own)
        own = dict(zip(self._own, outputs[1 : 1 + count], strict=True))
        cross = dict(zip(self._cross, outputs[1 + count :], strict=True))
        return _log_softmax(outputs[0][:, -1]), State(memory, mask, cross, own)

    def step(self, tokens: Ints, state: State) -> tuple[Floats, State]:
        """Append one token to each hypothesis: tokens int64 [B] -> (log-probabilities [B, 32768], state)."""
        outputs = self._run(tokens[:, None], state, True)
        own = dict(zip(self._own, outputs[1:], strict=True))
        return _log_softmax(outputs[0][:, -1]), State(state.memory, state.mask, state.encoder, own)

    def _run(self, ids: Ints, state: State, cached: bool) -> list[Floats]:
        wanted = ["logits", *(name.replace("past_key_values", "present") for name in self._own)]
        if not cached:
            wanted += [name.replace("past_key_values", "present") for name in self._cross]
        feeds = {
            "input_ids": ids,
            "encoder_hidden_states": state.memory,
            "encoder_attention_mask": state.mask,
            "use_cache_branch": np.array([cached]),
            **state.encoder,
            **state.decoder,
        }
        outputs: list[Floats] = self._decoder.run(wanted, feeds)
        return outputs


def _names(side: str) -> list[str]:
    return [f"past_key_values.{layer}.{side}.{part}" for layer in range(_LAYERS) for part in ("key", "value")]


def _log_softmax(logits: Floats) -> Floats:
    shifted = logits - logits.max(axis=-1, keepdims=True)
    result: Floats = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return result
