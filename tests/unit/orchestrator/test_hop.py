"""Text to picture to clip: thresholds, early stop, bounds, traces, and what must not change."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from fakes import EMBEDDING_SET, VERSION, direction
from fixtures_orchestrator import MakeWorld, World
from pydantic import ValidationError

from media import Modality
from orchestrator.errors import UnavailableError
from orchestrator.query import SearchOptions
from orchestrator.settings import BudgetSettings, HopSettings, RetrieveSettings
from orchestrator.types import NATIVE_DIM, CatalogueItem, Embedding, FloatArray, Row

ON = SearchOptions(multi_hop=True)


def put(world: World, item: str, modality: Modality, words: str | FloatArray) -> None:
    vector = direction(words) if isinstance(words, str) else words
    dim = NATIVE_DIM.get(modality)
    native = None if dim is None else direction(item, dim)
    world.items.items[item] = CatalogueItem(item, title=item)
    world.store.put(
        Row(item, modality, 0, 0, 0.0, 1.0, Embedding(vector, native), VERSION, None, True, "", ())
    )


def chain(world: World) -> None:
    """A picture that the text finds, a clip like the picture alone, a sound like the clip alone."""
    put(world, "picture", Modality.IMAGE, "red fox snow")
    put(world, "clip", Modality.VIDEO, "fox snow running")
    put(world, "sound", Modality.AUDIO, "snow running crunch")
    put(world, "other", Modality.VIDEO, "blue boat")


async def test_a_path_leads_from_text_to_clip_to_sound(world: World) -> None:
    chain(world)
    plain = {hit.item.id: hit.score for hit in (await world.search("red fox")).hits}
    result = await world.search("red fox", options=ON)
    hits = {hit.item.id: hit for hit in result.hits}
    assert result.degraded == ()
    assert hits["clip"].influences[0].stage == "hop"
    assert hits["clip"].influences[0].detail == "picture of picture -> video of clip"
    assert hits["sound"].influences[0].detail == "picture of picture -> video of clip -> audio of sound"
    for item, hit in hits.items():
        assert hit.score == pytest.approx(plain[item] + sum(i.change for i in hit.influences))
    assert hits["picture"].influences == hits["other"].influences == ()


async def test_scores_are_products_along_the_path(make_world: MakeWorld) -> None:
    world = make_world(hop=HopSettings(trust=0.5))
    chain(world)
    query, picture, clip = direction("red fox"), direction("red fox snow"), direction("fox snow running")

    def probability(a: FloatArray, b: FloatArray) -> float:
        return world.embedding_set.calibration.score(Modality.TEXT, Modality.TEXT, "unified", float(a @ b))

    path = probability(query, picture) * probability(picture, clip)
    expected = 1 - (1 - probability(query, clip)) * (1 - 0.5 * path)
    hits = {hit.item.id: hit for hit in (await world.search("red fox", options=ON)).hits}
    assert hits["clip"].score == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize(("thresholds", "rounds"), [((0.99, 0.5, 0.4), 1), ((0.95, 0.95, 0.95), 2)])
async def test_it_stops_where_nothing_is_sure_enough(
    make_world: MakeWorld, thresholds: tuple[float, float, float], rounds: int
) -> None:
    world = make_world(hop=HopSettings(thresholds=thresholds))
    chain(world)
    plain = await world.search("red fox")
    before = world.store.calls["search"]
    result = await world.search("red fox", options=ON)
    assert result.hits == plain.hits
    assert world.store.calls["search"] == before + 4 * rounds, "no search beyond what is sure"


async def test_at_most_two_more_rounds(make_world: MakeWorld) -> None:
    world = make_world(hop=HopSettings(width=20))
    for number in range(30):
        put(world, f"p{number}", Modality.IMAGE, "red fox snow")
        put(world, f"v{number}", Modality.VIDEO, "fox snow running")
        put(world, f"a{number}", Modality.AUDIO, "snow running crunch")
    await world.search("red fox", options=ON)
    assert world.store.calls["search"] == 4 + 4 + 4
    assert world.store.calls["vectors"] == 3, "pictures, clips, diversification"


async def test_only_a_target_is_found_yet_pictures_are_followed(world: World) -> None:
    chain(world)
    put(world, "picture", Modality.VIDEO, "fox snow")
    result = await world.search("red fox", options=ON, targets=(Modality.VIDEO,))
    influences = {hit.item.id: hit.influences for hit in result.hits}
    assert influences.keys() == {"picture", "clip", "other"}
    # the clip of the very item whose picture was followed is nearer, and the way through it more probable
    assert [i.detail for i in influences["clip"]] == [
        "picture of picture -> video of picture -> video of clip"
    ]
    assert not influences["other"]


async def test_an_item_that_was_found_with_confidence_keeps_its_place(world: World) -> None:
    chain(world)
    put(world, "sure", Modality.TEXT, "red fox")
    plain = await world.search("red fox", mmr_lambda=1.0)
    result = await world.search("red fox", mmr_lambda=1.0, options=ON)
    sure = [hit.item.id for hit in plain.hits if hit.score >= 0.65]
    assert [hit.item.id for hit in result.hits][: len(sure)] == sure
    assert {hit.item.id: hit.score for hit in result.hits}["sure"] == plain.hits[0].score


async def test_what_several_rows_lead_to_can_be_re_ranked(make_world: MakeWorld) -> None:
    """Rows followed are parts of a search of their own, which the query does not have."""
    world = make_world(
        replace(EMBEDDING_SET, rerank_for=frozenset()),
        hop=HopSettings(thresholds=(0.1, 0.1, 0.1)),
        retrieve=RetrieveSettings(rows_per_search=2),
    )
    for thing in ("snow", "den"):
        put(world, f"picture of {thing}", Modality.IMAGE, f"red fox {thing}")
        put(world, f"clip of {thing}", Modality.VIDEO, f"{thing} {thing} {thing}")
        put(world, f"nearer than {thing}", Modality.VIDEO, f"red fox {thing} at night")
    both = SearchOptions(multi_hop=True, rerank=True)
    result = await world.search("red fox", options=both)
    assert result.degraded == ()
    assert {"clip of snow", "clip of den"} <= {hit.item.id for hit in result.hits}
    assert {i.stage for hit in result.hits for i in hit.influences} >= {"hop", "rerank"}
    assert {signal.part for hit in result.hits for signal in hit.signals} == {0}


async def test_only_single_texts_hop(world: World) -> None:
    chain(world)
    for query in (("red fox", "snow"),):
        assert (await world.search(*query, options=ON)).hits == (await world.search(*query)).hits


async def test_filters_hold_on_the_way(world: World) -> None:
    chain(world)
    await world.search("red fox", options=ON, expression="price < 3")
    assert set(world.store.expressions) == {"price < 3"}


async def test_a_failure_leaves_the_plain_answer_and_is_said(world: World) -> None:
    chain(world)
    plain = await world.search("red fox", mmr_lambda=1.0)
    world.store.fail["vectors"] = UnavailableError("milvus", "away")
    failed = await world.search("red fox", mmr_lambda=1.0, options=ON)
    assert failed.hits == plain.hits
    assert failed.degraded == ("hop: milvus unavailable",)


async def test_it_ends_within_its_budget(make_world: MakeWorld) -> None:
    world = make_world(budget=BudgetSettings(hop_s=0.05))
    chain(world)
    plain = await world.search("red fox", mmr_lambda=1.0)
    world.store.delay_s["vectors"] = 30.0
    async with asyncio.timeout(10):
        late = await world.search("red fox", mmr_lambda=1.0, options=ON)
    assert late.hits == plain.hits
    assert late.degraded == ("hop: deadline",)


async def test_pages_do_not_overlap(world: World) -> None:
    for number in range(9):
        put(world, f"p{number}", Modality.IMAGE, f"red fox snow {number}")
        put(world, f"v{number}", Modality.VIDEO, f"fox snow running {number}")
    whole = [hit.item.id for hit in (await world.search("red fox", limit=50, options=ON)).hits]
    pages = [
        hit.item.id
        for offset in range(0, 20, 4)
        for hit in (await world.search("red fox", limit=4, offset=offset, options=ON)).hits
    ]
    assert pages == whole
    assert len(set(whole)) == 18


def test_thresholds_may_not_rise() -> None:
    with pytest.raises(ValidationError, match="rise"):
        HopSettings(thresholds=(0.4, 0.5, 0.4))
