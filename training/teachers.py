"""Further pairs for the learned block: the classifier's own rows, other languages, emoji sets."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from catalogue.debian import unpack
from catalogue.split import normalise
from catalogue.stamps import PACKAGE, STAMPS_FOLDER
from export.settings import Settings
from training.alignment import Pairs
from training.dataset import Dataset
from training.encoders import Encoders
from training.icons import load_icons
from training.leakage import may_train
from training.pictures import PictureFeatures, encode_pictures
from training.store import FeatureStore

__all__ = ["TEACHERS", "Teachers", "load_teachers", "translation"]

Floats = npt.NDArray[np.float32]
Rows = npt.NDArray[np.intp]
TEACHERS = ("classifier", "languages", "icons")
LANGUAGES = ("fr", "es", "de")
"""The text encoder was made for English; it knows the words of these best, many being cognates."""


@dataclass(frozen=True)
class Teachers:
    """`rows` [1000, 1280] and `bias` [1000] are the classifier's; `translated` [languages, stamps, 384] is
    zeros where a stamp has no such text; `icons`, `named` [n, 384] and `names` belong together."""

    rows: Floats
    bias: Floats
    translated: Floats
    icons: PictureFeatures
    named: Floats
    names: tuple[str, ...]

    def pairs(
        self,
        teacher: str,
        data: Dataset,
        fresh: Rows,
        held: npt.NDArray[np.intp],
        weight: float,
    ) -> Pairs:
        """Pairs of one of TEACHERS; `fresh` stamps may be learned from, `held` ones are held out."""
        if teacher == "classifier":
            return self._concepts(data, fresh, weight)
        if teacher == "languages":
            return self._translations(data, fresh, weight)
        meanings = {data.stamps[row].meaning for row in held}
        found = may_train(self.names, self.icons.hashes, meanings, data.pictures.hashes[held])
        rows = np.flatnonzero(found & self.icons.readable)
        names = tuple(self.names[row] for row in rows)
        return _pairs(
            self.icons.features[rows, 0], self.icons.logits[rows, 0], self.named[rows], names, weight
        )

    def _concepts(self, data: Dataset, fresh: Rows, weight: float) -> Pairs:
        """A class's row as the features of a picture that is nothing else: as far from the mean of pictures
        as they are themselves, and with the logits the classifier gives it."""
        pictures = data.pictures.features[fresh, 0]
        mean = pictures.mean(axis=0)
        usual = np.linalg.norm(pictures - mean, axis=1).mean()
        rows = self.rows - self.rows.mean(axis=0)
        features = mean + usual * rows / np.linalg.norm(rows, axis=1, keepdims=True)
        logits = features @ self.rows.T + self.bias
        names = tuple(f"class {number}" for number in range(len(features)))
        return _pairs(features, logits, data.glosses, names, weight)

    def _translations(self, data: Dataset, fresh: Rows, weight: float) -> Pairs:
        language, place = np.nonzero(self.translated[:, fresh].any(axis=2))
        rows = fresh[place]
        names = tuple(data.stamps[row].meaning for row in rows)
        pictures = data.pictures
        text = self.translated[language, rows]
        return _pairs(pictures.features[rows, 0], pictures.logits[rows, 0], text, names, weight)


def load_teachers(settings: Settings, data: Dataset, encoders: Encoders, store: FeatureStore) -> Teachers:
    """Read and encode; what was encoded before is read from the store.

    Raises:
        TrainingError, ExportError, CatalogueError: something cannot be had or read.
    """
    icons = load_icons(settings.cache)
    keys = [hashlib.sha256(icon.svg).hexdigest() for icon in icons]
    pictures = encode_pictures("icons", keys, lambda row: icons[row].svg, 1, encoders, store)
    rows, bias = encoders.classifier()
    return Teachers(
        rows,
        bias,
        _translated(settings, data, encoders),
        pictures,
        encoders.text([icon.title for icon in icons]),
        tuple(normalise(icon.title) for icon in icons),
    )


def translation(text: str, language: str) -> str:
    """A stamp's description in a language, from the lines `xx.utf8=...` of its text file; "" without one."""
    start = f"{language}.utf8="
    lines = (line.removeprefix(start).strip() for line in text.splitlines() if line.startswith(start))
    return next(lines, "")


def _translated(settings: Settings, data: Dataset, encoders: Encoders) -> Floats:
    media = settings.home.absolute() / "catalogues" / "stamps" / "media"
    folder = unpack(PACKAGE, settings.cache) / STAMPS_FOLDER
    files = [(folder / stamp.picture.relative_to(media)).with_suffix(".txt") for stamp in data.stamps]
    texts = [file.read_text("utf-8", errors="replace") if file.is_file() else "" for file in files]
    out = np.zeros((len(LANGUAGES), len(files), 384), np.float32)
    for number, language in enumerate(LANGUAGES):
        found = [translation(text, language) for text in texts]
        there = [row for row, text in enumerate(found) if text]
        out[number, there] = encoders.text([found[row] for row in there])
    return out


def _pairs(features: Floats, logits: Floats, text: Floats, names: Sequence[str], weight: float) -> Pairs:
    text = text - text.mean(axis=0)
    text = (text / np.linalg.norm(text, axis=1, keepdims=True)).astype(np.float32)
    return Pairs(
        features.astype(np.float32),
        logits.astype(np.float32),
        text,
        np.full(len(names), weight, np.float32),
        tuple(names),
    )
