"""Stand-ins for Triton, Milvus, the item store and the indexer, with the real clients' methods.

They live in memory, compute honestly (nearest neighbours are found by looking at every row) and fail on
request: ``fail`` holds what to raise, ``delay_s`` how long to take, by the name of a call. ``tests/contract``
holds their signatures against the real classes.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from media import Limits, Modality, decode_text, sniff
from orchestrator.calibrate import Calibration, EmbeddingSet
from orchestrator.errors import ItemError
from orchestrator.types import (
    NATIVE_DIM,
    UNIFIED_DIM,
    AttendInputs,
    CatalogueItem,
    Embedding,
    FloatArray,
    ItemDraft,
    MediaInfo,
    Outcome,
    RerankInputs,
    Row,
    RowHit,
    Space,
    Transcript,
    UpsertOutcome,
)

__all__ = [
    "EMBEDDING_SET",
    "VERSION",
    "FakeEncoder",
    "FakeItemStore",
    "FakeVectorStore",
    "FakeWriter",
    "Faults",
    "direction",
]

VERSION = "fake-1"

_OF_ITEMS = re.compile(r"(?:\((?P<rest>.*)\) and )?item_id (?P<word>in|not in) (?P<ids>\[[^]]*\])")

_PAIRS = {f"{q.value}->{i.value}": (12.0, -6.0) for q in Modality for i in Modality}
_PAIRS |= {"audio->audio/native": (12.0, -6.0), "video->video/native": (12.0, -6.0)}
EMBEDDING_SET = EmbeddingSet("fake", VERSION, {"encode_text": "fp32"}, Calibration(_PAIRS))


def direction(words: str, dim: int = UNIFIED_DIM) -> FloatArray:
    """A unit vector for some words: the sum of one random direction a word, so shared words mean nearness."""
    total = np.zeros(dim)
    for word in words.lower().split() or [""]:
        seed = int.from_bytes(hashlib.sha256(word.encode()).digest()[:8], "big")
        total += np.random.default_rng(seed).standard_normal(dim)
    return (total / np.linalg.norm(total)).astype(np.float32)


class Faults:
    """Failures, delays and counts by the name of a call."""

    def __init__(self) -> None:
        self.fail: dict[str, Exception] = {}
        self.delay_s: dict[str, float] = {}
        self.calls: Counter[str] = Counter()
        self.running: Counter[str] = Counter()
        self.cancelled: Counter[str] = Counter()

    async def _call(self, *names: str) -> None:
        for name in names:
            self.calls[name] += 1
            self.running[name] += 1
        try:
            await asyncio.sleep(max((self.delay_s.get(name, 0.0) for name in names), default=0.0))
            for name in names:
                if name in self.fail:
                    raise self.fail[name]
        except asyncio.CancelledError:
            self.cancelled.update(names)
            raise
        finally:
            self.running.subtract(names)


class FakeEncoder(Faults):
    """Embeds words. ``means`` says which words some bytes stand for, ``says`` what is spoken in them."""

    def __init__(self) -> None:
        super().__init__()
        self.means: dict[bytes, str] = {}
        self.says: dict[bytes, Transcript] = {}
        self.phrases: Sequence[str] = ()
        self.reranked: list[RerankInputs] = []
        self.attended: list[AttendInputs] = []

    async def embed(self, modality: Modality, data: bytes | str, deadline_s: float) -> Embedding:
        await self._call("embed", f"embed/{modality.value}")
        words = data if isinstance(data, str) else self.means.get(data, data[:64].hex())
        dim = NATIVE_DIM.get(modality)
        return Embedding(direction(words), None if dim is None else direction(words, dim))

    async def transcribe(self, data: bytes, phrases: Sequence[str], deadline_s: float) -> Transcript:
        self.phrases = phrases
        await self._call("transcribe")
        return self.says.get(data, Transcript("", -10.0))

    async def attend(self, inputs: AttendInputs, deadline_s: float) -> FloatArray:
        """As untrained attention: the weighted sum, for the rows of every modality."""
        self.attended.append(inputs)
        await self._call("attend")
        total = inputs.query_weight @ inputs.query
        return np.tile(total / np.linalg.norm(total), (len(Modality), 1)).astype(np.float32)

    async def rerank(self, inputs: RerankInputs, deadline_s: float) -> FloatArray:
        """The greatest cosine of a row with each liked part, on the mean."""
        self.reranked.append(inputs)
        await self._call("rerank")
        liked = inputs.query[inputs.query_weight > 0]
        nearest = np.einsum("qd,cmd->cqm", liked, inputs.rows).max(axis=2)
        return np.clip(nearest.mean(axis=1), 0, 1).astype(np.float32)

    async def ready(self) -> bool:
        await self._call("ready")
        return True

    async def models(self) -> Mapping[str, str]:
        await self._call("models")
        return {"embed_text": "1", "encode_text": "1"}


class FakeVectorStore(Faults):
    """Rows in a list. Of expressions it knows "item_id (not) in [...]"; ``accepts`` judges any other."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: dict[str, Row] = {}
        self.accepts: Callable[[Row, str], bool] = lambda _row, _expression: True
        self.expressions: list[str] = []

    def put(self, *rows: Row) -> None:
        """Adds or replaces rows."""
        self.rows.update({row.key: row for row in rows})

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
        self.expressions.append(expression)
        await self._call("search", f"search/{modality.value}", f"search/{space}/{modality.value}")
        rows = [
            row
            for row in self.rows.values()
            if row.modality is modality
            and row.embedding_version == embedding_version
            and self._satisfies(row, expression)
        ]
        found = []
        for vector in vectors:
            hits = [_hit(row, space, vector) for row in rows]
            hits.sort(key=lambda hit: -hit.similarity)
            found.append(hits[:limit])
        return found

    def _satisfies(self, row: Row, expression: str) -> bool:
        last = _OF_ITEMS.fullmatch(expression)
        if last is None:
            return not expression or self.accepts(row, expression)
        named = row.item_id in json.loads(last["ids"])
        return named is (last["word"] == "in") and self._satisfies(row, last["rest"] or "")

    async def vectors(
        self, keys: Sequence[str], embedding_version: str, deadline_s: float
    ) -> Mapping[str, FloatArray]:
        await self._call("vectors")
        return {key: self.rows[key].embedding.unified for key in keys if key in self.rows}

    async def ready(self) -> bool:
        await self._call("ready")
        return True

    async def counts(self, embedding_version: str) -> Mapping[Modality, int]:
        await self._call("counts")
        counts = Counter(
            row.modality for row in self.rows.values() if row.embedding_version == embedding_version
        )
        return {modality: counts[modality] for modality in Modality}


