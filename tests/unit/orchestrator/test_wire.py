"""Messages to values and back: no field is lost, defaults are the API's."""

from dataclasses import replace

import pytest

from media import Modality
from orchestrator.errors import FilterError, PartError, RequestError
from orchestrator.query import (
    Hit,
    Influence,
    Moment,
    PartInfo,
    Priority,
    QueryPart,
    SearchOptions,
    SearchResult,
    Signal,
    StageTime,
)
from orchestrator.types import CatalogueItem, MediaInfo, Outcome, RowHit, UpsertOutcome
from orchestrator.wire import (
    draft_from_message,
    error_message,
    item_message,
    kept_answer,
    query_from_message,
    response_message,
    upsert_message,
)
from sensorium.v1 import sensorium_pb2 as pb

ITEM = CatalogueItem(
    "i", "t", "d", "c", ("x", "y"), 1.5, True, (MediaInfo(Modality.AUDIO, "ogg", "ab", 2.0),)
)


def unset(message: object) -> list[str]:
    """Paths of fields that hold their default, all the way down."""
    found = []
    for field in message.DESCRIPTOR.fields:  # type: ignore[attr-defined]
        value = getattr(message, field.name)
        if field.is_repeated:
            if not value:
                found.append(field.name)
            elif field.message_type:
                found += [f"{field.name}.{name}" for name in unset(value[0])]
        elif field.message_type:
            if not message.HasField(field.name):  # type: ignore[attr-defined]
                found.append(field.name)
            else:
                found += [f"{field.name}.{name}" for name in unset(value)]
        elif not value:
            found.append(field.name)
    return found


def test_an_option_that_is_unset_is_left_to_the_server() -> None:
    request = pb.SearchRequest(parts=[pb.QueryPart(text="x")], user="somebody")
    assert query_from_message(request).options == SearchOptions()
    request.options.rerank = False
    request.options.expand = True
    query = query_from_message(request)
    assert query.options == SearchOptions(rerank=False, expand=True)
    assert query.user == "somebody"


def test_every_field_of_an_answer_is_reachable() -> None:
    row = RowHit("i", Modality.AUDIO, 1, 2, 3.0, 4.0, 0.5)
    signal = Signal(1, Modality.TEXT, Modality.AUDIO, "unified", 0.5, 0.6, 0.7, row)
    hit = Hit(ITEM, 0.9, (signal,), Moment(Modality.AUDIO, 1, 3.0, 4.0), (Influence("rerank", "why", -0.1),))
    result = SearchResult(
        hits=(hit,),
        candidates=7,
        parts=(PartInfo(Modality.AUDIO, "wav", "frog", True),),
        stages=(StageTime("embed", 1.0),),
        total_ms=2.0,
        degraded=("embed: deadline",),
        embedding_version="v",
        release="r1",
    )
    message = response_message(replace(result, kept=kept_answer(result), cached=True), "r")
    # Media bytes are never answered.
    assert unset(message) == ["hits.item.media.data"]


def test_defaults_are_those_of_the_api() -> None:
    query = query_from_message(pb.SearchRequest(parts=[pb.QueryPart(text="a")]))
    assert query.priority is Priority.INTERACTIVE
    batch = pb.SearchRequest(parts=[pb.QueryPart(text="a")], priority=pb.Priority.BATCH)
    assert query_from_message(batch).priority is Priority.BATCH
    assert query.parts == (QueryPart("a", 1.0),)
    assert (query.limit, query.offset, query.min_score, query.mmr_lambda) == (10, 0, 0.0, None)
    assert query.targets == tuple(Modality)
    assert query.expression == ""


def test_what_is_set_arrives() -> None:
    request = pb.SearchRequest(
        parts=[pb.QueryPart(data=b"x", weight=-2.0)],
        filter=pb.Filter(available=True),
        target_modalities=[pb.VIDEO, pb.IMAGE, pb.VIDEO],
        limit=3,
        offset=4,
        min_score=0.25,
        mmr_lambda=0.0,
    )
    query = query_from_message(request)
    assert query.parts == (QueryPart(b"x", -2.0),)
    assert query.targets == (Modality.VIDEO, Modality.IMAGE)
    assert query.expression == "available == true"
    assert (query.limit, query.offset, query.min_score, query.mmr_lambda) == (3, 4, 0.25, 0.0)


def test_a_weight_of_0_is_not_an_unset_one() -> None:
    query = query_from_message(pb.SearchRequest(parts=[pb.QueryPart(text="a", weight=0.0)]))
    assert query.parts[0].weight == 0.0


@pytest.mark.parametrize(
    ("request_", "error"),
    [
        (pb.SearchRequest(parts=[pb.QueryPart()]), RequestError),
        (
            pb.SearchRequest(parts=[pb.QueryPart(text="a")], target_modalities=[pb.MODALITY_UNSPECIFIED]),
            RequestError,
        ),
        (pb.SearchRequest(parts=[pb.QueryPart(text="a")], target_modalities=[77]), RequestError),  # type: ignore[list-item]
        (pb.SearchRequest(parts=[pb.QueryPart(text="a")], filter=pb.Filter()), FilterError),
        (pb.SearchRequest(parts=[pb.QueryPart(text="a")], priority=77), RequestError),  # type: ignore[arg-type]
    ],
)
def test_what_makes_no_query_is_an_error(request_: pb.SearchRequest, error: type[Exception]) -> None:
    with pytest.raises(error):
        query_from_message(request_)


def test_an_item_there_and_back() -> None:
    message = item_message(ITEM)
    draft = draft_from_message(message)
    assert (draft.id, draft.title, draft.description, draft.category) == ("i", "t", "d", "c")
    assert (draft.tags, draft.price, draft.available) == (("x", "y"), 1.5, True)


def test_an_item_without_price_or_availability() -> None:
    draft = draft_from_message(pb.Item(id="i"))
    assert draft.price is None
    assert draft.available is True
    assert draft_from_message(pb.Item(id="i", available=False, price=0)).available is False
    assert draft_from_message(pb.Item(id="i", price=0)).price == 0
    assert not item_message(CatalogueItem("i")).HasField("price")


def test_a_refused_item_carries_its_error() -> None:
    error = PartError("media.corrupt", "why", part=0, kind="png", limit="x=1")
    message = upsert_message(UpsertOutcome("i", Outcome.REFUSED, error=error))
    assert message.outcome == pb.UpsertResult.REFUSED
    assert message.error == pb.Error(code="media.corrupt", message="why", part=0, kind="png", limit="x=1")


def test_part_0_is_not_no_part() -> None:
    assert error_message(RequestError("a", part=0)).HasField("part")
    assert not error_message(RequestError("a")).HasField("part")
