"""Two inputs that could have two answers never share a key; what means the same does."""

import hashlib
import itertools
from dataclasses import fields, replace

import pytest
from fakes import EMBEDDING_SET
from hypothesis import given, settings
from hypothesis import strategies as st

from media import Kind, Modality
from orchestrator.cache_keys import Value, answer_key, digest, embedding_key, setup_of
from orchestrator.classify import ClassifiedPart
from orchestrator.query import Priority, QueryPart, SearchOptions, SearchQuery
from orchestrator.settings import DiversifySettings, MilvusSettings, RetrieveSettings, Settings

flags = st.none() | st.booleans()
options = st.builds(SearchOptions, **{field.name: flags for field in fields(SearchOptions)})
queries = st.builds(
    SearchQuery,
    parts=st.just((QueryPart("x"),)),
    expression=st.sampled_from(["", "a", 'category in ["a"]', 'category in ["a", "b"]']),
    targets=st.lists(st.sampled_from(Modality), min_size=1, unique=True).map(tuple),
    limit=st.integers(1, 3),
    offset=st.integers(0, 3),
    min_score=st.sampled_from([0.0, 0.1, 1.0]),
    mmr_lambda=st.sampled_from([0.0, 0.5, 1.0]),
    user=st.sampled_from(["", "ann", "ben"]),
    options=options,
)
parts = st.lists(
    st.builds(
        lambda modality, format_, weight, content: ClassifiedPart(
            0, Kind(modality, format_, "x/y"), weight, content, hashlib.sha256(content.encode()).digest()
        ),
        st.sampled_from(Modality),
        st.sampled_from(["png", "ogg"]),
        st.sampled_from([1.0, -1.0, 0.5]),
        st.sampled_from(["", "a", "b", "ab"]),
    ),
    max_size=2,
)
asked = st.tuples(queries, parts, st.sampled_from([b"s1", b"s2"]), st.sampled_from([b"1", b"10"]))
Asked = tuple[SearchQuery, list[ClassifiedPart], bytes, bytes]


def meaning(query: SearchQuery, of: list[ClassifiedPart], setup: bytes, generation: bytes) -> object:
    """What an answer depends on, compared by value."""
    return (
        replace(query, options=replace(query.options, cache=None)),
        [(part.modality, part.kind.format, part.weight, part.data) for part in of],
        setup,
        generation,
    )


@given(asked, asked)
@settings(deadline=None, max_examples=300)
def test_keys_are_equal_if_and_only_if_the_questions_are(one: Asked, other: Asked) -> None:
    assert (answer_key(*one) == answer_key(*other)) is (meaning(*one) == meaning(*other))


STAGES = [field.name for field in fields(SearchOptions) if field.name != "cache"]
CHANGES: list[dict[str, object]] = [
    {"permission": 'category in ["acme"]'},
    {"expression": "available == true"},
    {"targets": (Modality.IMAGE, Modality.TEXT)},
    {"limit": 11},
    {"offset": 1},
    {"min_score": 0.25},
    {"mmr_lambda": 0.75},
    {"user": "ann"},
    *({"options": SearchOptions(**{name: False})} for name in STAGES),
]


@given(queries, parts, st.sampled_from(CHANGES))
@settings(deadline=None)
def test_one_change_is_another_key(
    query: SearchQuery, of: list[ClassifiedPart], change: dict[str, object]
) -> None:
    changed = replace(query, **change)  # type: ignore[arg-type]
    same = meaning(query, of, b"", b"") == meaning(changed, of, b"", b"")
    assert (answer_key(query, of, b"", b"") == answer_key(changed, of, b"", b"")) is same


def test_every_field_of_a_query_is_in_the_key_or_known_not_to_matter() -> None:
    """A field added later must be thought of here."""
    changed = {name for change in CHANGES for name in change}
    # Parts count by their classified form; the rest says nothing of what an answer holds.
    assert changed | {"parts", "request_id", "priority", "caller"} == {
        field.name for field in fields(SearchQuery)
    }


def test_what_is_no_part_of_an_answer_is_not_in_the_key() -> None:
    query = SearchQuery((QueryPart("x"),))
    for same in (
        replace(query, request_id="r"),
        replace(query, priority=Priority.BATCH),
        replace(query, options=SearchOptions(cache=True)),
    ):
        assert answer_key(query, [], b"", b"") == answer_key(same, [], b"", b"")


def test_parts_count_in_their_order() -> None:
    kind = Kind(Modality.TEXT, "text", "text/plain")
    a, b = (ClassifiedPart(0, kind, 1.0, text, hashlib.sha256(text.encode()).digest()) for text in "ab")
    query = SearchQuery((QueryPart("a"), QueryPart("b")))
    assert answer_key(query, [a, b], b"", b"") != answer_key(query, [b, a], b"", b"")


values: st.SearchStrategy[Value] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=3).map(tuple),
    max_leaves=6,
)


def typed(value: Value) -> object:
    """With types told apart, as True == 1 == 1.0 is not to be taken for equal, nor -0.0 for 0.0."""
    if isinstance(value, tuple):
        return tuple(map(typed, value))
    return type(value).__name__, repr(value)


@given(st.lists(values, max_size=4), st.lists(values, max_size=4))
@settings(deadline=None)
def test_no_two_sequences_of_values_have_one_form(one: list[Value], other: list[Value]) -> None:
    assert (digest(*one) == digest(*other)) is (list(map(typed, one)) == list(map(typed, other)))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (("ab", "c"), ("a", "bc")),
        (("a",), (b"a",)),
        ((1,), (True,)),
        ((1,), ("1",)),
        (((),), ()),
        ((("a",), "b"), ("a", ("b",))),
        ((None,), ("",)),
    ],
)
def test_borders_and_types_count(one: tuple[Value, ...], other: tuple[Value, ...]) -> None:
    assert digest(*one) != digest(*other)


def test_embedding_keys_tell_content_modality_and_version_apart() -> None:
    digests = [bytes(32), bytes(31) + b"a"]
    versions = ["lite-1", "lite-10"]
    keys = {embedding_key(*triple) for triple in itertools.product(Modality, digests, versions)}
    assert len(keys) == 4 * 2 * 2


def test_a_setup_is_release_weights_settings_and_catalogue() -> None:
    plain = Settings()
    others = [
        (Settings(retrieve=RetrieveSettings(rows_per_search=50)), EMBEDDING_SET),
        (Settings(diversify=DiversifySettings(pool=3)), EMBEDDING_SET),
        (Settings(milvus=MilvusSettings(uri="http://127.0.0.1:19530")), EMBEDDING_SET),
        (Settings(home=plain.home / "other"), EMBEDDING_SET),
        (plain, replace(EMBEDDING_SET, version="fake-2")),
        (plain, replace(EMBEDDING_SET, profile="other")),
    ]
    setups = [setup_of(plain, EMBEDDING_SET, "r1", "a"), *(setup_of(*other, "r1", "a") for other in others)]
    setups += [setup_of(plain, EMBEDDING_SET, *other) for other in (("r2", "a"), ("r1", "b"))]
    assert len(set(setups)) == len(setups)
    assert setup_of(Settings(), EMBEDDING_SET, "r1", "a") == setups[0]
