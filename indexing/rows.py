"""What indexing asks of the vector store."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

from media import Modality
from orchestrator.types import Row

__all__ = ["RowWriter"]


class RowWriter(Protocol):
    """``orchestrator.clients.milvus.VectorStore``, as far as indexing uses it; see there."""

    async def upsert(self, rows: Iterable[Row]) -> None: ...

    async def set_fields(
        self,
        row_ids: Sequence[str],
        *,
        price: float | None,
        available: bool,
        category: str,
        tags: Sequence[str],
    ) -> None: ...

    async def mark_deleted(self, item_ids: Sequence[str]) -> int: ...

    async def delete(self, row_ids: Sequence[str]) -> None: ...

    async def deleted_rows(self) -> Mapping[str, list[str]]: ...

    async def missing(self, row_ids: Sequence[str]) -> set[str]: ...

    async def counts(self, embedding_version: str) -> Mapping[Modality, int]: ...
