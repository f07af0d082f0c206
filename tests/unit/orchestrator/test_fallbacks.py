"""What is left of an answer when a part of Triton or Milvus is down, behind the real breakers."""

from __future__ import annotations

import asyncio
import dataclasses
import io
import wave

import numpy as np
import pytest
from fakes import EMBEDDING_SET
from fixtures_orchestrator import MakeWorld, World
from PIL import Image

from media import Modality
from orchestrator.errors import CircuitOpenError, DependencyDeadlineError, UnavailableError
from orchestrator.guarded import GuardedEncoder, GuardedStore
from orchestrator.lineup import Served
from orchestrator.query import QueryPart, SearchOptions
from orchestrator.runtime import Runtime
from orchestrator.settings import BreakerSettings, BudgetSettings, RetrySettings
from orchestrator.types import Transcript

DOWN = UnavailableError("triton", "down")


def sound() -> bytes:
    samples = np.sin(np.arange(16000) * 440 * 2 * np.pi / 16000) * 8000
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(16000)
        out.writeframes(samples.astype("<i2").tobytes())
    return file.getvalue()


def picture() -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (8, 8), "red").save(file, "PNG")
    return file.getvalue()


def guarded(world: World) -> tuple[GuardedEncoder, GuardedStore]:
    """Puts the world's runtime behind breakers, as the composition root does."""
    encoder, store = GuardedEncoder(world.encoder, world.settings), GuardedStore(world.store, world.settings)
    runtime = Runtime("r", "r", world.embedding_set, world.encoder, store, world.common, None, encoder)
    world.served = Served(runtime)
    encoder.guards.report_to(world.service.metrics)
    store.guards.report_to(world.service.metrics)
    return encoder, store


@pytest.fixture
async def shop(make_world: MakeWorld) -> World:
    world = make_world(
        breaker=BreakerSettings(failures=3, open_s=60.0, max_open_s=60.0),
        retry=RetrySettings(share=0, saved=0),
        embedding_set=dataclasses.replace(EMBEDDING_SET, rerank_for=frozenset({"text"})),
    )
    guarded(world)
    for item_id, title in [("frog", "green frog"), ("red-car", "red car"), ("tree", "green tree")]:
        await world.add(item_id, title)
    return world


def value(world: World, name: str, **labels: str) -> float | None:
    return world.service.metrics.registry.get_sample_value(name, labels)


async def test_a_sound_that_cannot_be_embedded_is_searched_by_its_words(shop: World) -> None:
    spoken = sound()
    shop.encoder.says[spoken] = Transcript("green frog", -0.1)
    shop.encoder.fail["embed/audio"] = DOWN
    result = await shop.search(spoken)
    assert result.hits[0].item.id == "frog"
    assert result.degraded == ("embed: part 0: triton unavailable",)
    assert {signal.space for signal in result.hits[0].signals} == {"transcript"}
    assert result.parts[0].transcript == "green frog"


async def test_words_of_a_sound_mix_with_other_parts(shop: World) -> None:
    spoken = sound()
    shop.encoder.says[spoken] = Transcript("frog", -0.1)
    shop.encoder.fail["embed/audio"] = DOWN
    result = await shop.search("green", spoken)
    assert result.hits[0].item.id == "frog"
    assert result.degraded == ("embed: part 1: triton unavailable",)


async def test_a_sound_without_words_that_cannot_be_embedded_is_an_error(shop: World) -> None:
    shop.encoder.fail["embed/audio"] = DOWN
    with pytest.raises(UnavailableError):
        await shop.search(sound())


async def test_a_sound_whose_words_cannot_be_had_is_searched_as_it_is(shop: World) -> None:
    shop.encoder.fail["transcribe"] = DOWN
    result = await shop.search(sound())
    assert result.hits
    assert result.degraded == ("transcribe: triton unavailable",)


async def test_without_the_text_encoder_a_sound_is_searched_as_it_is(shop: World) -> None:
    spoken = sound()
    shop.encoder.says[spoken] = Transcript("green frog", -0.1)
    shop.encoder.fail["embed/text"] = DOWN
    result = await shop.search(spoken)
    assert result.hits
    assert result.degraded == ("transcribe: triton unavailable",)


@pytest.mark.parametrize("modality", ["image", "audio"])
async def test_a_mixed_query_falls_back_to_its_text(shop: World, modality: str) -> None:
    shop.encoder.fail[f"embed/{modality}"] = DOWN
    result = await shop.search("green frog", picture() if modality == "image" else sound())
    assert result.hits[0].item.id == "frog"
    assert result.degraded == ("embed: part 1: triton unavailable",)


