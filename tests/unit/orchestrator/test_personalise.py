"""The stage personalise in the pipeline: what feedback moves, within which bound, and how to be rid of it."""

from __future__ import annotations

import json
import math

import pytest
from fixtures_orchestrator import STRENGTHS, World
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.access.caller import EVERYONE
from orchestrator.errors import ConfigurationError, RequestError, UnavailableError
from orchestrator.feedback import Event, EventKind
from orchestrator.personalise import move
from orchestrator.query import SearchOptions, SearchResult
from orchestrator.strengths import load_strengths
from sensorium.v1 import sensorium_pb2 as pb

COLOURS = ("red", "blue")


@pytest.fixture
async def shop(world: World) -> World:
    for number in range(3):
        for colour in COLOURS:
            await world.add(f"{colour}{number}", f"mug number {number}", tags=(colour,), category="mugs")
    return world


def ids(result: SearchResult) -> list[str]:
    return [hit.item.id for hit in result.hits]


async def click(world: World, colour: str, user: str = "ann", times: int = 5) -> None:
    for number in range(times):
        result = await world.search(
            "mug",
            user=user,
            request_id=f"{user}-{colour}-{number}",
            mmr_lambda=1.0,
            options=SearchOptions(personalise=False),
        )
        chosen = [item for item in ids(result) if item.startswith(colour)]
        events = [Event(f"{user}-{colour}-{number}", item, EventKind.CLICK) for item in chosen]
        await world.feedback.add(user, events)
        world.personaliser.forget(user)


async def test_clicks_change_the_order_for_that_user_alone(shop: World) -> None:
    plain = ids(await shop.search("mug", mmr_lambda=1.0))
    await click(shop, "red")
    own = await shop.search("mug", user="ann", mmr_lambda=1.0)
    assert {item[:3] for item in ids(own)[:3]} == {"red"}
    assert sorted(ids(own)) == sorted(plain)
    assert ids(await shop.search("mug", mmr_lambda=1.0)) == plain
    assert ids(await shop.search("mug", user="bob", mmr_lambda=1.0)) == plain


async def test_each_hit_says_what_was_done_to_it(shop: World) -> None:
    before = {hit.item.id: hit.score for hit in (await shop.search("mug")).hits}
    await click(shop, "red")
    for hit in (await shop.search("mug", user="ann")).hits:
        (influence,) = hit.influences
        assert influence.stage == "personalise"
        assert influence.change == pytest.approx(hit.score - before[hit.item.id])
        assert (influence.change > 0) == hit.item.id.startswith("red")
        assert ("red" if influence.change > 0 else "blue") in influence.detail


async def test_a_request_may_forgo_it(shop: World) -> None:
    plain = await shop.search("mug")
    await click(shop, "red")
    forgone = await shop.search("mug", user="ann", options=SearchOptions(personalise=False))
    assert ids(forgone) == ids(plain)
    assert [hit.score for hit in forgone.hits] == [hit.score for hit in plain.hits]
    assert not any(hit.influences for hit in forgone.hits)


async def test_erased_is_as_before(shop: World) -> None:
    plain = await shop.search("mug")
    await click(shop, "red")
    assert ids(await shop.search("mug", user="ann")) != ids(plain)
    await shop.service.erase_user(pb.EraseUserRequest(user="ann"), EVERYONE)
    again = await shop.search("mug", user="ann")
    assert [hit.score for hit in again.hits] == [hit.score for hit in plain.hits]
    assert ids(again) == ids(plain)


async def test_feedback_through_the_service_is_felt_at_once(shop: World) -> None:
    for number in range(4):
        answer = await shop.service.search(
            pb.SearchRequest(parts=[pb.QueryPart(text="mug")], user="ann", mmr_lambda=1.0), caller=EVERYONE
        )
        blue = [hit.item.id for hit in answer.hits if hit.item.id.startswith("blue")]
        request = pb.FeedbackRequest(user="ann")
        for item in blue:
            request.events.add(request_id=answer.request_id, item_id=item, kind=pb.FeedbackEvent.CLICK)
        found = await shop.service.feedback(request, EVERYONE)
        assert (found.stored, found.known, found.unknown) == (3, 0, 0), number
        assert (await shop.service.feedback(request, EVERYONE)).known == 3
    last = await shop.service.search(
        pb.SearchRequest(parts=[pb.QueryPart(text="mug")], user="ann", mmr_lambda=1.0), caller=EVERYONE
    )
    # A pair has the same words; the tie is broken by the clicks alone, as the scores of nobody show.
    scores = {hit.item.id: hit.score for hit in last.hits}
    plain = {hit.item.id: hit.score for hit in (await shop.search("mug")).hits}
    for number in range(3):
        assert plain[f"blue{number}"] == plain[f"red{number}"]
        assert scores[f"blue{number}"] > scores[f"red{number}"]


async def test_what_is_shown_to_a_user_is_recorded_and_to_nobody_is_not(shop: World) -> None:
    await shop.service.search(pb.SearchRequest(parts=[pb.QueryPart(text="mug")]), caller=EVERYONE)
    assert not shop.feedback.impressions
    answer = await shop.service.search(
        pb.SearchRequest(parts=[pb.QueryPart(text="mug")], user="ann", offset=2, limit=2), caller=EVERYONE
    )
    (impression,) = shop.feedback.impressions.values()
    assert impression.request_id == answer.request_id
    assert impression.user == "ann"
    assert [(item.item_id, item.position) for item in impression.shown] == [
        (hit.item.id, place) for place, hit in enumerate(answer.hits, 3)
    ]
    for item in impression.shown:
        assert sum(item.evidence.values()) == pytest.approx(1)
    assert "mug" not in json.dumps([impression.query, impression.request_id])


