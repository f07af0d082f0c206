"""Searches in an open loop for as long as it takes: what is due is sent, whatever became of the others."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Mapping

import grpc

from loadtests.arrivals import Arrival, Phase, Traffic
from loadtests.errors import UnreachableError
from loadtests.faults.answers import DEPTH, differs, question
from loadtests.faults.seen import Fate, Seen
from loadtests.payloads import Payloads
from sensorium.v1 import sensorium_pb2_grpc as rpc

__all__ = ["Load"]

PLANNED_S = 60.0
MAX_OUTSTANDING = 128
WARM_ROUNDS = 2


class Load:
    """`rate` searches a second by `stub`, each given `deadline_s`, among items outside category `without`.

    Ask `learn` for the answers of before, then `run` it. `seen` grows as searches end.
    """

    def __init__(
        self, stub: rpc.SensoriumStub, payloads: Payloads, rate: float, deadline_s: float, without: str
    ) -> None:
        self.seen: list[Seen] = []
        self._stub = stub
        self._payloads = payloads
        self._traffic = Traffic(payloads.pools, rest_share=0.0)
        self._rate = rate
        self._deadline_s = deadline_s
        self._without = without
        self._before: dict[tuple[str, int], Mapping[str, float]] = {}

    async def learn(self) -> None:
        """Asks every query, first for the server's sake.

        Raises:
            UnreachableError: one is not answered, not wholly, or differently the second time.
        """
        for _ in range(WARM_ROUNDS):
            for modality, contents in self._payloads.queries.items():
                for place, content in enumerate(contents):
                    request = question(modality, content, self._without, DEPTH)
                    try:
                        answer = await self._stub.Search(request, timeout=3 * self._deadline_s)
                    except grpc.aio.AioRpcError as error:
                        raise UnreachableError(f"{modality} {place}: {error.code().name}") from error
                    if answer.degraded:
                        raise UnreachableError(f"{modality} {place}: {answer.degraded[0]}")
                    before = self._before.setdefault(
                        (modality, place), {hit.item.id: hit.score for hit in answer.hits}
                    )
                    if other := differs(answer.hits[:10], before):
                        raise UnreachableError(f"{modality} {place}: {other} without any fault")

    async def run(self) -> None:
        """Until it is cancelled, which ends what is under way too."""
        began_s = time.monotonic()
        async with asyncio.TaskGroup() as group:
            under_way: set[asyncio.Task[None]] = set()
            for due_s, arrival in self._arrivals():
                await asyncio.sleep(max(began_s + due_s - time.monotonic(), 0.0))
                if len(under_way) >= MAX_OUTSTANDING:
                    now_s = time.monotonic()
                    self.seen.append(Seen(arrival.modality, now_s, now_s, Fate.UNSENT, "unsent"))
                    continue
                task = group.create_task(self._ask(arrival))
                under_way.add(task)
                task.add_done_callback(under_way.discard)

    def _arrivals(self) -> Iterator[tuple[float, Arrival]]:
        number = 0
        while True:
            for arrival in self._traffic.plan(f"faults {number}", [Phase("load", self._rate, PLANNED_S)]):
                yield number * PLANNED_S + arrival.due_s, arrival
            number += 1

    async def _ask(self, arrival: Arrival) -> None:
        content = self._payloads.queries[arrival.modality][arrival.query]
        request = question(arrival.modality, content, self._without)
        sent_s = time.monotonic()
        try:
            answer = await self._stub.Search(request, timeout=self._deadline_s)
        except grpc.aio.AioRpcError as error:
            full = error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
            fate, why = Fate.REJECTED if full else Fate.FAILED, error.code().name
        else:
            fate, why = Fate.GOOD, ""
            if answer.degraded:
                fate, why = Fate.DEGRADED, answer.degraded[0]
            elif other := differs(answer.hits, self._before[arrival.modality, arrival.query]):
                fate, why = Fate.WRONG, other
        self.seen.append(Seen(arrival.modality, sent_s, time.monotonic(), fate, why))
