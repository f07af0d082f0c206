"""Between the protobuf messages of ``sensorium.v1`` and the values of the pipeline, both ways.

REST goes through the same functions, after the protobuf JSON mapping, so the two faces cannot drift apart.
"""

from __future__ import annotations

from collections.abc import Mapping

from google.protobuf.message import DecodeError

from orchestrator.errors import RequestError, SensoriumError
from orchestrator.filters import compile_filter
from orchestrator.query import (
    Hit,
    PartInfo,
    Priority,
    QueryPart,
    SearchOptions,
    SearchQuery,
    SearchResult,
    StageTime,
)
from orchestrator.types import CatalogueItem, ItemDraft, MediaInfo, Modality, Outcome, UpsertOutcome
from sensorium.v1 import sensorium_pb2 as pb

__all__ = [
    "draft_from_message",
    "error_message",
    "item_message",
    "kept_answer",
    "query_from_message",
    "response_message",
    "result_of",
    "upsert_message",
]

_DEFAULT_LIMIT = 10

_TO_MESSAGE: Mapping[Modality, pb.Modality] = {
    Modality.TEXT: pb.Modality.TEXT,
    Modality.IMAGE: pb.Modality.IMAGE,
    Modality.AUDIO: pb.Modality.AUDIO,
    Modality.VIDEO: pb.Modality.VIDEO,
}
_FROM_MESSAGE = {message: modality for modality, message in _TO_MESSAGE.items()}
_PRIORITIES: Mapping[int, Priority] = {
    pb.Priority.PRIORITY_UNSPECIFIED: Priority.INTERACTIVE,
    pb.Priority.INTERACTIVE: Priority.INTERACTIVE,
    pb.Priority.BATCH: Priority.BATCH,
}
_OUTCOMES: Mapping[Outcome, pb.UpsertResult.Outcome] = {
    Outcome.INDEXED: pb.UpsertResult.INDEXED,
    Outcome.UNCHANGED: pb.UpsertResult.UNCHANGED,
    Outcome.REFUSED: pb.UpsertResult.REFUSED,
}


def query_from_message(request: pb.SearchRequest, request_id: str = "") -> SearchQuery:
    """A query with the defaults of the API filled in; ``admit`` checks its ranges.

    Raises:
        RequestError: a part without content, or a modality that does not exist.
        FilterError: the filter cannot be compiled.
    """
    parts = []
    for index, part in enumerate(request.parts):
        kind = part.WhichOneof("content")
        if kind is None:
            raise RequestError("a part has no content", part=index)
        content: str | bytes = part.text if kind == "text" else part.data
        parts.append(QueryPart(content, part.weight if part.HasField("weight") else 1.0))
    try:
        # In the order given, each once; several searches of one modality would count its rows twice.
        targets = tuple(dict.fromkeys(_FROM_MESSAGE[target] for target in request.target_modalities))
    except KeyError as error:
        raise RequestError("a target modality is not one of the four") from error
    if request.priority not in _PRIORITIES:
        raise RequestError("there is no such priority")
    return SearchQuery(
        parts=tuple(parts),
        expression=compile_filter(request.filter if request.HasField("filter") else None),
        targets=targets or tuple(Modality),
        limit=request.limit or _DEFAULT_LIMIT,
        offset=request.offset,
        min_score=request.min_score if request.HasField("min_score") else 0.0,
        mmr_lambda=request.mmr_lambda if request.HasField("mmr_lambda") else None,
        user=request.user,
        options=_options(request.options),
        request_id=request_id,
        priority=_PRIORITIES[request.priority],
    )


def _options(message: pb.SearchOptions) -> SearchOptions:
    return SearchOptions(**{field.name: value for field, value in message.ListFields()})


def response_message(result: SearchResult, request_id: str) -> pb.SearchResponse:
    """The answer as a message."""
    message = pb.SearchResponse.FromString(result.kept) if result.kept else _lasting(result)
    if result.cached:
        for part in message.parts:
            part.cached = True
    message.cached = result.cached
    message.stages.extend(pb.StageTime(stage=time.stage, ms=time.ms) for time in result.stages)
    message.total_ms = result.total_ms
    message.degraded.extend(result.degraded)
    message.request_id = request_id
    return message


