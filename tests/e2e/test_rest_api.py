"""The REST face on a free port, over fakes: calls, forms, errors, files, and what it keeps out."""

import asyncio
import base64
import json

import httpx
import pytest
from fakes import VERSION
from fixtures_orchestrator import MakeWorld, Serving
from fixtures_rest import Rest, picture, typed
from google.protobuf.json_format import ParseDict

from orchestrator.errors import OverloadedError, UnavailableError
from orchestrator.settings import AdmissionSettings
from sensorium.v1 import sensorium_pb2 as pb

# ---- search ----


async def test_a_request_may_name_the_release_that_answers(rest: Rest) -> None:
    world, client = rest
    question = {"parts": [{"text": "green frog"}]}
    answer = await client.post("/v1/search", json=question, headers={"X-Sensorium-Release": VERSION})
    assert answer.json()["release"] == VERSION
    refused = await client.post("/v1/search", json=question, headers={"X-Sensorium-Release": "no-such"})
    assert (refused.status_code, typed(refused).code) == (400, "request.invalid")
    status = (await client.get("/v1/status")).json()
    assert (status["release"], status["releases"][VERSION]["role"]) == (VERSION, "current")
    assert world.served.current.searches == 0


async def test_search_by_json(rest: Rest) -> None:
    response = await rest[1].post("/v1/search", json={"parts": [{"text": "green frog"}], "limit": 1})
    assert response.status_code == 200
    answer = ParseDict(response.json(), pb.SearchResponse())
    assert [hit.item.id for hit in answer.hits] == ["frog"]
    assert response.json()["totalMs"] > 0


async def test_search_by_base64(rest: Rest) -> None:
    data = base64.b64encode(picture()).decode()
    response = await rest[1].post("/v1/search", json={"parts": [{"data": data}]})
    assert response.json()["parts"][0]["format"] == "png"
    assert response.json()["hits"][0]["item"]["id"] == "car"


async def test_search_by_form(rest: Rest) -> None:
    request = {"parts": [{"text": "frog", "weight": -1}, {"file": "part1", "weight": 2.5}]}
    files = {"request": (None, json.dumps(request)), "part1": ("evil/../name.exe", picture(), "text/html")}
    response = await rest[1].post("/v1/search", files=files)
    assert response.status_code == 200, response.text
    assert [part["modality"] for part in response.json()["parts"]] == ["TEXT", "IMAGE"]
    assert response.json()["hits"][0]["item"]["id"] == "car"


async def test_parts_of_a_form_may_share_a_file(rest: Rest) -> None:
    request = {"parts": [{"file": "part0"}, {"file": "part0", "weight": 2}]}
    files = {"request": (None, json.dumps(request)), "part0": ("a", picture())}
    response = await rest[1].post("/v1/search", files=files)
    assert response.status_code == 200, response.text
    assert [part["modality"] for part in response.json()["parts"]] == ["IMAGE", "IMAGE"]


@pytest.mark.parametrize(
    ("request_", "says"),
    [
        ({"parts": [{"file": "part7"}]}, "not in the request"),
        ({"parts": [{"file": 7}]}, "not in the request"),
        ({"parts": [{"file": "part0", "text": "x"}]}, "both"),
        ({"parts": "x"}, "list"),
        ({"parts": [1]}, "list"),
        ([], "object"),
    ],
)
async def test_a_form_that_does_not_fit(rest: Rest, request_: object, says: str) -> None:
    files = {"request": (None, json.dumps(request_)), "part0": ("a", picture())}
    response = await rest[1].post("/v1/search", files=files)
    assert response.status_code == 400
    assert says in typed(response).message


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b'{"parts": [{"text": 7}]}',
        b'{"unknown": 1}',
        b'{"parts": [{"data": "\xff"}]}',
        b'{"parts": [{"weight": "x", "text": "a"}]}',
        b"[" * 100_000,
        b'{"filter": ' + b'{"not": ' * 5000,
        b'{"parts": [{"text": "\\ud800"}]}',
        b'{"limit": -1, "parts": [{"text": "a"}]}',
        b'{"limit": 1e99, "parts": [{"text": "a"}]}',
    ],
)
async def test_a_body_that_is_no_request(rest: Rest, body: bytes) -> None:
    response = await rest[1].post("/v1/search", content=body, headers={"content-type": "application/json"})
    assert response.status_code == 400
    assert typed(response).code in {"request.invalid", "text.not_utf8"}
    assert (await rest[1].get("/healthz")).status_code == 200


