"""The report: `loadtest.json` with every figure, `.md` and `.html` to read, and PNG plots."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from loadtests.plots import plot
from loadtests.tables import tables

__all__ = ["NAME", "findings", "write_report"]

NAME = "loadtest"
FOOTNOTE = (
    "Percentiles are values that occurred: of fewer than 1,000 requests p99.9 is the slowest, of fewer than "
    "100 p99 as well. Plots leave those out."
)


def write_report(report: Mapping[str, Any], out: Path) -> list[Path]:
    """Into the folder `out`; returns what was written. The figures come first: a plot may fail."""
    out.mkdir(parents=True, exist_ok=True)
    stem = out / NAME
    figures = stem.with_suffix(".json")
    figures.write_text(json.dumps(report, indent=1), "utf-8")
    text = stem.with_suffix(".md")
    text.write_text(_markdown(report), "utf-8")
    pictures = plot(report, stem)
    page = stem.with_suffix(".html")
    page.write_text(_html(report, pictures), "utf-8")
    return [figures, text, page, *pictures]


def findings(report: Mapping[str, Any]) -> Iterator[str]:
    """What the scenarios were played for, a sentence each."""
    scenarios = report["scenarios"]
    if steps := scenarios.get("steps"):
        found = (
            f"{steps['saturation_per_s']:.1f}/s" if steps["saturation_per_s"] else "no rate that was tried"
        )
        reached = "" if steps["saturated"] else " (no higher rate was tried)"
        yield (
            f"Saturation: {found}{reached}, the highest rate at which {steps['share']:.0%} of what is "
            f"offered is answered within {steps['bound_ms']:.0f} ms. "
            f"Peak goodput {steps['peak_goodput_per_s']:.1f}/s."
        )
    if spike := scenarios.get("spike"):
        recovery = spike["recovery_s"]
        after = "not within what was looked at" if recovery is None else f"after {recovery:.0f} s"
        begin_s, end_s = spike["spike_s"]
        yield (
            f"Spike: {spike['times']:g} times {spike['rate']:.1f}/s for {end_s - begin_s:.0f} s; "
            f"recovered {after}."
        )
    if soak := scenarios.get("soak"):
        growth = ", ".join(f"{name} {mib:+.0f} MiB" for name, mib in soak["memory"]["growth_mib"].items())
        yield (
            f"Soak: {soak['rate']:.1f}/s for {soak['duration_s']:.0f} s, {soak['good_share']:.1%} good, "
            f"{soak['failed']} failed. Memory: {growth or 'not measured'}."
        )
    if overload := scenarios.get("overload"):
        share = overload["share_of_peak_goodput"]
        kept = f"{share:.0%} of its peak" if share is not None else "the peak is not known"
        p99 = overload["p99_admitted_ms"]
        late = f"{p99:.0f} ms" if p99 is not None else "none was"
        yield (
            f"Overload: {overload['times']:g} times saturation for {overload['duration_s']:.0f} s: goodput "
            f"{overload['goodput_per_s']:.1f}/s ({kept}), p99 of what was admitted {late}, "
            f"{overload['rejected']} of {overload['offered']} rejected."
        )


def _markdown(report: Mapping[str, Any]) -> str:
    lines = [f"# Load test\n\n{_about(report)}\n", *(f"- {sentence}" for sentence in findings(report)), ""]
    for table in tables(report):
        lines += [
            f"## {table.title}\n",
            f"| {' | '.join(table.header)} |",
            f"|---|{'--:|' * (len(table.header) - 1)}",
            *(f"| {' | '.join(row)} |" for row in table.rows),
            "",
        ]
    return "\n".join([*lines, FOOTNOTE, ""])


def _html(report: Mapping[str, Any], pictures: list[Path]) -> str:
    templates = Environment(
        loader=PackageLoader("loadtests", "."), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    return templates.get_template("report.html").render(
        about=_about(report),
        complete=report["complete"],
        findings=list(findings(report)),
        tables=tables(report),
        footnote=FOOTNOTE,
        pictures=[base64.b64encode(each.read_bytes()).decode() for each in pictures],
    )


def _about(report: Mapping[str, Any]) -> str:
    system, settings = report["system"], report["settings"]
    mix = ", ".join(f"{share:.0%} {name}" for name, share in settings["mix"].items())
    pools = ", ".join(f"{count} {name}" for name, count in settings["pools"].items())
    return (
        f"{report['started']}, {report['machine'] or 'machine not named'}. {system['items']} items "
        f"({system['embedding_version']}). Poisson arrivals, seed {settings['seed']}: {mix}. Queries by "
        f"Zipf's law, exponent {settings['zipf']:g}, over a pool of {pools}; "
        f"{settings['rest_share']:.0%} over REST. Deadline {settings['timeout_s']:g} s, at most "
        f"{settings['max_outstanding']} under way in the client."
    )