async def test_equal_queries_have_equal_hashes_and_others_not(shop: World) -> None:
    for number, words in enumerate(("mug", "mug", "number")):
        await shop.search(words, user="ann", request_id=str(number))
    first, again, other = (shop.feedback.impressions[str(number)].query for number in range(3))
    assert first == again != other


@pytest.mark.parametrize("call", ["history", "get_many", "vectors"])
async def test_what_fails_leaves_the_order_and_is_said(shop: World, call: str) -> None:
    plain = ids(await shop.search("mug", mmr_lambda=1.0))
    await click(shop, "red")
    store = {"history": shop.feedback, "get_many": shop.items, "vectors": shop.store}[call]
    store.fail[call] = UnavailableError("a store", "gone")
    result = await shop.search("mug", user="ann", mmr_lambda=1.0)
    assert "personalise: a store unavailable" in result.degraded
    assert ids(result) == plain


async def test_a_slow_store_is_cut_short(shop: World) -> None:
    await click(shop, "red")
    shop.feedback.delay_s["history"] = 5.0
    result = await shop.search("mug", user="ann")
    assert "personalise: deadline" in result.degraded
    assert len(result.hits) == 6


async def test_an_answer_that_cannot_be_recorded_is_an_answer(shop: World) -> None:
    shop.feedback.fail["record"] = UnavailableError("feedback store", "gone")
    result = await shop.search("mug", user="ann", request_id="r")
    assert result.degraded == ("record: feedback store unavailable",)
    assert len(result.hits) == 6


async def test_a_profile_is_kept_until_its_feedback_changes(shop: World) -> None:
    await click(shop, "red", times=1)
    for _ in range(3):
        await shop.search("mug", user="ann")
    built = shop.feedback.calls["history"]
    await shop.search("mug", user="ann")
    assert shop.feedback.calls["history"] == built
    shop.personaliser.forget("ann")
    await shop.search("mug", user="ann")
    assert shop.feedback.calls["history"] == built + 1


@pytest.mark.parametrize("user", ["a b", "x" * 129, "é", "a/b"])
async def test_a_user_that_is_none_is_refused(shop: World, user: str) -> None:
    with pytest.raises(RequestError, match="user"):
        await shop.search("mug", user=user)


# ---- the bound ----

scores = st.lists(st.floats(0, 1), min_size=1, max_size=20)


def log_odds(p: float) -> float:
    return math.log(p / (1 - p))


@given(st.data())
def test_no_pull_moves_further_than_the_bound(data: st.DataObject) -> None:
    given_scores = data.draw(st.lists(st.floats(1e-4, 1 - 1e-4), min_size=1, max_size=20))
    size = len(given_scores)
    pulls = data.draw(st.lists(st.floats(-1e6, 1e6), min_size=size, max_size=size))
    cap = data.draw(st.floats(0.1, 3))
    moved = move(given_scores, pulls, cap)
    for before, after in zip(given_scores, moved, strict=True):
        assert 0 < after < 1
        assert abs(log_odds(after) - log_odds(before)) <= cap + 1e-6


def test_what_is_clearly_more_relevant_stays_ahead() -> None:
    moved = move([0.9, 0.4], [-1e9, 1e9], 1.0)
    assert moved[0] > moved[1]
    assert moved[1] > 0.4


def test_a_taste_that_all_meet_says_nothing() -> None:
    assert move([0.9, 0.4, 0.1], [3.0, 3.0, 3.0], 1.0) == pytest.approx([0.9, 0.4, 0.1])
    assert move([], [], 1.0) == []


@given(scores)
def test_certain_scores_stay_probabilities(given_scores: list[float]) -> None:
    moved = move(given_scores, [float(n) for n in range(len(given_scores))], 1.0)
    assert all(0 <= score <= 1 for score in moved)


# ---- strengths ----


def content(**changes: object) -> str:
    whole = {
        "features": dict(STRENGTHS.features),
        "pairs": {"text->image": 0.25},
        "examination": [1.0, 0.5],
        "about": {"source": "test"},
    }
    return json.dumps({**whole, **changes})


def test_promoted_strengths_come_first(tmp_path) -> None:
    home, repository = tmp_path / "home", tmp_path / "models"
    (home / "data").mkdir(parents=True)
    repository.mkdir()
    assert load_strengths(home, repository) is None
    (repository / "personalise.json").write_text(content())
    found = load_strengths(home, repository)
    assert found is not None
    assert found.pairs == {"text->image": 0.25}
    (home / "data" / "personalise.json").write_text(content(pairs={}))
    found = load_strengths(home, repository)
    assert found is not None
    assert found.pairs == {}


@pytest.mark.parametrize(
    "wrong",
    [
        "{",
        content(features={"taste": 1.0}),
        content(examination=[]),
        content(examination=[0.0]),
        content(features={**STRENGTHS.features, "taste": -1.0}),
        content(more=1),
    ],
)
def test_malformed_strengths_stop_the_start(tmp_path, wrong: str) -> None:
    (tmp_path / "personalise.json").write_text(wrong)
    with pytest.raises(ConfigurationError, match=r"personalise\.json"):
        load_strengths(tmp_path / "none", tmp_path)


def test_looks_fall_behind_the_places_that_were_learned() -> None:
    looks = [STRENGTHS.examined(place) for place in range(1, 31)]
    assert looks == sorted(looks, reverse=True)
    assert looks[19] == pytest.approx(0.05)
