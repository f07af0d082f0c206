"""The vocabulary of the query path: plain frozen values. ``ports`` says what is asked of others with them.

Nothing here imports anything of ours but ``media`` and ``errors``. Vectors are ``float32`` NumPy arrays.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from media import Modality
from orchestrator.errors import SensoriumError

__all__ = [
    "NATIVE_DIM",
    "RERANK_KINDS",
    "UNIFIED_DIM",
    "AttendInputs",
    "CatalogueItem",
    "Embedding",
    "FloatArray",
    "ItemDraft",
    "MediaInfo",
    "Modality",
    "Outcome",
    "RerankInputs",
    "Row",
    "RowHit",
    "Space",
    "Transcript",
    "UpsertOutcome",
    "row_key",
]

FloatArray: TypeAlias = NDArray[np.float32]

UNIFIED_DIM = 1024
NATIVE_DIM: Mapping[Modality, int] = {Modality.AUDIO: 512, Modality.VIDEO: 2048}

Space = Literal["unified", "audio", "video"]
"""A vector space: one Milvus collection each."""


# ---- embeddings ----


@dataclass(frozen=True, slots=True)
class Embedding:
    """What one encoder gives for one piece of content.

    ``unified`` [1024] of unit norm, ``native`` [512] or [2048].
    """

    unified: FloatArray
    native: FloatArray | None = None

    @property
    def nbytes(self) -> int:
        """Memory held by the vectors, in bytes."""
        return self.unified.nbytes + (0 if self.native is None else self.native.nbytes)


@dataclass(frozen=True, slots=True)
class Transcript:
    """What a speech recogniser heard. ``score`` is the mean natural-log probability of a token, at most 0."""

    text: str
    score: float


RERANK_KINDS: Final[Mapping[str, int]] = {"text": 1, "image": 2, "audio": 3, "video": 4, "transcript": 5}
"""How the re-ranker's `query_kind` numbers what a query vector stands for; 0 is padding."""


@dataclass(frozen=True, slots=True)
class RerankInputs:
    """What the re-ranker reads of one query with q vectors and of c candidates.

    All float32 but ``query_kind``, int64: ``query`` [q, 1024], ``query_kind`` [q], ``query_weight`` [q]
    signed; ``rows`` [c, 4, 1024], one row per modality in the order of ``Modality``, zeros where there is
    none; ``evidence`` [c, q, 4] and ``fused`` [c] are probabilities.
    """

    query: FloatArray
    query_kind: NDArray[np.int64]
    query_weight: FloatArray
    rows: FloatArray
    evidence: FloatArray
    fused: FloatArray


@dataclass(frozen=True, slots=True)
class AttendInputs:
    """What attention fusion reads of one query of p parts.

    All float32 but ``query_kind``, int64 by ``RERANK_KINDS``: ``query`` [p, 1024], ``native`` [p, 512] of
    sounds, zeros of the others, ``query_kind`` [p], ``query_weight`` [p] signed.
    """

    query: FloatArray
    native: FloatArray
    query_kind: NDArray[np.int64]
    query_weight: FloatArray


# ---- rows of the vector store ----


def row_key(item_id: str, modality: Modality, media_index: int, segment: int) -> str:
    """The primary key of a row, the same in every collection that holds it."""
    return f"{item_id}/{modality.value}/{media_index}/{segment}"


@dataclass(frozen=True, slots=True)
class Row:
    """One entity per (item, modality, media, segment). Times are seconds from the start of the media."""

    item_id: str
    modality: Modality
    media_index: int
    segment: int
    start_s: float
    end_s: float
    embedding: Embedding
    embedding_version: str
    price: float | None
    available: bool
    category: str
    tags: tuple[str, ...]

    @property
    def key(self) -> str:
        """See ``row_key``."""
        return row_key(self.item_id, self.modality, self.media_index, self.segment)


@dataclass(frozen=True, slots=True)
class RowHit:
    """A row found by a search. ``similarity`` is a cosine, or 1 / (1 + distance) in an L2 space."""

    item_id: str
    modality: Modality
    media_index: int
    segment: int
    start_s: float
    end_s: float
    similarity: float

    @property
    def key(self) -> str:
        """See ``row_key``."""
        return row_key(self.item_id, self.modality, self.media_index, self.segment)


# ---- the catalogue ----


@dataclass(frozen=True, slots=True)
class MediaInfo:
    """A stored media file: its kind as found from the content, its hash, and its length (0 for a still)."""

    modality: Modality
    format: str
    sha256: str
    duration_s: float = 0.0


@dataclass(frozen=True, slots=True)
class CatalogueItem:
    """An item as stored. ``price`` is in the catalogue's currency."""

    id: str
    title: str = ""
    description: str = ""
    category: str = ""
    tags: tuple[str, ...] = ()
    price: float | None = None
    available: bool = True
    media: tuple[MediaInfo, ...] = ()


@dataclass(frozen=True, slots=True)
class ItemDraft:
    """An item as sent in: fields as received, not yet validated, with the bytes of its media."""

    id: str
    title: str = ""
    description: str = ""
    category: str = ""
    tags: tuple[str, ...] = ()
    price: float | None = None
    available: bool = True
    media: tuple[bytes, ...] = ()


class Outcome(StrEnum):
    """What became of an upserted item."""

    INDEXED = "indexed"
    UNCHANGED = "unchanged"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class UpsertOutcome:
    """``error`` is set if and only if the item was refused; its ``part`` is the media at fault."""

    id: str
    outcome: Outcome
    rows: int = 0
    error: SensoriumError | None = field(default=None, compare=False)
