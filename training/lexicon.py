"""WordNet's nouns as pairs of a thing's name and other words for it, without what any stamp shows.

Left out is every synset that is a sense of any word or collocation of any stamp's description, of all three
splits, whatever that word means there; and every name that is a lemma of such a synset is left out of the
others. Such synsets stand in the pairs only as what others are a kind of: a heron is still a bird. So what
the stamps' paraphrases measure is words that were not trained on.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from queries.paraphrases import FILES
from queries.wordnet import Sense, WordNet

__all__ = ["Entry", "held_synsets", "load_lexicon"]

LONGEST = 4
NAMED_IN_LATIN = ("animal", "food", "plant")
_KINDS = {file for files in FILES.values() for file in files}
_WORD = re.compile(r"[a-z]+(?:[-']+[a-z]+)*")


@dataclass(frozen=True)
class Entry:
    """A synset. `synonyms` are pairs of a name and another, `told` pairs of a name and "hypernym:
    definition"; the two of a pair share no word. `above` are the offsets of all synsets it is a kind of."""

    offset: int
    synonyms: tuple[tuple[str, str], ...]
    told: tuple[tuple[str, str], ...]
    names: frozenset[str]
    above: frozenset[int]

    def may_be(self, other: Entry) -> bool:
        """Whether words for one may also stand for the other: no negatives of each other."""
        return self.offset in other.above or other.offset in self.above or bool(self.names & other.names)


def held_synsets(descriptions: Iterable[str], wordnet: WordNet) -> dict[int, Sense]:
    """Every sense of every noun or collocation in `descriptions`, by offset."""
    held: dict[int, Sense] = {}
    for description in descriptions:
        text = description.lower().replace("’", "'")
        words, parts = _WORD.findall(text), re.findall("[a-z]+", text)
        for row in (words, parts):
            for begin in range(len(row)):
                for end in range(begin + 1, min(begin + LONGEST, len(row)) + 1):
                    for joint in (" ", "-", ""):
                        held |= {sense.offset: sense for sense in wordnet.senses(joint.join(row[begin:end]))}
    return held


def load_lexicon(descriptions: Iterable[str], wordnet: WordNet) -> list[Entry]:
    """Entries in the order of their offsets, held synsets and their names left out."""
    held = held_synsets(descriptions, wordnet)
    known = {lemma.lower() for sense in held.values() for lemma in sense.lemmas}
    entries = []
    for offset in wordnet.offsets():
        sense = wordnet.at(offset)
        if offset in held or sense.file not in _KINDS:
            continue
        names = [name for name in _asked(sense) if name.lower() not in known]
        synonyms = [(a, b) for a in names for b in names if not _words(a) & _words(b)]
        kinds = [name for up in sense.hypernyms for name in _asked(wordnet.at(up))]
        told = [
            (name, f"{kind}: {sense.definition}")
            for name in names
            for kind in kinds[:2]
            if not _words(name) & _words(f"{kind} {sense.definition}")
        ]
        if synonyms or told:
            entries.append(
                Entry(
                    offset,
                    tuple(synonyms),
                    tuple(told),
                    frozenset(name.lower() for name in sense.lemmas),
                    frozenset(_above(sense.hypernyms, wordnet)),
                )
            )
    return entries


def _asked(sense: Sense) -> list[str]:
    """Lemmas but for scientific names."""
    return [lemma for lemma in sense.lemmas if not (sense.file in NAMED_IN_LATIN and lemma[0].isupper())]


def _words(text: str) -> set[str]:
    return set(re.findall("[a-z]+", text.lower()))


def _above(offsets: Sequence[int], wordnet: WordNet) -> set[int]:
    found: set[int] = set()
    waiting = list(offsets)
    while waiting:
        offset = waiting.pop()
        if offset not in found:
            found.add(offset)
            waiting.extend(wordnet.at(offset).hypernyms)
    return found
