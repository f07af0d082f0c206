"""ImageNet's 1,000 classes in words: WordNet lemmas and definitions, from the class tables of the timm
wheel."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from export.fetch import fetch_source
from export.profile import Source
from export.settings import Settings
from queries.wordnet import WordNet
from training.errors import DataError

__all__ = ["ClassWords", "hypernyms", "load_class_words", "prototypes", "with_hypernyms"]

Floats = npt.NDArray[np.float32]
SOURCE = Source(
    requirement="timm==1.0.31",
    wheel="timm-1.0.31-py3-none-any.whl",
    sha256="5bd50f7d0fe6d09bf9285ac2523234a1b7e6bf075c0be3e7aed09139fcb617c7",
    licence="Apache-2.0",
    files={
        "synsets": "timm/data/_info/imagenet_synsets.txt",
        "lemmas": "timm/data/_info/imagenet_synset_to_lemma.txt",
        "definitions": "timm/data/_info/imagenet_synset_to_definition.txt",
    },
)


@dataclass(frozen=True)
class ClassWords:
    """One class: its lemmas, the most usual first, its WordNet definition and the byte offset of its synset
    in WordNet 3.0."""

    lemmas: tuple[str, ...]
    definition: str
    offset: int


def load_class_words(settings: Settings) -> list[ClassWords]:
    """The classes in the classifier's order.

    Raises:
        FetchError: the wheel cannot be had.
        DataError: its tables do not name every class.
    """
    files = fetch_source(SOURCE, settings.cache, settings.fetch_timeout_s)
    synsets = files["synsets"].read_text(encoding="utf-8").split()
    lemmas, definitions = (
        _table(files["lemmas"].read_text("utf-8")),
        _table(files["definitions"].read_text("utf-8")),
    )
    try:
        return [
            ClassWords(tuple(lemmas[name].split(", ")), definitions[name], int(name.removeprefix("n")))
            for name in synsets
        ]
    except KeyError as error:
        raise DataError(f"{SOURCE.wheel} has no words for class {error}") from error


def prototypes(
    classes: Sequence[ClassWords], embed: Callable[[Sequence[str]], Floats], definitions: bool
) -> Floats:
    """Text embedding of every class, FP32 [classes, 384], unit norm.

    The mean of its lemmas' embeddings; with `definitions`, that of "lemma: definition" counts as much again.
    """
    words = embed([lemma for item in classes for lemma in item.lemmas])
    ends = np.cumsum([len(item.lemmas) for item in classes])
    sums = [rows.sum(axis=0) for rows in np.split(words, ends[:-1])]
    named = _unit(np.stack(sums))
    if definitions:
        named = _unit(named + embed([f"{item.lemmas[0]}: {item.definition}" for item in classes]))
    return named


def hypernyms(
    classes: Sequence[ClassWords], wordnet: WordNet, embed: Callable[[Sequence[str]], Floats]
) -> Floats:
    """Text embedding of each class's hypernym ("Siamese cat" -> "domestic cat"), the mean of its lemmas'
    embeddings, FP32 [classes, 384], unit norm."""
    above = [wordnet.at(wordnet.at(item.offset).hypernyms[0]).lemmas for item in classes]
    words = embed([lemma for lemmas in above for lemma in lemmas])
    ends = np.cumsum([len(lemmas) for lemmas in above])
    return _unit(np.stack([rows.sum(axis=0) for rows in np.split(words, ends[:-1])]))


def with_hypernyms(named: Floats, above: Floats, weight: float) -> Floats:
    """Prototypes [classes, 384] drawn towards their hypernyms' embeddings; unit norm."""
    return _unit(named + weight * above)


def _table(text: str) -> dict[str, str]:
    return dict(line.split("\t", 1) for line in text.splitlines() if "\t" in line)


def _unit(x: Floats) -> Floats:
    unit: Floats = (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)
    return unit
