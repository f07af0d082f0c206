"""A query that the rows of its own modality answer with confidence does without the others."""

from __future__ import annotations

import io
import wave

import pytest
from fixtures_orchestrator import MakeWorld, World
from PIL import Image

from media import Modality
from orchestrator.errors import DependencyDeadlineError, UnavailableError
from orchestrator.query import QueryPart, SearchResult
from orchestrator.settings import RetrieveSettings
from orchestrator.types import Transcript

OTHERS = [f"search/{modality.value}" for modality in Modality if modality is not Modality.TEXT]


@pytest.fixture
def routed(make_world: MakeWorld) -> World:
    return make_world(retrieve=RetrieveSettings(route_at=0.5))


def stages(result: SearchResult) -> set[str]:
    return {stage.stage for stage in result.stages}


async def stock(world: World) -> None:
    for item_id, title in [("frog", "green frog"), ("car", "red car"), ("tree", "green tree")]:
        await world.add(item_id, title)


def red() -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (8, 8), "red").save(file, "PNG")
    return file.getvalue()


def second_of_silence() -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(16000)
        out.writeframes(bytes(32000))
    return file.getvalue()


async def test_by_default_every_modality_is_searched(world: World) -> None:
    await stock(world)
    assert "route" not in stages(await world.search("green frog"))
    assert all(world.store.calls[name] == 1 for name in OTHERS)


async def test_a_sure_text_searches_no_other_modality(routed: World) -> None:
    await stock(routed)
    result = await routed.search("green frog")
    assert result.hits[0].item.id == "frog"
    assert "route" in stages(result)
    assert result.degraded == ()
    assert [routed.store.calls[name] for name in OTHERS] == [0, 0, 0]


async def test_an_unsure_text_is_answered_as_without_routes(routed: World, world: World) -> None:
    for each in (routed, world):
        each.encoder.means[red()] = "violet bicycle"
        await stock(each)
        await each.add("bicycle", "no words for it", red())
    result, plain = [await each.search("violet bicycle") for each in (routed, world)]
    assert [(hit.item.id, hit.score) for hit in result.hits] == [
        (hit.item.id, hit.score) for hit in plain.hits
    ]
    assert "route" not in stages(result)
    assert [routed.store.calls[name] for name in OTHERS] == [1, 1, 1]


async def test_when_its_own_index_fails_the_others_answer(routed: World) -> None:
    routed.encoder.means[red()] = "violet bicycle"
    await routed.add("bicycle", "no words for it", red())
    routed.store.fail["search/text"] = DependencyDeadlineError("milvus", "slow")
    result = await routed.search("violet bicycle")
    assert result.hits[0].item.id == "bicycle"
    assert result.degraded == ("retrieve: text: deadline",)


async def test_when_the_others_fail_its_own_answer_stands(routed: World) -> None:
    await stock(routed)
    for name in OTHERS:
        routed.store.fail[name] = UnavailableError("milvus", "down")
    result = await routed.search("violet")
    assert result.hits
    assert len(result.degraded) == 3
    routed.store.fail["search"] = UnavailableError("milvus", "down")
    with pytest.raises(UnavailableError):
        await routed.search("violet")


async def test_what_was_said_is_looked_for_everywhere(routed: World) -> None:
    await stock(routed)
    said = second_of_silence()
    routed.encoder.says[said] = Transcript("green frog", -0.1)
    await routed.add("croak", "a sound", said)
    assert "route" not in stages(await routed.search(said))
    assert routed.store.calls["search/text"] == 1


async def test_several_parts_are_looked_for_everywhere(routed: World) -> None:
    await stock(routed)
    await routed.search("green frog", QueryPart("red car"))
    assert all(routed.store.calls[name] for name in OTHERS)
