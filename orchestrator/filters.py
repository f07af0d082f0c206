"""The structured ``Filter`` of the API -> a boolean expression of Milvus.

Values reach the expression only as numbers written by ``repr`` or as JSON strings, in which quotes,
backslashes and control characters are escaped, so no value can end its own quotes. Bounds on depth, clauses
and values keep an expression parseable in bounded time.

An empty list is an error rather than "all" or "nothing": both readings are common, either is a surprise.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Sequence

from orchestrator.errors import FilterError
from sensorium.v1 import sensorium_pb2 as pb

__all__ = [
    "MAX_CLAUSES",
    "MAX_DEPTH",
    "MAX_VALUES",
    "MAX_VALUE_BYTES",
    "compile_filter",
    "exclude_items",
    "joined",
    "restrict_to_items",
]

MAX_DEPTH = 8
MAX_CLAUSES = 64
MAX_VALUES = 256
MAX_VALUE_BYTES = 512


def compile_filter(condition: pb.Filter | None) -> str:
    """The expression of ``condition``; "" for None.

    Raises:
        FilterError: it is empty somewhere, too deep or too large, or a range is not one.
    """
    if condition is None:
        return ""
    return _Compiler().compile(condition, 1)


def restrict_to_items(expression: str, item_ids: Sequence[str]) -> str:
    """``expression`` and one of ``item_ids``, of which there is at least one."""
    return _joined(expression, f"item_id in {_strings(item_ids)}")


def exclude_items(expression: str, item_ids: Sequence[str]) -> str:
    """``expression`` and none of ``item_ids``, of which there is at least one."""
    return _joined(expression, f"item_id not in {_strings(item_ids)}")


def joined(first: str, second: str) -> str:
    """Both expressions, each whole; "" is no condition."""
    return f"({first}) and ({second})" if first and second else first or second


def _joined(expression: str, condition: str) -> str:
    return f"({expression}) and {condition}" if expression else condition


class _Compiler:
    """Counts what one filter uses up."""

    def __init__(self) -> None:
        self._clauses = 0
        self._values = 0

    def compile(self, condition: pb.Filter, depth: int) -> str:
        self._clauses += 1
        if depth > MAX_DEPTH:
            raise FilterError("the filter is nested too deeply", limit=f"max_depth={MAX_DEPTH}")
        if self._clauses > MAX_CLAUSES:
            raise FilterError("the filter has too many clauses", limit=f"max_clauses={MAX_CLAUSES}")
        kind = condition.WhichOneof("kind")
        if kind is None:
            raise FilterError("a filter names no condition")
        return _KINDS[kind](self, condition, depth)

    def _join(self, word: str, filters: Iterable[pb.Filter], depth: int) -> str:
        clauses = [self.compile(one, depth + 1) for one in filters]
        if not clauses:
            raise FilterError(f"an empty {word} list in the filter")
        return f" {word} ".join(f"({clause})" for clause in clauses)

    def _list(self, values: Sequence[str], field: str) -> str:
        if not values:
            raise FilterError(f"an empty {field} list in the filter")
        self._values += len(values)
        if self._values > MAX_VALUES:
            raise FilterError("the filter lists too many values", limit=f"max_values={MAX_VALUES}")
        if any(len(value.encode()) > MAX_VALUE_BYTES for value in values):
            raise FilterError("a value in the filter is too long", limit=f"max_value_bytes={MAX_VALUE_BYTES}")
        return _strings(values)

    def _and(self, condition: pb.Filter, depth: int) -> str:
        return self._join("and", getattr(condition, "and").filters, depth)

    def _or(self, condition: pb.Filter, depth: int) -> str:
        return self._join("or", getattr(condition, "or").filters, depth)

    def _not(self, condition: pb.Filter, depth: int) -> str:
        return f"not ({self.compile(getattr(condition, 'not'), depth + 1)})"

    def _price(self, condition: pb.Filter, depth: int) -> str:
        bounds = condition.price
        clauses = []
        if bounds.HasField("min"):
            clauses.append(f"price >= {_number(bounds.min)}")
        if bounds.HasField("max"):
            clauses.append(f"price <= {_number(bounds.max)}")
        if not clauses:
            raise FilterError("a price range without a bound")
        if len(clauses) == 2 and bounds.min > bounds.max:
            raise FilterError("a price range whose lower bound is above its upper bound")
        return " and ".join(clauses)

    def _category(self, condition: pb.Filter, depth: int) -> str:
        return f"category in {self._list(condition.category.values, 'category')}"

    def _tags_any(self, condition: pb.Filter, depth: int) -> str:
        return f"array_contains_any(tags, {self._list(condition.tags_any.values, 'tags_any')})"

    def _tags_all(self, condition: pb.Filter, depth: int) -> str:
        return f"array_contains_all(tags, {self._list(condition.tags_all.values, 'tags_all')})"

    def _available(self, condition: pb.Filter, depth: int) -> str:
        return f"available == {'true' if condition.available else 'false'}"


_KINDS: dict[str, Callable[[_Compiler, pb.Filter, int], str]] = {
    "and": _Compiler._and,
    "or": _Compiler._or,
    "not": _Compiler._not,
    "price": _Compiler._price,
    "category": _Compiler._category,
    "tags_any": _Compiler._tags_any,
    "tags_all": _Compiler._tags_all,
    "available": _Compiler._available,
}


def _number(value: float) -> str:
    if not math.isfinite(value):
        raise FilterError("a price bound is not a finite number")
    return repr(value)


def _strings(values: Sequence[str]) -> str:
    return f"[{', '.join(map(_quoted, values))}]"


def _quoted(value: str) -> str:
    # JSON's escapes are a subset of those of Milvus' string literals.
    return json.dumps(value, ensure_ascii=False)
