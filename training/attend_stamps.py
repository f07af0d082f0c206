"""Composed queries of the stamps, train and validation: what composition must not spoil.

A photograph and a paraphrase of one thing; a thing that is not another; a sound effect that looks for
pictures. What is pushed away is the nearest wrong text, as in `training.rerank_data`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from catalogue.manifest import ManifestItem, read_manifest
from export.settings import Settings
from queries import make_queries
from training.attend_asks import NEGATIVE_WEIGHTS, Ask, Part
from training.catalogue_data import Stamp, load_stamps

__all__ = ["StampQueries", "stamp_asks"]

Floats = npt.NDArray[np.float32]
MAX_TRAIN = 160
"""Stamps of the train split that are asked about, chosen by the hash of their names: it bounds the time."""


class StampQueries:
    """The stamps of one split, and by item the words and files that ask for them.

    Raises:
        DataError, QueriesError, CatalogueError: the stamps, or queries of them, cannot be had.
    """

    def __init__(self, split: str, settings: Settings) -> None:
        manifest = settings.home / "catalogues" / "stamps" / "manifest.jsonl"
        self.stamps = [stamp for stamp in load_stamps(manifest) if stamp.split == split]
        asked = sorted(self.stamps, key=lambda stamp: hashlib.sha256(stamp.id.encode()).digest())
        chosen = {stamp.id for stamp in (asked[:MAX_TRAIN] if split == "train" else asked)}
        items = list(read_manifest(manifest))
        own = [item for item in items if item.id in chosen]
        self.words = {
            query.item.id: str(query.parts[0])
            for query in make_queries("paraphrase", items, settings)
            if query.item.id in chosen
        }
        self.photographs = _files("photograph", own, settings)
        self.effects = _files("effect", own, settings)
        self.meanings = np.array([stamp.meaning for stamp in self.stamps])


def _files(kind: str, items: Sequence[ManifestItem], settings: Settings) -> dict[str, Path]:
    return {query.item.id: Path(query.parts[0]) for query in make_queries(kind, items, settings)}


def stamp_asks(queries: StampQueries, texts: Floats, said: Callable[[str], Floats]) -> list[Ask]:
    """Every query of a split. ``texts`` FP32 [n, 1024] are the stamps' own; ``said`` gives a text's."""
    asks = []
    for about, stamp in enumerate(queries.stamps):
        relevant = queries.meanings == stamp.meaning
        photograph = Part("image", "photograph") if stamp.id in queries.photographs else None
        words = queries.words.get(stamp.id)
        text = None if words is None else Part("text", words)
        weight = NEGATIVE_WEIGHTS[about % len(NEGATIVE_WEIGHTS)]
        wrong = _wrong(texts, said(words or stamp.description), relevant, queries.stamps)
        unwanted = Part("text", wrong, weight)
        for family, parts in (
            ("stamps: photograph and paraphrase", (photograph, text)),
            ("stamps: paraphrase, not another", (text, unwanted)),
            ("stamps: photograph, not another", (photograph, unwanted)),
        ):
            there = tuple(part for part in parts if part is not None)
            if len(there) == len(parts):
                asks.append(Ask(f"{stamp.id}/{family}", family, about, there, relevant))
        if stamp.id in queries.effects:
            family, sound = "stamps: a sound, as a picture", Part("audio", "effect")
            asks.append(Ask(f"{stamp.id}/{family}", family, about, (sound,), relevant, ("image",)))
    return asks


def _wrong(texts: Floats, vector: Floats, relevant: npt.NDArray[np.bool_], stamps: Sequence[Stamp]) -> str:
    near = np.where(relevant, -np.inf, texts @ vector)
    return stamps[int(near.argmax())].description
