"""The load of `make swaps`, and what it holds each answer against."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field

import grpc

from loadtests.arrivals import Arrival, Traffic
from loadtests.steady import endless, send
from releases.errors import ReleaseError
from sensorium.v1 import sensorium_pb2 as pb
from sensorium.v1 import sensorium_pb2_grpc as rpc

__all__ = ["Load", "Queries", "Scores", "reference"]

HEADER = "x-sensorium-release"
NEAR = 0.5
DEADLINE_S = 30.0
LIMIT = 10
MAX_OUTSTANDING = 512

Queries = Mapping[str, Sequence[pb.QueryPart]]
"""By modality."""
Scores = Mapping[str, float]
"""Of items, by their ids."""


def reference(target: str, queries: Queries, name: str) -> dict[tuple[str, int], Scores]:
    """What release `name` answers when it is asked by name, by modality and place of the query.

    Raises:
        ReleaseError: another one answered.
        grpc.RpcError: a query was not answered.
    """
    found: dict[tuple[str, int], Scores] = {}
    with grpc.insecure_channel(target) as channel:
        stub = rpc.SensoriumStub(channel)  # type: ignore[no-untyped-call]
        for modality, parts in queries.items():
            for place, part in enumerate(parts):
                answer = stub.Search(_request(part), timeout=DEADLINE_S, metadata=[(HEADER, name)])
                if answer.release != name:
                    raise ReleaseError(f"{answer.release} answered in the place of {name}")
                found[modality, place] = _scores(answer)
    return found


@dataclass
class Load:
    """`rate` searches a second on average, of the load test's modalities, in an open loop.

    An answer is mixed when its scores are not those that its release gives when it is asked by name
    (`references`): further from them than half of the way to those of the other.
    """

    target: str
    queries: Queries
    rate: float
    references: Mapping[str, Mapping[tuple[str, int], Scores]]
    latencies_ms: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    """By phase and modality, from when a request was due."""
    answered_by: dict[str, int] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)
    mixed: int = 0
    checked: int = 0
    phase: str = ""

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Sends while the block lasts; what is under way at its end is waited for."""
        pools = {modality: len(parts) for modality, parts in self.queries.items()}
        traffic = Traffic(pools, zipf=0.0, rest_share=0.0)
        async with grpc.aio.insecure_channel(self.target) as channel, asyncio.TaskGroup() as group:
            stub = rpc.SensoriumStub(channel)  # type: ignore[no-untyped-call]

            async def ask(arrival: Arrival, due_s: float) -> None:
                await self._ask(stub, arrival, due_s)

            arrivals = endless(traffic, "swaps", self.rate)
            sending = asyncio.create_task(send(arrivals, ask, self._unsent, group, MAX_OUTSTANDING))
            try:
                yield
            finally:
                sending.cancel()
                await asyncio.gather(sending, return_exceptions=True)

    def _unsent(self, _arrival: Arrival) -> None:
        self.failures.append(f"{self.phase}: unsent")

    async def _ask(self, stub: rpc.SensoriumStub, arrival: Arrival, due_s: float) -> None:
        phase = self.phase
        part = self.queries[arrival.modality][arrival.query]
        try:
            answer = await stub.Search(_request(part), timeout=DEADLINE_S)
        except grpc.aio.AioRpcError as error:
            self.failures.append(f"{phase}: {error.code().name}")
            return
        if answer.degraded:
            self.failures.append(f"{phase}: degraded: {answer.degraded[0]}")
            return
        took = self.latencies_ms.setdefault(phase, {}).setdefault(arrival.modality, [])
        took.append((time.perf_counter() - due_s) * 1000)
        self.answered_by[answer.release] = self.answered_by.get(answer.release, 0) + 1
        self.check((arrival.modality, arrival.query), answer)

    @property
    def requests(self) -> int:
        """Answered, refused or failed."""
        return sum(self.answered_by.values()) + len(self.failures)

    def check(self, query: tuple[str, int], answer: pb.SearchResponse) -> None:
        """Counts whether `answer` is that of the release which it names."""
        own = self.references.get(answer.release, {}).get(query)
        if own is None:
            self.mixed += 1
            return
        scores = _scores(answer)
        for name, each in self.references.items():
            if name != answer.release and (apart := _distance(own, each[query])) > 0:
                self.checked += 1
                self.mixed += _distance(scores, own) > NEAR * apart
                return


def _request(part: pb.QueryPart) -> pb.SearchRequest:
    return pb.SearchRequest(parts=[part], limit=LIMIT, options=pb.SearchOptions(cache=False))


def _scores(answer: pb.SearchResponse) -> dict[str, float]:
    return {hit.item.id: hit.score for hit in answer.hits}


def _distance(one: Scores, other: Scores) -> float:
    """Mean difference of the scores; an item that one of them lacks scores 0 there."""
    ids = {*one, *other}
    return sum(abs(one.get(each, 0.0) - other.get(each, 0.0)) for each in ids) / max(len(ids), 1)