def _hit(row: Row, space: Space, vector: FloatArray) -> RowHit:
    if space == "unified":
        similarity = float(row.embedding.unified @ vector)
    elif space == "video":
        similarity = float(_native(row) @ vector)
    else:  # L2, as the squared distance that Milvus gives
        similarity = 1.0 / (1.0 + float(((_native(row) - vector) ** 2).sum()))
    return RowHit(row.item_id, row.modality, row.media_index, row.segment, row.start_s, row.end_s, similarity)


def _native(row: Row) -> FloatArray:
    if row.embedding.native is None:
        raise ValueError(f"row {row.key} has no native vector")
    return row.embedding.native


class FakeItemStore(Faults):
    """Items in a dict, media below ``directory``."""

    def __init__(self, directory: Path) -> None:
        super().__init__()
        self.items: dict[str, CatalogueItem] = {}
        self.directory = directory
        self.changed: Callable[[], None] = lambda: None

    async def get_many(self, ids: Sequence[str]) -> Mapping[str, CatalogueItem]:
        await self._call("get_many")
        return {item_id: self.items[item_id] for item_id in ids if item_id in self.items}

    async def vocabulary(self, limit: int) -> Sequence[str]:
        await self._call("vocabulary")
        return [item.title for item in self.items.values()][:limit]

    async def count(self) -> int:
        await self._call("count")
        return len(self.items)

    def blob_path(self, sha256: str) -> Path:
        return self.directory / sha256


class FakeWriter(Faults):
    """Indexes title and media of an item into the fakes it is given, one item at a time."""

    def __init__(self, encoder: FakeEncoder, store: FakeVectorStore, items: FakeItemStore) -> None:
        super().__init__()
        self._encoder = encoder
        self._store = store
        self._items = items
        self.taken = 0

    async def upsert_many(self, items: AsyncIterable[ItemDraft]) -> AsyncGenerator[UpsertOutcome]:
        async for draft in items:
            self.taken += 1
            yield await self._upsert(draft)

    async def _upsert(self, draft: ItemDraft) -> UpsertOutcome:
        await self._call("upsert")
        if not re.fullmatch(r"[A-Za-z0-9._:-]{1,128}", draft.id):
            return UpsertOutcome(draft.id, Outcome.REFUSED, error=ItemError("the id is not one"))
        media, rows = [], []
        text = decode_text(draft.title, Limits())
        rows.append(self._row(draft, Modality.TEXT, -1, await self._encoder.embed(Modality.TEXT, text, 1.0)))
        for index, data in enumerate(draft.media):
            kind = sniff(data, Limits())
            digest = hashlib.sha256(data).hexdigest()
            self._items.blob_path(digest).write_bytes(data)
            media.append(MediaInfo(kind.modality, kind.format, digest))
            embedding = await self._encoder.embed(kind.modality, data, 1.0)
            rows.append(self._row(draft, kind.modality, index, embedding))
        self._store.put(*rows)
        self._items.items[draft.id] = CatalogueItem(
            id=draft.id,
            title=draft.title,
            description=draft.description,
            category=draft.category,
            tags=draft.tags,
            price=draft.price,
            available=draft.available,
            media=tuple(media),
        )
        self._items.changed()
        return UpsertOutcome(draft.id, Outcome.INDEXED, len(rows))

    def _row(self, draft: ItemDraft, modality: Modality, index: int, embedding: Embedding) -> Row:
        timed = modality in NATIVE_DIM
        return Row(
            item_id=draft.id,
            modality=modality,
            media_index=index,
            segment=0,
            start_s=0.0,
            end_s=1.0 if timed else 0.0,
            embedding=embedding,
            embedding_version=VERSION,
            price=draft.price,
            available=draft.available,
            category=draft.category,
            tags=draft.tags,
        )

    async def delete(self, ids: Sequence[str]) -> tuple[int, int]:
        await self._call("delete")
        known = [item_id for item_id in ids if self._items.items.pop(item_id, None)]
        self._store.rows = {k: row for k, row in self._store.rows.items() if row.item_id not in known}
        self._items.changed()
        return len(known), len(ids) - len(known)
