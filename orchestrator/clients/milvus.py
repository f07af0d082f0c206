"""Rows by similarity: the collections of ``milvus/*.yaml`` on Milvus Lite, a Milvus server or a cluster.

Errors are those of ``milvus_errors``. A search never returns a row that is marked deleted or belongs to
another embedding version: each version has collections of its own, and both conditions are added to the
caller's filter here. A write is visible to every later search, of any client, once it has returned.
"""

from __future__ import annotations

import asyncio
import itertools
import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import numpy as np
from pymilvus import AsyncMilvusClient

from orchestrator.clients import milvus_rows as mapping
from orchestrator.clients.milvus_connection import ONCE, Connection
from orchestrator.clients.milvus_lite_filter import for_lite
from orchestrator.clients.milvus_setup import collection_name
from orchestrator.clients.milvus_tables import Collection, Tables, chunks
from orchestrator.settings import MilvusSettings
from orchestrator.spans import trace_id
from orchestrator.types import FloatArray, Modality, Row, RowHit, Space

__all__ = ["VectorStore"]

_READY_S: Final = 2.0


class VectorStore:
    """One connection; ``start``, use and ``close`` it on one event loop.

    Without ``settings.uri`` it runs Milvus Lite on ``home/data/milvus`` as a child process, and starts it
    again should it die.
    """

    def __init__(self, settings: MilvusSettings, home: Path) -> None:
        self._milvus = Connection(settings, home)
        self._tables = Tables(self._milvus)

    async def start(self) -> None:
        """Connects.

        Raises:
            DependencyError: Milvus cannot be reached or failed.
        """
        await self._milvus.start()

    async def prepare(self, embedding_version: str) -> None:
        """Creates what that version's collections lack, and verifies what is there.

        Raises:
            SchemaMismatchError: a collection is not what the YAML says; nothing was changed.
            DependencyError: Milvus cannot be reached or failed.
        """
        await self._milvus.prepare(embedding_version)

    async def drop(self, embedding_version: str) -> None:
        """Removes that version's collections with all their rows."""
        await self._milvus.drop(embedding_version)

    async def point(self, embedding_version: str) -> None:
        """Lets the aliases stand for that version's collections; searches do not go by them."""
        await self._milvus.point(embedding_version)

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

    def on_restart(self, told: Callable[[], None]) -> None:
        """Has ``told`` called when Milvus Lite has died and runs again: rows may be missing."""
        self._milvus.restarted = told

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
        name = collection_name(space, embedding_version)
        async with self._milvus.call("search", deadline_s) as client, self._milvus.reading(name):
            parameters = dict(self._milvus.step(space, embedding_version).search)
            if "ef" in parameters:
                parameters["ef"] = max(parameters["ef"], limit)  # HNSW must visit what it is to return
            found = await client.search(
                name,
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
            return [mapping.to_hits(hits, collection.metric) for hits in found]

    async def vectors(
        self, keys: Sequence[str], embedding_version: str, deadline_s: float
    ) -> Mapping[str, FloatArray]:
        """Unified vectors [1024] of that version by row key; a key that is not there is left out."""
        vector = self._milvus.spec.row.vector.name
        ids = [mapping.row_id(embedding_version, key) for key in keys]
        async with self._milvus.call("get", deadline_s):
            found = [row async for row in self._tables.get("unified", embedding_version, ids, [vector])]
        return {
            mapping.key_of(row[mapping.ROW_ID]): np.asarray(row[vector], dtype=np.float32) for row in found
        }

    async def missing(self, row_ids: Sequence[str]) -> set[str]:
        """Those of ``row_ids`` that are not stored in every space they belong to."""
        absent: set[str] = set()
        with self._milvus.keeping():
            async with self._milvus.call("get"):
                for (space, version), ids in _by_collection(row_ids).items():
                    found: set[str] = set()
                    if version in self._milvus.versions:
                        rows = self._tables.get(space, version, ids, [mapping.ROW_ID])
                        found = {row[mapping.ROW_ID] async for row in rows}
                    absent.update(set(ids) - found)
        return absent

    async def ready(self) -> bool:
        """Whether every collection answers."""
        try:
            with self._milvus.keeping():
                async with self._milvus.call("readiness check", _READY_S):
                    for space, version in list(self._collections()):
                        async for _ in self._tables.get(space, version, ["-"], [mapping.ROW_ID]):
                            pass
        except Exception:  # whatever is wrong, it is not ready
            return False
        return True

    async def counts(self, embedding_version: str) -> Mapping[Modality, int]:
        """Searchable rows of the unified space per modality."""
        name = collection_name("unified", embedding_version)
        async with self._milvus.call("count") as client, self._milvus.reading(name):
            return {
                modality: await self._count(client, name, modality)
                for modality in self._milvus.spec.collections["unified"].partitions
            }

    async def _count(self, client: AsyncMilvusClient, name: str, modality: Modality) -> int:
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
        entities: dict[Collection, list[dict[str, Any]]] = defaultdict(list)
        for row in rows:
            self._milvus.step("unified", row.embedding_version)
            for space, vector in mapping.vectors_of(row):
                entity = mapping.to_entity(row, vector, self._milvus.spec)
                entities[space, row.embedding_version].append(entity)
        async with self._milvus.call("upsert"):
            await self._tables.write(entities)

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
        with self._milvus.keeping():
            await self._tables.rewrite(self._stored(row_ids), fields)

    async def mark_deleted(self, item_ids: Sequence[str]) -> int:
        """Hides every row of these items, of any version, from searches. The number of rows hidden."""
        with self._milvus.keeping():
            collections = list(self._collections())
            found = await asyncio.gather(
                *(self._tables.ids_of_items(*each, item_ids) for each in collections)
            )
            hidden = dict(zip(collections, found, strict=True))
            await self._tables.rewrite(hidden, {"deleted": True})
        return sum(len(ids) for (space, _), ids in hidden.items() if space == "unified")

    async def deleted_rows(self) -> Mapping[str, list[str]]:
        """Ids of the rows marked deleted, of any version, by item."""
        found: dict[str, set[str]] = defaultdict(set)
        with self._milvus.keeping():
            for name in [collection_name(*collection) for collection in self._collections()]:
                async with self._milvus.call("list") as client, self._milvus.reading(name):
                    for row in await client.query(
                        name,
                        filter="deleted == true",
                        output_fields=[mapping.ROW_ID, "item_id"],
                        **ONCE,
                    ):
                        found[row["item_id"]].add(row[mapping.ROW_ID])
        return {item: sorted(ids) for item, ids in found.items()}

    async def delete(self, row_ids: Sequence[str]) -> None:
        """Removes rows from every space they stand in; ids not stored are passed over."""
        with self._milvus.keeping():
            await self._delete(row_ids)

    async def _delete(self, row_ids: Sequence[str]) -> None:
        async with self._milvus.call("delete") as client:
            for collection, ids in self._stored(row_ids).items():
                name = collection_name(*collection)
                for chunk in chunks(ids):
                    async with self._milvus.writing(name, 0):
                        await client.delete(name, ids=chunk, **ONCE)
                await self._tables.visible(name)

    def _collections(self) -> Iterator[Collection]:
        return itertools.product(self._milvus.spec.collections, self._milvus.versions)

    def _stored(self, row_ids: Iterable[str]) -> dict[Collection, list[str]]:
        """``row_ids`` by collection, without those of a version that has none any more."""
        found = _by_collection(row_ids)
        return {key: ids for key, ids in found.items() if key[1] in self._milvus.versions}

    def _live(self, expression: str, embedding_version: str) -> str:
        live = f"deleted == false and embedding_version == {json.dumps(embedding_version)}"
        if not expression:
            return live
        return f"{live} and ({expression if not self._milvus.is_lite else for_lite(expression)})"


def _by_collection(row_ids: Iterable[str]) -> dict[Collection, list[str]]:
    found: dict[Collection, list[str]] = defaultdict(list)
    for row_id in row_ids:
        for space in mapping.spaces_of(row_id):
            found[space, mapping.version_of(row_id)].append(row_id)
    return found
