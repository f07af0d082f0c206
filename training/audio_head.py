"""The head for sound: speech and sound effects land near the embedding of their text.

The text head is the fixed target (a teacher, as in locked-image tuning, Zhai et al. 2022, arXiv:2111.07991),
trained towards by InfoNCE over the distinct texts of a batch and by the cosine itself.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch.nn.functional import cross_entropy, dropout

from export.adapters import AUDIO_NATIVE_DIM, AudioHead
from training.contrastive import Curve

__all__ = ["AudioSchedule", "fit_native", "fit_unified"]

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class AudioSchedule:
    steps: int = 1_500
    check_every: int = 100
    patience: int = 4
    batch: int = 256
    rate: float = 1e-3
    temperature: float = 0.07
    dropout: float = 0.1
    decay: float = 1e-2
    cosine: float = 1.0
    seed: int = 0


def fit_native(head: AudioHead, pooled: Floats, floor: float = 1e-2) -> None:
    """Whitened principal components of `pooled` [n, 576], so that L2 distance weighs every direction that
    varies.

    `floor` keeps directions with less than that share of the largest variance from being blown up.
    """
    x = torch.from_numpy(pooled).double()
    mean = x.mean(dim=0)
    variance, axes = torch.linalg.eigh((x - mean).T @ (x - mean) / len(x))
    order = torch.argsort(variance, descending=True)[:AUDIO_NATIVE_DIM]
    whitened = axes[:, order].T / (variance[order] + floor * variance[order[0]]).sqrt()[:, None]
    head.native.mean.copy_(mean)
    head.native.scale.fill_(1.0)
    head.native.outer.weight.data.copy_(whitened)
    head.native.outer.bias.data.zero_()


def fit_unified(
    head: AudioHead,
    pooled: Floats,
    targets: Floats,
    meanings: tuple[str, ...],
    figure: Callable[[], float],
    schedule: AudioSchedule,
) -> Curve:
    """Train `head.unified` in place; the best checked state is what stays.

    Args:
        pooled: [n, 576]; targets: [n, 1024] text embeddings, unit norm; meanings: n normalised texts.
        figure: validation figure of the head as it is; higher is better.
    """
    rng = np.random.default_rng(schedule.seed)
    torch.manual_seed(schedule.seed)
    x, y = torch.from_numpy(pooled), torch.from_numpy(targets)
    names: dict[str, int] = {}
    group = torch.tensor([names.setdefault(meaning, len(names)) for meaning in meanings])
    head.unified.mean.copy_(x.mean(dim=0))
    head.unified.scale.copy_(1 / (x.std(dim=0) + 1e-3))
    parameters = list(head.unified.parameters())
    optimiser = torch.optim.AdamW(parameters, lr=schedule.rate, weight_decay=schedule.decay)
    rate = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, schedule.steps)
    noise = x.std(dim=0) * 0.1
    best, best_state, waited = figure(), _state(parameters), 0
    curve: Curve = [(0, None, best)]
    for step in range(1, schedule.steps + 1):
        rows = torch.from_numpy(rng.choice(len(x), min(schedule.batch, len(x)), replace=False))
        heard = x[rows] + noise * torch.randn(len(rows), x.shape[1])
        embedding = head(dropout(heard - head.unified.mean, schedule.dropout) + head.unified.mean)[0]
        scores = embedding @ y[rows].T / schedule.temperature
        same = group[rows][:, None] == group[rows][None, :]
        scores = scores.masked_fill(same & ~torch.eye(len(rows), dtype=torch.bool), -1e4)
        target = torch.arange(len(rows))
        contrast = (cross_entropy(scores, target) + cross_entropy(scores.T, target)) / 2
        near = 1 - (embedding * y[rows]).sum(dim=1).mean()
        loss = contrast + schedule.cosine * near
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        rate.step()
        if step % schedule.check_every == 0:
            found = figure()
            curve.append((step, float(loss.detach()), found))
            if found > best:
                best, best_state, waited = found, _state(parameters), 0
            elif (waited := waited + 1) >= schedule.patience:
                break
    with torch.no_grad():
        for parameter, value in zip(parameters, best_state, strict=True):
            parameter.copy_(value)
    return curve


def _state(parameters: list[torch.nn.Parameter]) -> list[torch.Tensor]:
    return [parameter.detach().clone() for parameter in parameters]
