"""Media and thumbnails over REST: ranges, types, and paths that lead nowhere else."""

import io

import pytest
from fixtures_rest import Rest, picture, typed
from PIL import Image

SVG = b'<svg xmlns="http://www.w3.org/2000/svg" width="8" height="8"><script>alert(1)</script></svg>'


async def test_media_come_with_ranges_and_as_what_they_are(rest: Rest) -> None:
    url = "/v1/items/car/media/0"
    whole = await rest[1].get(url)
    assert whole.content == picture()
    assert whole.headers["content-type"] == "image/png"
    assert whole.headers["x-content-type-options"] == "nosniff"
    assert "sandbox" in whole.headers["content-security-policy"]
    part = await rest[1].get(url, headers={"range": "bytes=2-5"})
    assert (part.status_code, part.content) == (206, picture()[2:6])
    beyond = await rest[1].get(url, headers={"range": "bytes=999999-"})
    assert beyond.status_code == 416
    again = await rest[1].get(url, headers={"if-none-match": whole.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


async def test_an_svg_is_only_downloaded(rest: Rest) -> None:
    world, client = rest
    await world.add("svg", "a drawing", SVG)
    got = await client.get("/v1/items/svg/media/0")
    assert got.headers["content-type"].startswith("image/svg+xml")
    assert got.headers["content-disposition"].startswith("attachment")
    assert "sandbox" in got.headers["content-security-policy"]


async def test_thumbnails(rest: Rest) -> None:
    got = await rest[1].get("/v1/items/car/thumbnail")
    assert got.headers["content-type"] == "image/webp"
    assert Image.open(io.BytesIO(got.content)).size == (64, 48)
    assert (await rest[1].get("/v1/items/car/thumbnail")).content == got.content
    assert (await rest[1].get("/v1/items/frog/thumbnail")).status_code == 404


@pytest.mark.parametrize(
    "path",
    [
        "/v1/items/car/media/1",
        "/v1/items/car/media/-1",
        "/v1/items/car/media/999999999999",
        "/v1/items/car/media/..%2f..%2f..%2fetc%2fpasswd",
        "/v1/items/..%2f..%2fetc%2fpasswd/media/0",
        "/v1/items/ghost/media/0",
        "/static/..%2fservice.py",
        "/static/../service.py",
        "/static/",
        "/docs",
        "/redoc",
        "/nothing",
    ],
)
async def test_paths_lead_nowhere_else(rest: Rest, path: str) -> None:
    got = await rest[1].get(path)
    assert got.status_code in {400, 404}
    assert typed(got).code