async def test_an_open_breaker_costs_no_call_and_is_said(shop: World) -> None:
    shop.encoder.fail["embed/image"] = DOWN
    for _ in range(5):
        result = await shop.search("green frog", picture())
        assert result.hits[0].item.id == "frog"
    assert shop.encoder.calls["embed/image"] == 3
    assert result.degraded == ("embed: part 1: triton circuit_open",)
    with pytest.raises(CircuitOpenError) as error:
        await shop.search(picture())
    assert 0 < error.value.retry_after_s <= 75.0
    # The other modalities know nothing of it.
    assert (await shop.search("green frog")).degraded == ()
    assert value(shop, "sensorium_breaker_state", dependency="triton", call="embed_image") == 2
    assert value(shop, "sensorium_breaker_state", dependency="triton", call="embed_text") == 0
    assert value(shop, "sensorium_breaker_openings_total", dependency="triton", call="embed_image") == 1


async def test_callers_that_give_up_at_once_open_nothing(shop: World) -> None:
    shop.encoder.delay_s["embed/image"] = 30.0
    for _ in range(5):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await shop.search(picture())
    assert value(shop, "sensorium_breaker_state", dependency="triton", call="embed_image") == 0


async def test_a_server_that_hangs_is_left_alone(make_world: MakeWorld) -> None:
    world = make_world(
        breaker=BreakerSettings(failures=2, slow_s=0.05, open_s=60.0, max_open_s=60.0),
        budget=BudgetSettings(embed_s=0.3),
    )
    guarded(world)
    await world.add("frog", "green frog")
    world.encoder.delay_s["embed/image"] = 30.0
    for place in range(3):
        result = await world.search("green frog", picture() + bytes(place))
        assert result.hits
    assert result.degraded == ("embed: part 1: triton circuit_open",)
    assert world.encoder.running["embed/image"] == 0


async def test_without_the_re_ranker_the_fused_order_stands(shop: World) -> None:
    shop.encoder.fail["rerank"] = DOWN
    for _ in range(5):
        result = await shop.search("green frog", mmr_lambda=1.0)
    assert shop.encoder.calls["rerank"] == 3
    assert result.degraded == ("rerank: triton circuit_open",)
    fused = await shop.search("green frog", mmr_lambda=1.0, options=SearchOptions(rerank=False))
    assert [(hit.item.id, hit.score) for hit in result.hits] == [(h.item.id, h.score) for h in fused.hits]


async def test_one_modality_of_milvus_leaves_the_others(shop: World) -> None:
    shop.store.fail["search/image"] = DependencyDeadlineError("milvus", "slow")
    shop.store.fail["search/video"] = UnavailableError("milvus", "away")
    for _ in range(5):
        result = await shop.search("green frog")
        assert result.hits[0].item.id == "frog"
    assert set(result.degraded) == {"retrieve: image: deadline", "retrieve: video: milvus circuit_open"}
    assert shop.store.calls["search/video"] == 3
    assert value(shop, "sensorium_breaker_state", dependency="milvus", call="unified/video") == 2
    assert value(shop, "sensorium_breaker_state", dependency="milvus", call="unified/text") == 0


async def test_a_read_that_fails_once_is_read_again(make_world: MakeWorld) -> None:
    world = make_world(retry=RetrySettings(pause_s=0.001))
    encoder, _ = guarded(world)
    tries = []

    async def embed(modality: Modality, data: bytes | str, deadline_s: float) -> object:
        tries.append(deadline_s)
        if len(tries) == 1:
            raise DOWN
        return "embedded"

    world.encoder.embed = embed  # type: ignore[method-assign,assignment]
    assert await encoder.embed(Modality.TEXT, "frog", 5.0) == "embedded"
    assert tries[1] < tries[0] == 5.0
    assert value(world, "sensorium_retries_total", dependency="triton", outcome="again") == 1


async def test_what_an_answer_can_do_without_is_not_tried_again(make_world: MakeWorld) -> None:
    world = make_world(retry=RetrySettings(pause_s=0.001))
    encoder, _ = guarded(world)
    world.encoder.fail["transcribe"] = DOWN
    with pytest.raises(UnavailableError):
        await encoder.transcribe(b"sound", [], 5.0)
    assert world.encoder.calls["transcribe"] == 1


async def test_the_refusal_names_when_to_come_back(shop: World) -> None:
    from orchestrator.rest.answers import error_response

    shop.encoder.fail["embed/image"] = DOWN
    for _ in range(3):
        with pytest.raises(UnavailableError):
            await shop.search(picture())
    with pytest.raises(CircuitOpenError) as error:
        await shop.search(QueryPart(picture()))
    response = error_response(error.value)
    assert response.status_code == 503
    assert 1 <= int(response.headers["retry-after"]) <= 75
    assert b"circuit_open" in bytes(response.body)
