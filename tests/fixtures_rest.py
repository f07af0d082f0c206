"""The REST face over fakes, on a free port, with two items in it."""

import io
from collections.abc import AsyncGenerator

import httpx
import pytest
from fixtures_orchestrator import Serving, World
from google.protobuf.json_format import ParseDict
from PIL import Image

from sensorium.v1 import sensorium_pb2 as pb


def picture(colour: str = "red") -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (64, 48), colour).save(file, "PNG")
    return file.getvalue()


@pytest.fixture
async def rest(world: World, serving: Serving) -> AsyncGenerator[tuple[World, httpx.AsyncClient]]:
    await world.add("frog", "green frog")
    world.encoder.means[picture()] = "red car"
    await world.add("car", "red car", picture())
    async with (
        serving(world) as ports,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{ports.http}", timeout=10) as client,
    ):
        yield world, client


Rest = tuple[World, httpx.AsyncClient]


def typed(response: httpx.Response) -> pb.Error:
    assert response.headers["content-type"] == "application/json"
    body = response.json()
    assert set(body) == {"error"}
    return ParseDict(body["error"], pb.Error())
