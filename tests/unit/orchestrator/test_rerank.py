"""Stage rerank on fakes: what it reads, what it changes, and that the fused order stands when it fails."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import numpy as np
import pytest
from fakes import EMBEDDING_SET, direction
from fixtures_orchestrator import MakeWorld, World

from media import Modality
from orchestrator.errors import DependencyDeadlineError, ProtocolError, UnavailableError
from orchestrator.query import QueryPart, SearchOptions, SearchResult
from orchestrator.settings import BudgetSettings, RerankSettings
from orchestrator.types import RERANK_KINDS, FloatArray, RerankInputs, Transcript
from tests.unit.orchestrator.test_search_pipeline import picture, sound

TRAINED = replace(EMBEDDING_SET, rerank_for=frozenset({"text", "mixed"}))
ASKED, FORGONE = SearchOptions(rerank=True), SearchOptions(rerank=False)


@pytest.fixture
async def world(make_world: MakeWorld) -> World:
    return await stocked(make_world(TRAINED))


async def stocked(world: World) -> World:
    for item_id, title in [("frog", "green frog"), ("car", "red car"), ("tree", "green tree")]:
        await world.add(item_id, title)
    return world


def backwards(world: World) -> None:
    """The re-ranker likes what fusion likes least."""

    async def rerank(inputs: RerankInputs, deadline_s: float) -> FloatArray:
        world.encoder.reranked.append(inputs)
        return (1 - inputs.fused).astype(np.float32)

    world.encoder.rerank = rerank  # type: ignore[method-assign]


def ids(result: SearchResult) -> list[str]:
    return [hit.item.id for hit in result.hits]


async def test_a_search_among_pictures_does_not_read_texts(world: World) -> None:
    for item_id, colour in [("lime", "green"), ("rose", "red")]:
        await world.add(item_id, f"{colour} thing", picture(colour))
    await world.search("green frog", options=ASKED)
    await world.search("green frog", options=ASKED, targets=(Modality.IMAGE, Modality.AUDIO))
    read = [[given.rows[:, place].any() for place in range(4)] for given in world.encoder.reranked]
    everywhere, among_pictures = read
    assert everywhere[:2] == [True, True]
    assert among_pictures[:2] == [False, True]


async def test_its_scores_order_the_hits_and_each_hit_says_what_changed(world: World) -> None:
    fused = await world.search("green frog", mmr_lambda=1.0, options=FORGONE)
    backwards(world)
    result = await world.search("green frog", mmr_lambda=1.0)
    assert ids(result) == ids(fused)[::-1]
    before = {hit.item.id: hit.score for hit in fused.hits}
    for hit in result.hits:
        assert hit.score == pytest.approx(1 - before[hit.item.id], abs=1e-6)
        (influence,) = hit.influences
        assert influence.stage == "rerank"
        assert influence.change == pytest.approx(hit.score - before[hit.item.id], abs=1e-6)
    assert "from place 1 to 3" in result.hits[-1].influences[0].detail
    assert "stays at place 2" in result.hits[1].influences[0].detail


async def test_what_it_reads(world: World) -> None:
    await world.search("green frog", mmr_lambda=1.0)
    (inputs,) = world.encoder.reranked
    assert inputs.query_kind.tolist() == [RERANK_KINDS["text"]]
    assert inputs.query_weight.tolist() == [1.0]
    assert np.array_equal(inputs.query[0], direction("green frog"))
    assert inputs.rows.shape == (3, 4, 1024)
    assert np.array_equal(inputs.rows[0, 0], direction("green frog"))
    assert not inputs.rows[:, 1:].any()
    # one signal each, so what was found is the fused score
    assert np.allclose(inputs.evidence[:, 0, 0], inputs.fused)
    assert (np.diff(inputs.fused) < 0).all()


async def test_weights_and_transcripts_are_parts_of_what_it_reads(world: World) -> None:
    spoken = sound()
    world.encoder.means[spoken] = "noise"
    world.encoder.says[spoken] = Transcript("green frog", float(np.log(0.5)))
    await world.search(spoken, QueryPart("red car", -2.0), mmr_lambda=1.0, options=ASKED)
    (inputs,) = world.encoder.reranked
    names = {number: name for name, number in RERANK_KINDS.items()}
    assert [names[kind] for kind in inputs.query_kind] == ["audio", "transcript", "text"]
    assert inputs.query_weight.tolist() == [1.0, 1.0, -2.0]
    assert np.array_equal(inputs.query[1], direction("green frog"))


async def test_native_and_unified_evidence_is_the_better_one(world: World) -> None:
    croak = sound()
    world.encoder.means[croak] = "croak"
    await world.add("croaker", "something", croak)
    result = await world.search(croak, mmr_lambda=1.0, options=ASKED)
    place = ids(result).index("croaker")
    assert {signal.space for signal in result.hits[place].signals} == {"unified", "audio"}
    (inputs,) = world.encoder.reranked
    best = max(s.score for s in result.hits[place].signals if s.item_modality is Modality.AUDIO)
    assert inputs.evidence[:, 0, 2].max() == pytest.approx(best)


async def test_only_the_first_candidates_are_read_and_the_others_follow(make_world: MakeWorld) -> None:
    world = await stocked(make_world(TRAINED, rerank=RerankSettings(pool=2)))
    fused = ids(await world.search("green frog", mmr_lambda=1.0, options=FORGONE))
    backwards(world)
    found = await world.search("green frog", mmr_lambda=1.0)
    assert ids(found) == [fused[1], fused[0], fused[2]]
    assert found.hits[2].influences == ()
    pages = [ids(await world.search("green frog", mmr_lambda=1.0, limit=1, offset=i)) for i in range(3)]
    assert [item for page in pages for item in page] == ids(found)


async def test_min_score_cuts_off_what_it_left_over(world: World) -> None:
    backwards(world)
    result = await world.search("green frog", min_score=0.5, mmr_lambda=1.0)
    assert "frog" not in ids(result)
    assert result.candidates == len(result.hits) == 2


async def test_milvus_is_asked_once_for_the_vectors(world: World) -> None:
    result = await world.search("green frog", mmr_lambda=0.5)
    assert world.encoder.calls["rerank"] == 1
    assert world.store.calls["vectors"] == 1
    names = [time.stage for time in result.stages]
    assert {"rerank", "rerank/milvus", "rerank/triton"} <= set(names)
    assert "diversify/milvus" not in names


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (UnavailableError("triton", "x"), "rerank: triton unavailable"),
        (DependencyDeadlineError("triton", "x"), "rerank: deadline"),
        (ProtocolError("triton", "no such model"), "rerank: triton protocol"),
    ],
)
async def test_the_fused_order_stands_when_it_fails(world: World, error: Exception, said: str) -> None:
    fused = ids(await world.search("green frog", options=FORGONE))
    world.encoder.fail["rerank"] = error
    result = await world.search("green frog")
    assert ids(result) == fused
    assert result.degraded == (said,)
    assert all(hit.influences == () for hit in result.hits)


async def test_beyond_its_budget_the_fused_order_stands(make_world: MakeWorld) -> None:
    world = await stocked(make_world(TRAINED, budget=BudgetSettings(rerank_s=0.05)))
    world.encoder.delay_s["rerank"] = 30.0
    result = await world.search("green frog")
    assert result.degraded == ("rerank: deadline",)
    assert ids(result)[0] == "frog"
    assert world.encoder.cancelled["rerank"] == 1


async def test_without_vectors_it_does_not_guess(world: World) -> None:
    world.store.fail["vectors"] = UnavailableError("milvus", "x")
    result = await world.search("green frog", mmr_lambda=1.0)
    assert result.degraded == ("rerank: milvus unavailable",)
    assert world.encoder.calls["rerank"] == 0


async def test_a_vector_that_is_gone_is_a_row_of_zeros_and_not_asked_for_twice(world: World) -> None:
    ask = world.store.vectors

    async def lossy(keys: list[str], version: str, deadline_s: float) -> dict[str, FloatArray]:
        return {
            key: vector for key, vector in (await ask(keys, version, deadline_s)).items() if "car" not in key
        }

    world.store.vectors = lossy  # type: ignore[method-assign, assignment]
    await world.search("red car", mmr_lambda=0.5)
    (inputs,) = world.encoder.reranked
    assert not inputs.rows[0].any()
    assert inputs.rows[1].any()
    assert world.store.calls["vectors"] == 1


@pytest.mark.parametrize(
    ("kinds", "options", "runs"),
    [
        ({"text"}, SearchOptions(), True),
        ({"image"}, SearchOptions(), False),
        (set(), ASKED, True),
        ({"text"}, FORGONE, False),
    ],
)
async def test_kinds_of_query_and_options_decide(
    make_world: MakeWorld, kinds: set[str], options: SearchOptions, runs: bool
) -> None:
    world = await stocked(make_world(replace(EMBEDDING_SET, rerank_for=frozenset(kinds))))
    result = await world.search("green frog", options=options)
    assert world.encoder.calls["rerank"] == int(runs)
    assert result.degraded == ()


async def test_untrained_it_is_off_and_asking_for_it_says_so(make_world: MakeWorld) -> None:
    world = await stocked(make_world())
    assert (await world.search("green frog")).degraded == ()
    assert (await world.search("green frog", options=ASKED)).degraded == ("rerank: no trained model",)
    assert world.encoder.calls["rerank"] == 0


async def test_a_cancelled_caller_cancels_it(world: World) -> None:
    world.encoder.delay_s["rerank"] = 30.0
    task = asyncio.create_task(world.search("green frog"))
    await asyncio.sleep(0.3)
    assert world.encoder.running["rerank"] == 1
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert world.encoder.cancelled["rerank"] == 1
