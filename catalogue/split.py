"""The split of the stamps into train, validation and test: by meaning.

Two pictures with the same description would otherwise stand on both sides, and an adapter that saw one would
look better than it is. So the side is a function of the normalised description alone. Training and evaluation
use these functions and nothing else.
"""

from __future__ import annotations

import hashlib
import re
from typing import Literal

__all__ = ["Split", "normalise", "split_of"]

Split = Literal["train", "validation", "test"]

_DROPPED = re.compile(r"[^a-z0-9 ]")
_SPACES = re.compile(r" +")
_ARTICLE = re.compile(r"^(?:a|an|the|some) ")


def normalise(description: str) -> str:
    """The description as the split and the relevance judgements compare it.

    Lower case; every character but a-z, 0-9 and space dropped (not replaced: "wizard's" is "wizards"); runs
    of spaces collapsed; one leading a, an, the or some removed.
    """
    kept = _SPACES.sub(" ", _DROPPED.sub("", description.lower())).strip()
    return _ARTICLE.sub("", kept)


def split_of(description: str) -> Split:
    """SHA-1 of the normalised description, as an integer, modulo 10: 0-5 train, 6-7 validation, 8-9 test."""
    # A spreading function, not a secret: SHA-1 is what the counts of the split were made with.
    digest = hashlib.sha1(normalise(description).encode(), usedforsecurity=False).hexdigest()
    bucket = int(digest, 16) % 10
    if bucket < 6:
        return "train"
    return "validation" if bucket < 8 else "test"
