"""Follows `releases/state.json`: what it says to serve is made ready and put in the place of what was.

A release answers only once it is whole: its manifest is what its hash says, its models are loaded, its
collections are there, and, to be current or canary, every item has rows of its embedding version. Until then,
and where that cannot be had, what is served stays as it is, and Status, log and metrics say why.

What is out of the state goes once nothing uses it: first the searches and writes that began with it end, then
its collections go, and then Status names it no more, which is what tells a command that its models can be
unloaded.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import structlog

from orchestrator.canary import CanaryWatch
from orchestrator.embedding_versions import Catalogue
from orchestrator.errors import SensoriumError
from orchestrator.lineup import Lineup, Served
from orchestrator.ports import Encoder
from orchestrator.runtime import Runtime
from releases.errors import ReleaseError, StateError
from releases.state import Canary, State, change_state, read_state, state_path

__all__ = ["Follower"]

_POLL_S = 0.5
_FIRST_PAUSE_S, _LAST_PAUSE_S = 1.0, 30.0
_LOOK_S = 0.05

_log = structlog.get_logger(__name__)


@dataclass(slots=True)
class _Trouble:
    why: str
    again_s: float
    pause_s: float = _FIRST_PAUSE_S


class Follower:
    """``start`` it once ``served`` answers; ``close`` it before what its runtimes stand on is closed.

    ``build`` makes the runtime of a release, or of the repository's own set for None, and raises what is
    wrong with it; ``own`` is the name that the latter goes by.
    """

    def __init__(
        self,
        home: Path,
        served: Served,
        own: str,
        build: Callable[[str | None], Awaitable[Runtime]],
        catalogue: Catalogue,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._home = home
        self._served = served
        self._own = own
        self._build = build
        self._catalogue = catalogue
        self._clock = clock
        self._seen: tuple[int, ...] = (-1,)
        self._state = State()
        self._troubles: dict[str, _Trouble] = {}
        self._retired: set[asyncio.Task[None]] = set()
        self._coming: set[str] = set()
        """Embedding versions of runtimes that are not in the line-up yet."""
        self._collections = asyncio.Lock()
        self._watched: Canary | None = None
        self._written: dict[str, str] = {}
        self._swept = False
        self._task: asyncio.Task[None] | None = None
        self.failed: Callable[[], None] = lambda: None
        self.rolled_back: Callable[[], None] = lambda: None
        """Told of a release that could not be made ready, and of a canary that was ended."""

    def start(self) -> None:
        """Begins in the background."""
        self._task = asyncio.create_task(self._run())

    async def close(self) -> None:
        """Stops following; what is served stays as it is."""
        tasks = [*self._retired, *([self._task] if self._task else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            try:
                await self.step()
            except (SensoriumError, ReleaseError, OSError) as error:
                _log.warning("releases.not_followed", reason=str(error))
            await asyncio.sleep(_POLL_S)

    async def step(self) -> None:
        """Looks once, and does what is due."""
        await self._read()
        await self._adopt()
        await self._sweep()
        await self._judge()
        await self._tell()

    # ---- what is to be served ----

    async def _read(self) -> None:
        seen = await asyncio.to_thread(_stamp, state_path(self._home))
        if seen != self._seen:
            self._state = await asyncio.to_thread(read_state, self._home)
            self._seen = seen

    async def _adopt(self) -> None:
        """Brings the line-up as near to the state as it can be."""
        state, lineup = self._state, self._served.lineup
        current = state.current or self._own
        previous = None if state.previous is None and state.current is None else state.previous or self._own
        canary = state.canary
        wanted = dict.fromkeys([current, *([previous] if previous else [])])
        wanted |= dict.fromkeys([*([canary.release] if canary else []), *state.staged])
        runtimes: dict[str, Runtime] = {}
        for name in wanted:
            runtime = lineup.runtimes.get(name) or await self._made(name)
            if runtime is not None:
                runtimes[name] = runtime
        known = {name: self._troubles[name].why for name in wanted if name in self._troubles}
        for name in self._troubles.keys() - wanted.keys():
            del self._troubles[name]
        chosen = runtimes.get(current)
        if chosen is None or not (chosen is lineup.current or self._whole(chosen)):
            # What is served stays until what is to come in its place can.
            chosen = lineup.current
            runtimes.setdefault(chosen.release, chosen)
        shown = canary.release if canary and canary.release in runtimes else None
        if shown is not None and not self._whole(runtimes[shown]):
            shown = None
        percent = canary.percent if canary and shown else 0.0
        new = Lineup(chosen, runtimes, previous, shown, percent, known)
        if new != lineup:
            await self._change(new)
        self._coming.clear()
        self._watch(canary if shown else None)

    async def _made(self, name: str) -> Runtime | None:
        trouble = self._troubles.get(name)
        if trouble is not None and self._clock() < trouble.again_s:
            return None
        try:
            runtime = await self._build(None if name == self._own else name)
            if not await runtime.encoder.ready():
                raise ReleaseError("its models are not ready")
            self._coming.add(runtime.embedding_set.version)
            async with self._collections:
                await self._catalogue.open(runtime.embedding_set.version)
        except (SensoriumError, ReleaseError, OSError) as error:
            pause_s = min(2 * trouble.pause_s, _LAST_PAUSE_S) if trouble else _FIRST_PAUSE_S
            self._troubles[name] = _Trouble(str(error), self._clock() + pause_s, pause_s)
            if trouble is None or trouble.why != str(error):
                _log.error("releases.not_built", release=name, reason=str(error))
            self.failed()
            return None
        self._troubles.pop(name, None)
        _log.info("releases.built", release=name, version=runtime.embedding_set.version)
        return runtime

    def _whole(self, runtime: Runtime) -> bool:
        """Whether every item that can be is indexed in its embedding version."""
        version = runtime.embedding_set.version
        if version == self._served.current.embedding_set.version:
            return True
        filled = self._catalogue.progress().get(version)
        return filled is not None and filled.complete

    async def _change(self, lineup: Lineup) -> None:
        before = self._served.current
        encoders: dict[str, Encoder] = {}
        for runtime in (lineup.current, *lineup.runtimes.values()):
            encoders.setdefault(runtime.embedding_set.version, runtime.encoder)
        self._catalogue.write(encoders, required=lineup.current.embedding_set.version)
        for runtime in self._served.change(lineup):
            task = asyncio.create_task(self._retire(runtime))
            self._retired.add(task)
            task.add_done_callback(self._retired.discard)
        if lineup.current is not before:
            _log.info("releases.current", release=lineup.current.release, before=before.release)
            await self._catalogue.point(lineup.current.embedding_set.version)

    async def _retire(self, runtime: Runtime) -> None:
        while runtime.searches:  # noqa: ASYNC110 - searches take seconds at most, and nobody else waits for it
            await asyncio.sleep(_LOOK_S)
        await self._catalogue.settled()
        version, pause_s = runtime.embedding_set.version, _FIRST_PAUSE_S
        dropped = False
        while not dropped:
            try:
                async with self._collections:
                    if not self._in_use(version, runtime):
                        await self._catalogue.drop(version)
                dropped = True
            except SensoriumError as error:
                _log.warning("releases.not_dropped", version=version, reason=str(error))
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, _LAST_PAUSE_S)
        self._served.retiring.remove(runtime)
        _log.info("releases.retired", release=runtime.release)

    def _in_use(self, version: str, leaving: Runtime) -> bool:
        others = [*self._served.lineup.runtimes.values(), *self._served.retiring]
        used = {each.embedding_set.version for each in others if each is not leaving}
        return version in used | self._coming

    async def _sweep(self) -> None:
        """Once, when all versions that are in use are known: what a crash left of others goes."""
        if not self._swept and not self._troubles:
            served = [*self._served.lineup.runtimes.values(), *self._served.retiring]
            await self._catalogue.drop_all_but(*{runtime.embedding_set.version for runtime in served})
            self._swept = True

    # ---- the canary ----

    def _watch(self, canary: Canary | None) -> None:
        """A new canary, another share or other bounds begin with nothing seen."""
        if canary != self._watched:
            self._watched = canary
            self._served.watch = CanaryWatch(canary.bounds) if canary else None

    async def _judge(self) -> None:
        watch, canary = self._served.watch, self._watched
        why = watch.verdict() if watch else None
        if why is None or canary is None:
            return

        def without(state: State) -> State:
            if state.canary != canary:
                raise StateError("the canary has been changed meanwhile")
            return state.model_copy(update={"canary": None})

        _log.error("releases.canary_rolled_back", release=canary.release, reason=why)
        await asyncio.to_thread(
            change_state, self._home, without, f"canary {canary.release} rolled back", why
        )
        self.rolled_back()
        await self._read()
        await self._adopt()

    # ---- progress ----

    async def _tell(self) -> None:
        """Writes `progress.json` of the releases, where it changed."""
        filled = self._catalogue.progress()
        for name, runtime in self._served.lineup.runtimes.items():
            progress = filled.get(runtime.embedding_set.version)
            if name == self._own or progress is None:
                continue
            text = json.dumps(
                {
                    "embedding_version": runtime.embedding_set.version,
                    "total": progress.total,
                    "done": progress.done,
                    "failed": progress.failed,
                    "rate": round(progress.rate, 2),
                    "eta_s": None if progress.eta_s is None else round(progress.eta_s, 1),
                    "complete": progress.complete,
                }
            )
            if self._written.get(name) != text:
                with contextlib.suppress(OSError):  # a full disk stops neither searches nor the backfill
                    await asyncio.to_thread(_write, self._home / "releases" / name / "progress.json", text)
                    self._written[name] = text


def _stamp(path: Path) -> tuple[int, ...]:
    try:
        found = path.stat()
    except FileNotFoundError:
        return ()
    return found.st_mtime_ns, found.st_size, found.st_ino


def _write(path: Path, text: str) -> None:
    part = path.with_suffix(f".{os.getpid()}.part")
    part.write_text(text, "utf-8")
    part.replace(path)
