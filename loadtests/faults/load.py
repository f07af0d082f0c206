"""Searches in an open loop for as long as it takes: what is due is sent, whatever became of the others."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict

import grpc

from loadtests.arrivals import Arrival, Traffic
from loadtests.errors import UnreachableError
from loadtests.faults.answers import DEPTH, Before, question
from loadtests.faults.seen import Fate, Seen
from loadtests.payloads import Payloads
from loadtests.steady import endless, send
from sensorium.v1 import sensorium_pb2_grpc as rpc

__all__ = ["Load"]

MAX_OUTSTANDING = 128
BURSTS = 5
AT_ONCE = 4
TRIES = 8
PAUSE_S = 2.0


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
        self._before: defaultdict[tuple[str, int], Before] = defaultdict(Before)

    async def learn(self) -> None:
        """Asks every query, one after the other and then many at once.

        Raises:
            UnreachableError: one is not answered, or not wholly in several tries.
        """
        every = [
            (modality, place) for modality, pool in self._payloads.pools.items() for place in range(pool)
        ]
        for query in every:
            await self._learn(*query)
        for number in range(BURSTS):
            turned = every[number:] + every[:number]
            for start in range(0, len(turned), AT_ONCE):
                await asyncio.gather(*(self._learn(*query) for query in turned[start : start + AT_ONCE]))

    @property
    def spread(self) -> float:
        """How far scores of one query and item lay apart without any fault."""
        return max((before.spread for before in self._before.values()), default=0.0)

    async def _learn(self, modality: str, place: int) -> None:
        request = question(modality, self._payloads.queries[modality][place], self._without, DEPTH)
        lack = ""
        for _ in range(TRIES):
            try:
                answer = await self._stub.Search(request, timeout=3 * self._deadline_s)
            except grpc.aio.AioRpcError as error:
                raise UnreachableError(f"{modality} {place}: {error.code().name}") from error
            if not answer.degraded:
                self._before[modality, place].learn(answer.hits)
                return
            lack = answer.degraded[0]
            await asyncio.sleep(PAUSE_S)
        raise UnreachableError(f"{modality} {place}: {lack}")

    async def run(self) -> None:
        """Until it is cancelled, which ends what is under way too."""
        async with asyncio.TaskGroup() as group:
            arrivals = endless(self._traffic, "faults", self._rate)
            await send(arrivals, self._ask, self._unsent, group, MAX_OUTSTANDING)

    def _unsent(self, arrival: Arrival) -> None:
        now_s = time.monotonic()
        self.seen.append(Seen(arrival.modality, now_s, now_s, Fate.UNSENT, "unsent"))

    async def _ask(self, arrival: Arrival, _due_s: float) -> None:
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
            elif other := self._before[arrival.modality, arrival.query].differs(answer.hits):
                fate, why = Fate.WRONG, f"query {arrival.query}: {other}"
        self.seen.append(Seen(arrival.modality, sent_s, time.monotonic(), fate, why))
