"""Between the protobuf messages of feedback and its values."""

from __future__ import annotations

import math
from collections.abc import Mapping

from orchestrator.errors import RequestError, TooLargeError
from orchestrator.feedback import Erased, Event, EventCounts, EventKind, check_user
from sensorium.v1 import sensorium_pb2 as pb

__all__ = ["counts_message", "erased_message", "events_from_message"]

_MAX_EVENTS = 100
_MAX_POSITION = 10_000
_MAX_DWELL_MS = 86_400_000.0
_MAX_ID = 128
_KINDS: Mapping[pb.FeedbackEvent.Kind, EventKind] = {
    pb.FeedbackEvent.CLICK: EventKind.CLICK,
    pb.FeedbackEvent.DWELL: EventKind.DWELL,
    pb.FeedbackEvent.ADD: EventKind.ADD,
    pb.FeedbackEvent.DISMISS: EventKind.DISMISS,
}


def events_from_message(request: pb.FeedbackRequest) -> tuple[Event, ...]:
    """The events of a request, checked; an error's ``part`` is the place of the event.

    Raises:
        RequestError: no user, no event, or one that cannot be.
        TooLargeError: too many events.
    """
    check_user(request.user)
    if not request.events:
        raise RequestError("no events")
    if len(request.events) > _MAX_EVENTS:
        raise TooLargeError("too many events at once", limit=f"max_events={_MAX_EVENTS}")
    return tuple(_event(place, event) for place, event in enumerate(request.events))


def _event(place: int, message: pb.FeedbackEvent) -> Event:
    for name, value in (("request_id", message.request_id), ("item_id", message.item_id)):
        if not 1 <= len(value) <= _MAX_ID:
            raise RequestError(f"an event needs its {name}", part=place, limit=f"max_characters={_MAX_ID}")
    kind = _KINDS.get(message.kind)
    if kind is None:
        raise RequestError("an event needs a kind", part=place)
    if message.position > _MAX_POSITION:
        raise RequestError("position is out of range", part=place, limit=f"max_position={_MAX_POSITION}")
    dwell_ms = message.dwell_ms
    if kind is EventKind.DWELL:
        if not (math.isfinite(dwell_ms) and 0 < dwell_ms <= _MAX_DWELL_MS):
            raise RequestError(
                "dwell_ms is out of range", part=place, limit=f"max_dwell_ms={_MAX_DWELL_MS:g}"
            )
    elif dwell_ms != 0:
        raise RequestError("dwell_ms is for dwells", part=place)
    return Event(message.request_id, message.item_id, kind, message.position, dwell_ms)


def counts_message(counts: EventCounts) -> pb.FeedbackResponse:
    """What became of the events."""
    return pb.FeedbackResponse(stored=counts.stored, known=counts.known, unknown=counts.unknown)


def erased_message(erased: Erased) -> pb.EraseUserResponse:
    """How much was forgotten."""
    return pb.EraseUserResponse(requests=erased.requests, events=erased.events)
