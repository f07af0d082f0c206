"""Fits attention fusion: what answers a composed query should be nearest to the vector made of its parts.

The loss is InfoNCE (van den Oord et al. 2018, arXiv:1807.03748) over all rows of the gallery, so whatever
fulfils one condition and not the other is among the negatives; several rows may be right, and each is a
target of equal share. It is taken for each modality of rows alone and for their mean with rows dropped at
random.
There are no clips to learn from: a clip's unified vector is the mean of its frames' picture vectors, so the
vector for clips learns from pictures. It stops on validation; the untrained model is among the candidates.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch.nn.functional import log_softmax

from evaluation.metrics import per_query
from export.attention import Attention, AttentionShape
from export.reranker import ROWS
from training.attend_asks import FAMILIES, SHOWN, Ask, ask
from training.attend_data import World, tensors
from training.attend_transplant import Transplanter
from training.store import Progress

__all__ = ["Curve", "Schedule", "composed_cosines", "fit", "ndcg_of"]

Floats = npt.NDArray[np.float32]
Curve = list[dict[str, float]]
FAR = -1e4
LEARNED_FROM = (0, 1, 2, 1)
"""Which rows of the gallery each row's vector learns from, by place in `ROWS`."""
TOP = 10


@dataclass(frozen=True)
class Schedule:
    """How it is trained. A step takes ``products`` and ``stamps`` queries."""

    steps: int = 800
    check_every: int = 100
    patience: int = 4
    products: int = 48
    stamps: int = 24
    rate: float = 1e-3
    decay: float = 0.05
    dropout: float = 0.1
    temperature: float = 0.07
    drop_rows: float = 0.3
    noise: float = 0.02
    transplanted: float = 0.5
    checked: int = 40
    seed: int = 0


def fit(
    shape: AttentionShape,
    products: World,
    stamps: World,
    held: Mapping[str, World],
    schedule: Schedule,
    progress: Progress,
) -> tuple[Attention, Curve]:
    """The best model on ``held``, the validation worlds, and how it got there: loss and mean NDCG@10 over
    families at every check."""
    torch.manual_seed(schedule.seed)
    rng = np.random.default_rng(schedule.seed)
    model = Attention(shape, schedule.dropout)
    decayed = [p for p in model.parameters() if p.ndim >= 2]
    plain = [p for p in model.parameters() if p.ndim < 2]
    groups = [
        {"params": decayed, "weight_decay": schedule.decay},
        {"params": plain, "weight_decay": 0.0},
    ]
    optimiser = torch.optim.AdamW(groups, lr=schedule.rate)
    plan = torch.optim.lr_scheduler.OneCycleLR(optimiser, schedule.rate, total_steps=schedule.steps)
    checked = {name: _sampled(world.asks, schedule.checked) for name, world in held.items()}
    transplant = Transplanter(products, stamps)
    targets = {id(world): _targets(world) for world in (products, stamps)}
    best, state, waited = _mean(model, held, checked), copy.deepcopy(model.state_dict()), 0
    curve: Curve = [{"step": 0, "ndcg@10": best}]
    total = 0.0
    for step in range(1, schedule.steps + 1):
        progress("attention fusion", step, schedule.steps)
        model.train()
        if rng.random() < schedule.transplanted:
            other = transplant(rng)
            loss = _loss(model, other, _made(other, schedule.products, rng, SHOWN), _targets(other), schedule)
        else:
            made = _made(products, schedule.products, rng, tuple(FAMILIES))
            loss = _loss(model, products, made, targets[id(products)], schedule)
        drawn = rng.choice(len(stamps.asks), schedule.stamps, replace=False)
        asks = [stamps.asks[place] for place in drawn]
        loss = loss + _loss(model, stamps, asks, targets[id(stamps)], schedule)
        optimiser.zero_grad()
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        plan.step()
        total += float(loss.detach())
        if step % schedule.check_every == 0:
            figure = _mean(model, held, checked)
            curve.append({"step": step, "loss": total / schedule.check_every, "ndcg@10": figure})
            total, waited = 0.0, waited + 1
            if figure > best:
                best, state, waited = figure, copy.deepcopy(model.state_dict()), 0
            if waited >= schedule.patience:
                break
    model.load_state_dict(state)
    return model.eval(), curve


