"""Which releases answer, and which of them answers a request.

A request that names a release gets that one. Of the others the canary's share goes to the canary: by user, so
that a user stays in it, or out of it, while the share only grows. A request without a user has nothing to be
stable by and is drawn by its own id: so the share holds however few connections the requests come through.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from orchestrator.canary import CanaryWatch
from orchestrator.embedding_versions import Filled
from orchestrator.errors import RequestError
from orchestrator.query import ReleaseRole
from orchestrator.runtime import Runtime

__all__ = ["Lineup", "Served", "in_share"]

_POINTS = 2**64


@dataclass(frozen=True)
class Lineup:
    """The releases that answer at one moment: ``runtimes`` by name, among them ``current`` and ``canary``.

    ``previous`` is what a rollback goes back to. ``percent`` of the requests are the canary's.
    """

    current: Runtime
    runtimes: Mapping[str, Runtime]
    previous: str | None = None
    canary: str | None = None
    percent: float = 0.0
    known: Mapping[str, str] = field(default_factory=dict)
    """Releases that should be served and are not: why."""

    def role(self, release: str) -> str:
        """As Status calls it."""
        named = {self.current.release: "current", self.canary: "canary", self.previous: "previous"}
        return named.get(release, "staged")


class Served:
    """The line-up in force. Changing it is one assignment: a search keeps the runtime it began with."""

    def __init__(self, current: Runtime) -> None:
        self.lineup = Lineup(current, {current.release: current})
        self.retiring: list[Runtime] = []
        """Out of the line-up, and kept until nothing uses them."""
        self.changed: Callable[[Lineup], None] = lambda _: None
        """Told of every new line-up."""
        self.watch: CanaryWatch | None = None
        """Told of every request while there is a canary."""
        self.progress: Callable[[], Mapping[str, Filled]] = dict
        """How far the embedding versions are filled."""

    @property
    def current(self) -> Runtime:
        """What answers whoever asks for nothing else."""
        return self.lineup.current

    def change(self, lineup: Lineup) -> list[Runtime]:
        """Puts ``lineup`` in force; the runtimes that are out of it now, which go on ``retiring``."""
        kept = set(map(id, lineup.runtimes.values()))
        gone = [runtime for runtime in self.lineup.runtimes.values() if id(runtime) not in kept]
        self.lineup = lineup
        self.retiring += gone
        self.changed(lineup)
        return gone

    @contextmanager
    def holding(self, named: str, user: str, request_id: str) -> Iterator[tuple[Runtime, ReleaseRole]]:
        """The runtime for a request, which stays as long as the block lasts.

        Raises:
            RequestError: ``named``, if not "", is no release that answers.
        """
        runtime, role = self._choose(named, user, request_id)
        runtime.searches += 1
        try:
            yield runtime, role
        finally:
            runtime.searches -= 1

    def forget(self, user: str) -> None:
        """What a user did has changed: no release may go by what it knew of it."""
        for runtime in (*self.lineup.runtimes.values(), *self.retiring):
            if runtime.personaliser is not None:
                runtime.personaliser.forget(user)

    def _choose(self, named: str, user: str, request_id: str) -> tuple[Runtime, ReleaseRole]:
        lineup = self.lineup
        if named:
            if named not in lineup.runtimes:
                raise RequestError("there is no such release, or it is not loaded")
            runtime = lineup.runtimes[named]
            return runtime, "current" if runtime is lineup.current else "other"
        canary = lineup.runtimes.get(lineup.canary) if lineup.canary else None
        if canary is not None and in_share(canary.release, user or request_id, lineup.percent):
            return canary, "canary"
        return lineup.current, "current"


def in_share(release: str, key: str, percent: float) -> bool:
    """Whether ``key`` belongs to the share of a canary. Who is in a share is in every greater one too.

    The release is part of the hash, so that it is not always the same users who try what is new.
    """
    digest = hashlib.sha256(f"{release}\0{key}".encode()).digest()
    return int.from_bytes(digest[:8], "big") < percent / 100 * _POINTS
