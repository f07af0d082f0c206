"""One training of attention fusion: from generated products and stamps to its checkpoint and figures.

Kinds of query are named by what they are made of, as "image+text" or "image-text". For each the composed
score is calibrated, and its share beside the fused one chosen, on validation; it passes where it then
helps the products' queries, by a paired interval that excludes zero, and queries of stamps and of products of
shapes that training never saw lose nothing. None is on by default all the same: galleries here are small, and
through the API photographs of stamps with a paraphrase, which passed here, lost 0.046 (docs/relevance.md).
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from safetensors.torch import save_file

from evaluation.metrics import interval
from export.attention import Attention, AttentionShape
from export.profile import load_profile
from export.reranker import ROWS
from export.settings import Settings
from export.trained_steps import heads_sha256
from training.attend import Schedule, composed_cosines, fit, ndcg_of
from training.attend_asks import HELD, Ask
from training.attend_data import Embedder, World, load_products, load_stamps_world
from training.attend_fused import load_fused
from training.attend_products import SEEDS
from training.calibration import Examples as Similarities
from training.calibration import Logistic, fit_logistic
from training.checkpoints import write_json
from training.errors import DataError
from training.fusion import Examples, log_odds
from training.fusion import fit as fit_weights
from training.store import Progress

__all__ = ["SHARES", "served_odds", "train_attention"]

SHARES = (0.1, 0.25, 0.5, 0.75, 1.0)
LISTED = 100
"""The nearest so many items of each query are what its score is calibrated on."""
MAY_LOSE = 0.005
"""Mean NDCG@10 that queries of stamps, and of shapes that training never saw, may lose; their interval must
reach zero as well."""
PRODUCTS, STAMPS, UNSEEN = "products", "stamps", "products of unseen shapes"
LABELS = {"seen": "", "shape held out": "shape", "colour held out": "colour"}
BORROWED = {"video": "image"}
"""Clips are scored as the pictures they are made of."""

Values = npt.NDArray[np.float64]
Entry = dict[str, Any]
"""Of one kind of query: ``share``, ``bias`` and ``rows`` by modality."""


@dataclass(frozen=True)
class _Judged:
    """Validation queries of one world: cosines [q, n, 4], fused [q, n]."""

    asks: Sequence[Ask]
    cosine: npt.NDArray[np.float32]
    fused: Values

    def of(self, kind: str) -> _Judged:
        rows = [number for number, each in enumerate(self.asks) if each.signature == kind]
        return self._take(rows)

    def unseen(self) -> _Judged:
        """Those about things of a shape that training never saw."""
        return self._take([number for number, each in enumerate(self.asks) if each.held == "shape"])

    def _take(self, rows: list[int]) -> _Judged:
        return _Judged([self.asks[number] for number in rows], self.cosine[rows], self.fused[rows])


def train_attention(
    profile: str, settings: Settings, threads: int, progress: Progress, seed: int = 0
) -> dict[str, Any]:
    """Train, calibrate, choose; writes `<checkpoints>/<profile>/attend.safetensors` and `attend.json`.

    Raises:
        TrainingError, CatalogueError, QueriesError, ExportError: something cannot be had.
    """
    torch.set_num_threads(threads)
    started = time.monotonic()
    folder = settings.checkpoints / profile
    embedder = Embedder(load_profile(profile), settings, threads, progress)
    products = {split: load_products(split, embedder, settings.cache, progress) for split in SEEDS}
    stamps = {split: load_stamps_world(split, embedder, settings) for split in SEEDS}
    held = {PRODUCTS: products["validation"], STAMPS: stamps["validation"]}
    shape, schedule = AttentionShape(), Schedule(seed=seed)
    model, curve = fit(shape, products["train"], stamps["train"], held, schedule, progress)
    try:
        fused = load_fused(folder)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{folder}: no usable calibration or fusion ({error})") from error
    judged = {name: _judge(model, world, fused) for name, world in held.items()}
    kinds, by_kind = {}, {}
    for kind in dict.fromkeys(each.signature for each in judged[PRODUCTS].asks):
        own = {name: found.of(kind) for name, found in judged.items()}
        own[UNSEEN] = own[PRODUCTS].unseen()
        entry = choose(own)
        figure = _kind_figures(own, entry)
        kinds[kind] = {"default": False, **entry}
        by_kind[kind] = {"share": entry["share"], "passes": helps(figure), **figure}
    about = {"heads_sha256": heads_sha256(folder), "kinds": kinds}
    _save(model, about, folder / "attend.safetensors")
    metrics: dict[str, Any] = {
        "heads_sha256": about["heads_sha256"],
        "passes": sorted(kind for kind, figure in by_kind.items() if figure["passes"]),
        "shape": asdict(shape),
        "schedule": asdict(schedule),
        "seeds": SEEDS,
        "held_out": HELD,
        "seconds": round(time.monotonic() - started),
        "by_kind": by_kind,
        "by_family": family_figures(judged, kinds),
        "curve": curve,
    }
    write_json(folder / "attend.json", metrics)
    return {**metrics, "table": table(metrics)}


def choose(own: Mapping[str, _Judged]) -> Entry:
    """How cosines of one kind of query become a probability, as ``embedding.json`` has it, calibrated on all
    its queries; its share beside the fused one serves products best, among those that spare stamps
    and unseen shapes."""
    scored = _calibrate([own[name] for name in (PRODUCTS, STAMPS)])
    found = [{"share": share, **scored} for share in SHARES]
    figures = [_kind_figures(own, entry) for entry in found]
    sparing = [place for place, figure in enumerate(figures) if _spares(figure)]
    among = sparing or range(len(found))
    return found[max(among, key=lambda place: figures[place][PRODUCTS]["gain"])]


def helps(figure: Mapping[str, Any]) -> bool:
    """Whether products gain beyond doubt, and stamps and unseen shapes lose nothing."""
    return bool(figure[PRODUCTS]["gain_ci95"][0] > 0 and _spares(figure))


def _spares(figure: Mapping[str, Any]) -> bool:
    others = [figure[name] for name in (STAMPS, UNSEEN) if name in figure]
    return all(each["gain"] >= -MAY_LOSE and each["gain_ci95"][1] >= 0 for each in others)


def _judge(model: Attention, world: World, fused: Any) -> _Judged:
    return _Judged(world.asks, composed_cosines(model, world, world.asks), fused(world, world.asks))


def _calibrate(judged: Sequence[_Judged]) -> Entry:
    """A logistic for each modality of rows, then what each counts for, on the nearest items of each query:
    weight * log(1 + exp(scale * cosine - offset)) of each, and a bias."""
    cosines, relevant = [], []
    query: list[npt.NDArray[np.intp]] = []
    for found in judged:
        for number, each in enumerate(found.asks):
            mean = np.nanmean(
                np.where(np.isnan(found.cosine[number]).all(axis=1)[:, None], -1.0, found.cosine[number]),
                axis=1,
            )
            near = np.argsort(-mean, kind="stable")[:LISTED]
            cosines.append(found.cosine[number, near])
            relevant.append(each.relevant[near])
            query.append(np.full(len(near), len(query)))
    cosine, right = np.concatenate(cosines).astype(np.float64), np.concatenate(relevant)
    logistics: dict[str, Logistic] = {}
    odds = []
    for place, row in enumerate(ROWS):
        there = ~np.isnan(cosine[:, place])
        if row not in BORROWED and 0 < right[there].sum() < there.sum():
            logistics[row] = fit_logistic(Similarities(cosine[there, place], right[there]))
            odds.append(logistics[row].scale * cosine[:, place] + logistics[row].bias)
    columns = np.stack(odds, axis=1)
    examples = Examples(
        tuple(logistics), columns, np.ones_like(columns), right, np.concatenate(query).astype(np.int32)
    )
    weights = fit_weights(examples)
    rows = {}
    for row in ROWS:
        name = BORROWED.get(row, row)
        if name in logistics:
            offset = weights.floor[name] - logistics[name].bias
            rows[row] = {"weight": weights.weight[name], "scale": logistics[name].scale, "offset": offset}
    return {"bias": weights.bias, "rows": rows}


def _kind_figures(own: Mapping[str, _Judged], entry: Entry) -> dict[str, Any]:
    return {
        name: _compare(found.asks, served_odds(entry, found.cosine, found.fused), found.fused)
        for name, found in own.items()
        if found.asks
    }


def _compare(asks: Sequence[Ask], on: Values, off: Values) -> dict[str, Any]:
    """NDCG@10 and the share of the first ten that is right, with composition on and off."""
    values = [ndcg_of(asks, scored) for scored in (on, off)]
    shares = [_right(asks, scored) for scored in (on, off)]
    gains = values[0] - values[1]
    return {
        "queries": len(asks),
        "ndcg@10": {"on": float(values[0].mean()), "off": float(values[1].mean())},
        "gain": float(gains.mean()),
        "gain_ci95": list(interval(gains.tolist())),
        "p@10": {"on": float(shares[0].mean()), "off": float(shares[1].mean())},
        "could": float(np.mean([min(each.relevant.sum(), 10) / 10 for each in asks])),
    }


def _right(asks: Sequence[Ask], scored: Values) -> Values:
    top = np.argsort(-scored, axis=1, kind="stable")[:, :10]
    return np.array([each.relevant[top[number]].sum() / 10 for number, each in enumerate(asks)])


def family_figures(judged: Mapping[str, _Judged], kinds: Mapping[str, Any]) -> dict[str, Any]:
    """By family, and of it what was seen in training and what was held out."""
    figures: dict[str, Any] = {}
    for found in judged.values():
        for family in dict.fromkeys(each.family for each in found.asks):
            kind = next(each.signature for each in found.asks if each.family == family)
            entry = kinds[kind]
            for label, held in LABELS.items():
                rows = [n for n, each in enumerate(found.asks) if each.family == family and each.held == held]
                if rows:
                    asks = [found.asks[n] for n in rows]
                    odds = served_odds(entry, found.cosine[rows], found.fused[rows])
                    figures.setdefault(family, {"kind": kind})[label] = _compare(
                        asks, odds, found.fused[rows]
                    )
    return figures


def served_odds(entry: Entry, cosine: npt.NDArray[np.floating], fused: Values) -> Values:
    """Log-odds [q, n] by a kind's ``embedding.json`` entry, as `orchestrator/composed_score.py` has them."""
    total = np.full(cosine.shape[:2], float(entry["bias"]))
    for place, row in enumerate(ROWS):
        if row in entry["rows"]:
            said = entry["rows"][row]
            there = ~np.isnan(cosine[..., place])
            counted = np.logaddexp(
                0, said["scale"] * np.where(there, cosine[..., place], 0.0) - said["offset"]
            )
            total += said["weight"] * np.where(there, counted, 0.0)
    mixed: Values = entry["share"] * total + (1 - entry["share"]) * log_odds(fused)
    return mixed


