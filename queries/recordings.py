"""Human voices saying English descriptions. For evaluation: `training` may not import this module
(tests/unit/test_imports.py), and no head or weight was trained on them. The speech decoder's margin and
vocabulary were chosen on those outside the test split (docs/adr/0007-expected-phrases.md)."""

from __future__ import annotations

from collections.abc import Sequence

from catalogue.manifest import ManifestItem
from queries.types import MadeQuery

__all__ = ["LANGUAGE", "recordings"]

LANGUAGE = "en"


def recordings(items: Sequence[ManifestItem]) -> list[MadeQuery]:
    """One query a recording, of items of all splits: there are only 65 of pictured items."""
    return [
        MadeQuery(f"{item.id}/recording", item, "recording", (spoken.path,))
        for item in items
        for spoken in item.queries
        if spoken.language == LANGUAGE
    ]
