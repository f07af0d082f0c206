"""Milvus Lite finds the same rows, in the same order, with and without what makes its searches faster."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from milvus_lite.db import MilvusLite
from milvus_lite.engine import collection as engine
from milvus_lite.schema.types import CollectionSchema, DataType, FieldSchema
from milvus_lite.search.executor_indexed import execute_search_with_index

from orchestrator.clients.milvus_lite_speed import VERSION, hasten

DIM = 8
SCHEMA = CollectionSchema(
    fields=[
        FieldSchema(name="row_id", dtype=DataType.VARCHAR, is_primary=True, max_length=64),
        FieldSchema(name="item_id", dtype=DataType.VARCHAR, max_length=64),
        FieldSchema(name="deleted", dtype=DataType.BOOL),
        FieldSchema(name="price", dtype=DataType.FLOAT),
        FieldSchema(name="vector", dtype=DataType.FLOAT_VECTOR, dim=DIM),
    ]
)


@pytest.fixture(autouse=True)
def as_it_was() -> Iterator[None]:
    """What ``hasten`` does holds for the process: not for the tests behind these."""
    yield
    engine.execute_search_with_index = execute_search_with_index


@pytest.fixture
def rows(tmp_path: Path) -> Iterator[Any]:
    """400 rows in two partitions, flushed and indexed."""
    db = MilvusLite(str(tmp_path))
    collection = db.create_collection("rows", SCHEMA)
    for partition in ("text", "image"):
        collection.create_partition(partition)
        for start in range(0, 200, 100):
            collection.insert(_rows(partition, start, start + 100), partition_name=partition)
            collection.flush()
    collection.create_index("vector", {"index_type": "HNSW", "metric_type": "COSINE", "params": {"M": 8}})
    collection.load()
    collection._wait_for_bg()
    yield collection
    db.close()


def _rows(partition: str, start: int, stop: int) -> list[dict[str, Any]]:
    rng = np.random.default_rng([len(partition), start, stop])
    return [
        {
            "row_id": f"{partition}/{n}",
            "item_id": f"item {n % 50}",
            "deleted": n % 7 == 0,
            "price": float(n),
            "vector": rng.standard_normal(DIM).astype(np.float32).tolist(),
        }
        for n in range(start, stop)
    ]


def _found(collection: Any, fields: list[str], filter_: str, partitions: list[str] | None) -> Any:
    found = collection.search(
        (np.linspace(-1, 1, 3 * DIM, dtype=np.float32).reshape(3, DIM) ** 3).tolist(),
        top_k=40,
        metric_type="COSINE",
        partition_names=partitions,
        expr=filter_,
        output_fields=fields,
        anns_field="vector",
        search_params={"ef": 64},
    )
    return [[_plain(hit) for hit in hits] for hits in found]


def test_the_pinned_version_is_the_one_that_it_was_written_for() -> None:
    assert version("milvus-lite") == VERSION
    assert hasten()
    assert engine.execute_search_with_index is not execute_search_with_index


@pytest.mark.parametrize("state", ["flushed", "deleted", "waiting"])
@pytest.mark.parametrize(
    "fields", [["item_id", "price"], ["row_id", "item_id"], ["vector", "price"], ["*"], []]
)
@pytest.mark.parametrize("filter_", ["", "deleted == false", 'deleted == false and item_id in ["item 3"]'])
@pytest.mark.parametrize("partitions", [None, ["image"]])
def test_the_same_is_found(
    rows: Any, state: str, fields: list[str], filter_: str, partitions: list[str] | None
) -> None:
    if state != "flushed":
        rows.delete([f"image/{n}" for n in range(0, 60, 3)], partition_name="image")
    if state == "waiting":
        rows.insert(_rows("image", 190, 230), partition_name="image")
    before = _found(rows, fields, filter_, partitions)
    assert hasten()
    assert _found(rows, fields, filter_, partitions) == before
    assert all(before)


def test_what_is_kept_of_rows_follows_every_write(rows: Any) -> None:
    filters = ("deleted == false", 'item_id in ["item 3", "item 4"]', "price > 20")

    def differs() -> list[str]:
        hastened = [_found(rows, ["item_id"], each, ["image"]) for each in filters for _ in range(2)]
        as_is = engine.execute_search_with_index
        engine.execute_search_with_index = execute_search_with_index
        plain = [_found(rows, ["item_id"], each, ["image"]) for each in filters for _ in range(2)]
        engine.execute_search_with_index = as_is
        return [filters[place // 2] for place in range(len(plain)) if hastened[place] != plain[place]]

    assert hasten()
    assert not differs()
    seen = [_found(rows, ["item_id"], filters[0], ["image"])]
    for write in (
        lambda: rows.delete([f"image/{n}" for n in range(0, 60, 2)], partition_name="image"),
        rows.flush,
        lambda: rows.upsert(_rows("image", 61, 90), partition_name="image"),
        rows.flush,
        rows.load,
        lambda: rows.delete([f"image/{n}" for n in range(61, 80)], partition_name="image"),
        rows.flush,
    ):
        write()
        rows._wait_for_bg()  # an index made between two searches gives distances that differ in the last bit
        assert not differs()
        seen.append(_found(rows, ["item_id"], filters[0], ["image"]))
    assert seen[0] != seen[1]
    assert seen[1] == seen[2]
    assert seen[2] != seen[3]
    assert seen[4] == seen[5]
    assert seen[5] != seen[6]


def test_more_filters_than_are_kept_are_each_their_own(rows: Any) -> None:
    assert hasten()
    for n in range(40):
        expected = f"item {n}"
        for _ in range(2):
            found = _found(rows, ["item_id"], f'item_id == "{expected}"', None)
            assert found[0]
            assert {entity["item_id"] for hits in found for _, _, entity in hits} == {expected}


def _plain(hit: dict[str, Any]) -> Any:
    entity = {name: np.asarray(value).tolist() for name, value in hit["entity"].items()}
    return hit["id"], hit["distance"], entity
