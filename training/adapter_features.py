"""What the frozen encoders of a profile make of the stamps: all that adapters are trained on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from export.adapters import load_heads
from export.encoded import frozen_encoder, graphs_of
from export.profile import Profile
from export.samples import Feed, Samples
from export.settings import Settings
from export.sources import brought
from media.inputs import audio_input
from training.catalogue_data import Stamp
from training.errors import DataError
from training.speech import Utterance, require_espeak, say, utterances
from training.store import Arrays, FeatureStore

__all__ = ["Features", "features_of", "is_trained"]

VOICES = {"train": 2, "validation": 1}
"""Ways of saying each description."""
FILES: dict[str, Callable[[Stamp], Sequence[Any]]] = {
    "encode_image": lambda stamp: (stamp.picture,),
    "encode_audio": lambda stamp: stamp.effects,
    "encode_video": lambda stamp: stamp.clips,
}


@dataclass(frozen=True)
class Features:
    """Inputs of one graph, as its frozen encoder gives them.

    `stamp` [n] is the row of the stamp that each belongs to. `values` [sum of length, D] holds the vectors of
    one after those of the other, `length` [n] says how many: frames, where the encoder ends in a part over
    time, else one. `learned` is that last part, trained with the adapter; without one `values` are what the
    encoder gives.
    """

    stamp: npt.NDArray[np.intp]
    values: npt.NDArray[Any]
    length: npt.NDArray[np.intp]
    timed: bool
    learned: nn.Module | None = None
    part: str = ""
    """What the encoder calls `learned`."""

    def batch(self, rows: npt.NDArray[np.intp]) -> tuple[torch.Tensor, ...]:
        """FP32 [B, D]; of frames FP32 [B, T, D], zeros behind shorter ones, and FP32 [B, T], 1 for each."""
        ends = np.cumsum(self.length)[rows]
        starts = ends - self.length[rows]
        if not self.timed:
            return (torch.from_numpy(self.values[starts]).float(),)
        found = [torch.from_numpy(self.values[a:b]).float() for a, b in zip(starts, ends, strict=True)]
        valid = [torch.ones(len(each)) for each in found]
        return (
            nn.utils.rnn.pad_sequence(found, batch_first=True),
            nn.utils.rnn.pad_sequence(valid, batch_first=True),
        )


def is_trained(profile: Profile, model: str) -> bool:
    """Whether a graph has an adapter to be trained."""
    encoder = profile.models[model].encoder
    return encoder is not None and encoder.adapter == "linear"


def features_of(
    profile: Profile,
    model: str,
    stamps: Sequence[Stamp],
    texts: Sequence[str],
    samples: Samples,
    settings: Settings,
    store: FeatureStore,
) -> Features:
    """Features of every input that the stamps have for a graph; of one that is aligned its embeddings.

    `texts` are read by `encode_text`, one a stamp. Sounds are effects and descriptions that espeak-ng says:
    recordings of people stay out.

    Raises:
        ExportError: the encoder has not its weights.
        DataError: a file of the catalogue cannot be read.
        ToolError: espeak-ng is missing or failed.
    """
    inputs = _inputs(model, stamps, texts, samples)
    graph = graphs_of(profile)[model]
    if is_trained(profile, model):
        module = frozen_encoder(profile, model, settings)
        part = str(getattr(module, "learned", ""))
    else:
        module, part = (
            graph.build(profile, settings, partial(load_heads, profile.name, settings.checkpoints)),
            "",
        )
    module = module.eval().requires_grad_(False)
    last = module.get_submodule(part) if part else nn.Identity()
    read: list[tuple[torch.Tensor, ...]] = []
    hook = last.register_forward_pre_hook(lambda _, given: read.append(given))

    def compute(rows: Sequence[int]) -> Arrays:
        read.clear()
        for row in rows:
            feed = inputs[row][2]()
            if feed is None:
                raise DataError(f"{stamps[inputs[row][0]].id}: a file for {model} cannot be read")
            with torch.inference_mode():
                given = module(*(torch.from_numpy(feed[name]) for name in graph.inputs))
                if not part:
                    last(given[0] if isinstance(given, tuple) else given)
        timed = len(read[0]) > 1
        # a row of one input: its frames that count, or its only vector
        found = [values[0, valid[0][0] > 0] if valid else values for values, *valid in read]
        return {
            "values": torch.cat(found).numpy().astype(np.float16 if timed else np.float32),
            "length": np.array([len(each) for each in found]),
            "timed": np.full(len(found), timed),
        }

    encoder = profile.models[model].encoder
    tokenizer = profile.files["decode_text"]["tokenizer.json"].partition("/")[0]
    recipe = {
        "version": 1,
        "sources": brought(profile, [*graph.sources, tokenizer], settings),
        "encoder": encoder.model_dump() if encoder else None,
        "inputs": profile.inputs.model_dump(),
    }
    keys = [key for _, key, _ in inputs]
    found = store.get(f"{profile.label}-{model}", json.dumps(recipe), keys, compute, chunk=8)
    hook.remove()
    return Features(
        np.array([row for row, _, _ in inputs], np.intp),
        found["values"],
        found["length"].astype(np.intp),
        bool(found["timed"].all()),
        last if part else None,
        part,
    )


def _inputs(
    model: str, stamps: Sequence[Stamp], texts: Sequence[str], samples: Samples
) -> list[tuple[int, str, Callable[[], Feed | None]]]:
    """(row of the stamp, what says all that goes into it, how it is made) of each input."""
    if model == "encode_text":
        return [(row, text, partial(samples.text, text)) for row, text in enumerate(texts)]
    found: list[tuple[int, str, Callable[[], Feed | None]]] = [
        (row, hashlib.sha256(path.read_bytes()).hexdigest(), partial(samples.decode, model, path))
        for row, stamp in enumerate(stamps)
        for path in FILES[model](stamp)
    ]
    if model == "encode_audio":
        require_espeak()
        spoken = {stamp.description: row for row, stamp in enumerate(stamps)}
        for text, row in spoken.items():
            ways = utterances([text], VOICES[stamps[row].split])
            found += [(row, way.key, partial(_said, way)) for way in ways]
    return found


def _said(utterance: Utterance) -> Feed:
    samples, mask = audio_input(say(utterance))
    return {"samples": samples[None], "mask": mask[None]}
