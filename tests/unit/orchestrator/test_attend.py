"""Attention fusion in stage compose, on fakes: when it runs, what it changes, what stands when it fails."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from fakes import EMBEDDING_SET, direction
from fixtures_orchestrator import MakeWorld, World

from media import Modality
from orchestrator.composed_score import ComposedScore, RowScore
from orchestrator.errors import DependencyDeadlineError, UnavailableError
from orchestrator.query import QueryPart, SearchOptions, SearchResult
from orchestrator.settings import BudgetSettings
from orchestrator.types import RERANK_KINDS, AttendInputs, FloatArray

ROWS = {modality: RowScore(1.0, 20.0, 5.0) for modality in Modality}
ON = ComposedScore(True, 1.0, -5.0, ROWS)
TRAINED = replace(EMBEDDING_SET, attend={"text": ON, "text-text": replace(ON, default=False)})
ASKED, FORGONE = SearchOptions(attend=True), SearchOptions(attend=False)
PARTS = ("green frog", "red")


@pytest.fixture
async def world(make_world: MakeWorld) -> World:
    return await stocked(make_world(TRAINED))


async def stocked(world: World) -> World:
    for item_id, title in [("frog", "green frog"), ("car", "red car"), ("tree", "green tree")]:
        await world.add(item_id, title)
    return world


def points_at(world: World, words: str) -> None:
    async def attend(inputs: AttendInputs, deadline_s: float) -> FloatArray:
        world.encoder.attended.append(inputs)
        return np.tile(direction(words), (4, 1))

    world.encoder.attend = attend  # type: ignore[method-assign]


def ids(result: SearchResult) -> list[str]:
    return [hit.item.id for hit in result.hits]


async def test_what_it_composes_orders_the_hits_and_each_says_so(world: World) -> None:
    fused = await world.search(*PARTS, mmr_lambda=1.0, options=FORGONE)
    points_at(world, "green tree")
    result = await world.search(*PARTS, mmr_lambda=1.0)
    assert ids(fused)[0] != "tree"
    assert ids(result)[0] == "tree"
    before = {hit.item.id: hit for hit in fused.hits}
    for hit in result.hits:
        (influence,) = hit.influences
        assert influence.stage == "compose"
        assert influence.change == pytest.approx(hit.score - before[hit.item.id].score, abs=1e-6)
        assert hit.signals == before[hit.item.id].signals
    assert "compose/triton" in [time.stage for time in result.stages]


async def test_what_it_reads(world: World) -> None:
    await world.search("green frog", QueryPart("red", -2.0), options=ASKED)
    (inputs,) = world.encoder.attended
    assert inputs.query_kind.tolist() == [RERANK_KINDS["text"]] * 2
    assert inputs.query_weight.tolist() == [1.0, -2.0]
    assert np.array_equal(inputs.query[0], direction("green frog"))
    assert inputs.native.shape == (2, 512)
    assert not inputs.native.any()


@pytest.mark.parametrize(
    ("parts", "options", "runs"),
    [
        (PARTS, SearchOptions(), True),
        (PARTS, FORGONE, False),
        (("green frog",), ASKED, False),
        (("green frog", QueryPart("red", -1.0)), SearchOptions(), False),
        (("green frog", QueryPart("red", -1.0)), ASKED, True),
    ],
)
async def test_kinds_of_query_and_options_decide(
    world: World, parts: tuple[str | QueryPart, ...], options: SearchOptions, runs: bool
) -> None:
    result = await world.search(*parts, options=options)
    assert world.encoder.calls["attend"] == int(runs)
    assert result.degraded == ()


async def test_asking_for_what_was_not_trained_says_so(make_world: MakeWorld) -> None:
    world = await stocked(make_world())
    assert (await world.search(*PARTS)).degraded == ()
    assert (await world.search(*PARTS, options=ASKED)).degraded == ("compose: no trained model",)
    world = await stocked(make_world(replace(EMBEDDING_SET, attend={"image+text": ON})))
    assert (await world.search(*PARTS, options=ASKED)).degraded == ("compose: not trained for text",)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (UnavailableError("triton", "x"), "compose: triton unavailable"),
        (DependencyDeadlineError("triton", "x"), "compose: deadline"),
    ],
)
async def test_weighted_averaging_stands_when_it_fails(world: World, error: Exception, said: str) -> None:
    plain = await world.search(*PARTS, options=FORGONE)
    world.encoder.fail["attend"] = error
    result = await world.search(*PARTS)
    assert ids(result) == ids(plain)
    assert [hit.score for hit in result.hits] == [hit.score for hit in plain.hits]
    assert result.degraded == (said,)


async def test_weighted_averaging_stands_when_it_is_late(make_world: MakeWorld) -> None:
    world = await stocked(make_world(TRAINED, budget=BudgetSettings(compose_s=0.05)))
    world.encoder.delay_s["attend"] = 30.0
    result = await world.search(*PARTS)
    assert result.degraded == ("compose: deadline",)
    assert world.encoder.cancelled["attend"] == 1
    assert all(hit.influences == () for hit in result.hits)


def test_the_share_mixes_log_odds_and_a_missing_row_adds_nothing() -> None:
    alone = replace(ON, share=0.0)
    assert alone.mixed({Modality.TEXT: 0.9}, 0.3) == pytest.approx(0.3)
    assert ON.mixed({}, 0.9) == pytest.approx(1 / (1 + np.exp(5)))
    assert ON.mixed({Modality.TEXT: 0.9}, 0.3) > ON.mixed({Modality.TEXT: 0.2}, 0.3)
