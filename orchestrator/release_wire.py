"""The releases as Status tells of them."""

from __future__ import annotations

from orchestrator.canary import Comparison, Figures
from orchestrator.lineup import Served
from sensorium.v1 import sensorium_pb2 as pb

__all__ = ["release_messages"]


def release_messages(served: Served) -> dict[str, pb.ReleaseStatus]:
    """By name: what answers, what should and does not, and what is on its way out."""
    lineup, progress = served.lineup, served.progress()
    messages = {
        runtime.release: pb.ReleaseStatus(
            role="retiring", embedding_version=runtime.embedding_set.version, state="ready"
        )
        for runtime in served.retiring
    }
    for name, runtime in lineup.runtimes.items():
        version = runtime.embedding_set.version
        message = pb.ReleaseStatus(role=lineup.role(name), embedding_version=version, state="ready")
        if (filled := progress.get(version)) is not None:
            message.items_done, message.items_total = filled.done, filled.total
            if not filled.complete:
                message.state = "backfill"
        if name == lineup.canary:
            message.percent = lineup.percent
            if served.watch is not None:
                message.comparisons.extend(map(_comparison, served.watch.compare()))
        messages[name] = message
    for name, why in lineup.known.items():
        messages[name] = pb.ReleaseStatus(role=lineup.role(name), state=why)
    return messages


def _comparison(comparison: Comparison) -> pb.CanaryComparison:
    return pb.CanaryComparison(
        modality=comparison.modality,
        current=_figures(comparison.current),
        canary=_figures(comparison.canary),
        breaches=comparison.breaches,
    )


def _figures(figures: Figures) -> pb.ReleaseFigures:
    return pb.ReleaseFigures(
        requests=figures.requests,
        error_rate=figures.error_rate,
        p50_ms=figures.p50_ms,
        p95_ms=figures.p95_ms,
        median_score=figures.median_score,
    )
