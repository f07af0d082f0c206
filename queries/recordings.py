"""Human voices saying English descriptions. For evaluation only: `training` may not import this module
(tests/unit/test_imports.py), and nothing was ever trained, tuned or selected on them."""

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
