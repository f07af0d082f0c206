"""Every label of every metric takes its values from a closed set, whatever callers send."""

from __future__ import annotations

from typing import get_args

import pytest
from fixtures_orchestrator import World

from media import errors as media_errors
from orchestrator import errors
from orchestrator.access.caller import EVERYONE
from orchestrator.errors import DependencyDeadlineError, SensoriumError
from orchestrator.gate import Outcome
from orchestrator.spans import SPAN_OUTCOMES
from orchestrator.trace import STAGES
from orchestrator.types import Modality
from sensorium.v1 import sensorium_pb2 as pb

MARKER = "zebra-9f31"
MODALITIES = {*(modality.value for modality in Modality), "mixed"}
CODES = {
    value.code
    for module in (errors, media_errors)
    for value in vars(module).values()
    if isinstance(value, type)
    and issubclass(value, Exception)
    and isinstance(getattr(value, "code", None), str)
}
ADMITTED = set(get_args(Outcome))
STAGE_NAMES = {stage + wait for stage in STAGES for wait in ("", "/triton", "/milvus")}
METHODS = {"Search", "Upsert", "Delete", "Get", "GetMedia", "Feedback", "EraseUser", "GetStatus"}
CLOSED = {
    "method": METHODS,
    "modality": {*MODALITIES, "unknown"},
    "target": {modality.value for modality in Modality},
    "stage": STAGE_NAMES,
    "source": {"cache", "triton", "pipeline"},
    "reason": ADMITTED,
    "outcome": {*CODES, *ADMITTED, *SPAN_OUTCOMES, "ok", "cancelled", "created", "updated", "unchanged"}
    | {"refused", "degraded", "failed"},
    "release": {"current", "canary", "other"},
}


async def send_everything(world: World) -> None:
    """Requests that are answered, refused and degraded, with the marker wherever a caller may write."""
    service = world.service
    await world.add(f"frog-{MARKER}", f"green {MARKER}")
    requests = [
        pb.SearchRequest(parts=[pb.QueryPart(text=MARKER)], user=MARKER),
        pb.SearchRequest(parts=[pb.QueryPart(text=MARKER), pb.QueryPart(text="b", weight=-1)]),
        pb.SearchRequest(parts=[pb.QueryPart(data=MARKER.encode())]),
        pb.SearchRequest(
            parts=[pb.QueryPart(text=MARKER)], filter=pb.Filter(category=pb.StringList(values=[MARKER]))
        ),
        pb.SearchRequest(),
    ]
    calls = [
        *(service.search(request, caller=EVERYONE) for request in requests),
        service.get(pb.GetRequest(id=MARKER), EVERYONE),
        service.delete(pb.DeleteRequest(ids=[MARKER]), EVERYONE),
        service.delete(pb.DeleteRequest(), EVERYONE),
        service.upsert_one(pb.Item(id=MARKER), EVERYONE),
        service.erase_user(pb.EraseUserRequest(user=MARKER), EVERYONE),
        service.feedback(pb.FeedbackRequest(user=MARKER), EVERYONE),
        service.status(EVERYONE),
    ]
    refused = 0
    for call in calls:
        try:
            await call
        except SensoriumError:
            refused += 1
    assert 0 < refused < len(calls)
    world.store.fail["search"] = DependencyDeadlineError("milvus", MARKER)
    with pytest.raises(SensoriumError):
        await service.search(pb.SearchRequest(parts=[pb.QueryPart(text=f"{MARKER} again")]), caller=EVERYONE)


async def test_labels_are_of_closed_sets(world: World) -> None:
    await send_everything(world)
    seen: dict[str, set[str]] = {}
    for family in world.service.metrics.registry.collect():
        for sample in family.samples:
            for label, value in sample.labels.items():
                if label not in ("le", "profile", "version", "name"):  # bounds, and what the server serves
                    seen.setdefault(label, set()).add(value)
    assert set(seen) <= set(CLOSED)
    assert {"method", "modality", "target", "stage", "source", "outcome"} <= set(seen)
    for label, values in seen.items():
        assert values <= CLOSED[label], label


async def test_nothing_that_callers_send_is_in_the_metrics_or_the_log(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    await send_everything(world)
    assert MARKER.encode() not in world.service.metrics.render()
    printed = "".join(capsys.readouterr())
    assert printed.count("request_id") > 10
    assert MARKER not in printed