def table(metrics: Mapping[str, Any]) -> str:
    """The validation figures as Markdown."""
    lines = [
        "| queries | kind | | number | could | off | on | NDCG@10 off | on | gain | 95 % |",
        "|---|---|---|--:|--:|--:|--:|--:|--:|--:|---|",
    ]
    for family, entry in metrics["by_family"].items():
        for label in LABELS:
            if label in entry:
                figure = entry[label]
                low, high = figure["gain_ci95"]
                share, ndcg = figure["p@10"], figure["ndcg@10"]
                lines.append(
                    f"| {family} | {entry['kind']} | {label} | {figure['queries']} | {figure['could']:.2f} "
                    f"| {share['off']:.2f} | {share['on']:.2f} | {ndcg['off']:.3f} | {ndcg['on']:.3f} "
                    f"| {figure['gain']:+.3f} | {low:+.3f} to {high:+.3f} |"
                )
    lines.append(f"\npassed, to be asked for: {', '.join(metrics['passes']) or 'nothing'}")
    return "\n".join(lines)


def _save(model: Attention, about: Mapping[str, Any], path: Path) -> None:
    state = {
        name: value.detach().to(torch.float16).contiguous() for name, value in model.state_dict().items()
    }
    partial = path.with_suffix(".partial")
    metadata = {"shape": json.dumps(asdict(model.shape)), "about": json.dumps(about)}
    save_file(state, partial, metadata=metadata)
    partial.chmod(0o644)  # safetensors writes files that only their owner may read
    partial.replace(path)
