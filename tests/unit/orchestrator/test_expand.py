"""The second round of a query that found little: when it runs, what it asks, that it ends and is told."""

from __future__ import annotations

import asyncio
import io
import wave

import numpy as np
import pytest
from fakes import direction
from fixtures_orchestrator import MakeWorld, World

from media import Modality
from orchestrator.errors import RequestError, UnavailableError
from orchestrator.query import SearchOptions
from orchestrator.settings import BudgetSettings, ExpandSettings, RetrieveSettings
from orchestrator.types import Transcript

ON = SearchOptions(expand=True)
OFF = SearchOptions(expand=False)


async def stock(world: World) -> None:
    for item_id, title in [
        ("frog", "small green frog pond"),
        ("toad", "small frog toad pond"),
        ("newt", "pond toad newt"),
        ("car", "fast red car"),
    ]:
        await world.add(item_id, title)


def searches(world: World) -> int:
    return world.store.calls["search"]


async def test_a_request_may_forgo_it_and_a_server_leave_it_off(make_world: MakeWorld) -> None:
    world = make_world(expand=ExpandSettings(enabled=False))
    await stock(world)
    plain = await world.search("amphibian frog", options=OFF)
    assert [hit.influences for hit in plain.hits] == [()] * 4
    assert "expand" not in {stage.stage for stage in plain.stages}
    assert (await world.search("amphibian frog")).hits == plain.hits
    told = await world.search("amphibian frog", options=ON)
    assert "expand" in {stage.stage for stage in told.stages}


async def test_feedback_lifts_what_is_like_the_best(make_world: MakeWorld) -> None:
    world = make_world(expand=ExpandSettings(enabled=True, feedback_items=2))
    await stock(world)
    plain = {hit.item.id: hit.score for hit in (await world.search("amphibian frog", options=OFF)).hits}
    result = await world.search("amphibian frog")
    scores = {hit.item.id: hit.score for hit in result.hits}
    assert result.degraded == ()
    assert scores["newt"] > plain["newt"], "newt shares no word with the query, but with what it found"
    assert all(scores[item] >= plain[item] for item in plain)
    (influence,) = result.hits[0].influences
    assert influence.stage == "expand"
    assert influence.detail == "near the descriptions of frog, toad"
    assert influence.change == pytest.approx(scores["frog"] - plain["frog"])


async def test_the_vector_is_rocchios(make_world: MakeWorld) -> None:
    world = make_world(expand=ExpandSettings(enabled=True, feedback_items=1))
    await stock(world)
    asked: list[np.ndarray] = []
    search = world.store.search

    async def watch(space, modality, vectors, *rest):  # type: ignore[no-untyped-def]
        asked.append(vectors)
        return await search(space, modality, vectors, *rest)

    world.store.search = watch  # type: ignore[method-assign]
    await world.search("amphibian frog", targets=(Modality.TEXT,))
    expected = direction("amphibian frog") + 0.75 * direction("small green frog pond")
    assert asked[1].shape == (1, 1024)
    assert asked[1][0] == pytest.approx(expected / np.linalg.norm(expected), abs=1e-6)


async def test_confidence_is_left_alone(make_world: MakeWorld) -> None:
    world = make_world(expand=ExpandSettings(enabled=True, below=0.5))
    await stock(world)
    result = await world.search("small green frog pond")
    assert result.hits[0].score > 0.5
    assert all(not hit.influences for hit in result.hits)
    assert searches(world) == 4
    lifted = await world.search("amphibian frog")
    assert max(hit.score for hit in lifted.hits) <= 0.5


async def test_one_more_round_whatever_is_asked(make_world: MakeWorld) -> None:
    world = make_world(expand=ExpandSettings(enabled=True, feedback_items=20, below=1.0))
    await stock(world)
    await world.search("smal green frog pont")
    assert searches(world) == 2 * 4, "one search a target modality, for all alternatives"
    assert world.store.calls["vectors"] == 2, "feedback and diversification"


