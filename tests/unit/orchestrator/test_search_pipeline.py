"""The pipeline on fakes: what it finds, what it says when something fails, that nothing is left running."""

import numpy as np
import pytest
from fakes import direction
from fixtures_orchestrator import MakeWorld, World
from search_support import picture, sound, stock

from media import Modality
from orchestrator.errors import (
    DependencyDeadlineError,
    UnavailableError,
)
from orchestrator.query import QueryPart
from orchestrator.settings import (
    BudgetSettings,
    DiversifySettings,
    RetrieveSettings,
)
from orchestrator.trace import STAGES
from orchestrator.types import Transcript


async def test_a_text_finds_its_item(world: World) -> None:
    await stock(world)
    result = await world.search("green frog")
    assert result.hits[0].item.title == "green frog"
    assert result.hits[0].score > 0.9
    assert result.degraded == ()
    assert result.candidates == 4
    assert result.embedding_version == "fake-1"
    (signal,) = result.hits[0].signals
    assert signal.similarity == pytest.approx(1.0)
    assert (signal.query_modality, signal.item_modality) == (Modality.TEXT, Modality.TEXT)


async def test_every_stage_is_timed_and_waits_are_told_apart(world: World) -> None:
    await stock(world)
    world.encoder.delay_s["embed"] = 0.05
    world.store.delay_s["search"] = 0.05
    result = await world.search(sound(), user="u", request_id="r")
    times = {stage.stage: stage.ms for stage in result.stages}
    sometimes = ("cache", "route", "hop", "expand", "cross_attention", "rerank")
    always = [stage for stage in STAGES if stage not in sometimes]
    assert [stage for stage in times if "/" not in stage] == always
    assert times["embed"] >= times["embed/triton"] > 40
    assert times["retrieve"] >= times["retrieve/milvus"] > 40
    assert result.total_ms >= times["embed"] + times["retrieve"]


async def test_the_second_time_the_embedding_is_cached(world: World) -> None:
    await stock(world)
    assert not (await world.search("frog")).parts[0].cached
    assert (await world.search("frog")).parts[0].cached
    assert world.encoder.calls["embed/text"] == 4 + 1


async def test_a_picture_is_known_by_its_content(world: World) -> None:
    red = picture("red")
    world.encoder.means[red] = "red car"
    await stock(world)
    result = await world.search(red)
    assert (result.parts[0].modality, result.parts[0].format) == (Modality.IMAGE, "png")
    assert result.hits[0].item.id == "red-car"


async def test_pages_follow_each_other_without_overlap(world: World) -> None:
    for i in range(30):
        await world.add(f"i{i:02}", f"frog number {i} {'green' * (i % 3)}")
    whole = [hit.item.id for hit in (await world.search("frog number", limit=30)).hits]
    pages = [
        hit.item.id
        for offset in range(0, 30, 7)
        for hit in (await world.search("frog number", limit=7, offset=offset)).hits
    ]
    assert pages == whole
    assert len(set(whole)) == 30
    beyond = await world.search("frog number", offset=500)
    assert beyond.hits == ()
    assert beyond.candidates == 30


async def test_min_score_cuts_off(world: World) -> None:
    await stock(world)
    result = await world.search("green frog", min_score=0.2)
    assert [hit.item.id for hit in result.hits] == ["frog", "tree"]
    assert result.candidates == 2


async def test_targets_limit_what_is_searched(world: World) -> None:
    red = picture("red")
    world.encoder.means[red] = "red car"
    await world.add("a", "something else", red)
    await world.add("b", "red car")
    result = await world.search("red car", targets=(Modality.IMAGE,))
    assert [hit.item.id for hit in result.hits] == ["a"]
    assert world.store.calls["search/text"] == 0


async def test_a_filter_goes_with_every_search(world: World) -> None:
    await stock(world)
    world.store.accepts = lambda row, expression: row.category == "x" and expression == "made up"
    await world.add("x", "red car", category="x")
    result = await world.search("car", QueryPart("blue", -1.0), expression="made up")
    assert [hit.item.id for hit in result.hits] == ["x"]
    assert all("made up" in expression for expression in world.store.expressions)


# ---- several parts ----


async def test_both_parts_of_a_mixed_query_count(world: World) -> None:
    await stock(world)
    result = await world.search("car", "red", mmr_lambda=1.0)
    assert result.hits[0].item.id == "red-car"
    assert {signal.part for signal in result.hits[0].signals} == {0, 1}


async def test_weights_decide_between_parts(world: World) -> None:
    await stock(world)
    more_frog = await world.search(QueryPart("frog", 5.0), QueryPart("car", 1.0), mmr_lambda=1.0)
    more_car = await world.search(QueryPart("frog", 1.0), QueryPart("car", 5.0), mmr_lambda=1.0)
    assert more_frog.hits[0].item.id == "frog"
    assert more_car.hits[0].item.id in {"red-car", "blue-car"}


async def test_a_negative_part_pushes_away(world: World) -> None:
    await stock(world)
    result = await world.search("car", QueryPart("red", -1.0), mmr_lambda=1.0)
    ids = [hit.item.id for hit in result.hits]
    assert ids[0] == "blue-car"
    assert ids.index("blue-car") < ids.index("red-car")
    disliked = next(hit for hit in result.hits if hit.item.id == "red-car")
    assert min(signal.weight for signal in disliked.signals) == -1.0


