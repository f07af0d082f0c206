"""What the pipeline and the servers ask of Triton, Milvus, the item store and the indexer, as protocols.

The real clients and the shipped fakes satisfy the same ones; ``tests/contract`` compares their signatures.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from orchestrator.types import (
    AttendInputs,
    CatalogueItem,
    Embedding,
    FloatArray,
    ItemDraft,
    Modality,
    RerankInputs,
    RowHit,
    Space,
    Transcript,
    UpsertOutcome,
)

__all__ = ["CatalogueWriter", "Encoder", "ItemStore", "VectorStore"]


class Encoder(Protocol):
    """Content to vectors, speech to text, composing, re-ranking (Triton). Calls end within ``deadline_s`` or
    raise.

    Raises ``errors.PartError`` for content that a decoder refused, ``errors.DependencyError`` otherwise.
    """

    async def embed(self, modality: Modality, data: bytes | str, deadline_s: float) -> Embedding:
        """The embedding of one text or one encoded file."""
        ...

    async def transcribe(self, data: bytes, phrases: Sequence[str], deadline_s: float) -> Transcript:
        """The speech in an encoded sound; ``phrases`` are expected ones and help the decoder."""
        ...

    async def attend(self, inputs: AttendInputs, deadline_s: float) -> FloatArray:
        """One vector for the rows of each modality, float32 [4, 1024] of unit norm, in their order."""
        ...

    async def rerank(self, inputs: RerankInputs, deadline_s: float) -> FloatArray:
        """The probability of each of c candidates, float32 [c]."""
        ...

    async def ready(self) -> bool:
        """Whether every model that a search cannot do without is ready."""
        ...

    async def models(self) -> Mapping[str, str]:
        """Model name to the version served."""
        ...


class VectorStore(Protocol):
    """Rows by similarity (Milvus). Deleted rows and rows of another embedding version are never returned."""

    async def search(
        self,
        space: Space,
        modality: Modality,
        vectors: FloatArray,
        limit: int,
        expression: str,
        embedding_version: str,
        deadline_s: float,
    ) -> list[list[RowHit]]:
        """For each of ``vectors`` [n, dim] its ``limit`` best rows of ``modality`` under ``expression``."""
        ...

    async def vectors(
        self, keys: Sequence[str], embedding_version: str, deadline_s: float
    ) -> Mapping[str, FloatArray]:
        """Unified vectors [1024] of that version by row key; a key that is not there is left out."""
        ...

    async def ready(self) -> bool:
        """Whether the collections answer."""
        ...

    async def counts(self, embedding_version: str) -> Mapping[Modality, int]:
        """Searchable rows of that version per modality."""
        ...


class ItemStore(Protocol):
    """Items by id. Calls are short; implementations that block run them off the event loop."""

    async def get_many(self, ids: Sequence[str]) -> Mapping[str, CatalogueItem]:
        """The stored items among ``ids``."""
        ...

    async def vocabulary(self, limit: int) -> Sequence[str]:
        """Phrases of the catalogue (shared tags, titles), for speech recognition.

        Asked for every spoken query, so it is kept until the catalogue changes.
        """
        ...

    async def count(self) -> int:
        """Number of stored items."""
        ...

    def blob_path(self, sha256: str) -> Path:
        """Where the bytes of a media file are, whether or not they exist."""
        ...


class CatalogueWriter(Protocol):
    """Puts items into the catalogue and takes them out (``indexing.Indexer``)."""

    def upsert_many(self, items: AsyncIterable[ItemDraft]) -> AsyncGenerator[UpsertOutcome]:
        """One outcome per item, in the order given, each once it is stored and searchable.

        It takes from ``items`` only as many as it works on at a time, so that a sender feels back-pressure.
        """
        ...

    async def delete(self, ids: Sequence[str]) -> tuple[int, int]:
        """Numbers of items deleted and of ids that were unknown."""
        ...
