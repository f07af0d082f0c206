"""A few calls of the public gRPC API, and what they found.

EvaluationError
├── CatalogueMismatchError    what is indexed is not the catalogue that the judgements are made from
└── SearchFailedError         the system refused a query or did not answer in time
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import grpc

from sensorium import connect
from sensorium.v1 import sensorium_pb2 as pb
from sensorium.v1 import sensorium_pb2_grpc as rpc

__all__ = ["LIMIT", "Answer", "CatalogueMismatchError", "EvaluationError", "SearchFailedError", "Sensorium"]

DEADLINE_S = 60.0
MAX_MESSAGE_BYTES = 64 << 20
LIMIT = 100
"""Hits that are asked for: what the API gives at most."""


class EvaluationError(Exception):
    """Base of what stops an evaluation; the text is meant for a terminal."""


class CatalogueMismatchError(EvaluationError):
    """Other items are indexed than those that are judged."""


class SearchFailedError(EvaluationError):
    """A query was not answered."""


@dataclass(frozen=True)
class Answer:
    """Item ids, best first; the raw cosine of each with the query's first part, by the item's modality;
    milliseconds per stage and in all, as the system tells them; what it had to do without; the client's own
    wall time; whether every part's embedding came from the cache."""

    ids: tuple[str, ...]
    cosines: dict[str, dict[str, float]]
    stages_ms: dict[str, float]
    total_ms: float
    wall_ms: float
    degraded: tuple[str, ...]
    transcript: str
    cached: bool


class Sensorium:
    """One channel to a running system, which is asked with the same options each time; use it in a `with`.

    Unless the options say otherwise no kept answer is taken: what is measured is what it takes to answer.
    `release` names the one that is to answer; "" leaves it to the system.
    """

    def __init__(self, target: str, options: Mapping[str, bool] | None = None, release: str = "") -> None:
        self._channel = connect.channel(
            target, options=[("grpc.max_receive_message_length", MAX_MESSAGE_BYTES)]
        )
        self._stub = rpc.SensoriumStub(self._channel)  # type: ignore[no-untyped-call]
        self._options = pb.SearchOptions(**{"cache": False, **(options or {})})
        self._metadata = [("x-sensorium-release", release)] if release else []

    def __enter__(self) -> Sensorium:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._channel.close()

    def status(self) -> pb.Status:
        """Raises SearchFailedError when nothing answers."""
        try:
            status: pb.Status = self._stub.GetStatus(pb.GetStatusRequest(), timeout=DEADLINE_S)
        except grpc.RpcError as error:
            raise _failed("status", error) from error
        return status

    def require(self, ids: Sequence[str]) -> None:
        """Raises CatalogueMismatchError unless exactly these items are indexed."""
        indexed = self.status().items
        if indexed != len(ids):
            raise CatalogueMismatchError(
                f"{indexed} items are indexed, {len(ids)} stand in the catalogue: "
                "figures need the same gallery"
            )
        for item in ids:
            try:
                self._stub.Get(pb.GetRequest(id=item), timeout=DEADLINE_S)
            except grpc.RpcError as error:
                if error.code() is grpc.StatusCode.NOT_FOUND:
                    raise CatalogueMismatchError(f"{item} is not indexed") from error
                raise _failed(f"get {item}", error) from error

    def search(
        self,
        name: str,
        parts: Sequence[str | Path],
        targets: Sequence[pb.Modality] = (),
        weights: Sequence[float] | None = None,
        mmr_lambda: float = 1.0,
    ) -> Answer:
        """The 100 best items, by relevance alone unless `mmr_lambda` says otherwise; in all modalities unless
        `targets` names some.

        Raises:
            SearchFailedError: naming the query by `name`, never by its content.
        """
        request = pb.SearchRequest(
            parts=[
                pb.QueryPart(text=part, weight=weight)
                if isinstance(part, str)
                else pb.QueryPart(data=part.read_bytes(), weight=weight)
                for part, weight in zip(parts, weights or [1.0] * len(parts), strict=True)
            ],
            target_modalities=targets,
            limit=LIMIT,
            mmr_lambda=mmr_lambda,
            options=self._options,
        )
        started = time.perf_counter()
        try:
            response = self._stub.Search(request, timeout=DEADLINE_S, metadata=self._metadata)
        except grpc.RpcError as error:
            raise _failed(name, error) from error
        wall_ms = (time.perf_counter() - started) * 1000
        return Answer(
            ids=tuple(hit.item.id for hit in response.hits),
            cosines={hit.item.id: _cosines(hit) for hit in response.hits},
            stages_ms={stage.stage: stage.ms for stage in response.stages},
            total_ms=response.total_ms,
            wall_ms=wall_ms,
            degraded=tuple(response.degraded),
            transcript=response.parts[0].transcript if response.parts else "",
            cached=all(part.cached for part in response.parts),
        )


def _cosines(hit: pb.Hit) -> dict[str, float]:
    found: dict[str, float] = {}
    for signal in hit.signals:
        if signal.part == 0 and signal.space == "unified":
            name = pb.Modality.Name(signal.item_modality).lower()
            found[name] = max(found.get(name, -1.0), signal.similarity)
    return found


def _failed(name: str, error: grpc.RpcError) -> SearchFailedError:
    return SearchFailedError(f"{name}: {error.code().name}: {error.details()}")
