from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli.filters import FilterSyntaxError, parse_filters
from sensorium.v1 import sensorium_pb2 as pb


def parsed(*words: str) -> pb.Filter:
    found = parse_filters(words)
    assert found is not None
    return found


def test_no_words_are_no_filter() -> None:
    assert parse_filters([]) is None


@pytest.mark.parametrize(
    ("word", "low", "high"),
    [
        ("price=5..20", 5, 20),
        ("price>=5", 5, None),
        ("price<=20", None, 20),
        ("price=..20", None, 20),
        ("price=5..", 5, None),
        ("price=7.5", 7.5, 7.5),
        ("price=-1..1e2", -1, 100),
    ],
)
def test_price_ranges(word: str, low: float | None, high: float | None) -> None:
    price = parsed(word).price
    assert (price.min if price.HasField("min") else None) == low
    assert (price.max if price.HasField("max") else None) == high


def test_strings_keep_spaces_inside_and_lose_them_outside() -> None:
    assert list(parsed("category=sea birds, fish").category.values) == ["sea birds", "fish"]
    assert list(parsed("tags=red,blue").tags_any.values) == ["red", "blue"]
    assert list(parsed("tags=red+round").tags_all.values) == ["red", "round"]


def test_available() -> None:
    assert parsed("available").available is True
    no = parsed("available=no")
    assert no.WhichOneof("kind") == "available"
    assert no.available is False


def test_not_and_several() -> None:
    both = parsed("!category=birds", "available")
    children = list(getattr(both, "and").filters)
    assert list(getattr(children[0], "not").category.values) == ["birds"]
    assert children[1].available


@pytest.mark.parametrize(
    "word",
    ["", "!", "colour=red", "price", "price=", "price=cheap", "price=nan", "price=..", "price=1..inf"],
)
def test_what_is_no_filter_says_so(word: str) -> None:
    with pytest.raises(FilterSyntaxError):
        parse_filters([word])


@pytest.mark.parametrize(
    "word", ["category>=x", "category=a,,b", "tags=+", "available=maybe", "price = 5 .. x"]
)
def test_a_value_that_does_not_fit_its_field_says_so(word: str) -> None:
    with pytest.raises(FilterSyntaxError):
        parse_filters([word])


@given(st.text(max_size=40))
def test_any_word_is_read_or_refused(word: str) -> None:
    try:
        parse_filters([word])
    except FilterSyntaxError:
        return
