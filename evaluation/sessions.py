"""Simulated users search and click through the public API, session after session: what do they get for it?

Every request is asked twice: by the user, and by nobody. The difference of the two answers' NDCG@10, by the
user's own gains, is what personalisation is worth. The nobody's answer is not recorded and changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import grpc
import numpy as np

from catalogue.manifest import ManifestItem, read_manifest
from evaluation.client import DEADLINE_S, EvaluationError, SearchFailedError, Sensorium
from evaluation.metrics import graded_ndcg, interval
from evaluation.tastes import KINDS, Intent, User, gains, intents, reactions, users
from sensorium import connect
from sensorium.v1 import sensorium_pb2 as pb
from sensorium.v1 import sensorium_pb2_grpc as rpc

__all__ = ["run_sessions"]

SHOWN = 20
REQUESTS = 3
"""Of one user in one session."""

Progress = Callable[[str, int, int], None]


def run_sessions(
    target: str, manifest: Path, of_each: int, sessions: int, seed: int, keep: bool, progress: Progress
) -> dict[str, Any]:
    """The report; `keep` leaves what the system stored of the users, for `make retrain`.

    Raises:
        EvaluationError: the system does not answer, or holds other items than the manifest.
        CatalogueError: the manifest cannot be read.
    """
    items = list(read_manifest(manifest))
    if not all({"shape", "colour", "material"} <= set(item.attributes) for item in items):
        raise EvaluationError(f"{manifest}: tastes are about the attributes of the generated catalogue")
    with Sensorium(target) as system:
        system.require([item.id for item in items])
        status = system.status()
    with connect.channel(target) as channel:
        people = _People(rpc.SensoriumStub(channel), items, seed)  # type: ignore[no-untyped-call]
        everybody = users(items, of_each, seed)
        for user in everybody:
            people.erase(user)
        for session in range(sessions):
            progress("sessions", session, sessions)
            for user in everybody:
                people.session(user, session)
        progress("sessions", sessions, sessions)
        restored = 0 if keep else sum(people.back_at_the_start(user) for user in everybody)
    return {
        "profile": status.profile,
        "embedding_version": status.embedding_version,
        "items": len(items),
        "users_of_each_kind": of_each,
        "sessions": sessions,
        "requests_per_session": REQUESTS,
        "seed": seed,
        "kinds": {
            kind: _curve(people, [user for user in everybody if user.kind == kind], sessions)
            for kind in KINDS
        },
        "erased": None if keep else {"users": len(everybody), "back_at_the_start": restored},
        "personalise_ms": {
            "p50": float(np.percentile(people.stage_ms, 50)),
            "p95": float(np.percentile(people.stage_ms, 95)),
        },
        "degraded": people.degraded,
    }


class _People:
    """What the users did so far: NDCG@10 of (own, nobody's) answers by (user, session)."""

    def __init__(self, stub: Any, items: Sequence[ManifestItem], seed: int) -> None:
        self._stub = stub
        self._items = items
        self._known = intents(items)
        self._random = np.random.default_rng([seed, 2])
        self.found: dict[tuple[str, int], list[tuple[float, float]]] = {}
        self.stage_ms: list[float] = []
        self.degraded = 0

    def session(self, user: User, session: int) -> None:
        """A few requests, each with clicks after it."""
        choices = user.intents(self._known)
        picked = self._random.choice(len(choices), min(REQUESTS, len(choices)), replace=False)
        for place in picked:
            intent = choices[int(place)]
            gain = gains(user, intent, self._items)
            own, plain = self._search(intent, user.name), self._search(intent, "")
            self.degraded += bool(own.degraded) + bool(plain.degraded)
            self.stage_ms += [stage.ms for stage in own.stages if stage.stage == "personalise"]
            shown = _ids(own)
            figures = graded_ndcg({"own": gain, "plain": gain}, {"own": shown, "plain": _ids(plain)})
            self.found.setdefault((user.name, session), []).append((figures["own"], figures["plain"]))
            events = list(reactions(user, shown, gain, own.request_id, self._random))
            if events:
                self._call("Feedback", pb.FeedbackRequest(user=user.name, events=events))

    def erase(self, user: User) -> None:
        """Removes all that the system stored of the user."""
        self._call("EraseUser", pb.EraseUserRequest(user=user.name))

    def back_at_the_start(self, user: User) -> bool:
        """Whether the user, erased, is answered as nobody is."""
        self.erase(user)
        intent = user.intents(self._known)[0]
        same = _ids(self._search(intent, user.name)) == _ids(self._search(intent, ""))
        self.erase(user)
        return same

    def _search(self, intent: Intent, user: str) -> pb.SearchResponse:
        request = pb.SearchRequest(
            parts=[pb.QueryPart(text=intent.text)], limit=SHOWN, mmr_lambda=1.0, user=user
        )
        response: pb.SearchResponse = self._call("Search", request)
        return response

    def _call(self, method: str, request: Any) -> Any:
        try:
            return getattr(self._stub, method)(request, timeout=DEADLINE_S)
        except grpc.RpcError as error:
            raise SearchFailedError(f"{method}: {error.code().name}: {error.details()}") from error


def _ids(response: pb.SearchResponse) -> list[str]:
    return [hit.item.id for hit in response.hits]


def _curve(people: _People, members: Sequence[User], sessions: int) -> dict[str, Any]:
    """Means over users per session, and of the later half against the same requests of nobody."""

    def mean(user: User, session: int) -> tuple[float, float]:
        own, plain = np.mean(people.found[user.name, session], axis=0)
        return float(own), float(plain)

    points = []
    for session in range(sessions):
        pairs = [mean(user, session) for user in members]
        points.append(
            {
                "personalised": float(np.mean([own for own, _ in pairs])),
                "personalised_ci95": list(interval([own for own, _ in pairs])),
                "plain": float(np.mean([plain for _, plain in pairs])),
                "plain_ci95": list(interval([plain for _, plain in pairs])),
            }
        )
    later = range(sessions // 2, sessions)
    gained = [float(np.mean([np.subtract(*mean(user, session)) for session in later])) for user in members]
    low, high = interval(gained)
    return {"points": points, "gain": float(np.mean(gained)), "gain_ci95": [low, high], "users": len(members)}
