"""What is counted of an answered search, by pairs of modalities, through the real service over fakes."""

from __future__ import annotations

from fixtures_orchestrator import MakeWorld, World

from orchestrator.access.caller import EVERYONE
from orchestrator.errors import DependencyDeadlineError
from sensorium.v1 import sensorium_pb2 as pb


def value(world: World, name: str, **labels: str) -> float:
    return world.service.metrics.registry.get_sample_value(name, labels) or 0.0


def ask(text: str, **fields: object) -> pb.SearchRequest:
    return pb.SearchRequest(parts=[pb.QueryPart(text=text)], **fields)


async def test_a_pair_counts_what_was_searched_and_what_was_found(world: World) -> None:
    await world.add("frog", "green frog")
    await world.service.search(ask("green frog"), caller=EVERYONE)
    assert value(world, "sensorium_answers_total", modality="text") == 1
    assert value(world, "sensorium_empty_answers_total", modality="text") == 0
    pair = {"modality": "text", "target": "text"}
    assert value(world, "sensorium_pair_searches_total", **pair) == 1
    assert value(world, "sensorium_pair_empty_total", **pair) == 0
    assert value(world, "sensorium_pair_score_count", **pair) == 1
    assert 0 < value(world, "sensorium_pair_score_sum", **pair) <= 1
    # Nothing has a sound, so nothing was found through one.
    assert value(world, "sensorium_pair_empty_total", modality="text", target="audio") == 1
    assert value(world, "sensorium_pair_score_count", modality="text", target="audio") == 0


async def test_an_empty_catalogue_gives_an_empty_answer(world: World) -> None:
    await world.service.search(ask("green frog"), caller=EVERYONE)
    assert value(world, "sensorium_empty_answers_total", modality="text") == 1
    assert value(world, "sensorium_pair_empty_total", modality="text", target="text") == 1


async def test_what_was_not_searched_is_not_counted(world: World) -> None:
    await world.service.search(ask("green frog", target_modalities=[pb.IMAGE]), caller=EVERYONE)
    assert value(world, "sensorium_pair_searches_total", modality="text", target="image") == 1
    assert value(world, "sensorium_pair_searches_total", modality="text", target="text") == 0


async def test_later_pages_are_no_measure(world: World) -> None:
    await world.add("frog", "green frog")
    await world.service.search(ask("green frog", offset=10), caller=EVERYONE)
    assert value(world, "sensorium_answers_total", modality="text") == 0
    assert value(world, "sensorium_empty_answers_total", modality="text") == 0


async def test_a_degraded_answer_counts_once(world: World) -> None:
    await world.add("frog", "green frog")
    world.store.fail["search/image"] = DependencyDeadlineError("milvus", "slow")
    world.store.fail["search/video"] = DependencyDeadlineError("milvus", "slow")
    response = await world.service.search(ask("green frog"), caller=EVERYONE)
    assert len(response.degraded) > 1
    assert value(world, "sensorium_degraded_answers_total", modality="text") == 1


async def test_the_served_embedding_version_is_told(make_world: MakeWorld) -> None:
    world = make_world()
    served = world.embedding_set
    name = "sensorium_embedding_set_info"
    assert value(world, name, profile=served.profile, version=served.version) == 1


def test_every_pair_is_there_from_the_start(world: World) -> None:
    """A series that began with its first count would hide that count from every rate."""
    get = world.service.metrics.registry.get_sample_value
    for modality in ("text", "image", "audio", "video", "mixed"):
        assert get("sensorium_degraded_answers_total", {"modality": modality}) == 0
        for target in ("text", "image", "audio", "video"):
            assert get("sensorium_pair_empty_total", {"modality": modality, "target": target}) == 0
