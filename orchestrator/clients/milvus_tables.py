"""Reading and writing entities of one collection at a time, under the vector store."""

from __future__ import annotations

import asyncio
import json
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from typing import Any, Final, TypeAlias

from orchestrator.clients import milvus_rows as mapping
from orchestrator.clients.milvus_connection import ONCE, Connection
from orchestrator.clients.milvus_setup import collection_name
from orchestrator.spans import trace_id
from orchestrator.types import Space

__all__ = ["Collection", "Tables", "chunks"]

_IDS_PER_CALL: Final = 100

Collection: TypeAlias = tuple[Space, str]
"""One vector space of one embedding version."""


class Tables:
    """The collections of a connection."""

    def __init__(self, milvus: Connection) -> None:
        self._milvus = milvus

    async def ids_of_items(self, space: Space, version: str, item_ids: Sequence[str]) -> list[str]:
        """Ids of the rows of these items that are not marked deleted."""
        ids: list[str] = []
        name = collection_name(space, version)
        for chunk in chunks(item_ids):
            async with self._milvus.call("list") as client, self._milvus.reading(name):
                found = await client.query(
                    name,
                    filter=f"deleted == false and item_id in {json.dumps(chunk, ensure_ascii=False)}",
                    output_fields=[mapping.ROW_ID],
                    consistency_level="Strong",
                    **ONCE,
                )
                ids += [row[mapping.ROW_ID] for row in found]
        return ids

    async def rewrite(self, row_ids: Mapping[Collection, Sequence[str]], fields: Mapping[str, Any]) -> None:
        """Milvus 2.3 updates no single field: whole rows are read and written again."""

        async def one(collection: Collection, ids: Sequence[str]) -> None:
            for chunk in chunks(ids):
                async with self._milvus.call("update"):
                    found = self.get(*collection, chunk, ["*"])
                    await self.write({collection: [{**mapping.copied(row), **fields} async for row in found]})

        await asyncio.gather(*(one(collection, ids) for collection, ids in row_ids.items()))

    async def write(self, entities: Mapping[Collection, Sequence[dict[str, Any]]]) -> None:
        """Stores entities, each in place of an earlier one of its id; they can be found when it returns."""
        client = self._milvus.client
        for collection, rows in entities.items():
            name = collection_name(*collection)
            partitioned = bool(self._milvus.spec.collections[collection[0]].partitions)
            groups: dict[str, list[dict[str, Any]]] = defaultdict(list)
            for row in rows:
                groups[row["modality"] if partitioned else ""].append(row)
            for partition, group in groups.items():
                async with self._milvus.writing(name, len(group)):
                    await client.upsert(name, group, partition_name=partition, **ONCE)
        written = [collection_name(*collection) for collection, rows in entities.items() if rows]
        await asyncio.gather(*map(self.visible, written))

    async def visible(self, name: str) -> None:
        """A strongly consistent read returns when every write before it can be found."""
        if not self._milvus.spec.wait_visible:
            return
        await self._milvus.client.query(
            name,
            filter=f'{mapping.ROW_ID} in ["-"]',
            output_fields=[mapping.ROW_ID],
            consistency_level="Strong",
            **ONCE,
        )

    async def get(
        self, space: Space, version: str, ids: Sequence[str], fields: list[str]
    ) -> AsyncIterator[Mapping[str, Any]]:
        """The entities among ``ids`` with these fields; all fields ("*") are read to be written again."""
        name = collection_name(space, version)
        for chunk in chunks(ids):
            async with self._milvus.reading(name):
                found = await self._milvus.client.get(
                    name,
                    ids=chunk,
                    output_fields=fields,
                    consistency_level="Strong" if fields == ["*"] else "Bounded",
                    client_request_id=trace_id(),
                    **ONCE,
                )
            for row in found:
                yield row


def chunks(values: Sequence[str]) -> Iterator[list[str]]:
    """``values`` in the portions of one call."""
    for start in range(0, len(values), _IDS_PER_CALL):
        yield list(values[start : start + _IDS_PER_CALL])
