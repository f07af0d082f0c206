"""Expected phrases: reading the request, the ways a phrase is spoken, the prefix tree of its tokens."""

from __future__ import annotations

import json
import re
from collections import OrderedDict
from dataclasses import dataclass, field

from tokens import Tokens

from media import TextError, TextTooLongError

__all__ = [
    "MAX_PHRASES",
    "MAX_PHRASES_BYTES",
    "MAX_PHRASE_CHARACTERS",
    "Node",
    "Vocabularies",
    "Vocabulary",
    "letters",
    "read_phrases",
]

MAX_PHRASES = 4096
MAX_PHRASES_BYTES = 256 * 1024
MAX_PHRASE_CHARACTERS = (
    100  # some six seconds of speech; a longer one is left out: nobody says it word for word
)
_KIND = "phrases"
_ARTICLE = re.compile(r"^(?:a|an|the|some)\s+", re.IGNORECASE)
_CACHED = 4


@dataclass(slots=True)
class Node:
    """A place in the prefix tree, reached by `token`.

    `phrase` is set where a phrase may end; `longest` is the most tokens that may follow, the end included.
    """

    token: int = -1
    children: dict[int, Node] = field(default_factory=dict)
    phrase: str | None = None
    longest: int = 0


@dataclass(frozen=True, slots=True)
class Vocabulary:
    root: Node
    by_letters: dict[str, str]
    """Letters and digits of a spoken form -> its phrase."""


class Vocabularies:
    """Builds vocabularies and keeps the last few: a catalogue sends the same list with every query."""

    def __init__(self, tokens: Tokens) -> None:
        self._tokens = tokens
        self._kept: OrderedDict[bytes, Vocabulary] = OrderedDict()

    def get(self, data: bytes) -> Vocabulary:
        """The vocabulary of a JSON list of strings in UTF-8.

        Raises:
            TextTooLongError: more than MAX_PHRASES_BYTES or MAX_PHRASES.
            TextError: no such list.
        """
        if len(data) > MAX_PHRASES_BYTES:
            raise TextTooLongError(
                "too many phrases", kind=_KIND, limit=f"max_phrases_bytes={MAX_PHRASES_BYTES}"
            )
        vocabulary = self._kept.get(data)
        if vocabulary is None:
            vocabulary = self._build(read_phrases(data))
            self._kept[data] = vocabulary
            if len(self._kept) > _CACHED:
                self._kept.popitem(last=False)
        self._kept.move_to_end(data)
        return vocabulary

    def _build(self, phrases: list[str]) -> Vocabulary:
        root, by_letters = Node(), dict[str, str]()
        for phrase in phrases:
            if len(phrase) > MAX_PHRASE_CHARACTERS:
                continue
            for form in _spoken_forms(phrase):
                by_letters.setdefault(letters(form), phrase)
                node, tokens = root, self._tokens.encode(form)
                for place, token in enumerate(tokens):
                    node = node.children.setdefault(token, Node(token))
                    node.longest = max(node.longest, len(tokens) - place)
                node.phrase = node.phrase or phrase
        return Vocabulary(root, by_letters)


def letters(text: str) -> str:
    """Letters and digits alone, lower case: what remains when spelling is compared."""
    return "".join(char for char in text.casefold() if char.isalnum())


def read_phrases(data: bytes) -> list[str]:
    """A JSON list of strings in UTF-8, white space joined. Raises TextTooLongError and TextError."""
    wrong = TextError("phrases must be a JSON list of strings", kind=_KIND)
    try:
        phrases = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise wrong from error
    if not isinstance(phrases, list) or not all(isinstance(phrase, str) for phrase in phrases):
        raise wrong
    if len(phrases) > MAX_PHRASES:
        raise TextTooLongError("too many phrases", kind=_KIND, limit=f"max_phrases={MAX_PHRASES}")
    return [phrase for phrase in (" ".join(text.split()) for text in phrases) if letters(phrase)]


def _spoken_forms(phrase: str) -> list[str]:
    """As the model writes speech: a capital in front, a full stop behind; with and without the article."""
    plain = phrase.rstrip(".!?")
    forms = dict.fromkeys((plain, _ARTICLE.sub("", plain)))
    return [f"{form[0].upper()}{form[1:]}." for form in forms if letters(form)]
