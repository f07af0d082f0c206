"""Fits a re-ranker to listed candidates: what is relevant should come first in its list.

The loss of a query is the cross-entropy between the softmax of its candidates' logits and the relevant ones
(ListNet's top one; Cao et al. 2007), plus a share of the plain logistic loss, which keeps logits near what
calibration expects. Rows are dropped at random (modality dropout), so that no modality is leant on alone. It
stops on validation: the epoch with the best mean over kinds of queries is kept, the untrained one included.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.nn.functional import binary_cross_entropy_with_logits, log_softmax

from evaluation.metrics import per_query
from export.reranker import EMBEDDING_DIM, ROWS, Reranker, Shape
from training.rerank_data import Example
from training.store import Progress

__all__ = ["Batch", "Curve", "Schedule", "batched", "fit", "ndcg_by_query", "scores"]

Floats = npt.NDArray[np.float32]
Curve = list[dict[str, float]]
FAR = -1e4
FAST = 20.0


@dataclass(frozen=True)
class Schedule:
    """How it is trained. ``listed``: candidates a query in training, the relevant ones among them."""

    epochs: int = 8
    patience: int = 3
    batch: int = 16
    listed: int = 24
    rate: float = 1e-3
    decay: float = 0.05
    dropout: float = 0.2
    drop_rows: float = 0.15
    logistic: float = 0.3
    seed: int = 0


@dataclass(frozen=True)
class Batch:
    """The six inputs of `Reranker`, and which candidates are there and which are relevant, bool [B, C]."""

    inputs: tuple[torch.Tensor, ...]
    there: torch.Tensor
    relevant: torch.Tensor


def batched(examples: Sequence[Example], vectors: Floats, chosen: Sequence[npt.NDArray[np.intp]]) -> Batch:
    """Examples side by side, padded with zeros; ``chosen`` are the candidates to take of each."""
    size, longest = len(examples), max(len(rows) for rows in chosen)
    asked = max(len(example.query) for example in examples)
    query = np.zeros((size, asked, EMBEDDING_DIM), np.float32)
    kind, weight = np.zeros((size, asked), np.int64), np.zeros((size, asked), np.float32)
    rows = np.zeros((size, longest, len(ROWS), EMBEDDING_DIM), np.float32)
    evidence = np.zeros((size, longest, asked, len(ROWS)), np.float32)
    fused = np.zeros((size, longest), np.float32)
    there, relevant = np.zeros((size, longest), bool), np.zeros((size, longest), bool)
    for place, (example, taken) in enumerate(zip(examples, chosen, strict=True)):
        q, c = len(example.query), len(taken)
        query[place, :q], kind[place, :q] = example.query, example.query_kind
        weight[place, :q] = example.query_weight
        known = example.rows[taken]
        rows[place, :c] = np.where((known >= 0)[..., None], vectors[np.maximum(known, 0)], 0)
        evidence[place, :c, :q] = example.evidence[taken]
        fused[place, :c], there[place, :c] = example.fused[taken], True
        relevant[place, :c] = example.relevant[taken]
    inputs = tuple(map(torch.from_numpy, (query, kind, weight, rows, evidence, fused)))
    return Batch(inputs, torch.from_numpy(there), torch.from_numpy(relevant))


def scores(model: Reranker, examples: Sequence[Example], vectors: Floats, size: int = 32) -> list[Floats]:
    """Logits [c] of each example's candidates."""
    model.eval()
    found: list[Floats] = []
    for start in range(0, len(examples), size):
        part = examples[start : start + size]
        batch = batched(part, vectors, [np.arange(len(example.fused)) for example in part])
        with torch.inference_mode():
            logits = model.logit(*batch.inputs).numpy()
        found += [row[: len(example.fused)] for row, example in zip(logits, part, strict=True)]
    return found


def ndcg_by_query(
    examples: Sequence[Example], scored: Sequence[Floats] | None = None
) -> npt.NDArray[np.float64]:
    """NDCG@10 of each example [n]: in fused order, or with its candidates ordered by ``scored``."""
    ranked = {}
    for number, example in enumerate(examples):
        order = (
            np.arange(len(example.found)) if scored is None else np.argsort(-scored[number], kind="stable")
        )
        ranked[str(number)] = [*(example.found[place] for place in order), *example.behind]
    relevant = {str(number): example.wanted for number, example in enumerate(examples)}
    values = per_query(relevant, ranked)["ndcg@10"]
    return np.array([values[str(number)] for number in range(len(examples))])


