"""What learned fusion is worth on validation queries, and whether its probabilities are ones."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from evaluation.metrics import interval, per_query
from training.candidates import Candidates
from training.fusion import Floats, error

__all__ = ["compare", "draw", "kept"]

TOP = 10
BINS = 8
TINY = 1e-9


def compare(
    judged: Mapping[str, Floats], found: Candidates, held: npt.NDArray[np.bool_]
) -> tuple[dict[str, Any], Floats]:
    """Figures per way of fusing, and how weights change the loss of each query against noisy-or of the same
    calibration. The loss is the negative log-likelihood of a query's candidates.

    Args:
        judged: probabilities of the candidates of queries in `held`, by "noisy-or", "calibrated", "learned".
        held: [q], the queries of `found` that are judged.
    """
    own = held[found.query]
    query, item, relevant = found.query[own], found.item[own], found.relevant[own]
    asked = np.flatnonzero(held)
    out: dict[str, Any] = {"queries": len(asked), "train_queries": int((~held).sum())}
    answers = {str(number): _answers(found, int(number)) for number in asked}
    values: dict[str, Floats] = {}
    losses: dict[str, Floats] = {}
    for name, p in judged.items():
        ranked, top = {}, np.zeros(len(p), np.bool_)
        losses[name] = np.zeros(len(asked))
        bounded = np.clip(p, TINY, 1 - TINY)
        loss = -np.where(relevant, np.log(bounded), np.log1p(-bounded))
        for place, number in enumerate(asked):
            rows = np.flatnonzero(query == number)
            order = rows[np.argsort(-p[rows], kind="stable")]
            ranked[str(number)] = [str(found_item) for found_item in item[order]]
            top[order[:TOP]] = True
            losses[name][place] = loss[rows].sum()
        scores = per_query(answers, ranked)["ndcg@10"]
        values[name] = np.array([scores[str(number)] for number in asked])
        out[name] = {
            "ndcg@10": float(values[name].mean()),
            "ece": error(p, relevant),
            "ece_top10": error(p[top], relevant[top]),
            "log_loss": float(losses[name].mean()),
        }
    for name, before in (("calibrated", "noisy-or"), ("learned", "noisy-or"), ("learned", "calibrated")):
        for measure, by_name in (("ndcg@10", values), ("log_loss", losses)):
            change = by_name[name] - by_name[before]
            out[name][f"{measure}_against_{before}"] = [float(change.mean()), *interval(change.tolist())]
    return out, losses["learned"] - losses["calibrated"]


def kept(figures: Mapping[str, dict[str, Any]], changes: Mapping[str, Floats]) -> list[str]:
    """The modalities whose weights are served: none unless the loss over the queries of all of them falls by
    an interval that excludes zero; then those where neither loss nor NDCG@10 is worse on average."""
    _, high = interval(np.concatenate(list(changes.values())).tolist())
    if high >= 0:
        return []
    return [
        modality
        for modality, change in changes.items()
        if change.mean() < 0
        and figures[modality]["learned"]["ndcg@10"] >= figures[modality]["calibrated"]["ndcg@10"]
    ]


def _answers(found: Candidates, query: int) -> list[str]:
    """Places of the relevant items; those that were not found get places of nobody."""
    places = [str(place) for place in found.item[(found.query == query) & found.relevant]]
    return places + [f"missing-{number}" for number in range(int(found.answers[query]) - len(places))]


def draw(curves: Mapping[str, tuple[Mapping[str, Floats], npt.NDArray[np.bool_]]], path: Path) -> None:
    """Reliability per query modality: predicted against found share of relevant, on log scales."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(1, len(curves), figsize=(3.2 * len(curves), 3.2), squeeze=False)
    for axis, (modality, (judged, relevant)) in zip(axes[0], curves.items(), strict=True):
        axis.plot([1e-3, 1], [1e-3, 1], color="0.7", linewidth=1)
        for name, style in (("noisy-or", "o--"), ("learned", "s-")):
            p = judged[name]
            edges = np.logspace(-3, 0, BINS + 1)
            place = np.digitize(p, edges[1:-1])
            told, seen = [], []
            for number in range(BINS):
                inside = (place == number) & (p >= edges[0])
                if inside.any():
                    told.append(float(p[inside].mean()))
                    seen.append(max(float(relevant[inside].mean()), 1e-3))
            axis.plot(told, seen, style, label=name, markersize=4, linewidth=1)
        axis.set(xscale="log", yscale="log", xlim=(1e-3, 1), ylim=(9e-4, 1.1), title=f"{modality} queries")
        axis.set_xlabel("score")
    axes[0][0].set_ylabel("share that is relevant")
    axes[0][0].legend()
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    plt.close(figure)