async def test_a_form_that_is_no_form(rest: Rest) -> None:
    for kind in ("multipart/form-data", "multipart/form-data; boundary=x"):
        response = await rest[1].post("/v1/search", content=b"--y\r\n", headers={"content-type": kind})
        assert response.status_code == 400
        assert typed(response).message


async def test_errors_have_the_status_of_their_kind(rest: Rest) -> None:
    world, client = rest
    bad = await client.post("/v1/search", json={"parts": [{"text": "a"}, {"text": " "}]})
    assert (bad.status_code, typed(bad).code, typed(bad).part) == (400, "media.empty", 1)
    world.store.fail["search"] = UnavailableError("milvus", "down")
    down = await client.post("/v1/search", json={"parts": [{"text": "a"}]})
    assert (down.status_code, typed(down).code) == (503, "dependency.unavailable")
    world.store.fail["search"] = OverloadedError("full", retry_after_s=2.3)
    full = await client.post("/v1/search", json={"parts": [{"text": "a"}]})
    assert (full.status_code, typed(full).code) == (429, "server.overloaded")
    assert full.headers["retry-after"] == "3"
    world.store.fail["search"] = KeyError("secret")
    defect = await client.post("/v1/search", json={"parts": [{"text": "a"}]})
    assert (defect.status_code, typed(defect).code) == (500, "internal")
    assert "secret" not in defect.text


async def test_the_callers_deadline(rest: Rest) -> None:
    world, client = rest
    world.encoder.delay_s["embed"] = 30
    late = await client.post(
        "/v1/search", json={"parts": [{"text": "slow"}]}, headers={"Sensorium-Timeout-Ms": "200"}
    )
    assert late.status_code == 504
    assert world.common.gate.active == 0
    for value in ("x", "0", "-1", "nan", "inf"):
        bad = await client.post(
            "/v1/search", json={"parts": [{"text": "a"}]}, headers={"Sensorium-Timeout-Ms": value}
        )
        assert bad.status_code == 400


async def test_the_callers_deadline_bounds_changes_too(rest: Rest) -> None:
    world, client = rest
    world.encoder.delay_s["embed"] = 30
    headers = {"Sensorium-Timeout-Ms": "200"}
    late = await client.put("/v1/items/slow", files={"item": (None, '{"title": "slow"}')}, headers=headers)
    assert late.status_code == 504
    assert (await client.get("/v1/items/slow")).status_code == 404
    bad = {"Sensorium-Timeout-Ms": "soon"}
    assert (await client.get("/v1/items/frog", headers=bad)).status_code == 400
    assert (await client.delete("/v1/items/frog", headers=bad)).status_code == 400


async def test_a_caller_that_hangs_up_ends_the_work(rest: Rest) -> None:
    world, client = rest
    world.store.delay_s["search"] = 30
    with pytest.raises(httpx.ReadTimeout):
        await client.post("/v1/search", json={"parts": [{"text": "slow"}]}, timeout=0.5)
    await asyncio.sleep(0.3)
    assert world.store.running["search"] == 0
    assert world.common.gate.active == 0


async def test_who_finds_it_full_is_told_when_to_come_back(make_world: MakeWorld, serving: Serving) -> None:
    world = make_world(admission=AdmissionSettings(max_concurrent=1, max_waiting=1, max_wait_s=30))
    world.store.delay_s["search"] = 0.5
    async with (
        serving(world) as ports,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{ports.http}", timeout=10) as client,
    ):
        bodies = [{"parts": [{"text": f"frog {number}"}], "priority": "BATCH"} for number in range(4)]
        answers = await asyncio.gather(*(client.post("/v1/search", json=body) for body in bodies))
        assert sorted(answer.status_code for answer in answers) == [200, 200, 429, 429]
        for refused in (answer for answer in answers if answer.status_code == 429):
            assert typed(refused).code == "server.overloaded"
            assert int(refused.headers["retry-after"]) >= 1
        bad = await client.post("/v1/search", json={"parts": [{"text": "a"}], "priority": "URGENT"})
        assert bad.status_code == 400


# ---- items ----


