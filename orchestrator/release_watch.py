"""Tells the metrics, and whoever watches a canary, how each release does."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from orchestrator.errors import SensoriumError
from orchestrator.lineup import Lineup, Served
from orchestrator.metrics import Metrics
from orchestrator.query import ReleaseRole, SearchResult
from orchestrator.trace import Trace

__all__ = ["ReleaseWatch"]


class ReleaseWatch:
    """One per process."""

    def __init__(self, metrics: Metrics, served: Served) -> None:
        self._metrics = metrics
        self._served = served
        served.changed = self._show
        metrics.releases.backfill.set_function(self._lacking)
        self._show(served.lineup)

    @contextmanager
    def searching(self, role: ReleaseRole, trace: Trace) -> Iterator[None]:
        """Counts what goes wrong in a search for the release that it was given to."""
        try:
            yield
        except Exception as error:
            ours = not isinstance(error, SensoriumError) or error.http_status >= 500
            self._metrics.releases.failed(role, trace.modality, "failed" if ours else "refused")
            if ours and self._served.watch is not None and role != "other":
                self._served.watch.observe(role == "canary", trace.modality, None, trace.total_ms)
            raise

    def answered(self, role: ReleaseRole, trace: Trace, result: SearchResult) -> None:
        """Counts an answer."""
        self._metrics.releases.answered(role, trace.modality, result)
        if self._served.watch is not None and role != "other":
            self._served.watch.observe(role == "canary", trace.modality, result, result.total_ms)

    def _lacking(self) -> int:
        filled = self._served.progress().values()
        return sum(each.total - each.done - each.failed for each in filled)

    def _show(self, lineup: Lineup) -> None:
        roles: dict[str | None, ReleaseRole] = {lineup.canary: "canary", lineup.current.release: "current"}
        self._metrics.releases.show(
            {
                name: (roles.get(name, "other"), runtime.embedding_set.version)
                for name, runtime in lineup.runtimes.items()
            },
            lineup.percent,
            len(lineup.known),
        )
        served = lineup.current.embedding_set
        self._metrics.quality.embedding_set.clear()
        self._metrics.quality.embedding_set.labels(served.profile, served.version).set(1)
