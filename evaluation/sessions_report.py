"""The learning curves of simulated users as JSON, Markdown and a plot."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

__all__ = ["sessions_markdown", "write_sessions"]


def sessions_markdown(report: dict[str, Any]) -> str:
    """A row a kind of taste: first and last session, and the gain of the later half with its interval."""
    lines = [
        "| taste | users | plain, last session | personalised, first | personalised, last | gain, later half "
        "| 95 % |",
        "|---|---:|---:|---:|---:|---:|---|",
    ]
    for kind, curve in report["kinds"].items():
        first, last = curve["points"][0], curve["points"][-1]
        low, high = curve["gain_ci95"]
        lines.append(
            f"| {kind} | {curve['users']} | {last['plain']:.3f} | {first['personalised']:.3f} "
            f"| {last['personalised']:.3f} | {curve['gain']:+.3f} | {low:+.3f} to {high:+.3f} |"
        )
    if erased := report["erased"]:
        lines.append(
            f"\n{erased['back_at_the_start']} of {erased['users']} users were answered as nobody once erased."
        )
    stage = report["personalise_ms"]
    lines.append(f"\nStage personalise: median {stage['p50']:.1f} ms, 95th percentile {stage['p95']:.1f} ms.")
    if report["degraded"]:
        lines.append(f"\n{report['degraded']} answers were degraded: a stage failed or ran out of time.")
    return "\n".join(lines) + "\n"


def write_sessions(report: dict[str, Any], out: Path) -> list[Path]:
    """Write `out` (JSON), and beside it the same name as .md and .png; returns the three paths."""
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    table, plot = out.with_suffix(".md"), out.with_suffix(".png")
    table.write_text(sessions_markdown(report), encoding="utf-8")
    _plot(report, plot)
    return [out, table, plot]


def _plot(report: dict[str, Any], path: Path) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    kinds = report["kinds"]
    figure, axes = plt.subplots(
        1, len(kinds), figsize=(3.1 * len(kinds), 3.3), sharey=True, layout="constrained"
    )
    for axis, (kind, curve) in zip(axes, kinds.items(), strict=True):
        sessions = range(1, len(curve["points"]) + 1)
        for name, colour in (("personalised", "#4c78a8"), ("plain", "#e45756")):
            axis.plot(sessions, [point[name] for point in curve["points"]], color=colour, label=name)
            bounds = [point[f"{name}_ci95"] for point in curve["points"]]
            axis.fill_between(
                sessions, [low for low, _ in bounds], [high for _, high in bounds], color=colour, alpha=0.15
            )
        axis.set_title(f"taste: {kind}")
        axis.set_xlabel("session")
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].set_ylabel("NDCG@10 of the user's own gains")
    axes[0].legend(frameon=False)
    figure.savefig(path, dpi=120)
    plt.close(figure)