def kept_answer(result: SearchResult) -> bytes:
    """What may be given again for an equal query: a ``SearchResponse`` without what is one request's own."""
    return _lasting(result).SerializeToString()


def result_of(kept: bytes, stages: tuple[StageTime, ...], total_ms: float) -> SearchResult | None:
    """An answer from the cache, with the times of the request that gets it; None if it cannot be read."""
    try:
        message = pb.SearchResponse.FromString(kept)
        parts = tuple(
            PartInfo(_FROM_MESSAGE[part.modality], part.format, part.transcript, cached=True)
            for part in message.parts
        )
    except (DecodeError, KeyError):
        return None
    return SearchResult(
        hits=(),
        candidates=message.candidates,
        parts=parts,
        stages=stages,
        total_ms=total_ms,
        degraded=(),
        embedding_version=message.embedding_version,
        release=message.release,
        kept=kept,
        cached=True,
    )


def _lasting(result: SearchResult) -> pb.SearchResponse:
    return pb.SearchResponse(
        hits=[_hit_message(hit) for hit in result.hits],
        candidates=result.candidates,
        parts=[
            pb.PartInfo(
                modality=_TO_MESSAGE[part.modality],
                format=part.format,
                transcript=part.transcript,
                cached=part.cached,
            )
            for part in result.parts
        ],
        embedding_version=result.embedding_version,
        release=result.release,
    )


def _hit_message(hit: Hit) -> pb.Hit:
    message = pb.Hit(
        item=item_message(hit.item),
        score=hit.score,
        signals=[
            pb.Signal(
                query_modality=_TO_MESSAGE[signal.query_modality],
                item_modality=_TO_MESSAGE[signal.item_modality],
                space=signal.space,
                similarity=signal.similarity,
                score=signal.score,
                weight=signal.weight,
                part=signal.part,
            )
            for signal in hit.signals
        ],
        influences=[
            pb.Influence(stage=influence.stage, detail=influence.detail, change=influence.change)
            for influence in hit.influences
        ],
    )
    if hit.moment is not None:
        message.moment.modality = _TO_MESSAGE[hit.moment.modality]
        message.moment.media_index = hit.moment.media_index
        message.moment.start_s = hit.moment.start_s
        message.moment.end_s = hit.moment.end_s
    return message


def item_message(item: CatalogueItem) -> pb.Item:
    """A stored item, without the bytes of its media."""
    message = pb.Item(
        id=item.id,
        title=item.title,
        description=item.description,
        category=item.category,
        tags=item.tags,
        available=item.available,
        media=[_media_message(media) for media in item.media],
    )
    if item.price is not None:
        message.price = item.price
    return message


def _media_message(media: MediaInfo) -> pb.Media:
    return pb.Media(
        modality=_TO_MESSAGE[media.modality],
        format=media.format,
        sha256=media.sha256,
        duration_s=media.duration_s,
    )


def draft_from_message(item: pb.Item) -> ItemDraft:
    """An item as sent in; what the server sets itself (modality, format, hash, duration) is not read."""
    return ItemDraft(
        id=item.id,
        title=item.title,
        description=item.description,
        category=item.category,
        tags=tuple(item.tags),
        price=item.price if item.HasField("price") else None,
        available=item.available if item.HasField("available") else True,
        media=tuple(media.data for media in item.media),
    )


def upsert_message(outcome: UpsertOutcome) -> pb.UpsertResult:
    """What became of an item."""
    message = pb.UpsertResult(id=outcome.id, outcome=_OUTCOMES[outcome.outcome], rows=outcome.rows)
    if outcome.error is not None:
        message.error.CopyFrom(error_message(outcome.error))
    return message


def error_message(error: SensoriumError) -> pb.Error:
    """An error as a message."""
    message = pb.Error(code=error.code, message=error.message, kind=error.kind, limit=error.limit)
    if error.part is not None:
        message.part = error.part
    return message
