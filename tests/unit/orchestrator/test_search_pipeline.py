"""The pipeline on fakes: what it finds, what it says when something fails, that nothing is left running."""

import asyncio
import io
import wave

import numpy as np
import pytest
from fakes import direction
from fixtures_orchestrator import MakeWorld, World
from PIL import Image

from media import Modality
from orchestrator.errors import (
    DeadlineError,
    DependencyDeadlineError,
    OverloadedError,
    PartError,
    RequestError,
    SchemaMismatchError,
    TooLargeError,
    UnavailableError,
)
from orchestrator.query import QueryPart, SearchQuery
from orchestrator.settings import (
    AdmissionSettings,
    BudgetSettings,
    DiversifySettings,
    RetrieveSettings,
)
from orchestrator.trace import STAGES
from orchestrator.types import Transcript


def sound(seconds: float = 1.0, tone_hz: float = 440.0) -> bytes:
    """A WAV file, 16 kHz mono."""
    samples = np.sin(np.arange(int(seconds * 16000)) * tone_hz * 2 * np.pi / 16000) * 8000
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(16000)
        out.writeframes(samples.astype("<i2").tobytes())
    return file.getvalue()


def picture(colour: str) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (8, 8), colour).save(file, "PNG")
    return file.getvalue()


async def stock(world: World) -> None:
    for item_id, title in [
        ("frog", "green frog"),
        ("red-car", "red car"),
        ("blue-car", "blue car"),
        ("tree", "green tree"),
    ]:
        await world.add(item_id, title)


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


# ---- failures ----


@pytest.mark.parametrize(
    ("query", "error"),
    [
        (SearchQuery(parts=()), RequestError),
        (SearchQuery(parts=(QueryPart("a"),) * 9), TooLargeError),
        (SearchQuery(parts=(QueryPart("a", 0.0),)), RequestError),
        (SearchQuery(parts=(QueryPart("a", float("nan")),)), RequestError),
        (SearchQuery(parts=(QueryPart("a", 11.0),)), RequestError),
        (SearchQuery(parts=(QueryPart("a", -1.0),)), RequestError),
        (SearchQuery(parts=(QueryPart("a"),), limit=101), RequestError),
        (SearchQuery(parts=(QueryPart("a"),), offset=1001), RequestError),
        (SearchQuery(parts=(QueryPart("a"),), min_score=1.5), RequestError),
        (SearchQuery(parts=(QueryPart("a"),), min_score=float("nan")), RequestError),
        (SearchQuery(parts=(QueryPart("a"),), mmr_lambda=-0.1), RequestError),
        (SearchQuery(parts=(QueryPart("a"),), targets=()), RequestError),
    ],
)
async def test_what_cannot_be_answered_is_refused_before_it_costs_anything(
    world: World, query: SearchQuery, error: type[Exception]
) -> None:
    with pytest.raises(error):
        await world.answer(query)
    assert not world.encoder.calls


@pytest.mark.parametrize(
    ("content", "code"),
    [(" ", "media.empty"), (b"", "media.empty"), (b"PK\x03\x04" + bytes(100), "media.unsupported")],
)
async def test_bad_content_names_its_part(world: World, content: str | bytes, code: str) -> None:
    with pytest.raises(PartError) as refused:
        await world.search("fine", content)
    assert refused.value.part == 1
    assert refused.value.code == code


async def test_content_that_a_decoder_refuses_names_its_part(world: World) -> None:
    world.encoder.fail["embed/image"] = PartError("media.corrupt", "broken", kind="png")
    with pytest.raises(PartError) as refused:
        await world.search("fine", picture("red"))
    assert (refused.value.part, refused.value.code) == (1, "media.corrupt")


async def test_one_target_less_is_said(world: World) -> None:
    await stock(world)
    world.store.fail["search/image"] = DependencyDeadlineError("milvus", "slow")
    result = await world.search("frog")
    assert result.hits[0].item.id == "frog"
    assert result.degraded == ("retrieve: image: deadline",)


async def test_a_search_that_hangs_is_cut_off(make_world: MakeWorld) -> None:
    world = make_world(budget=BudgetSettings(retrieve_s=0.1))
    await stock(world)
    world.store.delay_s["search/video"] = 30.0
    result = await world.search("frog")
    assert result.hits
    assert result.degraded == ("retrieve: video: deadline",)


@pytest.mark.parametrize("error", [UnavailableError("milvus", "down"), SchemaMismatchError("gone")])
async def test_nothing_searched_is_an_error_and_not_an_empty_answer(world: World, error: Exception) -> None:
    world.store.fail["search"] = error
    with pytest.raises(type(error)):
        await world.search("frog")


async def test_one_part_less_is_said(world: World) -> None:
    await stock(world)
    world.encoder.fail["embed/image"] = UnavailableError("triton", "down")
    result = await world.search("frog", picture("red"))
    assert result.hits[0].item.id == "frog"
    assert result.degraded == ("embed: part 1: triton unavailable",)


async def test_no_positive_part_embedded_is_an_error(world: World) -> None:
    await stock(world)
    world.encoder.fail["embed/image"] = UnavailableError("triton", "down")
    with pytest.raises(UnavailableError):
        await world.search(picture("red"), QueryPart("frog", -1.0))


