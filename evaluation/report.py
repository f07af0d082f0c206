"""The evaluation report as JSON, as a Markdown table and as a plot."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

__all__ = ["markdown", "write_report"]

COLUMNS = ("ndcg@10", "ndcg@5", "mrr", "p@1", "recall@100")


def markdown(report: dict[str, Any]) -> str:
    """A row a pair: queries, NDCG@10 with its 95 % interval, the other metrics, median latency."""
    lines = [
        "| pair | queries | NDCG@10 | 95 % | NDCG@5 | MRR | P@1 | recall@100 | median ms | asked |",
        "|---|---:|---:|---|---:|---:|---:|---:|---:|---|",
    ]
    for name, pair in report["pairs"].items():
        low, high = pair["ndcg@10_ci95"]
        others = " | ".join(f"{pair[column]:.3f}" for column in COLUMNS[1:])
        median = pair["latency_ms"]["total"]["p50"]
        lines.append(
            f"| {name} | {pair['queries']} | {pair['ndcg@10']:.3f} | {low:.3f} to {high:.3f} | {others} "
            f"| {median:.1f} | {pair['about']} |"
        )
    for name, target in report["targets"].items():
        if name in report["pairs"]:
            found = report["pairs"][name]["ndcg@10"]
            lines.append(f"\n{name}: {found:.3f}, target {target:.2f}: {_verdict(found, target)}")
    if share := report.get("speech_share"):
        low, high = share["ratio_ci95"]
        lines.append(
            f"\nspeech reaches {share['ratio']:.0%} of its text ({low:.0%} to {high:.0%}), "
            f"target {share['target']:.0%}: {_verdict(share['ratio'], share['target'])}"
        )
        if held_out := share["held_out"]:
            lines.append(
                f"\nof items outside the train split: {held_out['ratio']:.0%} "
                f"({held_out['spoken_ndcg@10']:.3f} of {held_out['written_ndcg@10']:.3f}, "
                f"{held_out['queries']} recordings)"
            )
    degraded = sum(pair["degraded"] for pair in report["pairs"].values())
    if degraded:
        lines.append(f"\n{degraded} answers were degraded: a stage failed or ran out of time")
    return "\n".join(lines) + "\n"


def write_report(report: dict[str, Any], out: Path) -> list[Path]:
    """Write `out` (JSON), and beside it the same name as .md and .png; returns the three paths."""
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    table, plot = out.with_suffix(".md"), out.with_suffix(".png")
    table.write_text(markdown(report), encoding="utf-8")
    _plot(report, plot)
    return [out, table, plot]


def _plot(report: dict[str, Any], path: Path) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    names = list(report["pairs"])[::-1]
    means = [report["pairs"][name]["ndcg@10"] for name in names]
    bounds = [report["pairs"][name]["ndcg@10_ci95"] for name in names]
    left = [max(mean - low, 0.0) for mean, (low, _) in zip(means, bounds, strict=True)]
    right = [max(high - mean, 0.0) for mean, (_, high) in zip(means, bounds, strict=True)]
    figure, axes = plt.subplots(figsize=(8, 0.42 * len(names) + 1.4), layout="constrained")
    axes.barh(names, means, xerr=[left, right], color="#4c78a8", ecolor="#333333", capsize=3, height=0.62)
    for place, name in enumerate(names):
        end = bounds[place][1]
        axes.text(
            end + 0.015, place, f"{means[place]:.2f}  (n={report['pairs'][name]['queries']})", va="center"
        )
        if name in report["targets"]:
            target = report["targets"][name]
            axes.plot([target, target], [place - 0.42, place + 0.42], color="#e45756", linewidth=2)
    axes.plot([], [], color="#e45756", linewidth=2, label="target")
    axes.set_xlim(0, 1.28)
    axes.set_xticks([0, 0.2, 0.4, 0.6, 0.8, 1.0])
    axes.set_xlabel("NDCG@10, with 95 % bootstrap interval")
    axes.set_title(
        f"Query -> item modality, {report['catalogue']['items']} items ({report['embedding_version']})"
    )
    axes.legend(loc="lower right", frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=120)
    plt.close(figure)


def _verdict(found: float, target: float) -> str:
    return "reached" if found >= target else "MISSED"
