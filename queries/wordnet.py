"""WordNet's nouns, read from Debian's wordnet-base (Miller 1995; file formats: wndb(5WN), lexnames(5WN)).

A reader of our own, because Debian's package holds no `lexnames` and no `index.sense`, without which NLTK's
refuses the files; nouns are all that is asked here.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from catalogue.debian import DebianPackage, fetch, unpack

__all__ = ["LEXICOGRAPHER_FILES", "PACKAGE", "Sense", "WordNet", "open_wordnet"]

PACKAGE = DebianPackage(
    name="wordnet-base",
    version="1:3.0-37",
    sha256="61060d960f9ada8fa120872312eccd3ecebfbab8c4579e4f5a74e1cf67620752",
    size_bytes=6_467_132,
)
FOLDER = Path("usr/share/wordnet")
FIRST_FILE = 3
LEXICOGRAPHER_FILES = (
    "tops",
    "act",
    "animal",
    "artifact",
    "attribute",
    "body",
    "cognition",
    "communication",
    "event",
    "feeling",
    "food",
    "group",
    "location",
    "motive",
    "object",
    "person",
    "phenomenon",
    "plant",
    "possession",
    "process",
    "quantity",
    "relation",
    "shape",
    "state",
    "substance",
    "time",
)
"""Of nouns, in the order of their numbers, which begin at 3."""
# Endings of plurals and what stands there in the singular, tried in this order: morphy(7WN).
_ENDINGS = (
    ("ses", "s"),
    ("xes", "x"),
    ("zes", "z"),
    ("ches", "ch"),
    ("shes", "sh"),
    ("men", "man"),
    ("ies", "y"),
    ("s", ""),
)
_ASIDE = re.compile(r"\([^)]*\)")


@dataclass(frozen=True)
class Sense:
    """One synset: its lemmas (spaces, not underscores), the lexicographer file it stands in, the offsets of
    its hypernyms, instances' classes included, and its definition without examples."""

    offset: int
    file: str
    lemmas: tuple[str, ...]
    hypernyms: tuple[int, ...]
    definition: str


class WordNet:
    """The nouns of one unpacked package. Reading takes about a third of a second."""

    def __init__(self, folder: Path) -> None:
        self._data = (folder / "data.noun").read_bytes()
        self._index: dict[str, tuple[int, ...]] = {}
        for line in (folder / "index.noun").read_text("ascii").splitlines():
            if not line.startswith(" "):
                fields = line.split()
                # the offsets are the last fields, as many as field 2 says, the most frequent sense first
                self._index[fields[0]] = tuple(map(int, fields[-int(fields[2]) :]))
        self._exceptions = {
            plural: singulars.split()[0]
            for line in (folder / "noun.exc").read_text("ascii").splitlines()
            for plural, singulars in [line.split(" ", 1)]
        }

    def senses(self, phrase: str) -> Iterator[Sense]:
        """Of a noun or collocation in lower case, in singular or plural, the most frequent first."""
        yield from map(self.at, self._index.get(self.base(phrase), ()))

    def base(self, phrase: str) -> str:
        """The form that stands in the index, with underscores; the phrase itself where none does."""
        word = phrase.replace(" ", "_")
        if word in self._index:
            return word
        candidates = [self._exceptions.get(word, word)]
        candidates += [word.removesuffix(end) + new for end, new in _ENDINGS if word.endswith(end)]
        return next((each for each in candidates if each in self._index), word)

    def offsets(self) -> list[int]:
        """Of every synset, ascending."""
        return sorted({offset for offsets in self._index.values() for offset in offsets})

    def at(self, offset: int) -> Sense:
        """The synset at a byte offset of data.noun."""
        line, _, gloss = self._data[offset : self._data.index(b"\n", offset)].decode().partition(" | ")
        fields = line.split()
        words = int(fields[3], 16)
        pointers = fields[5 + 2 * words :]
        return Sense(
            offset=int(fields[0]),
            file=LEXICOGRAPHER_FILES[int(fields[1]) - FIRST_FILE],
            lemmas=tuple(word.replace("_", " ") for word in fields[4 : 4 + 2 * words : 2]),
            hypernyms=tuple(
                int(pointers[place + 1])
                for place in range(0, len(pointers), 4)
                if pointers[place] in ("@", "@i") and pointers[place + 2] == "n"
            ),
            definition=_ASIDE.sub("", gloss).partition('"')[0].partition(";")[0].strip(" :,"),
        )


def open_wordnet(cache: Path) -> WordNet:
    """Fetched, checked by SHA-256 and unpacked below `cache` unless it is there.

    Raises:
        PackageError: it cannot be had.
    """
    # One machine's package does not change while a process runs.
    return _opened(cache.absolute())


@functools.cache
def _opened(cache: Path) -> WordNet:
    if not (PACKAGE.folder(cache) / "unpacked").is_dir():
        fetch(PACKAGE, cache)
    return WordNet(unpack(PACKAGE, cache) / FOLDER)
