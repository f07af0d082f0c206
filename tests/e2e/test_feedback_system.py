"""Feedback on the real system: clicks change the order for one user, and erasing them changes it back."""

from __future__ import annotations

from typing import Any

import grpc
import httpx
import pytest

from sensorium.v1 import sensorium_pb2 as pb
from sensorium.v1 import sensorium_pb2_grpc as rpc


@pytest.fixture
def stub(system: Any) -> Any:
    with grpc.insecure_channel(system.grpc_target) as channel:
        yield rpc.SensoriumStub(channel)


def search(stub: Any, user: str = "", **fields: Any) -> pb.SearchResponse:
    request = pb.SearchRequest(
        parts=[pb.QueryPart(text="something for the kitchen")], user=user, limit=20, mmr_lambda=1.0, **fields
    )
    response: pb.SearchResponse = stub.Search(request, timeout=30)
    assert not response.degraded
    return response


def ids(response: pb.SearchResponse) -> list[str]:
    return [hit.item.id for hit in response.hits]


def test_feedback_changes_the_order_until_it_is_erased(stub: Any, system: Any) -> None:
    plain = search(stub)
    colours = [tag for hit in plain.hits[10:] for tag in hit.item.tags[1:2]]
    wanted = max(set(colours), key=colours.count)
    try:
        for _ in range(4):
            answer = search(stub, "ann")
            events = [
                pb.FeedbackEvent(request_id=answer.request_id, item_id=hit.item.id, kind=kind, position=place)
                for place, hit in enumerate(answer.hits, 1)
                if wanted in hit.item.tags
                for kind in (pb.FeedbackEvent.CLICK, pb.FeedbackEvent.ADD)
            ]
            stored = stub.Feedback(pb.FeedbackRequest(user="ann", events=events), timeout=10)
            assert stored.stored == len(events) > 0
            again = stub.Feedback(pb.FeedbackRequest(user="ann", events=events), timeout=10)
            assert (again.stored, again.known) == (0, len(events))

        def mean_place(response: pb.SearchResponse) -> float:
            places = [place for place, hit in enumerate(response.hits) if wanted in hit.item.tags]
            return sum(places) / len(places)

        own = search(stub, "ann")
        assert mean_place(own) < mean_place(plain)
        assert all(hit.influences[0].stage == "personalise" for hit in own.hits)
        assert any(wanted in hit.influences[0].detail for hit in own.hits)
        assert ids(search(stub)) == ids(plain)
        assert ids(search(stub, "ann", options=pb.SearchOptions(personalise=False))) == ids(plain)
    finally:
        erased = httpx.delete(f"{system.rest_url}/v1/users/ann", timeout=10)
    assert erased.status_code == 200
    assert erased.json()["requests"] >= 4
    assert ids(search(stub, "ann")) == ids(plain)
    stub.EraseUser(pb.EraseUserRequest(user="ann"), timeout=10)