def composed_cosines(model: Attention, world: World, asks: Sequence[Ask], size: int = 128) -> Floats:
    """Cosines [len(asks), n, 4] of the composed vectors with the gallery's rows, NaN where there is no row or
    it is not looked at."""
    model.eval()
    rows = torch.from_numpy(world.gallery.rows)
    found = np.zeros((len(asks), len(rows), len(ROWS)), np.float32)
    for start in range(0, len(asks), size):
        with torch.inference_mode():
            composed = model(*tensors(world, asks[start : start + size]))
            for place in range(len(ROWS)):
                found[start : start + size, :, place] = (composed[:, place] @ rows[:, place].T).numpy()
    found[:, ~world.gallery.present] = np.nan
    for number, each in enumerate(asks):
        if each.only:
            others = [place for place, name in enumerate(ROWS) if name not in each.only]
            found[number][:, others] = np.nan
    return found


def ndcg_of(asks: Sequence[Ask], scored: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    """NDCG@10 of each query [len(asks)], from scores [len(asks), n]."""
    ranked, relevant = {}, {}
    for number, each in enumerate(asks):
        order = np.argsort(-scored[number], kind="stable")[:TOP]
        ranked[str(number)] = [str(place) for place in order]
        relevant[str(number)] = [str(place) for place in np.flatnonzero(each.relevant)]
    values = per_query(relevant, ranked)["ndcg@10"]
    return np.array([values[str(number)] for number in range(len(asks))])


def _mean(model: Attention, held: Mapping[str, World], checked: Mapping[str, Sequence[Ask]]) -> float:
    """Over the families, by the mean cosine over an item's rows."""
    figures = []
    for name, world in held.items():
        asks = checked[name]
        cosine = composed_cosines(model, world, asks)
        seen = ~np.isnan(cosine)
        mean = np.nan_to_num(cosine).sum(axis=2) / np.maximum(seen.sum(axis=2), 1)
        values = ndcg_of(asks, np.where(seen.any(axis=2), mean, -np.inf))
        families = np.array([each.family for each in asks])
        figures += [float(values[families == family].mean()) for family in dict.fromkeys(families)]
    return float(np.mean(figures))


def _sampled(asks: Sequence[Ask], count: int) -> list[Ask]:
    """So many queries of each family, spread over the gallery."""
    chosen: list[Ask] = []
    for family in dict.fromkeys(each.family for each in asks):
        own = [each for each in asks if each.family == family]
        chosen += own[:: max(1, len(own) // count)][:count]
    return chosen


def _made(world: World, count: int, rng: np.random.Generator, families: Sequence[str]) -> list[Ask]:
    """New queries about products by chance, families in equal shares."""
    made: list[Ask] = []
    while len(made) < count:
        family = families[int(rng.integers(len(families)))]
        about = int(rng.integers(len(world.gallery.rows)))
        one = ask(family, about, world.gallery, rng, "")
        if one is not None:
            made.append(one)
    return made


def _targets(world: World) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows [4, n, 1024] to learn from, and bool [4, n]: which are there."""
    places = list(LEARNED_FROM)
    rows, present = world.gallery.rows[:, places], world.gallery.present[:, places]
    return torch.from_numpy(rows.transpose(1, 0, 2).copy()), torch.from_numpy(present.T.copy())


def _loss(
    model: Attention,
    world: World,
    asks: Sequence[Ask],
    targets: tuple[torch.Tensor, torch.Tensor],
    schedule: Schedule,
) -> torch.Tensor:
    query, native, kind, weight = tensors(world, asks)
    query = query + schedule.noise * torch.randn_like(query) * (kind > 0).unsqueeze(-1)
    rows, present = targets
    cosine = torch.einsum("bmd,mnd->mbn", model(query, native, kind, weight), rows)
    relevant = torch.from_numpy(np.stack([each.relevant for each in asks])).float()
    there = present[:, None, :].float()
    each = [_listed(cosine[place], there[place], relevant, schedule) for place in range(len(ROWS))]
    kept = there * (torch.rand(len(ROWS), len(asks), 1) >= schedule.drop_rows)
    mean = (cosine * kept).sum(dim=0) / kept.sum(dim=0).clamp(min=1)
    joint = _listed(mean, (kept.sum(dim=0) > 0).float(), relevant, schedule)
    return joint + sum(each) / len(ROWS)


def _listed(
    cosine: torch.Tensor, there: torch.Tensor, relevant: torch.Tensor, schedule: Schedule
) -> torch.Tensor:
    """Cross-entropy of the softmax over the rows that are there with the relevant ones [B, n]."""
    logs = log_softmax(cosine / schedule.temperature + FAR * (1 - there), dim=1)
    right = relevant * there
    counted = right.sum(dim=1)
    loss = -(logs * right).sum(dim=1) / counted.clamp(min=1)
    return loss.sum() / (counted > 0).float().sum().clamp(min=1)
