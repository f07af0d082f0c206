"""When a circuit breaker opened, as /metrics tells."""

from __future__ import annotations

import asyncio
import time
import urllib.request
from collections.abc import Mapping

__all__ = ["Breakers"]

EVERY_S = 0.25
TIMEOUT_S = 2.0
METRIC = "sensorium_breaker_openings_total{"


class Breakers:
    """`run` it; `opened` has the times at which one was seen to have opened, with its labels."""

    def __init__(self, url: str) -> None:
        self.opened: list[tuple[float, str]] = []
        self._url = f"{url}/metrics"
        self._before: Mapping[str, float] | None = None

    async def run(self) -> None:
        """Until it is cancelled."""
        while True:
            now = await asyncio.to_thread(self._read)
            if now is not None:
                for labels, count in now.items():
                    if self._before is not None and count > self._before.get(labels, 0.0):
                        self.opened.append((time.monotonic(), labels))
                self._before = now
            await asyncio.sleep(EVERY_S)

    def _read(self) -> dict[str, float] | None:
        try:
            with urllib.request.urlopen(self._url, timeout=TIMEOUT_S) as answer:  # noqa: S310
                lines = answer.read().decode().splitlines()
        except (OSError, ValueError):
            return None
        found = {}
        for line in lines:
            if line.startswith(METRIC):
                labels, _, count = line.removeprefix(METRIC).rpartition("} ")
                found[labels] = float(count)
        return found
