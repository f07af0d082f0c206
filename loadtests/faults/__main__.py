"""Watches a running system through faults that somebody else makes:

python -m loadtests.faults --grpc-target HOST:PORT --host URL --payloads FOLDER [--rate 6] ...

It is told on standard input, a line each: `begin NAME [deaf]` when a fault is about to begin, `end` when its
cause is gone, `quit`. It says on standard output, as JSON a line each, when it is ready, when it watches, and
the row of a fault once the system has recovered or was given up. With `deaf` the fault is clients that never
read, which it makes itself until `end`.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc

from loadtests.errors import LoadTestError, SettingsError
from loadtests.faults.breakers import Breakers
from loadtests.faults.deaf import deaf_clients
from loadtests.faults.load import Load
from loadtests.faults.seen import Span, recovered, row
from loadtests.faults.writer import CATEGORY, Writer
from loadtests.payloads import read_payloads
from sensorium.v1 import sensorium_pb2 as pb
from sensorium.v1 import sensorium_pb2_grpc as rpc

MAX_MESSAGE_BYTES = 64 << 20
POLL_S = 0.25
CHECK_TRIES = 5


class Session:
    """`options` are those of the command line. Build it inside the running loop."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._options = options
        self._channel = grpc.aio.insecure_channel(
            options.grpc_target, options=[("grpc.max_receive_message_length", MAX_MESSAGE_BYTES)]
        )
        self._stub = rpc.SensoriumStub(self._channel)  # type: ignore[no-untyped-call]
        payloads = read_payloads(Path(options.payloads))
        self._load = Load(self._stub, payloads, options.rate, options.deadline_s, CATEGORY)
        self._writer = Writer(self._stub, options.writes, options.deadline_s)
        self._breakers = Breakers(options.host)
        self._base: dict[str, int] = {}

    async def run(self) -> None:
        """Raises: LoadTestError, grpc.aio.AioRpcError."""
        lines = await _standard_input()
        async with self._channel:
            await self._load.learn()
            self._base = await self._rows()
            work = [self._load.run(), self._writer.run(), self._breakers.run()]
            tasks = [asyncio.create_task(each) for each in work]
            try:
                await self._settle()
                _say({"ready": True, "spread": round(self._load.spread, 3)})
                async for line in lines:
                    verb, *arguments = line.split()
                    if verb == "quit":
                        break
                    if verb != "begin" or not arguments:
                        raise SettingsError(f"{line!r}: begin NAME [deaf], or quit")
                    await self._watch(arguments[0], "deaf" in arguments, lines)
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)

    async def _settle(self) -> None:
        """Raises SettingsError: this much load is not answered well even without a fault."""
        if not await self._recovers(time.monotonic()):
            raise SettingsError("the load is too much for this system without any fault: lower --rate")

    async def _recovers(self, since_s: float) -> bool:
        """Waits until all is well since `since_s`; False where that took longer than is watched."""
        give_up_s = time.monotonic() + self._options.watch_s
        while time.monotonic() < give_up_s:
            await asyncio.sleep(POLL_S)
            if recovered(self._load.seen, since_s):
                return True
        return False

    async def _watch(self, name: str, deaf: bool, lines: AsyncIterator[str]) -> None:
        failed_writes = len(self._writer.failed)
        async with contextlib.AsyncExitStack() as held:
            began_s = time.monotonic()
            _say({"watching": name})
            if deaf:
                await held.enter_async_context(deaf_clients(self._options.host, self._options.grpc_target))
            if await anext(lines, "end") != "end":
                raise SettingsError("a fault ends before another thing begins")
        ended_s = time.monotonic()
        await self._recovers(ended_s)
        span = Span(began_s, ended_s, time.monotonic())
        found = row(self._load.seen, span)
        opened = [(at_s, labels) for at_s, labels in self._breakers.opened if at_s >= began_s]
        found["breaker_s"] = round(opened[0][0] - began_s, 2) if opened else None
        found["breakers"] = sorted({labels for _, labels in opened})
        found["writes_failed"] = len(self._writer.failed) - failed_writes
        _say({"fault": name, **found, **await self._kept()})

    async def _kept(self) -> dict[str, Any]:
        """What became of the items. The system may still fail a call now and then."""
        for place in range(CHECK_TRIES):
            try:
                kept = await self._writer.check()
                rows = await self._rows()
                break
            except grpc.aio.AioRpcError:
                if place == CHECK_TRIES - 1:
                    raise
                await asyncio.sleep(1.0)
        # Every item that was written is one row of text; of those that failed there may be some as well.
        wanted = {**self._base, "text": self._base["text"] + kept.acknowledged}
        return {
            "acknowledged": kept.acknowledged,
            "lost": kept.lost,
            "not_fetched": kept.not_fetched,
            "not_found": kept.not_found,
            "rows_lost": sum(max(count - rows[modality], 0) for modality, count in wanted.items()),
        }

    async def _rows(self) -> dict[str, int]:
        status = await self._stub.GetStatus(pb.GetStatusRequest(), timeout=self._options.deadline_s)
        return dict(status.rows)


async def _watch(options: argparse.Namespace) -> None:
    await Session(options).run()


async def _standard_input() -> AsyncIterator[str]:
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), sys.stdin
    )

    async def lines() -> AsyncIterator[str]:
        while line := await reader.readline():
            yield line.decode().strip()

    return lines()


def _say(what: dict[str, Any]) -> None:
    print(json.dumps(what), flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m loadtests.faults", description="Watch through faults.")
    add = parser.add_argument
    add("--grpc-target", default="127.0.0.1:8081", help="host:port of gRPC")
    add("--host", default="http://127.0.0.1:8080", help="URL of REST, for /metrics")
    add("--payloads", default="payloads", help="folder that loadtests.prepare made")
    add("--rate", type=float, default=4.0, help="searches a second")
    add("--writes", type=float, default=1.0, help="items a second")
    add("--deadline-s", type=float, default=10.0, help="of each request")
    add("--watch-s", type=float, default=90.0, help="how long to wait for the system to recover")
    try:
        asyncio.run(_watch(parser.parse_args()))
    except (LoadTestError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except grpc.aio.AioRpcError as error:
        print(f"error: {error.code().name}: {error.details()}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
