"""Checks the fields of an item as sent in."""

from __future__ import annotations

import math
import re
import unicodedata
from typing import Final

from media import Limits, MediaError, decode_text
from orchestrator.errors import ItemError, PartError
from orchestrator.types import CatalogueItem, ItemDraft

__all__ = ["checked_item", "item_text"]

_ID: Final = re.compile(r"[A-Za-z0-9._:-]{1,128}")
# UTF-8 bytes, as in milvus/rows.yaml.
_MAX_CATEGORY_BYTES: Final = 512
_MAX_TAG_BYTES: Final = 256
_MAX_TAGS: Final = 64


def checked_item(draft: ItemDraft, limits: Limits, max_media: int) -> CatalogueItem:
    """The fields of ``draft``, normalised; without its media.

    Raises:
        ItemError: a field is not acceptable.
        PartError: title or description is not text, or too long.
    """
    if not _ID.fullmatch(draft.id):
        raise ItemError("the id is not 1 to 128 characters of A-Z, a-z, 0-9, '.', '_', ':' and '-'")
    if len(draft.media) > max_media:
        raise ItemError("the item has too many media", limit=f"max_media={max_media}")
    if len(draft.tags) > _MAX_TAGS:
        raise ItemError("the item has too many tags", limit=f"max_tags={_MAX_TAGS}")
    if draft.price is not None and not math.isfinite(draft.price):
        raise ItemError("the price is not a finite number")
    item = CatalogueItem(
        id=draft.id,
        title=_text(draft.title, limits),
        description=_text(draft.description, limits),
        category=_label(draft.category, "category", _MAX_CATEGORY_BYTES),
        tags=tuple(dict.fromkeys(_label(tag, "tag", _MAX_TAG_BYTES) for tag in draft.tags)),
        price=draft.price,
        available=draft.available,
    )
    if "" in item.tags:
        raise ItemError("a tag is empty")
    if not draft.media and not item_text(item):
        raise ItemError("the item has neither text nor media")
    return item


def item_text(item: CatalogueItem) -> str:
    """The text an item is found by: its title and description. Tags and category are for filters: as bare
    words in the text they would blur its meaning."""
    if item.description.casefold().startswith(item.title.casefold()):
        return item.description
    return "\n".join(part for part in (item.title, item.description) if part)


def _text(text: str, limits: Limits) -> str:
    if not text.strip():
        return ""
    try:
        return decode_text(text, limits)
    except MediaError as error:
        raise PartError.of(error) from error


def _label(text: str, name: str, max_bytes: int) -> str:
    try:
        size = len((label := unicodedata.normalize("NFC", text).strip()).encode())
    except UnicodeEncodeError as error:
        raise ItemError(f"a {name} is not valid text") from error
    if size > max_bytes:
        raise ItemError(f"a {name} is too long", limit=f"max_{name}_bytes={max_bytes}")
    return label