async def test_phrases_that_are_spelt_alike_are_asked(make_world: MakeWorld) -> None:
    world = make_world(expand=ExpandSettings(enabled=True))
    await world.add("a", "wombat")
    await world.add("b", "comb")
    result = await world.search("vombat")
    assert result.hits[0].item.id == "a"
    assert result.hits[0].influences[0].detail.endswith('and "wombat"')
    calls = world.encoder.calls["embed/text"]
    await world.search("vombat")
    assert world.encoder.calls["embed/text"] == calls, "the phrase's embedding is cached"


async def test_only_typed_texts_are_expanded(world: World) -> None:
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setparams((1, 2, 16000, 0, "NONE", ""))
        out.writeframes(bytes(32000))
    heard = file.getvalue()
    world.encoder.says[heard] = Transcript("Vombat.", -0.1)
    await world.add("a", "wombat")
    await world.add("b", "comb")
    assert all(not hit.influences for hit in (await world.search(heard)).hits)
    pictures = await world.search("vombat", targets=(Modality.IMAGE, Modality.VIDEO))
    assert "expand" not in {stage.stage for stage in pictures.stages}


async def test_mixed_queries_are_not_expanded(make_world: MakeWorld) -> None:
    world = make_world(expand=ExpandSettings(enabled=True, below=1.0))
    await stock(world)
    result = await world.search("amphibian", "frog")
    assert all(not hit.influences for hit in result.hits)


async def test_a_failure_leaves_the_plain_answer_and_is_said(make_world: MakeWorld) -> None:
    world = make_world(expand=ExpandSettings(enabled=True))
    await stock(world)
    plain = await world.search("amphibian frog", options=OFF, mmr_lambda=1.0)
    world.store.fail["vectors"] = UnavailableError("milvus", "away")
    failed = await world.search("amphibian frog", mmr_lambda=1.0)
    assert failed.hits == plain.hits
    assert failed.degraded == ("expand: milvus unavailable",)


async def test_it_ends_within_its_budget(make_world: MakeWorld) -> None:
    world = make_world(expand=ExpandSettings(enabled=True), budget=BudgetSettings(expand_s=0.05))
    await stock(world)
    plain = await world.search("amphibian frog", options=OFF, mmr_lambda=1.0)
    world.store.delay_s["vectors"] = 30.0
    async with asyncio.timeout(10):
        late = await world.search("amphibian frog", mmr_lambda=1.0)
    assert late.hits == plain.hits
    assert late.degraded == ("expand: deadline",)
    assert world.store.cancelled["vectors"] == 1


async def test_pages_do_not_overlap(make_world: MakeWorld) -> None:
    world = make_world(
        expand=ExpandSettings(enabled=True, below=1.0), retrieve=RetrieveSettings(rows_per_search=15)
    )
    for i in range(30):
        await world.add(f"i{i:02}", f"frog number {i} {'green' * (i % 3)}")
    whole = [hit.item.id for hit in (await world.search("frogs numbers number", limit=100)).hits]
    pages = [
        hit.item.id
        for offset in range(0, 35, 7)
        for hit in (await world.search("frogs numbers number", limit=7, offset=offset)).hits
    ]
    assert pages == whole
    assert len(set(whole)) == len(whole) >= 15


async def test_min_score_counts_after_the_round(make_world: MakeWorld) -> None:
    world = make_world(expand=ExpandSettings(enabled=True))
    await stock(world)
    scores = {hit.item.id: hit.score for hit in (await world.search("amphibian frog")).hits}
    least = sorted(scores.values())[-2]
    result = await world.search("amphibian frog", min_score=least)
    assert {hit.item.id for hit in result.hits} == {item for item in scores if scores[item] >= least}
    with pytest.raises(RequestError):
        await world.search("frog", min_score=2.0)