async def test_without_vectors_the_fused_order_stands(world: World) -> None:
    await stock(world)
    world.store.fail["vectors"] = UnavailableError("milvus", "down")
    result = await world.search("green frog", "green tree")
    assert result.degraded == ("diversify: milvus unavailable",)
    scores = [hit.score for hit in result.hits]
    assert scores == sorted(scores, reverse=True)


async def test_without_the_item_store_hits_have_ids(world: World) -> None:
    await stock(world)
    world.items.fail["get_many"] = UnavailableError("item store", "locked")
    result = await world.search("green frog")
    assert result.hits[0].item.id == "frog"
    assert result.hits[0].item.title == ""
    assert result.degraded == ("answer: item fields: item store unavailable",)


async def test_an_item_deleted_meanwhile_is_left_out_and_said(world: World) -> None:
    await stock(world)
    del world.items.items["frog"]
    result = await world.search("green frog")
    assert "frog" not in [hit.item.id for hit in result.hits]
    assert result.degraded == ("answer: 1 found but no longer stored",)


async def test_the_callers_deadline_bounds_the_whole(world: World) -> None:
    world.store.delay_s["search"] = 30.0
    world.encoder.delay_s["embed"] = 30.0
    query = SearchQuery(parts=(QueryPart("frog"),))
    with pytest.raises((DeadlineError, TimeoutError)):
        await asyncio.wait_for(world.answer(query, 0.1), 5)
    await asyncio.sleep(0)
    assert world.encoder.running["embed"] == 0


async def test_a_cancelled_caller_cancels_the_work(world: World) -> None:
    world.encoder.delay_s["embed"] = 30.0
    world.encoder.delay_s["transcribe"] = 30.0
    query = SearchQuery(parts=(QueryPart("frog"), QueryPart(sound())))
    task = asyncio.create_task(world.answer(query))
    await asyncio.sleep(0.3)
    assert (world.encoder.running["embed"], world.encoder.running["transcribe"]) == (2, 1)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await asyncio.sleep(0)
    assert world.encoder.running.total() == 0
    assert world.common.gate.active == 0


@pytest.mark.parametrize(
    "call", ["embed", "transcribe", "vocabulary", "search", "vectors", "get_many", "history", "record"]
)
async def test_whatever_stage_a_caller_leaves_in_its_place_is_free_at_once(
    make_world: MakeWorld, call: str
) -> None:
    world = make_world(admission=AdmissionSettings(max_concurrent=1))
    await stock(world)
    fakes = (world.encoder, world.store, world.items, world.feedback)
    for fake in fakes:
        fake.delay_s[call] = 30.0
    query = SearchQuery(parts=(QueryPart("car"), QueryPart(sound())), user="ann", request_id="r")
    task = asyncio.create_task(world.answer(query))
    for _ in range(2000):
        if any(fake.running[call] for fake in fakes):
            break
        await asyncio.sleep(0.01)
    assert world.common.gate.active == 1
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert world.common.gate.active == 0
    await asyncio.sleep(0)
    assert not any(fake.running[call] for fake in fakes)
    for fake in fakes:
        fake.delay_s.clear()
    assert (await world.search("green frog")).hits


async def test_more_at_once_than_may_wait_are_turned_away(make_world: MakeWorld) -> None:
    world = make_world(admission=AdmissionSettings(max_concurrent=2, max_waiting=3))
    await stock(world)
    world.store.delay_s["search"] = 0.05
    results = await asyncio.gather(*(world.search(f"frog {i}") for i in range(10)), return_exceptions=True)
    assert sum(isinstance(result, OverloadedError) for result in results) == 5
    assert sum(not isinstance(result, Exception) for result in results) == 5
    assert (world.common.gate.active, world.pipeline.gate.waiting) == (0, 0)


async def test_a_waiting_caller_that_leaves_gives_its_place_up(make_world: MakeWorld) -> None:
    world = make_world(admission=AdmissionSettings(max_concurrent=1, max_waiting=1))
    await stock(world)
    world.store.delay_s["search"] = 0.1
    first = asyncio.create_task(world.search("frog"))
    second = asyncio.create_task(world.search("car"))
    await asyncio.sleep(0.02)
    assert world.common.gate.waiting == 1
    second.cancel()
    await asyncio.gather(second, return_exceptions=True)
    assert world.common.gate.waiting == 0
    assert (await first).hits
    assert (await world.search("tree")).hits


async def test_a_tenant_waits_for_one_turn_whoever_its_users_are(make_world: MakeWorld) -> None:
    world = make_world(admission=AdmissionSettings(max_concurrent=1, max_wait_s=60))
    await stock(world)
    world.store.delay_s["search"] = 0.01
    answered: list[str] = []

    async def ask(tenant: str, user: str, number: int) -> None:
        await world.search(f"frog {number}", permission=tenant, user=user, caller=f"key-of-{tenant}")
        answered.append(tenant)

    async with asyncio.TaskGroup() as group:
        for number in range(12):
            group.create_task(ask("acme", f"user-{number}", number))
        await asyncio.sleep(0)
        for number in range(3):
            group.create_task(ask("birch", "ann", 100 + number))
    assert answered.count("acme") == 12
    assert max(place for place, tenant in enumerate(answered) if tenant == "birch") <= 8


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
