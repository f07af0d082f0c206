"""The evaluation report as PNG plots."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

__all__ = ["plot"]

BLUE, RED, DARK, ORANGE = "#4c78a8", "#e45756", "#333333", "#f58518"


def plot(report: Mapping[str, Any], out: Path) -> list[Path]:
    """Write `<out>-headline.png`, `<out>-pairs.png` and `<out>-diversity.png`, those the report has figures
    for; returns their paths."""
    import matplotlib as mpl

    mpl.use("Agg")
    written = []
    stem = out.with_suffix("")
    title = f"{report.get('catalogue', {}).get('items', 0)} items ({report.get('embedding_version', '')})"
    for name, about in (("headline", "Query -> item"), ("pairs", "Query -> item modality")):
        if report.get(name):
            path = stem.with_name(f"{stem.name}-{name}.png")
            _bars(report[name], report["targets"][name], f"{about}, {title}", path)
            written.append(path)
    if report.get("diversity"):
        path = stem.with_name(f"{stem.name}-diversity.png")
        _curve(report["diversity"], f"MMR, {title}", path)
        written.append(path)
    return written


def _bars(figures: Mapping[str, Any], targets: Mapping[str, float], title: str, path: Path) -> None:
    from matplotlib import pyplot as plt

    names = list(figures)[::-1]
    means = [figures[name]["ndcg@10"] for name in names]
    bounds = [figures[name]["ndcg@10_ci95"] for name in names]
    left = [max(mean - low, 0.0) for mean, (low, _) in zip(means, bounds, strict=True)]
    right = [max(high - mean, 0.0) for mean, (_, high) in zip(means, bounds, strict=True)]
    figure, axes = plt.subplots(figsize=(8, 0.36 * len(names) + 1.5), layout="constrained")
    axes.barh(names, means, xerr=[left, right], color=BLUE, ecolor=DARK, capsize=3, height=0.62)
    for place, name in enumerate(names):
        end = bounds[place][1]
        if end < targets.get(name, 0.0) < end + 0.25:  # the mark would stand in the words
            end = targets[name]
        axes.text(end + 0.015, place, f"{means[place]:.2f}  (n={figures[name]['queries']})", va="center")
        if name in targets:
            axes.plot([targets[name]] * 2, [place - 0.42, place + 0.42], color=RED, linewidth=2)
    if set(names) & set(targets):
        axes.plot([], [], color=RED, linewidth=2, label="asked of it")
        figure.legend(loc="outside lower right", frameon=False)
    axes.set_xlim(0, 1.28)
    axes.set_ylim(-0.6, len(names) - 0.4)
    axes.set_xticks([0, 0.2, 0.4, 0.6, 0.8, 1.0])
    axes.set_xlabel("NDCG@10, with 95 % bootstrap interval")
    axes.set_title(title)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=120)
    plt.close(figure)


def _curve(diversity: Mapping[str, Any], title: str, path: Path) -> None:
    """Left: intra-list distance against NDCG, a point per lambda; right: all three over lambda."""
    from matplotlib import pyplot as plt

    figure, (against, over) = plt.subplots(1, 2, figsize=(11, 4.4), layout="constrained")
    for kind, colour in zip(
        dict.fromkeys(each["kind"] for each in diversity.values()), (BLUE, ORANGE), strict=False
    ):
        rows = sorted(
            (each for each in diversity.values() if each["kind"] == kind), key=lambda each: each["lambda"]
        )
        lambdas = [row["lambda"] for row in rows]
        relevance, distance = [row["ndcg@10"] for row in rows], [row["distance"] for row in rows]
        against.plot(relevance, distance, "o-", color=colour, label=kind, markersize=4)
        told: set[tuple[float, float]] = set()
        for row, x, y in zip(rows, relevance, distance, strict=True):
            place = (round(x, 2), round(y, 2))  # points upon each other are named once
            if row["lambda"] in (0.0, 0.3, 0.5, 0.7, 1.0) and place not in told:
                told.add(place)
                against.annotate(
                    f"{row['lambda']:.1f}", (x, y), textcoords="offset points", xytext=(6, 4), fontsize=8
                )
        over.plot(lambdas, relevance, "-", color=colour, label=f"{kind}: NDCG@10")
        over.plot(lambdas, [row["alpha-ndcg@10"] for row in rows], "--", color=colour, label="alpha-nDCG@10")
        over.plot(lambdas, distance, ":", color=colour, label="intra-list distance")
    against.set(xlabel="NDCG@10", ylabel="intra-list distance (Jaccard, words)", title=title)
    over.set(xlabel="lambda: 0 is diversity alone, 1 relevance alone", ylim=(0, 1.02))
    against.legend(frameon=False)
    over.legend(frameon=False, fontsize=8, ncols=2)
    for axes in (against, over):
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=120)
    plt.close(figure)
