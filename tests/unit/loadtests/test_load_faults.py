"""The row of a fault, and when an answer is another than before."""

from __future__ import annotations

import pytest

from loadtests.faults.answers import LIMIT, TOLERANCE, Before, question
from loadtests.faults.seen import Fate, Seen, Span, recovered, row
from loadtests.faults.writer import words
from sensorium.v1 import sensorium_pb2 as pb


def seen(*fates: Fate, every_s: float = 1.0, took_s: float = 0.1) -> list[Seen]:
    """One request every so often, from second 0."""
    return [
        Seen("text", place * every_s, place * every_s + took_s, fate, "" if fate is Fate.GOOD else "why")
        for place, fate in enumerate(fates)
    ]


def hits(**scores: float) -> list[pb.Hit]:
    return [pb.Hit(item=pb.Item(id=item), score=score) for item, score in scores.items()]


def test_a_row_tells_when_it_was_noticed_and_when_it_was_over() -> None:
    fates = [Fate.GOOD] * 3 + [Fate.FAILED, Fate.GOOD, Fate.DEGRADED] + [Fate.GOOD] * 10
    found = row(seen(*fates), Span(began_s=2.0, ended_s=4.0, watched_s=16.0))
    assert (found["requests"], found["good"], found["failed"], found["degraded"]) == (14, 12, 1, 1)
    assert found["why"] == {"text: why": 2}
    assert found["detect_s"] == pytest.approx(1.1)
    assert found["recover_s"] == pytest.approx(4.0)
    assert found["recover_after_s"] == pytest.approx(2.0)


def test_what_nobody_noticed_was_over_at_once() -> None:
    found = row(seen(*[Fate.GOOD] * 9), Span(2.0, 4.0, 9.0))
    assert (found["detect_s"], found["recover_s"], found["failed"]) == (None, 0.0, 0)


def test_what_is_bad_to_the_end_did_not_recover() -> None:
    found = row(seen(*[Fate.GOOD] * 3, *[Fate.WRONG] * 6), Span(2.0, 2.0, 9.0))
    assert (found["recover_s"], found["wrong"]) == (None, 6)


def test_a_request_that_was_under_way_belongs_to_the_fault() -> None:
    under_way = [Seen("text", 1.0, 9.0, Fate.FAILED, "why"), *seen(*[Fate.GOOD] * 12)]
    assert row(under_way, Span(2.0, 2.0, 12.0))["failed"] == 1


@pytest.mark.parametrize(
    ("fates", "is_so"),
    [
        ([Fate.GOOD] * 8, True),
        ([Fate.GOOD] * 7, False),
        ([Fate.GOOD] * 20 + [Fate.DEGRADED], False),
        ([Fate.FAILED] + [Fate.GOOD] * 8, True),
    ],
)
def test_recovered_is_what_stays_good(fates: list[Fate], is_so: bool) -> None:
    assert recovered(seen(*fates), 0.0) is is_so


def test_a_burst_of_good_answers_is_no_recovery() -> None:
    assert not recovered(seen(*[Fate.GOOD] * 20, every_s=0.1), 0.0)


def test_what_was_sent_before_does_not_count() -> None:
    assert recovered(seen(Fate.FAILED, *[Fate.GOOD] * 9), 1.0)
    assert not recovered(seen(*[Fate.GOOD] * 9), 5.0)


def learned(*answers: dict[str, float]) -> Before:
    before = Before()
    for answer in answers:
        before.learn(hits(**answer))
    return before


BEFORE = {"a": 0.9, "b": 0.5, "c": 0.48, "d": 0.1}


@pytest.mark.parametrize(
    ("found", "other"),
    [
        ({"a": 0.9, "b": 0.5, "c": 0.48, "d": 0.1}, ""),
        ({"a": 0.88, "c": 0.5, "b": 0.49, "d": 0.1}, ""),
        ({"a": 0.9, "b": 0.5, "c": 0.48}, "hits are missing"),
        ({"a": 0.9, "b": 0.5, "c": 0.48, "x": 0.1}, "x was not found before"),
        ({"a": 0.7, "b": 0.5, "c": 0.48, "d": 0.1}, "a scores 0.700, before 0.900 to 0.900"),
    ],
)
def test_an_answer_is_compared_with_the_one_of_before(found: dict[str, float], other: str) -> None:
    assert learned(BEFORE).differs(hits(**found)) == other


def test_a_better_item_that_is_missing_is_noticed_and_one_as_good_is_not() -> None:
    before = {f"i{place}": 0.9 for place in range(LIMIT)} | {"next": 0.9 - TOLERANCE / 2, "worse": 0.5}
    found = {f"i{place}": 0.9 for place in range(1, LIMIT)}
    assert learned(before).differs(hits(**found, next=0.9 - TOLERANCE / 2)) == ""
    assert learned(before).differs(hits(**found, worse=0.5)) == "i0 is missing"


def test_a_score_may_lie_where_it_lay_before() -> None:
    before = learned({"a": 0.5}, {"a": 0.7})
    assert before.spread == pytest.approx(0.2)
    assert before.differs(hits(a=0.6)) == ""
    assert before.differs(hits(a=0.8)) == "a scores 0.800, before 0.500 to 0.700"


def test_a_question_leaves_out_what_is_written_meanwhile() -> None:
    request = question("image", b"bytes", "written")
    assert list(getattr(request.filter, "not").category.values) == ["written"]
    assert (request.parts[0].data, request.limit, request.mmr_lambda) == (b"bytes", LIMIT, 1.0)


def test_every_item_has_words_of_its_own() -> None:
    assert len({words(number) for number in range(2000)}) == 2000
