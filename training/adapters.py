"""Adapters of a profile other than `lite`: linear maps from frozen encoders into one space.

Texts and pictures first, together; then sounds and clips, each towards the finished texts (locked, as in Zhai
et al. 2022, arXiv:2111.07991). All by symmetric InfoNCE on the stamps' train split, stopped early on
validation.
What an encoder has of its own to learn, as pooling over time, is trained with its adapter.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.nn.functional import dropout, normalize

from export.adapters import EMBEDDING_DIM
from training.adapter_features import Features
from training.contrastive import Curve
from training.objective import Objective

__all__ = ["Adapter", "Schedule", "embed", "fit", "run"]

Rows = npt.NDArray[np.intp]
SLICE = 64
"""Inputs embedded at once outside of training."""


@dataclass(frozen=True)
class Schedule:
    """How long and how hard; `patience` checks without a better validation figure end it."""

    steps: int = 2_000
    check_every: int = 25
    patience: int = 12
    batch: int = 128
    rate: float = 1e-3
    temperature: float = 0.07
    dropout: float = 0.3
    decay: float = 1e-2
    seed: int = 0


class Adapter(nn.Module):
    """Features of one graph -> embedding FP32 [B, 1024], unit norm."""

    mean: torch.Tensor
    scale: torch.Tensor

    def __init__(self, features: Features, known: Rows, schedule: Schedule) -> None:
        """`known` are the inputs whose mean and deviation it standardises by."""
        super().__init__()
        self.part, self.learned, self.dropout = features.part, features.learned, schedule.dropout
        if self.learned is not None:
            _isometric(self.learned.requires_grad_(True))
        with torch.no_grad():
            given = torch.cat([self._given(features, rows) for rows in _slices(known)])
        self.register_buffer("mean", given.mean(dim=0))
        self.register_buffer("scale", 1 / (given.std(dim=0, correction=0) + 1e-3 * given.std() + 1e-9))
        self.outer = nn.Linear(given.shape[1], EMBEDDING_DIM)

    def forward(self, features: Features, rows: Rows) -> torch.Tensor:
        x = dropout((self._given(features, rows) - self.mean) * self.scale, self.dropout, self.training)
        return normalize(self.outer(x), dim=1)

    def _given(self, features: Features, rows: Rows) -> torch.Tensor:
        batch = features.batch(rows)
        given: torch.Tensor = batch[0] if self.learned is None else self.learned(*batch)
        return given

    def state(self) -> dict[str, torch.Tensor]:
        """What the export reads: weight, bias and the learned part by the encoder's names."""
        weight = self.outer.weight.detach() * self.scale
        found = {"weight": weight, "bias": self.outer.bias.detach() - weight @ self.mean}
        if self.learned is not None:
            found |= {f"{self.part}.{name}": each for name, each in self.learned.state_dict().items()}
        return found


def run(adapter: Adapter | None, features: Features, rows: Rows) -> torch.Tensor:
    """FP32 [n, 1024], unit norm; without an adapter the features are embeddings."""
    return features.batch(rows)[0] if adapter is None else adapter(features, rows)


def embed(adapter: Adapter | None, features: Features) -> npt.NDArray[np.float32]:
    """Every input as it will be served, FP32 [n, 1024]."""
    with torch.inference_mode():
        parts = [run(adapter, features, rows) for rows in _slices(np.arange(len(features.stamp)))]
    return torch.cat(parts).numpy()


def fit(
    trained: list[Adapter],
    read: Callable[[Rows, np.random.Generator], tuple[torch.Tensor, torch.Tensor, torch.Tensor]],
    inputs: Rows,
    figure: Callable[[], float],
    schedule: Schedule,
) -> Curve:
    """Train in place; the best checked state is what stays.

    Args:
        trained: what is trained.
        read: (some of `inputs`, random numbers) -> their embeddings, those of a text of each, both FP32
            [B, 1024], and the meanings INT64 [B]: equal ones are no negatives of each other.
        figure: validation figure of what is trained as it is; higher is better.
    """
    rng = np.random.default_rng(schedule.seed)
    torch.manual_seed(schedule.seed)
    modules = nn.ModuleList(trained)
    objective = Objective(schedule.temperature, learn_temperature=False, uncertainty=False)
    optimiser = torch.optim.AdamW(modules.parameters(), lr=schedule.rate, weight_decay=schedule.decay)
    rate = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, schedule.steps)
    modules.eval()
    best, best_state, waited = figure(), _copy(modules), 0
    curve: Curve = [(0, None, best)]
    for step in range(1, schedule.steps + 1):
        modules.train()
        rows = rng.choice(inputs, min(schedule.batch, len(inputs)), replace=False)
        here, there, meaning = read(rows, rng)
        loss = objective(here, there, meaning, torch.ones(len(rows)), torch.zeros_like(meaning))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        rate.step()
        if step % schedule.check_every == 0:
            modules.eval()
            found = figure()
            curve.append((step, float(loss.detach()), found))
            if found > best:
                best, best_state, waited = found, _copy(modules), 0
            elif (waited := waited + 1) >= schedule.patience:
                break
    modules.load_state_dict(best_state)
    modules.eval().requires_grad_(False)
    return curve


def _isometric(part: nn.Module) -> None:
    """Begin as a map that keeps distances: what it gives is searched as it is, beside the embedding."""
    for parameter in part.parameters():
        if parameter.ndim > 1:
            nn.init.orthogonal_(parameter)
        else:
            nn.init.zeros_(parameter)


def _copy(module: nn.Module) -> dict[str, Any]:
    return {name: each.detach().clone() for name, each in module.state_dict().items()}


def _slices(rows: Rows) -> list[Rows]:
    return [rows[start : start + SLICE] for start in range(0, len(rows), SLICE)]
