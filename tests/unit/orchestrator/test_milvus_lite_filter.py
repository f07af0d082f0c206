"""Filters in the words of Milvus Lite mean the same, whatever strings are in them."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st
from milvus_lite import CollectionSchema, DataType, FieldSchema
from milvus_lite.search.filter import compile_filter, parse_expr
from milvus_lite.search.filter.eval import evaluate
from pyarrow import table

from orchestrator.clients.milvus_lite_filter import for_lite, tag_tokens

SCHEMA = CollectionSchema(
    fields=[
        FieldSchema(name="id", dtype=DataType.INT64, is_primary=True),
        FieldSchema(name="category", dtype=DataType.VARCHAR, max_length=512),
        FieldSchema(name="tags", dtype=DataType.VARCHAR, max_length=1152),
        FieldSchema(name="vector", dtype=DataType.FLOAT_VECTOR, dim=2),
    ]
)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
TAGS = st.lists(TEXT.filter(bool), max_size=4, unique=True)
WANTED = st.lists(TEXT.filter(bool), min_size=1, max_size=3, unique=True)


def quoted(values: list[str]) -> str:
    return json.dumps(values, ensure_ascii=False)


def matches(expression: str, category: str, tags: list[str]) -> bool:
    """What the engine of Milvus Lite itself says of one row."""
    compiled = compile_filter(for_lite(expression), SCHEMA)
    assert compiled.backend == "arrow", "only this evaluation is fast"
    row = table({"id": [1], "category": [category], "tags": [tag_tokens(tags)], "vector": [[0.0, 1.0]]})
    return bool(evaluate(compiled, row)[0].as_py())


@given(tags=TAGS, wanted=WANTED, share=st.booleans())
def test_tags_any_and_all(tags: list[str], wanted: list[str], share: bool) -> None:
    wanted = tags[:2] + wanted if share else wanted
    assert matches(f"array_contains_any(tags, {quoted(wanted)})", "", tags) == bool(set(tags) & set(wanted))
    assert matches(f"array_contains_all(tags, {quoted(wanted)})", "", tags) == (set(wanted) <= set(tags))
    assert matches(f"array_contains(tags, {quoted(wanted[:1])[1:-1]})", "", tags) == (wanted[0] in tags)
    both = (
        f"not (array_contains_any(tags, {quoted(wanted)})) and (array_contains_all(tags, {quoted(wanted)}))"
    )
    assert not matches(both, "", tags)


@given(category=TEXT, others=WANTED)
def test_strings_are_themselves(category: str, others: list[str]) -> None:
    assert matches(f"category in {quoted([category, *others])}", category, [])
    assert matches(f"category in {quoted(others)}", category, []) == (category in others)


@given(text=TEXT)
def test_a_string_that_looks_like_a_filter_is_a_string(text: str) -> None:
    value = f'{text}array_contains_any(tags, ["a"])'
    expression = for_lite(f"category in {quoted([value])}")
    assert parse_expr(expression).values.elements[0].value == value
    assert " like " not in expression


@given(tags=st.lists(TEXT.filter(bool), max_size=64, unique=True))
def test_tokens_fit_their_field(tags: list[str]) -> None:
    assert len(tag_tokens(tags).encode()) <= 1152
    assert tag_tokens(tags).count("|") == len(tags) + 1
