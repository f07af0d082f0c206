"""Rows between our types and Milvus entities (the fields of ``milvus/rows.yaml``).

A row's primary key is ``<embedding version>/<row key>`` and so follows from what the row is: writing it again
replaces it, and rows of two embedding versions of an item stand side by side while one takes over.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

import numpy as np

from orchestrator.clients.milvus_lite_filter import tag_tokens
from orchestrator.clients.milvus_spec import StoreSpec
from orchestrator.types import FloatArray, Modality, Row, RowHit, Space

__all__ = [
    "HIT_FIELDS",
    "ROW_ID",
    "copied",
    "item_fields",
    "key_of",
    "row_id",
    "spaces_of",
    "to_entity",
    "to_hits",
    "vectors_of",
    "version_of",
]

ROW_ID: Final = "row_id"
HIT_FIELDS: Final = ["start_s", "end_s"]
"""What a search has to read: the rest is in the primary key, and each field costs time."""

_MODALITIES: Final = {modality.value: modality for modality in Modality}
_NATIVE: Final[Mapping[Modality, Space]] = {Modality.AUDIO: "audio", Modality.VIDEO: "video"}


def row_id(embedding_version: str, key: str) -> str:
    """The primary key of the row ``key`` (see ``orchestrator.types.row_key``)."""
    return f"{embedding_version}/{key}"


def key_of(row_id: str) -> str:
    """The row key in a primary key."""
    return row_id.split("/", 1)[1]


def version_of(row_id: str) -> str:
    """The embedding version in a primary key."""
    return row_id.split("/", 1)[0]


def spaces_of(row_id: str) -> tuple[Space, ...]:
    """The spaces in which a row stands: the unified one and, for sounds and videos, their own."""
    native = _NATIVE.get(Modality(row_id.rsplit("/", 3)[1]))
    return ("unified",) if native is None else ("unified", native)


def vectors_of(row: Row) -> Iterator[tuple[Space, FloatArray]]:
    """The vectors of a row with their spaces. ValueError for a sound or video without its native one."""
    for space in spaces_of(row_id(row.embedding_version, row.key)):
        vector = row.embedding.unified if space == "unified" else row.embedding.native
        if vector is None:
            raise ValueError(f"a row of {row.modality} needs a native vector")
        yield space, vector


def item_fields(
    price: float | None, available: bool, category: str, tags: Iterable[str], spec: StoreSpec
) -> dict[str, Any]:
    """The fields that every row of an item repeats. Tags are tokens where arrays are slow to filter."""
    return {
        "price": math.nan if price is None else price,
        "available": available,
        "category": category,
        "tags": tag_tokens(tags) if spec.tags_as_tokens else list(tags),
    }


def to_entity(row: Row, vector: FloatArray, spec: StoreSpec) -> dict[str, Any]:
    """The entity of a row in one space."""
    return {
        ROW_ID: row_id(row.embedding_version, row.key),
        "item_id": row.item_id,
        "modality": row.modality.value,
        "media_index": row.media_index,
        "segment": row.segment,
        "start_s": row.start_s,
        "end_s": row.end_s,
        "embedding_version": row.embedding_version,
        **item_fields(row.price, row.available, row.category, row.tags, spec),
        "deleted": False,
        spec.row.vector.name: np.ascontiguousarray(vector, dtype=np.float32),
    }


def to_hits(hits: Any, metric: str) -> list[RowHit]:
    """One query's hits of pymilvus. Milvus gives the cosine itself, and for L2 the square of the distance.

    There are hundreds in a search, so what costs most of reading one is left out: attributes of a hit are
    looked up by name three calls deep.
    """
    is_cosine = metric == "COSINE"
    found = []
    for primary_key, score, hit in zip(hits.ids, hits.distances, hits, strict=True):
        of_item, modality, media_index, segment = primary_key.rsplit("/", 3)
        fields = dict.__getitem__(hit, "entity")
        found.append(
            RowHit(
                item_id=key_of(of_item),
                modality=_MODALITIES[modality],
                media_index=int(media_index),
                segment=int(segment),
                start_s=fields["start_s"],
                end_s=fields["end_s"],
                similarity=score if is_cosine else 1.0 / (1.0 + math.sqrt(max(score, 0.0))),
            )
        )
    return found


def copied(entity: Mapping[str, Any]) -> dict[str, Any]:
    """An entity as read, ready to be written again (arrays arrive as messages of the wire format)."""
    row = dict(entity)
    if not isinstance(row["tags"], str):
        row["tags"] = list(row["tags"])
    return row
