"""Stage cross_attention on fakes: off unless asked for, what it moves, and that else the order stands."""

from __future__ import annotations

import numpy as np
import pytest
from fakes import direction
from fixtures_orchestrator import MakeWorld, World
from pydantic import ValidationError

from media import Modality
from orchestrator.errors import UnavailableError
from orchestrator.query import QueryPart, SearchOptions, SearchResult
from orchestrator.settings import CrossAttentionSettings
from orchestrator.types import FloatArray
from tests.unit.orchestrator.test_search_pipeline import picture

ASKED = SearchOptions(cross_attention=True)


@pytest.fixture
async def world(make_world: MakeWorld) -> World:
    return await stocked(make_world())


async def stocked(world: World) -> World:
    for item_id, title in [("frog", "green frog"), ("car", "red car"), ("tree", "green tree")]:
        await world.add(item_id, title, picture("green" if "green" in title else "red"))
    return world


def stages(result: SearchResult) -> set[str]:
    return {stage.stage for stage in result.stages}


async def test_it_is_off_unless_asked_for_or_for_what_it_is_the_default(
    world: World, make_world: MakeWorld
) -> None:
    assert "cross_attention" not in stages(await world.search("green frog"))
    assert "cross_attention" in stages(await world.search("green frog", options=ASKED))
    mixes = CrossAttentionSettings(default_for=("image+text",))
    on = await stocked(make_world(cross_attention=mixes))
    assert "cross_attention" not in stages(await on.search("green frog"))
    assert "cross_attention" not in stages(await on.search(picture("green")))
    assert "cross_attention" in stages(await on.search("green frog", picture("green")))
    assert "cross_attention" in stages(await on.search(picture("green"), "green frog"))
    forgone = SearchOptions(cross_attention=False)
    assert "cross_attention" not in stages(await on.search("green frog", picture("green"), options=forgone))


@pytest.mark.parametrize("kind", ["picture", "text+image", "text+text", "", "image+"])
def test_what_no_query_is_made_of_is_refused(kind: str) -> None:
    with pytest.raises(ValidationError, match="modality"):
        CrossAttentionSettings(default_for=(kind,))


async def test_a_part_that_pushes_away_is_not_attended_with(world: World) -> None:
    result = await world.search("green frog", QueryPart("red car", -1.0), options=ASKED)
    assert "cross_attention" not in stages(result)


async def test_scores_move_by_the_similarity_of_what_was_attended_to(make_world: MakeWorld) -> None:
    settings = CrossAttentionSettings(temperature=0.05, gain=3.0)
    world = await stocked(make_world(cross_attention=settings))
    plain = await world.search("green frog", mmr_lambda=1.0, targets=(Modality.TEXT,))
    moved = await world.search("green frog", mmr_lambda=1.0, targets=(Modality.TEXT,), options=ASKED)
    before = {hit.item.id: hit.score for hit in plain.hits}
    titles = {"frog": "green frog", "car": "red car", "tree": "green tree"}
    # One row of each item is looked in, so all attention is on it.
    similarity = {name: float(direction("green frog") @ direction(title)) for name, title in titles.items()}
    mean = np.mean([similarity[name] for name in before])
    for hit in moved.hits:
        odds = before[hit.item.id] / (1 - before[hit.item.id])
        odds *= np.exp(3.0 * (similarity[hit.item.id] - mean))
        assert hit.score == pytest.approx(odds / (1 + odds), abs=1e-4)
        (influence,) = hit.influences
        assert influence.stage == "cross_attention"
        assert influence.change == pytest.approx(hit.score - before[hit.item.id], abs=1e-6)


async def test_only_the_first_are_moved_and_the_others_follow(make_world: MakeWorld) -> None:
    world = await stocked(make_world(cross_attention=CrossAttentionSettings(pool=2)))
    plain = await world.search("green frog", mmr_lambda=1.0)
    found = await world.search("green frog", mmr_lambda=1.0, options=ASKED)
    assert found.hits[2].item.id == plain.hits[2].item.id
    assert found.hits[2].influences == ()


async def test_without_vectors_the_order_stands_and_the_answer_says_so(world: World) -> None:
    plain = await world.search("green frog", mmr_lambda=1.0)

    async def fail(*_: object) -> dict[str, FloatArray]:
        raise UnavailableError("milvus", "gone")

    world.store.vectors = fail  # type: ignore[method-assign]
    result = await world.search("green frog", mmr_lambda=1.0, options=ASKED)
    assert [hit.item.id for hit in result.hits] == [hit.item.id for hit in plain.hits]
    assert any(each.startswith("cross_attention: ") for each in result.degraded)


async def test_rows_that_are_gone_move_nobody(world: World) -> None:
    plain = await world.search("green frog", mmr_lambda=1.0)

    async def none(*_: object) -> dict[str, FloatArray]:
        return {}

    world.store.vectors = none  # type: ignore[method-assign]
    result = await world.search("green frog", mmr_lambda=1.0, options=ASKED)
    assert [hit.score for hit in result.hits] == pytest.approx([hit.score for hit in plain.hits], abs=1e-5)
    assert not result.degraded


async def test_a_stored_vector_that_is_none_is_said(world: World) -> None:
    async def broken(keys: list[str], *_: object) -> dict[str, FloatArray]:
        return {key: np.full(1024, np.nan, np.float32) for key in keys}

    world.store.vectors = broken  # type: ignore[method-assign]
    result = await world.search("green frog", mmr_lambda=1.0, options=ASKED)
    assert result.hits
    assert any(each.startswith("cross_attention: ") for each in result.degraded)
