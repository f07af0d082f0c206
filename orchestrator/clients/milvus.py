"""Rows by similarity: the collections of ``milvus/*.yaml`` on Milvus Lite, a Milvus server or a cluster.

Errors are those of ``milvus_errors``. A search never returns a row that is marked deleted or belongs to
another embedding version: both conditions are added to the caller's filter here. A write is visible to every
later search, of any client, once it has returned.
"""

from __future__ import annotations

import asyncio
import json
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import numpy as np
from pymilvus import AsyncMilvusClient

from orchestrator.clients import milvus_rows as mapping
from orchestrator.clients.milvus_connection import ONCE, Connection
from orchestrator.clients.milvus_lite_filter import for_lite
from orchestrator.clients.milvus_setup import collection_name
from orchestrator.settings import MilvusSettings
from orchestrator.spans import trace_id
from orchestrator.types import FloatArray, Modality, Row, RowHit, Space

__all__ = ["VectorStore"]

_READY_S: Final = 2.0
_IDS_PER_CALL: Final = 100


class VectorStore:
    """One connection; ``start``, use and ``close`` it on one event loop.

    Without ``settings.uri`` it runs Milvus Lite on ``home/data/milvus`` as a child process, and starts it
    again should it die.
    """

    def __init__(self, settings: MilvusSettings, home: Path) -> None:
        self._milvus = Connection(settings, home)

    async def start(self) -> None:
        """Connects, creates what is missing and verifies what is there.

        Raises:
            SchemaMismatchError: a collection is not what the YAML says; nothing was changed.
            DependencyError: Milvus cannot be reached or failed.
        """
        await self._milvus.start()

    async def close(self) -> None:
        """Ends the connection, and Milvus Lite if it is ours. May be called at any time, and again."""
        await self._milvus.close()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    @property
    def uri(self) -> str:
        """Where Milvus is reached; known once started."""
        return self._milvus.uri

    # ---- reading ----

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
        """For each of ``vectors`` [n, dim] its ``limit`` best rows of that modality, best first.

        Raises:
            DependencyDeadlineError: not done after ``deadline_s`` seconds.
            DependencyError, SchemaMismatchError: see ``milvus_errors``.
        """
        collection = self._milvus.spec.collections[space]
        async with self._milvus.call("search", deadline_s) as client, self._milvus.reading(space):
            parameters = dict(self._milvus.steps[space].search)
            if "ef" in parameters:
                parameters["ef"] = max(parameters["ef"], limit)  # HNSW must visit what it is to return
            found = await client.search(
                collection_name(space),
                data=list(vectors),
                anns_field=self._milvus.spec.row.vector.name,
                limit=limit,
                filter=self._live(expression, embedding_version),
                partition_names=[modality.value] if modality in collection.partitions else None,
                output_fields=mapping.HIT_FIELDS,
                search_params={"metric_type": collection.metric, "params": parameters},
                consistency_level="Bounded",
                client_request_id=trace_id(),  # Milvus logs it; pymilvus hands on no traceparent
                **ONCE,
            )
            return [[mapping.to_hit(hit, collection.metric) for hit in hits] for hits in found]

    async def vectors(
        self, keys: Sequence[str], embedding_version: str, deadline_s: float
    ) -> Mapping[str, FloatArray]:
        """Unified vectors [1024] of that version by row key; a key that is not there is left out."""
        vector = self._milvus.spec.row.vector.name
        ids = [mapping.row_id(embedding_version, key) for key in keys]
        async with self._milvus.call("get", deadline_s):
            found = [row async for row in self._get("unified", ids, [vector])]
        return {
            mapping.key_of(row[mapping.ROW_ID]): np.asarray(row[vector], dtype=np.float32) for row in found
        }

    async def missing(self, row_ids: Sequence[str]) -> set[str]:
        """Those of ``row_ids`` that are not stored in every space they belong to."""
        absent: set[str] = set()
        async with self._milvus.call("get"):
            for space, ids in _by_space(row_ids).items():
                found = {row[mapping.ROW_ID] async for row in self._get(space, ids, [mapping.ROW_ID])}
                absent.update(set(ids) - found)
        return absent

    async def ready(self) -> bool:
        """Whether every collection answers."""
        try:
            async with self._milvus.call("readiness check", _READY_S):
                for space in self._milvus.spec.collections:
                    async for _ in self._get(space, ["-"], [mapping.ROW_ID]):
                        pass
        except Exception:  # whatever is wrong, it is not ready
            return False
        return True

    async def counts(self) -> Mapping[Modality, int]:
        """Searchable rows of the unified space per modality, of every embedding version."""
        async with self._milvus.call("count") as client, self._milvus.reading("unified"):
            return {
                m: await self._count(client, m) for m in self._milvus.spec.collections["unified"].partitions
            }

    async def _count(self, client: AsyncMilvusClient, modality: Modality) -> int:
        name = collection_name("unified")
        partition = {"partition_names": [modality.value], **ONCE}
        if not self._milvus.is_lite:
            found = await client.query(
                name, filter="deleted == false", output_fields=["count(*)"], **partition
            )
            return int(found[0]["count(*)"])
        # To count under a filter Milvus Lite reads every row with its vector; its totals are exact.
        total = await client.get_partition_stats(name, modality.value)
        deleted = await client.query(
            name, filter="deleted == true", output_fields=[mapping.ROW_ID], **partition
        )
        return int(total["row_count"]) - len(deleted)

    # ---- writing ----

    async def upsert(self, rows: Iterable[Row]) -> None:
        """Stores rows, each in place of an earlier one of the same key and version."""
        entities: dict[Space, list[dict[str, Any]]] = defaultdict(list)
        for row in rows:
            for space, vector in mapping.vectors_of(row):
                entities[space].append(mapping.to_entity(row, vector, self._milvus.spec))
        async with self._milvus.call("upsert"):
            await self._write(entities)

    async def set_fields(
        self,
        row_ids: Sequence[str],
        *,
        price: float | None,
        available: bool,
        category: str,
        tags: Sequence[str],
    ) -> None:
        """Gives stored rows other fields and leaves their vectors; ids not stored are passed over."""
        fields = mapping.item_fields(price, available, category, tags, self._milvus.spec)
        await self._rewrite(_by_space(row_ids), fields)

    async def mark_deleted(self, item_ids: Sequence[str]) -> int:
        """Hides every row of these items, of any version, from searches. The number of rows hidden."""
        spaces = list(self._milvus.spec.collections)
        found = await asyncio.gather(*(self._ids_of_items(space, item_ids) for space in spaces))
        hidden = dict(zip(spaces, found, strict=True))
        await self._rewrite(hidden, {"deleted": True})
        return len(hidden["unified"])

    async def deleted_rows(self) -> Mapping[str, list[str]]:
        """Ids of the rows marked deleted, by item."""
        found: dict[str, set[str]] = defaultdict(set)
        for space in self._milvus.spec.collections:
            async with self._milvus.call("list") as client, self._milvus.reading(space):
                for row in await client.query(
                    collection_name(space),
                    filter="deleted == true",
                    output_fields=[mapping.ROW_ID, "item_id"],
                    **ONCE,
                ):
                    found[row["item_id"]].add(row[mapping.ROW_ID])
        return {item: sorted(ids) for item, ids in found.items()}

    async def delete(self, row_ids: Sequence[str]) -> None:
        """Removes rows from every space they stand in; ids not stored are passed over."""
        async with self._milvus.call("delete") as client:
            for space, ids in _by_space(row_ids).items():
                for chunk in _chunks(ids):
                    async with self._milvus.writing(space, 0):
                        await client.delete(collection_name(space), ids=chunk, **ONCE)
                await self._visible(space)

    async def _ids_of_items(self, space: Space, item_ids: Sequence[str]) -> list[str]:
        ids: list[str] = []
        for chunk in _chunks(item_ids):
            async with self._milvus.call("list") as client, self._milvus.reading(space):
                found = await client.query(
                    collection_name(space),
                    filter=f"deleted == false and item_id in {json.dumps(chunk, ensure_ascii=False)}",
                    output_fields=[mapping.ROW_ID],
                    consistency_level="Strong",
                    **ONCE,
                )
                ids += [row[mapping.ROW_ID] for row in found]
        return ids

    async def _rewrite(self, row_ids: Mapping[Space, Sequence[str]], fields: Mapping[str, Any]) -> None:
        """Milvus 2.3 updates no single field: whole rows are read and written again."""

        async def rewrite(space: Space, ids: Sequence[str]) -> None:
            for chunk in _chunks(ids):
                async with self._milvus.call("update"):
                    rows = [{**mapping.copied(row), **fields} async for row in self._get(space, chunk, ["*"])]
                    await self._write({space: rows})

        await asyncio.gather(*(rewrite(space, ids) for space, ids in row_ids.items()))

    async def _write(self, entities: Mapping[Space, Sequence[dict[str, Any]]]) -> None:
        client = self._milvus.client
        for space, rows in entities.items():
            partitioned = bool(self._milvus.spec.collections[space].partitions)
            groups: dict[str, list[dict[str, Any]]] = defaultdict(list)
            for row in rows:
                groups[row["modality"] if partitioned else ""].append(row)
            for partition, group in groups.items():
                async with self._milvus.writing(space, len(group)):
                    await client.upsert(collection_name(space), group, partition_name=partition, **ONCE)
        await asyncio.gather(*(self._visible(space) for space, rows in entities.items() if rows))

    async def _visible(self, space: Space) -> None:
        """A strongly consistent read returns when every write before it can be found."""
        if not self._milvus.spec.wait_visible:
            return
        await self._milvus.client.query(
            collection_name(space),
            filter=f'{mapping.ROW_ID} in ["-"]',
            output_fields=[mapping.ROW_ID],
            consistency_level="Strong",
            **ONCE,
        )

    async def _get(
        self, space: Space, ids: Sequence[str], fields: list[str]
    ) -> AsyncIterator[Mapping[str, Any]]:
        for chunk in _chunks(ids):
            async with self._milvus.reading(space):
                found = await self._milvus.client.get(
                    collection_name(space),
                    ids=chunk,
                    output_fields=fields,
                    consistency_level="Strong" if fields == ["*"] else "Bounded",
                    client_request_id=trace_id(),
                    **ONCE,
                )
            for row in found:
                yield row

    def _live(self, expression: str, embedding_version: str) -> str:
        live = f"deleted == false and embedding_version == {json.dumps(embedding_version)}"
        if not expression:
            return live
        return f"{live} and ({expression if not self._milvus.is_lite else for_lite(expression)})"


def _by_space(row_ids: Iterable[str]) -> dict[Space, list[str]]:
    spaces: dict[Space, list[str]] = defaultdict(list)
    for row_id in row_ids:
        for space in mapping.spaces_of(row_id):
            spaces[space].append(row_id)
    return spaces


def _chunks(values: Sequence[str]) -> Iterator[list[str]]:
    for start in range(0, len(values), _IDS_PER_CALL):
        yield list(values[start : start + _IDS_PER_CALL])
