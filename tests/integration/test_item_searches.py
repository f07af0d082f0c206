"""Searches by item against both servers: an item of many rows does not crowd the others out."""

from __future__ import annotations

import numpy as np
import pytest
from stored_rows import VERSION, row, unit

from orchestrator.clients.milvus import VectorStore
from orchestrator.compose import QueryVector
from orchestrator.searches import ItemSearcher, Search
from orchestrator.trace import Trace
from orchestrator.types import UNIFIED_DIM, Embedding, FloatArray, Modality, Row, Space

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.mark.parametrize("space", ["unified", "audio"])
async def test_long_items_do_not_hide_the_others(vector_store: VectorStore, space: Space) -> None:
    """Five sounds of 160 segments, all nearer to the query than any of 40 short ones."""
    random = np.random.default_rng(1)
    queries = {size: unit(0, size) for size in (UNIFIED_DIM, 512)}
    query = queries[UNIFIED_DIM if space == "unified" else 512]

    def toward(share: float, own: int, spread: float = 0.0) -> Embedding:
        """With the cosine ``share`` (nearly) to the query, around a direction of its own."""
        vectors = {}
        for size in queries:
            off = random.standard_normal(size)
            centre = share * queries[size] + (1 - share**2) ** 0.5 * unit(own, size)
            vector = centre + spread * off / np.linalg.norm(off)
            vectors[size] = (vector / np.linalg.norm(vector)).astype(np.float32)
        return Embedding(vectors[UNIFIED_DIM], vectors[512])

    rows = [
        row(item, Modality.AUDIO, segment=number, embedding=toward(0.9 - 0.04 * item, 1000 + item, 0.2))
        for item in range(5)
        for number in range(160)
    ]
    rows += [row(100 + n, Modality.AUDIO, embedding=toward(0.6 - 0.01 * n, 2000 + n)) for n in range(40)]
    await vector_store.upsert(rows)
    search = Search(
        space, Modality.AUDIO, (QueryVector(0, Modality.AUDIO, space, query, 1.0, 1.0),), query[None]
    )

    def vector_of(r: Row) -> FloatArray:
        vector = r.embedding.unified if space == "unified" else r.embedding.native
        assert vector is not None
        return vector

    searcher, trace = ItemSearcher(vector_store, VERSION), Trace()
    (hits,) = await searcher.search(search, 100, 45, "price >= 0.0", trace, 20.0, "retrieve")
    cosines = {(r.item_id, r.segment): float(query @ vector_of(r)) for r in rows}
    best: dict[str, float] = {}
    for (item_id, _), cosine in sorted(cosines.items(), key=lambda entry: -entry[1]):
        best.setdefault(item_id, cosine)
    # The indexes are approximate: HNSW may not reach a row or two.
    assert [hit.item_id for hit in hits[:5]] == list(best)[:5]
    assert len(hits) == len({hit.item_id for hit in hits}) >= 40
    assert [hit.similarity for hit in hits] == sorted((hit.similarity for hit in hits), reverse=True)
    for hit in hits:
        assert cosines[hit.item_id, hit.segment] == pytest.approx(best[hit.item_id], abs=0.02)
    assert trace.degraded == []
