"""Everything the heads for text and pictures are fitted and selected on, encoded once."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from catalogue.split import normalise
from export.settings import Settings
from queries.wordnet import open_wordnet
from training.alignment import Pairs
from training.catalogue_data import Stamp, load_stamps
from training.classwords import hypernyms, load_class_words, prototypes
from training.encoders import Encoders
from training.leakage import may_train
from training.openclipart import load_drawings
from training.pictures import PictureFeatures, encode_pictures
from training.store import FeatureStore

__all__ = ["Dataset", "load_dataset"]

Floats = npt.NDArray[np.float32]
VIEWS = 3
KEYWORDS_SHARE = 0.5


@dataclass(frozen=True)
class Dataset:
    """Rows of `stamps`, `pictures`, `text` (descriptions, as users ask) and `indexed` (as items are found)
    belong together, as do those of `names`, `drawings`, `titles`, `keywords` (zeros where there are none).
    `lemmas`, `glosses` and `hypernyms` are of the classes, [1000, 384]."""

    stamps: Sequence[Stamp]
    pictures: PictureFeatures
    text: Floats
    indexed: Floats
    names: tuple[str, ...]
    drawings: PictureFeatures
    titles: Floats
    keywords: Floats
    lemmas: Floats
    glosses: Floats
    hypernyms: Floats

    @property
    def meanings(self) -> tuple[str, ...]:
        return tuple(stamp.meaning for stamp in self.stamps)

    def rows(self, *splits: str) -> npt.NDArray[np.intp]:
        return np.array([row for row, stamp in enumerate(self.stamps) if stamp.split in splits], np.intp)

    def catalogue_pairs(self, rows: npt.NDArray[np.intp]) -> Pairs:
        text = _unit(self.text[rows] - self.text[rows].mean(axis=0))
        weight = np.ones(len(rows), np.float32)
        meaning = tuple(self.stamps[row].meaning for row in rows)
        return Pairs(self.pictures.features[rows, 0], self.pictures.logits[rows, 0], text, weight, meaning)

    def fresh_stamps(self, rows: npt.NDArray[np.intp], held: npt.NDArray[np.intp]) -> npt.NDArray[np.intp]:
        """`rows` without those whose picture or meaning comes close to one of `held`."""
        found = may_train(
            [self.stamps[row].meaning for row in rows],
            self.pictures.hashes[rows],
            {self.stamps[row].meaning for row in held},
            self.pictures.hashes[held],
        )
        return rows[found]

    def drawing_pairs(self, held: npt.NDArray[np.intp], weight: float) -> Pairs:
        """Drawings that have nothing to do with the stamps in `held`; keywords stand in their text."""
        found = may_train(
            self.names,
            self.drawings.hashes,
            {self.stamps[row].meaning for row in held},
            self.pictures.hashes[held],
        )
        rows = np.flatnonzero(found & self.drawings.readable)
        meaning = tuple(self.names[row] for row in rows)
        features, logits = self.drawings.features[rows, 0], self.drawings.logits[rows, 0]
        titles, keywords = self.titles[rows], self.keywords[rows]
        there = np.asarray(keywords.any(axis=1))
        # without keywords the title stands for them
        beside: Floats = np.where(there[:, None], keywords, titles)
        drawn = _unit(titles + KEYWORDS_SHARE * beside)
        tagged = np.zeros_like(keywords)
        tagged[there] = KEYWORDS_SHARE * _unit(keywords[there] - keywords[there].mean(axis=0))
        parts = np.stack([_unit(titles - titles.mean(axis=0)), tagged], axis=1)
        return Pairs(
            features,
            logits,
            _unit(drawn - drawn.mean(axis=0)),
            np.full(len(rows), weight, np.float32),
            meaning,
            parts,
        )


def load_dataset(settings: Settings, encoders: Encoders, store: FeatureStore) -> Dataset:
    """Fetch, decode and encode; what was encoded before is read from the store.

    Raises:
        TrainingError, ExportError, CatalogueError: something cannot be fetched or is not what it should be.
    """
    stamps = load_stamps(settings.home / "catalogues" / "stamps" / "manifest.jsonl")
    contents = [stamp.picture.read_bytes() for stamp in stamps]
    keys = [hashlib.sha256(content).hexdigest() for content in contents]
    pictures = encode_pictures("stamps", keys, contents.__getitem__, VIEWS, encoders, store)
    drawings = load_drawings(settings.cache)
    keys = [hashlib.sha256(drawing.svg).hexdigest() for drawing in drawings]
    drawn = encode_pictures("openclipart", keys, lambda row: drawings[row].svg, 1, encoders, store)
    titles = _texts(encoders, store, "titles", [drawing.title for drawing in drawings])
    keywords = _texts(
        encoders, store, "keywords", [", ".join(drawing.keywords) or drawing.title for drawing in drawings]
    )
    keywords[[not drawing.keywords for drawing in drawings]] = 0
    classes = load_class_words(settings)

    def embed(texts: Sequence[str]) -> Floats:
        return _texts(encoders, store, "classes", list(texts))

    return Dataset(
        stamps=stamps,
        pictures=pictures,
        text=_texts(encoders, store, "descriptions", [stamp.description for stamp in stamps]),
        indexed=_texts(encoders, store, "items", [stamp.indexed for stamp in stamps]),
        names=tuple(normalise(drawing.title) for drawing in drawings),
        drawings=drawn,
        titles=titles,
        keywords=keywords,
        lemmas=prototypes(classes, embed, definitions=False),
        glosses=prototypes(classes, embed, definitions=True),
        hypernyms=hypernyms(classes, open_wordnet(settings.cache), embed),
    )


def _texts(encoders: Encoders, store: FeatureStore, name: str, texts: Sequence[str]) -> Floats:
    return store.get(
        name,
        f"text-1 {encoders.text_state()}".rstrip(),
        texts,
        lambda rows: {"pooled": encoders.text([texts[row] for row in rows])},
        chunk=512,
    )["pooled"].astype(np.float32)


def _unit(x: Floats) -> Floats:
    unit: Floats = (x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-9)).astype(np.float32)
    return unit
