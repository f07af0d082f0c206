"""What the tests of indexing share: content, an encoder that needs no model, and rows in memory."""

from __future__ import annotations

import asyncio
import hashlib
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np
import soundfile
from PIL import Image

from indexing import Indexer, IndexingSettings, Maintenance, Target, Targets
from media import Limits, Modality
from orchestrator.clients.items import ItemStore
from orchestrator.clients.milvus_rows import row_id
from orchestrator.errors import DependencyError
from orchestrator.types import NATIVE_DIM, UNIFIED_DIM, Embedding, FloatArray, ItemDraft, Row, Transcript

VERSION = "test-1"


def picture(seed: int) -> bytes:
    """A small PNG, another for every seed."""
    pixels = np.random.default_rng(seed).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def sound(seed: int, seconds: float = 0.5) -> bytes:
    """A WAV of noise, another for every seed."""
    samples = np.random.default_rng(seed).uniform(-0.5, 0.5, int(seconds * 16_000)).astype(np.float32)
    file = io.BytesIO()
    soundfile.write(file, samples, 16_000, format="WAV", subtype="PCM_16")
    return file.getvalue()


def draft(number: int, **changes: object) -> ItemDraft:
    """Item ``number`` of a catalogue: text, a picture and, for every third, a sound."""
    item = ItemDraft(
        id=f"item.{number:04d}",
        title=f"Thing {number}",
        description=f"The thing of number {number}.",
        category=f"c{number % 3}",
        tags=(f"tag{number % 5}", "all"),
        price=float(number),
        media=(picture(number), *((sound(number),) if number % 3 == 0 else ())),
    )
    return replace(item, **changes)  # type: ignore[arg-type]


class HashEncoder:
    """Embeds by content alone: the same bytes, the same vectors. ``fail`` is raised for content that holds
    it."""

    def __init__(self, delay_s: float = 0.0) -> None:
        self.delay_s = delay_s
        self.calls = 0
        self.at_once = 0
        self.most_at_once = 0
        self.fail: dict[bytes, list[Exception]] = {}

    async def embed(self, modality: Modality, data: bytes | str, deadline_s: float) -> Embedding:
        content = data.encode() if isinstance(data, str) else data
        self.calls += 1
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            await asyncio.sleep(self.delay_s)
        finally:
            self.at_once -= 1
        for part, errors in self.fail.items():
            if part in content and errors:
                raise errors.pop(0)
        native = NATIVE_DIM.get(modality)
        return Embedding(_unit(content, UNIFIED_DIM), None if native is None else _unit(content, native))

    async def transcribe(self, data: bytes, phrases: Sequence[str], deadline_s: float) -> Transcript:
        raise NotImplementedError("indexing transcribes nothing")

    async def ready(self) -> bool:
        return True

    async def models(self) -> Mapping[str, str]:
        return {}


class MirroredEncoder(HashEncoder):
    """Another embedding version: for the same content, the opposite vector."""

    async def embed(self, modality: Modality, data: bytes | str, deadline_s: float) -> Embedding:
        made = await super().embed(modality, data, deadline_s)
        return replace(made, unified=-made.unified)


def _unit(content: bytes, dim: int) -> FloatArray:
    seed = int.from_bytes(hashlib.sha256(content).digest()[:8], "big")
    vector = np.random.default_rng(seed).standard_normal(dim).astype(np.float32)
    return vector / np.float32(np.linalg.norm(vector))


class MemoryRows:
    """``indexing.rows.RowWriter`` in a dictionary. ``fail`` holds errors to raise, by call."""

    def __init__(self) -> None:
        self.rows: dict[str, Row] = {}
        self.hidden: set[str] = set()
        self.fail: dict[str, Exception] = {}
        self.fail_at: dict[str, int] = {}
        """Of a call: how often it still succeeds before it fails once."""
        self.calls: list[str] = []

    def _called(self, name: str) -> None:
        self.calls.append(name)
        if name in self.fail:
            raise self.fail.pop(name)
        if name in self.fail_at:
            self.fail_at[name] -= 1
            if self.fail_at[name] < 0:
                del self.fail_at[name]
                raise DependencyError("milvus", "cut")

    async def upsert(self, rows: Iterable[Row]) -> None:
        self._called("upsert")
        for row in rows:
            key = row_id(row.embedding_version, row.key)
            self.rows[key] = row
            self.hidden.discard(key)

    async def set_fields(
        self,
        row_ids: Sequence[str],
        *,
        price: float | None,
        available: bool,
        category: str,
        tags: Sequence[str],
    ) -> None:
        self._called("set_fields")
        for key in row_ids:
            self.rows[key] = replace(
                self.rows[key], price=price, available=available, category=category, tags=tuple(tags)
            )

    async def mark_deleted(self, item_ids: Sequence[str]) -> int:
        self._called("mark_deleted")
        found = {key for key, row in self.rows.items() if row.item_id in item_ids} - self.hidden
        self.hidden |= found
        return len(found)

    async def delete(self, row_ids: Sequence[str]) -> None:
        self._called("delete")
        for key in row_ids:
            self.rows.pop(key, None)
            self.hidden.discard(key)

    async def deleted_rows(self) -> Mapping[str, list[str]]:
        found: dict[str, list[str]] = {}
        for key in sorted(self.hidden):
            found.setdefault(self.rows[key].item_id, []).append(key)
        return found

    async def missing(self, row_ids: Sequence[str]) -> set[str]:
        return set(row_ids) - self.rows.keys()

    async def counts(self, embedding_version: str) -> Mapping[Modality, int]:
        live = [
            row
            for key, row in self.rows.items()
            if key not in self.hidden and row.embedding_version == embedding_version
        ]
        return {m: sum(row.modality is m for row in live) for m in Modality}

    def of_version(self, version: str) -> list[str]:
        """Ids of the rows of an embedding version."""
        return sorted(key for key, row in self.rows.items() if row.embedding_version == version)

    def of(self, item_id: str) -> list[str]:
        """Ids of the live rows of an item."""
        return sorted(
            key for key, row in self.rows.items() if row.item_id == item_id and key not in self.hidden
        )


def make_indexer(
    encoder: HashEncoder, rows: object, items: ItemStore, *, version: str = VERSION, **settings: object
) -> Indexer:
    """An indexer with defaults for tests."""
    return Indexer(
        Targets(Target(version, encoder)),  # type: ignore[arg-type]
        rows,  # type: ignore[arg-type]
        items,
        limits=Limits(),
        settings=IndexingSettings(**{"retry_s": 5.0, **settings}),  # type: ignore[arg-type]
    )


def make_maintenance(
    indexer: Indexer, rows: object, items: ItemStore, *, compact_every_s: float = 60.0
) -> Maintenance:
    """The maintenance of what ``indexer`` writes, at full speed."""
    return Maintenance(
        indexer,
        rows,  # type: ignore[arg-type]
        items,
        indexer._targets,
        compact_every_s=compact_every_s,
        backfill_share=1.0,
    )
