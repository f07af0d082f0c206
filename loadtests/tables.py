"""The report's figures as tables, for Markdown and HTML alike."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from loadtests.figures import PERCENTILES

__all__ = ["Table", "tables"]

QUANTILES = (*PERCENTILES, "max")

Figures = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Table:
    """Cells are text; all but the first column are numbers."""

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]


def tables(report: Figures) -> list[Table]:
    """Of every scenario that was played, in the order of the report."""
    found: list[Table] = []
    scenarios = report["scenarios"]
    if "steps" in scenarios:
        found.append(_steps(scenarios["steps"]))
    if parts := dict(_parts(scenarios)):
        found.append(_counts(parts))
        found.append(
            _times(
                "Latency from when a request was due, ms",
                "scenario and modality",
                (
                    (f"{name}: {modality}", each)
                    for name, figures in parts.items()
                    for modality, each in figures["latency_ms"].items()
                ),
            )
        )
        found.append(
            _times(
                "Latency by protocol, and how late the client sent, ms",
                "scenario",
                (
                    (f"{name}: {what}", each)
                    for name, figures in parts.items()
                    for what, each in (*figures["protocol_ms"].items(), ("client late by", figures["lag_ms"]))
                ),
            )
        )
    if "soak" in scenarios:
        found += _soak(scenarios["soak"])
    return found


def _parts(scenarios: Figures) -> Iterator[tuple[str, Figures]]:
    for name, figures in scenarios.get("spike", {}).get("phases", {}).items():
        yield f"spike, {name}", figures
    for name in ("soak", "overload"):
        if name in scenarios:
            yield name, scenarios[name]


def _steps(steps: Figures) -> Table:
    return Table(
        "Steps",
        ("rate /s", "offered /s", "goodput /s", "good", "rejected", "failed", "unsent", *PERCENTILES),
        [
            (
                f"{step['rate']:.1f}",
                f"{step['offered_per_s']:.1f}",
                f"{step['goodput_per_s']:.1f}",
                f"{step['good_share']:.1%}",
                *(str(step[count]) for count in ("rejected", "failed", "unsent")),
                *_quantiles(step["latency_ms"]["all"])[1:-1],
            )
            for step in steps["steps"]
        ],
    )


def _counts(parts: Mapping[str, Figures]) -> Table:
    counts = ("offered", "sent", "admitted", "rejected", "failed", "unsent", "good", "degraded")
    caches = ("cached_embeddings", "cached_answers")
    return Table(
        "Counts",
        ("scenario", "offered /s", "goodput /s", *counts, *(each.replace("_", " ") for each in caches)),
        [
            (
                name,
                f"{figures['offered_per_s']:.1f}",
                f"{figures['goodput_per_s']:.1f}",
                *(str(figures[count]) for count in (*counts, *caches)),
            )
            for name, figures in parts.items()
        ],
    )


def _soak(soak: Figures) -> Iterator[Table]:
    yield _times(
        "Stages of the soak, the server's own times, ms",
        "modality and stage",
        (
            (f"{modality}: {stage}", each)
            for modality, stages in soak["stages_ms"].items()
            if modality != "all"
            for stage, each in stages.items()
        ),
    )
    memory = soak["memory"]
    if memory["start_mib"]:
        yield Table(
            "Memory of the soak, MiB (proportional set size, with descendants)",
            ("process", "start", "end", "growth"),
            [
                (
                    name,
                    f"{memory['start_mib'][name]:.0f}",
                    f"{memory['end_mib'][name]:.0f}",
                    f"{growth:+.0f}",
                )
                for name, growth in memory["growth_mib"].items()
            ],
        )


def _times(title: str, of: str, rows: Iterable[tuple[str, Figures]]) -> Table:
    return Table(title, (of, "n", *QUANTILES), [(name, *_quantiles(each)) for name, each in rows])


def _quantiles(figures: Figures) -> list[str]:
    return [str(figures["n"]), *(f"{figures[name]:.1f}" if figures["n"] else "" for name in QUANTILES)]
