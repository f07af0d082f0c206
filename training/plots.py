"""Training curves as a picture: loss and validation figure by step."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from matplotlib.figure import Figure

from training.contrastive import Curve

__all__ = ["plot_curves"]


def plot_curves(curves: Mapping[str, Curve], path: Path) -> None:
    """One line a curve, the loss on the left, the figure (NDCG@10) on the right; written as PNG."""
    picture = Figure(figsize=(9, 3.5), layout="constrained")
    left, right = picture.subplots(1, 2)
    for name, curve in curves.items():
        losses = [(step, loss) for step, loss, _ in curve if loss is not None]
        left.plot([step for step, _ in losses], [loss for _, loss in losses], marker="o", label=name)
        right.plot([step for step, _, _ in curve], [figure for _, _, figure in curve], marker="o", label=name)
    for axes, title in ((left, "training loss"), (right, "NDCG@10, not trained on")):
        axes.set_title(title)
        axes.set_xlabel("step")
        axes.grid(alpha=0.3)
    right.legend()
    picture.savefig(path, dpi=110)
