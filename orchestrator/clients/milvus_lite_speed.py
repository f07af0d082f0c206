"""Searches of Milvus Lite 3.2 without what takes most of their time, in the process that runs it.

For every search it goes over all rows in Python, to see which are alive, evaluates the filter on them, and
turns each row of the answer, vector and all, into Python objects, to drop most of them again. Its segments
never change, so here it is kept which rows a filter lets through until segments or deletions are others, and
of an answer the wanted columns are read, a segment at a time. What is found, and in which order, is the same:
tests/integration/test_milvus_lite_speed.py compares. docs/performance.md says what it gains.

What this does not know (rows that wait to be flushed, all columns or the vector wanted, another index) goes
the usual way. It reaches into a library, so it does so in the one version that it was written for, and in no
other.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version
from threading import Lock
from typing import Any, Final, NamedTuple
from weakref import WeakKeyDictionary

import faiss
import numpy as np
import numpy.typing as npt
from cachetools import LRUCache
from milvus_lite.engine import collection
from milvus_lite.index.faiss_hnsw import FaissHnswIndex
from milvus_lite.search.executor_indexed import execute_search_with_index
from milvus_lite.search.indexed_filter import evaluate_segment_filter

__all__ = ["VERSION", "hasten"]

VERSION: Final = "3.2.2"

_FILTERS: Final = 32
"""For how many pairs of filter and partitions of a collection it is kept which rows they let through."""

_NOWHERE: Final = 1e30
"""faiss fills places for which there is no row with the largest number."""

_Floats = npt.NDArray[np.float32]
_Ints = npt.NDArray[np.int64]
_Mask = npt.NDArray[np.bool_]
_Hits = list[dict[str, Any]]


def hasten() -> bool:
    """Takes effect for every collection of this process. False for a Milvus Lite of another version."""
    if version("milvus-lite") != VERSION:
        return False
    collection.execute_search_with_index = _Searches()
    return True


class _Scope(NamedTuple):
    """The rows of a segment that a search may find; ``None`` for all."""

    segment: Any
    mask: _Mask | None


class _Searches:
    """In the place of ``execute_search_with_index``, with what is known of each collection."""

    def __init__(self) -> None:
        self._known: WeakKeyDictionary[Any, _Known] = WeakKeyDictionary()  # by memtable: each has its own
        self._lock = Lock()

    def __call__(self, **asked: Any) -> list[_Hits]:
        wanted = [name for name in asked["output_fields"] or () if name != asked["pk_field"]]
        scopes = self._scopes(wanted, **asked) if asked["output_fields"] and asked["top_k"] > 0 else None
        if scopes is None:
            usual: list[_Hits] = execute_search_with_index(**asked)
            return usual
        nearest = [
            _nearest(
                scope,
                asked["query_vectors"],
                asked["top_k"],
                asked["vector_field"],
                asked["search_params"] or {},
            )
            for scope in scopes
        ]
        return [
            _best(
                scopes, [(ids[query], distances[query]) for ids, distances in nearest], asked["top_k"], wanted
            )
            for query in range(len(asked["query_vectors"]))
        ]

    def _scopes(
        self,
        wanted: Sequence[str],
        *,
        segments: tuple[Any, ...],
        memtable: Any,
        delta_index: Any,
        vector_field: str,
        partition_names: Sequence[str] | None,
        compiled_filter: Any,
        indexed_filter_plan: Any,
        **_: Any,
    ) -> list[_Scope] | None:
        """None where the search must go the usual way."""
        if vector_field in wanted or memtable.size():
            return None
        with self._lock:
            known = self._known.get(memtable)
            if known is None or not known.is_of(segments, delta_index):
                known = self._known[memtable] = _Known(segments, delta_index)
            if not known.has(wanted, vector_field):
                return None
            return known.scopes(partition_names, compiled_filter, indexed_filter_plan)


class _Known:
    """What does not change while a collection has these segments and deletions."""

    def __init__(self, segments: tuple[Any, ...], delta_index: Any) -> None:
        self._segments = segments
        self._delta_index = delta_index
        self._columns = [frozenset(segment.table.column_names) for segment in segments]
        self._scopes: LRUCache[Any, tuple[Any, list[_Scope]]] = LRUCache(_FILTERS)

    def is_of(self, segments: tuple[Any, ...], delta_index: Any) -> bool:
        """Whether these are still they."""
        same = len(segments) == len(self._segments)
        same = same and all(new is old for new, old in zip(segments, self._segments, strict=True))
        return same and bool(delta_index._map == self._delta_index._map)

    def has(self, wanted: Sequence[str], vector_field: str) -> bool:
        """Whether every segment has the wanted columns, a vector in every row, and HNSW of them."""
        for segment, columns in zip(self._segments, self._columns, strict=True):
            index = segment.indexes.get(vector_field)
            if not isinstance(index, FaissHnswIndex) or index.metric not in ("COSINE", "L2"):
                return False
            if segment.vector_data(vector_field)[1] is not None or not columns.issuperset(wanted):
                return False
        return True

    def scopes(
        self, partition_names: Sequence[str] | None, compiled_filter: Any, indexed_filter_plan: Any
    ) -> list[_Scope]:
        """Segments with rows to find, in their order."""
        key = tuple(partition_names or ()), id(compiled_filter)
        kept = self._scopes.get(key)
        if kept is None:
            within = [
                segment
                for segment in self._segments
                if segment.num_rows and (not partition_names or segment.partition in partition_names)
            ]
            found = []
            for segment, mask in zip(within, self._alive(within), strict=True):
                if compiled_filter is not None:
                    mask &= evaluate_segment_filter(segment, compiled_filter, indexed_filter_plan).astype(
                        bool
                    )
                if mask.any():
                    found.append(_Scope(segment, None if mask.all() else mask))
            # The filter is kept with it, so that its id is not given to another one.
            kept = self._scopes[key] = compiled_filter, found
        return kept[1]

    def _alive(self, segments: Sequence[Any]) -> list[_Mask]:
        """Of each segment the rows that are the newest of their key, and not deleted."""
        newest: dict[Any, int] = {}
        for segment in segments:
            for key, sequence in zip(segment.pks, segment.seqs.tolist(), strict=True):
                newest[key] = max(sequence, newest.get(key, -1))
        is_deleted = self._delta_index.is_deleted
        return [
            np.array(
                [
                    newest[key] == sequence and not is_deleted(key, sequence)
                    for key, sequence in zip(segment.pks, segment.seqs.tolist(), strict=True)
                ]
            )
            for segment in segments
        ]


def _nearest(
    scope: _Scope, queries: _Floats, top_k: int, vector_field: str, params: dict[str, Any]
) -> tuple[_Ints, _Floats]:
    """Rows [n, k] and distances [n, k] as FaissHnswIndex gives them; row -1 where there are no more."""
    index = scope.segment.indexes[vector_field]
    if index.metric == "COSINE":
        norms = np.linalg.norm(queries, axis=1, keepdims=True)
        queries = (queries / np.where(norms == 0, 1.0, norms)).astype(np.float32)
    selector = {} if scope.mask is None else {"sel": faiss.IDSelectorBatch(np.flatnonzero(scope.mask))}
    how = faiss.SearchParametersHNSW(  # type: ignore[attr-defined]
        efSearch=int(params.get("ef", 64)), **selector
    )
    found, rows = index._index.search(np.ascontiguousarray(queries, np.float32), top_k, params=how)
    exact = found.astype(np.float64)
    distances = 1.0 - exact if index.metric == "COSINE" else np.sqrt(np.maximum(exact, 0.0))
    return np.where(found < _NOWHERE, rows, -1), distances.astype(np.float32)


def _best(
    scopes: Sequence[_Scope], nearest: Sequence[tuple[_Ints, _Floats]], top_k: int, wanted: Sequence[str]
) -> _Hits:
    """The nearest rows of all segments; of equally near ones the first by segment and row."""
    if not nearest:
        return []
    places = np.concatenate([rows for rows, _ in nearest])
    distances = np.concatenate([each for _, each in nearest])
    sources = np.repeat(np.arange(len(nearest)), [len(rows) for rows, _ in nearest])
    order = np.lexsort((places, sources, distances))
    order = order[places[order] >= 0][:top_k]
    hits: _Hits = [{}] * len(order)
    for source in np.unique(sources[order]):
        segment = scopes[source].segment
        ranks = np.flatnonzero(sources[order] == source)
        rows = places[order][ranks]
        columns = [segment.table.column(name).take(rows).to_pylist() for name in wanted]
        values = zip(*columns, strict=True) if columns else [()] * len(rows)
        near = distances[order][ranks].tolist()
        for rank, row, distance, each in zip(ranks.tolist(), rows.tolist(), near, values, strict=True):
            entity = dict(zip(wanted, each, strict=True))
            hits[rank] = {"id": segment.pks[row], "distance": distance, "entity": entity}
    return hits
