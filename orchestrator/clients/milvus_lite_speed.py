"""Searches of Milvus Lite 3.2 without what takes most of their time, in the process that runs it.

For each row of an answer it turns every column into Python objects, the vector into a thousand floats, to
drop most of them again, and it builds an empty table of all columns where no row waits to be flushed. Here a
search is given segments that read the wanted columns only. What is found, and in which order, is the same:
tests/integration/test_milvus_lite_speed.py compares. docs/performance.md says what it gains.

This reaches into a library, so it does so in the one version that it was written for, and in no other.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.metadata import version
from typing import Any, Final

import numpy as np
from milvus_lite.engine import collection
from milvus_lite.search.executor_indexed import execute_search_with_index

__all__ = ["VERSION", "hasten"]

VERSION: Final = "3.2.2"


def hasten() -> bool:
    """Takes effect for every collection of this process. False for a Milvus Lite of another version."""
    if version("milvus-lite") != VERSION:
        return False
    collection.execute_search_with_index = _search
    return True


class _Row(dict[str, Any]):
    """The wanted columns of a row, and no others."""


class _Segment:
    """A segment as a search sees it; all but ``row_to_dict`` is its own."""

    def __init__(self, segment: Any, wanted: Sequence[str]) -> None:
        self._segment = segment
        self._columns = [(name, segment.table.column(name)) for name in wanted]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._segment, name)

    def row_to_dict(self, row: int) -> _Row:
        return _Row((name, column[row].as_py()) for name, column in self._columns)


class _NothingWaits:
    """A memtable without rows or deletions."""

    def __init__(self, memtable: Any) -> None:
        self.delete_index_snapshot = memtable.delete_index_snapshot

    def to_search_snapshot(self, **_: Any) -> Any:
        return [], np.zeros(0, np.uint64), np.zeros((0, 0), np.float32), [], None


def _search(
    *,
    segments: Sequence[Any],
    memtable: Any,
    output_fields: Sequence[str] | None,
    project_record_fn: Callable[[dict[str, Any]], dict[str, Any]],
    vector_field: str,
    pk_field: str,
    **others: Any,
) -> Any:
    wanted = [name for name in output_fields or () if name != pk_field]
    lean = bool(output_fields) and vector_field not in wanted
    lean = lean and all(set(wanted) <= set(each.table.column_names) for each in segments)
    return execute_search_with_index(
        segments=[_Segment(segment, wanted) for segment in segments] if lean else segments,
        memtable=memtable if memtable.size() else _NothingWaits(memtable),
        output_fields=output_fields,
        project_record_fn=lambda row: row if isinstance(row, _Row) else project_record_fn(row),
        vector_field=vector_field,
        pk_field=pk_field,
        **others,
    )