def fit(
    shape: Shape,
    train: Sequence[Example],
    validation: Sequence[Example],
    vectors: Floats,
    schedule: Schedule,
    progress: Progress,
    label: str,
) -> tuple[Reranker, Curve]:
    """The best re-ranker on ``validation`` and how it got there: loss and mean NDCG@10 over kinds per epoch.

    Train queries of which nothing relevant was found, or everything, teach nothing and are left out.
    """
    torch.manual_seed(schedule.seed)
    rng = np.random.default_rng(schedule.seed)
    model = Reranker(shape, schedule.dropout)
    useful = [example for example in train if example.relevant.any() and not example.relevant.all()]
    share = _shares(useful)
    optimiser = torch.optim.AdamW(_groups(model, schedule), lr=schedule.rate)
    steps = -(-len(useful) // schedule.batch)
    rates = [group["lr"] for group in optimiser.param_groups]
    plan = torch.optim.lr_scheduler.OneCycleLR(optimiser, rates, total_steps=schedule.epochs * steps)
    best, state, waited = _mean(validation, model, vectors), copy.deepcopy(model.state_dict()), 0
    curve: Curve = [{"epoch": 0, "ndcg@10": best}]
    for epoch in range(1, schedule.epochs + 1):
        progress(label, epoch - 1, schedule.epochs)
        model.train()
        order = rng.permutation(len(useful))
        total = 0.0
        for start in range(0, len(order), schedule.batch):
            part = [useful[place] for place in order[start : start + schedule.batch]]
            batch = batched(part, vectors, [_taken(example, schedule.listed, rng) for example in part])
            loss = _loss(model, _thinned(batch, schedule.drop_rows), [share[e.kind] for e in part], schedule)
            optimiser.zero_grad()
            torch.autograd.backward(loss)
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimiser.step()
            plan.step()
            total += float(loss.detach())
        figure = _mean(validation, model, vectors)
        curve.append({"epoch": epoch, "loss": total / steps, "ndcg@10": figure})
        waited += 1
        if figure > best:
            best, state, waited = figure, copy.deepcopy(model.state_dict()), 0
        if waited >= schedule.patience:
            break
    progress(label, schedule.epochs, schedule.epochs)
    model.load_state_dict(state)
    return model.eval(), curve


def _groups(model: Reranker, schedule: Schedule) -> list[dict[str, Any]]:
    """The linear part learns fast, the transformer slowly; vectors of parameters are not decayed."""
    named = list(model.named_parameters())
    fast = [p for name, p in named if name == "trust" or name.startswith("plain.")]
    slow = [(name, p) for name, p in named if name != "trust" and not name.startswith("plain.")]
    return [
        {"params": fast, "lr": FAST * schedule.rate, "weight_decay": 0.0},
        {"params": [p for _, p in slow if p.ndim >= 2], "lr": schedule.rate, "weight_decay": schedule.decay},
        {"params": [p for _, p in slow if p.ndim < 2], "lr": schedule.rate, "weight_decay": 0.0},
    ]


def _loss(model: Reranker, batch: Batch, share: Sequence[float], schedule: Schedule) -> torch.Tensor:
    logits = model.logit(*batch.inputs)
    relevant, there = batch.relevant.float(), batch.there.float()
    logs = log_softmax(logits + FAR * (1 - there), dim=1)
    first = -(logs * relevant).sum(dim=1) / relevant.sum(dim=1)
    plain = binary_cross_entropy_with_logits(logits, relevant, reduction="none")
    each = (plain * there).sum(dim=1) / there.sum(dim=1)
    weight = torch.tensor(share)
    return ((first + schedule.logistic * each) * weight).sum() / weight.sum()


def _taken(example: Example, count: int, rng: np.random.Generator) -> npt.NDArray[np.intp]:
    """The first half of what is asked for from the top, the relevant ones, and others by chance; shuffled."""
    kept = np.union1d(np.flatnonzero(example.relevant), np.arange(min(count // 2, len(example.fused))))
    others = np.setdiff1d(np.arange(len(example.fused)), kept)
    more = max(0, min(count - len(kept), len(others)))
    return rng.permutation(np.concatenate([kept, rng.choice(others, more, replace=False)]))


def _thinned(batch: Batch, share: float) -> Batch:
    query, kind, weight, rows, evidence, fused = batch.inputs
    kept = (torch.rand(rows.shape[:3]) >= share).float()
    thin = rows * kept.unsqueeze(-1), evidence * kept.unsqueeze(2)
    return Batch((query, kind, weight, *thin, fused), batch.there, batch.relevant)


def _shares(examples: Sequence[Example]) -> Mapping[str, float]:
    """Kinds with few queries count for more each, by the root of their number."""
    kinds = [example.kind for example in examples]
    return {kind: (len(kinds) / kinds.count(kind)) ** 0.5 for kind in set(kinds)}


def _mean(examples: Sequence[Example], model: Reranker, vectors: Floats) -> float:
    values = ndcg_by_query(examples, scores(model, examples, vectors))
    kinds = np.array([example.kind for example in examples])
    return float(np.mean([values[kinds == kind].mean() for kind in sorted(set(kinds))]))
