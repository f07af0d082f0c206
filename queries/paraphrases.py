"""Descriptions in other words: the noun that names the thing is replaced by WordNet.

1. The heads of a description are the nouns that end a phrase: what stands before a full stop, a comma, a
   word such as "of" or "with", or a participle. The longest collocation that WordNet knows counts, so a
   "hot air balloon" is one noun. The first head with a fitting sense is the one.
2. The sense is the most frequent one whose lexicographer file fits the item's category: a "crane" among
   animals is the bird, among vehicles the machine. Nobody chose senses by hand.
3. It is replaced by another lemma of the synset that shares no word with it ("synonym"). Where there is
   none it is replaced by a lemma of its hypernym ("hypernym"), and what WordNet's definition tells it apart
   by follows: a crow is a corvine bird, but so is a magpie. Scientific names are left out of both: nobody
   asks for a Gallus gallus.

An item gets at most one paraphrase: none where no head has a fitting sense or other words, or where what
comes out is a description of one of `items`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from catalogue.manifest import ManifestItem
from catalogue.split import normalise
from queries.types import MadeQuery, chance
from queries.wordnet import Sense, WordNet

__all__ = ["FILES", "paraphrases"]

LONGEST = 4
FILES = {
    "animals": ("animal",),
    "clothes": ("artifact",),
    "food": ("food", "plant"),
    "hobbies": ("artifact",),
    "household": ("artifact",),
    "medical": ("artifact", "body"),
    "military": ("artifact", "person"),
    "naturalforces": ("phenomenon", "event", "object"),
    "people": ("person", "body"),
    "plants": ("plant",),
    "seasonal": ("artifact", "food", "animal", "plant", "person", "object"),
    "space": ("object", "artifact", "person"),
    "sports": ("artifact",),
    "town": ("artifact", "object"),
    "vehicles": ("artifact",),
}
"""Lexicographer files that fit a category of the stamps."""
DEFAULT_FILES = ("artifact",)
# fmt: off
_ENDS_A_PHRASE = frozenset((
    "a", "an", "and", "another", "are", "as", "at", "because", "beside", "by", "can", "for", "from", "has",
    "have", "in", "inside", "into", "is", "it", "its", "like", "means", "of", "on", "or", "out", "over",
    "some", "than", "that", "the", "to", "under", "used", "was", "which", "who", "with", "you", "your",
))
# fmt: on
_NAMED_IN_LATIN = ("animal", "food", "plant")
_WORD = re.compile(r"[A-Za-z][A-Za-z'’]*(?:-[A-Za-z][A-Za-z'’]*)*")
_ARTICLE = re.compile(r"\b(an?)( (?:[\"“'‘])?)([A-Za-z])", re.IGNORECASE)


@dataclass(frozen=True)
class _Head:
    start: int
    end: int
    phrase: str
    sense: Sense


def paraphrases(items: Sequence[ManifestItem], wordnet: WordNet, seed: int) -> list[MadeQuery]:
    """In the order of `items`; the choice among several lemmas follows from seed and item id."""
    taken = {normalise(item.description) for item in items}
    made = []
    for item in items:
        files = FILES.get(item.category, DEFAULT_FILES)
        for head in _heads(item.description, files, wordnet):
            way, texts = "synonym", _synonyms(item.description, head, wordnet)
            if not texts:
                way, texts = "hypernym", _hypernyms(item.description, head, wordnet)
            if texts:
                chosen = texts[int(chance("paraphrase", seed, item.id).integers(len(texts)))]
                if normalise(chosen) not in taken:
                    made.append(MadeQuery(f"{item.id}/{way}", item, "paraphrase", (chosen,)))
                break
    return made


def _heads(text: str, files: Sequence[str], wordnet: WordNet) -> Iterator[_Head]:
    words = list(_WORD.finditer(text))
    first = 0
    for place, word in enumerate(words):
        following = words[place + 1] if place + 1 < len(words) else None
        if following and not _parts(text[word.end() : following.start()], following.group()):
            continue
        for begin in range(max(first, place - LONGEST + 1), place + 1):
            phrase = text[words[begin].start() : word.end()].lower()
            fitting = next((sense for sense in wordnet.senses(phrase) if sense.file in files), None)
            if fitting:
                yield _Head(words[begin].start(), word.end(), phrase, fitting)
                break
        first = place + 1


def _parts(between: str, following: str) -> bool:
    """Whether a phrase ends between two words."""
    return bool(between.strip()) or following in _ENDS_A_PHRASE or following.endswith(("ing", "ed"))


def _synonyms(text: str, head: _Head, wordnet: WordNet) -> list[str]:
    return [_replaced(text, head, lemma) for lemma in _others(head, head.sense, wordnet)]


def _hypernyms(text: str, head: _Head, wordnet: WordNet) -> list[str]:
    told = head.sense.definition
    if _shares_a_word(head.phrase, told, wordnet):
        return []
    above = [lemma for offset in head.sense.hypernyms for lemma in _others(head, wordnet.at(offset), wordnet)]
    return [f"{_replaced(text, head, lemma).rstrip(' .!?')}: {told}." for lemma in above]


def _others(head: _Head, sense: Sense, wordnet: WordNet) -> list[str]:
    """Lemmas in other words than the head."""
    return [
        lemma
        for lemma in sense.lemmas
        if not (sense.file in _NAMED_IN_LATIN and lemma[0].isupper())
        and not _shares_a_word(head.phrase, lemma, wordnet)
    ]


def _shares_a_word(phrase: str, text: str, wordnet: WordNet) -> bool:
    """Also written together or apart, in singular or plural: a sailboat is a sail boat."""
    words = {part for word in phrase.split() for part in (word, wordnet.base(word))}
    told = {part for word in _WORD.findall(text.lower()) for part in (word, wordnet.base(word))}
    joined = re.sub(r"[ -]", "", text.lower())
    return bool(words & told) or any(
        each in joined for each in (phrase.replace(" ", ""), wordnet.base(phrase).replace("_", ""))
    )


def _replaced(text: str, head: _Head, lemma: str) -> str:
    changed = text[: head.start] + lemma + text[head.end :]
    article = next((found for found in _ARTICLE.finditer(changed) if found.start(3) == head.start), None)
    if article:
        a = "an" if lemma[0].lower() in "aeiou" else "a"
        a = a.capitalize() if article.group(1)[0].isupper() else a
        changed = changed[: article.start(1)] + a + changed[article.end(1) :]
    return changed
