"""Writes that go on while faults come and go, and whether what was acknowledged is still there."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import grpc

from sensorium.v1 import sensorium_pb2 as pb
from sensorium.v1 import sensorium_pb2_grpc as rpc

__all__ = ["CATEGORY", "Kept", "Writer"]

CATEGORY = "written-under-faults"
CHECKS_AT_ONCE = 4
_SYLLABLES = ("ba", "de", "fi", "go", "lu", "ma", "ne", "pi", "ro", "tu")


@dataclass(frozen=True, slots=True)
class Kept:
    """Of the items acknowledged so far: how many there are, and the ids that cannot be fetched or found."""

    acknowledged: int
    not_fetched: list[str] = field(default_factory=list)
    not_found: list[str] = field(default_factory=list)

    @property
    def lost(self) -> int:
        return len({*self.not_fetched, *self.not_found})


class Writer:
    """An item of its own words `per_s` times a second, one at a time; `run` it, and `check` at any time.

    A write that fails is not repeated: it may or may not have happened, so nothing is asked of it.
    """

    def __init__(self, stub: rpc.SensoriumStub, per_s: float, deadline_s: float) -> None:
        self.acknowledged: dict[str, float] = {}
        self.failed: list[float] = []
        self._stub = stub
        self._per_s = per_s
        self._deadline_s = deadline_s

    async def run(self) -> None:
        """Until it is cancelled."""
        number = 0
        while True:
            began_s = time.monotonic()
            item = f"written.{number:05d}"
            try:
                if await self._write(item, number):
                    self.acknowledged[item] = time.monotonic()
                else:
                    self.failed.append(time.monotonic())
            except grpc.aio.AioRpcError:
                self.failed.append(time.monotonic())
            number += 1
            await asyncio.sleep(max(began_s + 1 / self._per_s - time.monotonic(), 0.0))

    async def _write(self, item: str, number: int) -> bool:
        async def one() -> AsyncIterator[pb.Item]:
            # No title: these are words that speech is expected to have, and would change what is heard.
            yield pb.Item(id=item, description=words(number), category=CATEGORY)

        outcomes = [result.outcome async for result in self._stub.Upsert(one(), timeout=self._deadline_s)]
        return outcomes in ([pb.UpsertResult.INDEXED], [pb.UpsertResult.UNCHANGED])

    async def check(self) -> Kept:
        """Fetches each item that was acknowledged, and searches for it by its words.

        Raises:
            grpc.aio.AioRpcError: the system does not answer.
        """
        items = sorted(self.acknowledged)
        turns = asyncio.Semaphore(CHECKS_AT_ONCE)

        async def fetched(item: str) -> bool:
            async with turns:
                try:
                    await self._stub.Get(pb.GetRequest(id=item), timeout=self._deadline_s)
                except grpc.aio.AioRpcError as error:
                    if error.code() is grpc.StatusCode.NOT_FOUND:
                        return False
                    raise
                return True

        async def found(item: str) -> bool:
            async with turns:
                request = pb.SearchRequest(
                    parts=[pb.QueryPart(text=words(int(item.rpartition(".")[2])))],
                    filter=pb.Filter(category=pb.StringList(values=[CATEGORY])),
                    target_modalities=[pb.TEXT],
                    mmr_lambda=1.0,
                    limit=20,
                )
                answer = await self._stub.Search(request, timeout=self._deadline_s)
                return item in {hit.item.id for hit in answer.hits}

        there = await asyncio.gather(*(fetched(item) for item in items))
        searched = await asyncio.gather(*(found(item) for item in items))
        return Kept(
            len(items),
            [item for item, ok in zip(items, there, strict=True) if not ok],
            [item for item, ok in zip(items, searched, strict=True) if not ok],
        )


def words(number: int) -> str:
    """Words that no other number has."""
    return " ".join(
        "".join(_SYLLABLES[int(digit)] for digit in f"{number * step % 9973:04d}") for step in (1, 37)
    )
