"""A filter means the same on an item as its expression means on the item's rows, in both servers."""

from __future__ import annotations

import itertools
from collections.abc import Awaitable, Callable

import numpy as np
import pytest
from hypothesis import HealthCheck, find, given, settings
from hypothesis import strategies as st

from orchestrator.clients.milvus import VectorStore
from orchestrator.filter_items import holds
from orchestrator.filters import compile_filter, joined
from orchestrator.types import UNIFIED_DIM, Embedding, Modality, Row
from sensorium.v1 import sensorium_pb2 as pb

pytestmark = pytest.mark.asyncio(loop_scope="module")

PRICES = (None, 0.0, 0.1, 12.1, 20.0)
CATEGORIES = ("", "acme", "globex", 'q"uote')
TAGS = ((), ("a",), ("a", "b"), ("b", "c%"))
ITEMS = [
    pb.Item(id=f"i{number}", price=price, category=category, tags=tags, available=bool(number % 2))
    for number, (price, category, tags) in enumerate(itertools.product(PRICES, CATEGORIES, TAGS))
]

leaf = st.one_of(
    st.builds(
        lambda low, high: pb.Filter(price=pb.Range(min=min(low, high), max=max(low, high))),
        st.sampled_from([0.0, 0.1, 12.1, 13.0]),
        st.sampled_from([0.1, 12.1, 20.0]),
    ),
    st.sampled_from([0.0, 0.1, 12.1]).map(lambda low: pb.Filter(price=pb.Range(min=low))),
    st.sampled_from([0.0, 12.1, 20.0]).map(lambda high: pb.Filter(price=pb.Range(max=high))),
    *(
        st.lists(st.sampled_from(values), min_size=1, max_size=2).map(
            lambda chosen, name=name: pb.Filter(**{name: pb.StringList(values=chosen)})  # type: ignore[misc]
        )
        for name, values in (
            ("category", CATEGORIES),
            ("tags_any", ("a", "b", "c%", "d")),
            ("tags_all", ("a", "b", "c%", "d")),
        )
    ),
    st.booleans().map(lambda value: pb.Filter(available=value)),
)


def several(word: str, filters: list[pb.Filter]) -> pb.Filter:
    return pb.Filter(**{word: pb.FilterList(filters=filters)})  # type: ignore[arg-type]


conditions: st.SearchStrategy[pb.Filter] = st.recursive(
    leaf,
    lambda inner: st.one_of(
        inner.map(lambda one: pb.Filter(**{"not": one})),
        st.builds(several, st.sampled_from(["and", "or"]), st.lists(inner, min_size=1, max_size=3)),
    ),
    max_leaves=5,
)


async def stored(store: VectorStore) -> Callable[[str], Awaitable[set[str]]]:
    rng = np.random.default_rng(1)
    rows = []
    for item in ITEMS:
        vector = rng.standard_normal(UNIFIED_DIM).astype(np.float32)
        rows.append(
            Row(
                item_id=item.id,
                modality=Modality.TEXT,
                media_index=-1,
                segment=0,
                start_s=0.0,
                end_s=0.0,
                embedding=Embedding(vector / np.float32(np.linalg.norm(vector)), None),
                embedding_version="v",
                price=item.price if item.HasField("price") else None,
                available=item.available,
                category=item.category,
                tags=tuple(item.tags),
            )
        )
    await store.prepare("v")
    await store.upsert(rows)
    query = np.eye(1, UNIFIED_DIM, dtype=np.float32)

    async def found(expression: str) -> set[str]:
        hits = await store.search("unified", Modality.TEXT, query, 200, expression, "v", 10.0)
        return {hit.item_id for hit in hits[0]}

    return found


def examples(count: int) -> list[pb.Filter]:
    """Filters as Hypothesis draws them: its runs cannot be awaited."""
    drawn: list[pb.Filter] = []

    @settings(max_examples=count, database=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(conditions)
    def draw(condition: pb.Filter) -> None:
        drawn.append(condition)

    draw()
    return drawn


async def test_an_item_and_its_rows_agree(vector_store: VectorStore) -> None:
    found = await stored(vector_store)
    assert await found("") == {item.id for item in ITEMS}
    told = set()
    for condition in examples(60):
        expected = {item.id for item in ITEMS if holds(condition, item)}
        assert await found(compile_filter(condition)) == expected, condition
        told.add(len(expected))
    assert len(told) > 5  # they did tell items apart


async def test_two_conditions_hold_together(vector_store: VectorStore) -> None:
    """The credential's, and one of the request that would widen it if the two were not each taken whole."""
    found = await stored(vector_store)
    own = find(leaf, lambda condition: condition.WhichOneof("kind") == "category")
    wide = several("or", [pb.Filter(available=True), pb.Filter(available=False)])
    expression = joined(compile_filter(own), compile_filter(wide))
    assert await found(expression) == {item.id for item in ITEMS if holds(own, item)}
