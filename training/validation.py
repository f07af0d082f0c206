"""Validation queries and galleries of all four modalities through finished heads: figures and calibration
examples.

Queries come from the validation split. Galleries hold train and validation; an item's own file is never its
query as it is: pictures, sounds and clips are asked for by altered copies.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from export.adapters import Heads
from training.calibration import Examples, nearest
from training.clips import Clips
from training.dataset import Dataset
from training.figures import ndcg
from training.sounds import Sounds

__all__ = ["MODALITIES", "Embedded", "Embeddings", "embed_all", "examples", "figures"]

Floats = npt.NDArray[np.float32]
MODALITIES = ("text", "image", "audio", "video")


@dataclass(frozen=True)
class Embedded:
    """Unit-norm vectors of one modality with the meaning of each row."""

    vectors: Floats
    meaning: tuple[str, ...]


@dataclass(frozen=True)
class Embeddings:
    """By modality, or "audio/native", "video/native"."""

    queries: Mapping[str, Embedded]
    gallery: Mapping[str, Embedded]


def embed_all(
    heads: Heads, data: Dataset, speech: Sounds, effects: Sounds, altered_effects: Sounds, clips: Clips
) -> Embeddings:
    """`speech` and `altered_effects` are of the validation split, `effects` and `clips` of train and
    validation."""
    known, asked = data.rows("train", "validation"), data.rows("validation")
    meaning = data.meanings
    held = {meaning[row] for row in asked}
    with torch.no_grad():
        text = heads.text(_tensor(data.text)).numpy()
        indexed = heads.text(_tensor(data.indexed)).numpy()
        pictures = heads.image(
            *map(_tensor, (data.pictures.features[:, 0], data.pictures.logits[:, 0]))
        ).numpy()
        seen = heads.image(
            *map(_tensor, (data.pictures.features[asked, 1], data.pictures.logits[asked, 1]))
        ).numpy()
        heard = [heads.audio(_tensor(sounds.pooled)) for sounds in (speech, altered_effects, effects)]
        filmed = [
            heads.video(
                *map(_tensor, (clips.features[:, copy], clips.logits[:, copy], clips.sound, clips.has_sound))
            )
            for copy in (0, 1)
        ]
    names = {row: tuple(meaning[place] for place in row) for row in (tuple(known), tuple(asked))}
    of_validation = np.array([name in held for name in clips.meaning])
    filmed_names = tuple(name for name in clips.meaning if name in held)
    queries = {
        "text": Embedded(text[asked], names[tuple(asked)]),
        "image": Embedded(seen, names[tuple(asked)]),
        "audio": Embedded(
            torch.cat([heard[0][0], heard[1][0]]).numpy(), (*speech.meaning, *altered_effects.meaning)
        ),
        "video": Embedded(filmed[1][0].numpy()[of_validation], filmed_names),
        "audio/native": Embedded(heard[1][1].numpy(), altered_effects.meaning),
        "video/native": Embedded(filmed[1][1].numpy()[of_validation], filmed_names),
    }
    gallery = {
        "text": Embedded(indexed[known], names[tuple(known)]),
        "image": Embedded(pictures[known], names[tuple(known)]),
        "audio": Embedded(heard[2][0].numpy(), effects.meaning),
        "video": Embedded(filmed[0][0].numpy(), clips.meaning),
        "audio/native": Embedded(heard[2][1].numpy(), effects.meaning),
        "video/native": Embedded(filmed[0][1].numpy(), clips.meaning),
    }
    return Embeddings(queries, gallery)


def examples(embeddings: Embeddings) -> dict[str, Examples]:
    """Calibration examples of all pairs, keyed as `embedding.json` keys them."""
    out: dict[str, Examples] = {}
    for name, asked, found in _pairs(embeddings):
        similarity = (asked.vectors @ found.vectors.T).astype(np.float64)
        if name == "audio->audio/native":
            # the similarity of an L2 space is 1 / (1 + distance); unit vectors: d^2 = 2 - 2 cosine
            similarity = 1 / (1 + np.sqrt(np.maximum(2 - 2 * similarity, 0)))
        relevant = np.array(asked.meaning)[:, None] == np.array(found.meaning)[None, :]
        out[name] = nearest(similarity, relevant)
    return out


def figures(embeddings: Embeddings) -> dict[str, dict[str, float]]:
    """NDCG@10 on validation of every pair, over the queries that have an answer in that gallery."""
    out = {}
    for name, asked, found in _pairs(embeddings):
        there = set(found.meaning)
        rows = [row for row, meaning in enumerate(asked.meaning) if meaning in there]
        if rows:
            values = ndcg(
                asked.vectors[rows], [asked.meaning[row] for row in rows], found.vectors, found.meaning
            )
            out[name] = {"ndcg@10": float(values.mean()), "queries": len(rows), "gallery": len(found.meaning)}
    return out


def _pairs(embeddings: Embeddings) -> list[tuple[str, Embedded, Embedded]]:
    unified = [
        (f"{query}->{item}", embeddings.queries[query], embeddings.gallery[item])
        for query in MODALITIES
        for item in MODALITIES
    ]
    native = [
        (f"{name}->{name}/native", embeddings.queries[f"{name}/native"], embeddings.gallery[f"{name}/native"])
        for name in ("audio", "video")
    ]
    return unified + native


def _tensor(array: Floats) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(array))
