"""Filters as Milvus Lite 3.2 reads them best.

**Literals.** Of JSON's escapes Lite does not know ``\\u0001``, ``\\b`` and ``\\f``; it takes the characters
as they are.

**Tags.** Lite evaluates ``array_contains_*`` row by row on whole rows, vectors included: 1.4 s at 20,000 rows
of 1,024 dimensions, where ``like`` on a string takes a few ms. There, ``tags`` is a string of tokens,
``|<token>|<token>|``, and ``array_contains_any(tags, ["a", "b"])`` becomes
``(tags like "%|<a>|%" or tags like "%|<b>|%")``. A token is a hash, because Lite has no escape for the wild
cards of ``like``.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable
from typing import Final

__all__ = ["for_lite", "tag_tokens"]

_ESCAPES: Final = str.maketrans({"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t"})
_STRING: Final = r'"(?:[^"\\]|\\.)*"'
_PATTERN: Final = re.compile(
    rf"(?P<literal>{_STRING})"
    r"|\barray_contains(?P<kind>_any|_all)?\s*\(\s*tags\s*,"
    rf"\s*(?P<values>\[\s*{_STRING}\s*(?:,\s*{_STRING}\s*)*\]|{_STRING})\s*\)"
)


def tag_tokens(tags: Iterable[str]) -> str:
    """Tags as one string of tokens."""
    return "|" + "".join(f"{_token(tag)}|" for tag in tags)


def for_lite(expression: str) -> str:
    """An expression for Milvus, as one for Lite that means the same."""
    return _PATTERN.sub(_rewritten, expression)


def _rewritten(match: re.Match[str]) -> str:
    if match["literal"] is not None:
        return _quoted(json.loads(match["literal"]))
    values = json.loads(match["values"])
    tags = [values] if isinstance(values, str) else values
    word = " and " if match["kind"] == "_all" else " or "
    return "(" + word.join(f'tags like "%|{_token(tag)}|%"' for tag in tags) + ")"


def _quoted(text: str) -> str:
    return f'"{text.translate(_ESCAPES)}"'


def _token(tag: str) -> str:
    return hashlib.blake2b(tag.encode(), digest_size=8).hexdigest()