async def test_an_item_near_to_all_parts_is_found_though_it_is_near_the_top_of_none(
    make_world: MakeWorld,
) -> None:
    world = make_world(retrieve=RetrieveSettings(rows_per_search=5))
    for i in range(20):
        await world.add(f"a{i}", f"alpha alpha alpha n{i}")
        await world.add(f"b{i}", f"beta beta beta n{i}")
    await world.add("both", "alpha beta gamma")
    result = await world.search("alpha", "beta")
    assert result.hits[0].item.id == "both"


async def test_without_the_second_pass_the_answer_says_so(world: World) -> None:
    await stock(world)

    async def failing_later(*args: object, **kwargs: object) -> object:
        if "item_id in" in str(args):
            raise UnavailableError("milvus", "down")
        return await plain(*args, **kwargs)  # type: ignore[arg-type]

    plain = world.store.search
    world.store.search = failing_later  # type: ignore[method-assign, assignment]
    result = await world.search("car", "red")
    assert result.hits
    assert any(note.startswith("retrieve: parts were not weighed") for note in result.degraded)


# ---- sounds ----


async def test_speech_searches_beside_the_sound(world: World) -> None:
    await stock(world)
    spoken = sound()
    world.encoder.says[spoken] = Transcript("green frog", -0.1)
    result = await world.search(spoken)
    assert result.parts[0].transcript == "green frog"
    assert result.hits[0].item.id == "frog"
    spaces = {signal.space for signal in result.hits[0].signals}
    assert spaces == {"unified", "transcript"}
    transcript = next(s for s in result.hits[0].signals if s.space == "transcript")
    assert transcript.weight == pytest.approx(np.exp(-0.1))
    assert world.encoder.phrases == ["green frog", "red car", "blue car", "green tree"]


async def test_a_mumble_is_not_searched(world: World) -> None:
    await stock(world)
    spoken = sound()
    world.encoder.says[spoken] = Transcript("frog", -5.0)
    result = await world.search(spoken)
    assert result.parts[0].transcript == ""
    assert result.degraded == ()


async def test_no_transcript_is_a_degraded_answer(world: World) -> None:
    await stock(world)
    world.encoder.fail["transcribe"] = DependencyDeadlineError("triton", "slow")
    result = await world.search(sound())
    assert result.hits
    assert result.degraded == ("transcribe: deadline",)


async def test_a_transcript_beyond_its_budget_is_given_up(make_world: MakeWorld) -> None:
    world = make_world(budget=BudgetSettings(transcribe_s=0.05))
    await stock(world)
    world.encoder.delay_s["transcribe"] = 30.0
    result = await world.search(sound())
    assert result.hits
    assert result.degraded == ("transcribe: deadline",)
    assert world.encoder.running["transcribe"] == 0


async def test_the_native_space_and_the_moment(world: World) -> None:
    spoken = sound()
    world.encoder.means[spoken] = "croak"
    await world.add("frog", "frog", spoken)
    result = await world.search(spoken)
    spaces = {(s.item_modality, s.space) for s in result.hits[0].signals}
    assert (Modality.AUDIO, "audio") in spaces
    moment = result.hits[0].moment
    assert moment is not None
    assert (moment.modality, moment.media_index, moment.end_s) == (Modality.AUDIO, 0, 1.0)


async def test_a_long_sound_is_cut_and_pooled(world: World) -> None:
    await stock(world)
    result = await world.search(sound(70.0))
    assert result.parts[0].modality is Modality.AUDIO
    assert world.encoder.calls["embed/audio"] == 3
    assert world.encoder.calls["transcribe"] == 1
    assert result.degraded == ()


async def test_the_end_of_a_very_long_sound_is_not_left_out_in_silence(make_world: MakeWorld) -> None:
    world = make_world(retrieve=RetrieveSettings(max_query_segments=2))
    await stock(world)
    result = await world.search(sound(70.0))
    assert world.encoder.calls["embed/audio"] == 2
    assert result.degraded == ("embed: part 0: only its first 55 s are searched",)


# ---- diversity ----


async def test_a_twin_goes_behind_something_else_unless_asked_otherwise(make_world: MakeWorld) -> None:
    world = make_world(diversify=DiversifySettings(min_share=0.3))
    await world.add("a1", "red car")
    await world.add("a2", "red car")
    await world.add("b", "red bus car stop")
    diverse = [hit.item.id for hit in (await world.search("red car")).hits]
    plain = [hit.item.id for hit in (await world.search("red car", mmr_lambda=1.0)).hits]
    assert plain == ["a1", "a2", "b"]
    assert diverse == ["a1", "b", "a2"]


async def test_what_is_hardly_relevant_never_comes_in_for_diversity(world: World) -> None:
    await world.add("a1", "red car")
    await world.add("a2", "red car")
    await world.add("z", "something quite different")
    ids = [hit.item.id for hit in (await world.search("red car", mmr_lambda=0.0)).hits]
    assert ids == ["a1", "a2", "z"]


def test_directions_of_the_fakes_mean_what_tests_take_them_for() -> None:
    near = float(direction("red car") @ direction("red bus"))
    far = float(direction("red car") @ direction("green frog"))
    assert near > 0.4 > 0.2 > far
