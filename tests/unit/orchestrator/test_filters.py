"""The filter compiler: every condition, every bound, and values that try to get out of their quotes."""

import json
import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.errors import FilterError
from orchestrator.filters import (
    MAX_CLAUSES,
    MAX_DEPTH,
    MAX_VALUE_BYTES,
    MAX_VALUES,
    compile_filter,
    restrict_to_items,
)
from sensorium.v1 import sensorium_pb2 as pb


def category(*values: str) -> pb.Filter:
    return pb.Filter(category=pb.StringList(values=values))


def joined(word: str, *filters: pb.Filter) -> pb.Filter:
    return pb.Filter(**{word: pb.FilterList(filters=filters)})


def negated(condition: pb.Filter) -> pb.Filter:
    return pb.Filter(**{"not": condition})


@pytest.mark.parametrize(
    ("condition", "expression"),
    [
        (None, ""),
        (category("animals"), 'category in ["animals"]'),
        (category("a", "b"), 'category in ["a", "b"]'),
        (pb.Filter(tags_any=pb.StringList(values=["x"])), 'array_contains_any(tags, ["x"])'),
        (pb.Filter(tags_all=pb.StringList(values=["x"])), 'array_contains_all(tags, ["x"])'),
        (pb.Filter(price=pb.Range(min=1.5)), "price >= 1.5"),
        (pb.Filter(price=pb.Range(max=1e-9)), "price <= 1e-09"),
        (pb.Filter(price=pb.Range(min=0, max=2)), "price >= 0.0 and price <= 2.0"),
        (pb.Filter(available=False), "available == false"),
        (negated(pb.Filter(available=True)), "not (available == true)"),
        (
            joined("or", category("a"), joined("and", category("b"), pb.Filter(price=pb.Range(min=1)))),
            '(category in ["a"]) or ((category in ["b"]) and (price >= 1.0))',
        ),
    ],
)
def test_conditions(condition: pb.Filter | None, expression: str) -> None:
    assert compile_filter(condition) == expression


@pytest.mark.parametrize(
    "condition",
    [
        pb.Filter(),
        category(),
        pb.Filter(tags_any=pb.StringList()),
        pb.Filter(tags_all=pb.StringList()),
        joined("and"),
        joined("or"),
        negated(pb.Filter()),
        joined("and", pb.Filter()),
        pb.Filter(price=pb.Range()),
        pb.Filter(price=pb.Range(min=2, max=1)),
        pb.Filter(price=pb.Range(min=math.nan)),
        pb.Filter(price=pb.Range(max=math.inf)),
    ],
)
def test_what_says_nothing_or_nonsense_is_an_error(condition: pb.Filter) -> None:
    with pytest.raises(FilterError):
        compile_filter(condition)


def nested(depth: int) -> pb.Filter:
    condition = category("a")
    for _ in range(depth - 1):
        condition = negated(condition)
    return condition


def test_bounds_hold_and_are_named() -> None:
    compile_filter(nested(MAX_DEPTH))
    with pytest.raises(FilterError) as deep:
        compile_filter(nested(MAX_DEPTH + 1))
    assert deep.value.limit == f"max_depth={MAX_DEPTH}"
    compile_filter(joined("and", *[category("a")] * (MAX_CLAUSES - 1)))
    with pytest.raises(FilterError) as wide:
        compile_filter(joined("and", *[category("a")] * MAX_CLAUSES))
    assert wide.value.limit == f"max_clauses={MAX_CLAUSES}"
    compile_filter(category(*["a"] * MAX_VALUES))
    with pytest.raises(FilterError) as many:
        compile_filter(joined("or", category(*["a"] * MAX_VALUES), category("a")))
    assert many.value.limit == f"max_values={MAX_VALUES}"
    compile_filter(category("é" * (MAX_VALUE_BYTES // 2)))
    with pytest.raises(FilterError) as long:
        compile_filter(category("é" * (MAX_VALUE_BYTES // 2) + "a"))
    assert long.value.limit == f"max_value_bytes={MAX_VALUE_BYTES}"


HOSTILE = st.one_of(
    st.text(min_size=1, max_size=100),
    st.text(alphabet="\"'\\[](),;%\n\r\t\0 orandx=<>", min_size=1, max_size=60),
    st.sampled_from(['"] or price > 0 or category in ["', "\\", '\\"', "{x}", "\u2028", "é🐸"]),
)


@given(st.lists(HOSTILE, min_size=1, max_size=5))
def test_no_value_gets_out_of_its_quotes(values: list[str]) -> None:
    expression = compile_filter(category(*values))
    listed = expression.removeprefix("category in ")
    # Read as JSON, whose strings are Milvus' strings here, the list holds exactly the values.
    assert json.loads(listed) == values
    # And outside of quoted strings stand only the list's own signs.
    assert re.sub(r'"(?:[^"\\]|\\.)*"', "", listed).strip("[] ,") == ""
    assert "\n" not in expression
    assert "\0" not in expression


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_numbers_come_back_as_they_were(value: float) -> None:
    expression = compile_filter(pb.Filter(price=pb.Range(min=value)))
    assert float(expression.removeprefix("price >= ")) == value


def test_a_restriction_to_items_keeps_the_filter() -> None:
    assert restrict_to_items("", ["a"]) == 'item_id in ["a"]'
    assert restrict_to_items("a or b", ["a", "b"]) == '(a or b) and item_id in ["a", "b"]'