async def test_an_item_is_put_got_and_deleted(rest: Rest) -> None:
    _, client = rest
    put = await client.put("/v1/items/tree", json={"title": "a tree", "tags": ["plant"], "price": 2.5})
    assert put.status_code == 200
    assert put.json() == {"id": "tree", "outcome": "INDEXED", "rows": 1}
    got = await client.get("/v1/items/tree")
    assert got.json() == {
        "id": "tree",
        "title": "a tree",
        "tags": ["plant"],
        "price": 2.5,
        "available": True,
    }
    assert (await client.delete("/v1/items/tree")).json() == {"deleted": 1}
    assert (await client.delete("/v1/items/tree")).json() == {"unknown": 1}
    gone = await client.get("/v1/items/tree")
    assert (gone.status_code, typed(gone).code) == (404, "item.not_found")


async def test_an_item_is_put_as_a_form(rest: Rest) -> None:
    files = [
        ("item", (None, json.dumps({"title": "two pictures"}))),
        ("media", ("a", picture("blue"))),
        ("media", ("b", picture("green"))),
    ]
    put = await rest[1].put("/v1/items/two", files=files)
    assert put.status_code == 200, put.text
    media = (await rest[1].get("/v1/items/two")).json()["media"]
    assert [(m["modality"], m["format"]) for m in media] == [("IMAGE", "png")] * 2
    assert "data" not in media[0]


async def test_an_item_that_is_refused(rest: Rest) -> None:
    bad = await rest[1].put("/v1/items/a%20b", json={"title": "x"})
    assert (bad.status_code, typed(bad).code) == (400, "item.invalid")
    other = await rest[1].put("/v1/items/a", json={"id": "b", "title": "x"})
    assert (other.status_code, typed(other).code) == (400, "request.invalid")


# ---- the rest ----


async def test_the_page_and_its_parts(rest: Rest) -> None:
    page = await rest[1].get("/")
    assert page.headers["content-type"].startswith("text/html")
    script = await rest[1].get("/static/main.js")
    assert "javascript" in script.headers["content-type"]


async def test_liveness_readiness_status_and_the_document(rest: Rest) -> None:
    world, client = rest
    assert (await client.get("/healthz")).status_code == 200
    assert (await client.get("/readyz")).status_code == 200
    assert (await client.get("/v1/status")).json()["items"] == "2"
    assert (await client.get("/openapi.json")).json()["openapi"].startswith("3.1")
    world.store.fail["ready"] = UnavailableError("milvus", "down")
    assert (await client.get("/readyz")).status_code == 503
    assert (await client.get("/healthz")).status_code == 200


async def test_metrics_count_what_happened(rest: Rest) -> None:
    world, client = rest
    world.store.fail["search/image"] = UnavailableError("milvus", "down")
    for _ in range(2):
        await client.post("/v1/search", json={"parts": [{"text": "frog"}]})
    await client.post("/v1/search", json={"parts": []})
    await client.get("/v1/items/nothing/media/0")
    lines = (await client.get("/metrics")).text.splitlines()
    assert 'sensorium_requests_total{method="GetMedia",outcome="item.not_found"} 1.0' in lines
    assert 'sensorium_requests_total{method="Search",outcome="ok"} 2.0' in lines
    assert 'sensorium_requests_total{method="Search",outcome="request.invalid"} 1.0' in lines
    assert 'sensorium_degraded_total{stage="retrieve"} 2.0' in lines
    assert 'sensorium_embeddings_total{modality="text",source="cache"} 1.0' in lines
    assert 'sensorium_stage_seconds_count{modality="text",stage="embed/triton"} 2.0' in lines
    assert 'sensorium_in_flight{method="Search"} 0.0' in lines


async def test_logs_hold_times_and_no_content(rest: Rest, capsys: pytest.CaptureFixture[str]) -> None:
    world, client = rest
    await client.post("/v1/search", json={"parts": [{"text": "sekret words"}], "user": "sekret-person"})
    world.items.fail["get_many"] = KeyError("sekret cause")
    await client.post("/v1/search", json={"parts": [{"text": "sekret words"}]})
    await client.post("/v1/search", json={"parts": [{"text": "a"}], "sekret": 1})
    for content in (picture(), b"sekret bytes"):
        form = {"request": (None, '{"parts": [{"file": "f"}]}'), "f": ("sekret.png", content, "image/sekret")}
        response = await client.post("/v1/search", files=form)
        assert response.status_code in (400, 415, 500)  # 500: the items still fail
    printed = "".join(capsys.readouterr())
    assert "request_id=" in printed
    assert "stages_ms=" in printed
    assert "KeyError" in printed
    assert "sekret" not in printed
