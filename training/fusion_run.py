"""One run of learning fusion: queries of train and validation asked of a running system, then, per query
modality, the calibration of its pairs, what each counts for, and figures.

Pairs are calibrated anew, on queries of the validation split that are no copies of what is indexed and on the
candidates that fusion compares; weights are fitted on train and validation together, because the heads know
the pictures of the train split and trust them more than new ones deserve. All figures are of validation
queries: calibration and weights are fitted five times without the fold they are judged on. The test split is
neither asked for nor looked at.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from catalogue.manifest import ManifestItem, read_manifest
from catalogue.split import normalise
from export.fusion import calibration_hash
from export.settings import Settings
from queries import MadeQuery, make_queries
from training.calibration import MIN_RELEVANT, Logistic, fit_logistic
from training.calibration import Examples as Similarities
from training.candidates import PAIRS, Candidates, collect
from training.checkpoints import write_json
from training.errors import DataError
from training.fusion import LOG_ODDS, Examples, Floats, Weights, error, fit, log_odds, noisy_or
from training.fusion_figures import compare, draw, kept
from training.selection import fold_numbers
from training.store import Progress

__all__ = ["KINDS", "learn_fusion"]

KINDS = {
    "text": ("paraphrase",),
    "image": ("photograph",),
    "audio": ("speech", "effect"),
    "video": ("clip",),
}
"""Kinds of queries that a modality's weights are learned from. Text comes first: transcripts are texts."""
TRAIN_ITEMS = {"paraphrase": 150, "photograph": 150, "speech": 50, "effect": 1000, "clip": 1000}
"""At most so many items of the train split are asked for, beside all of validation: it bounds the time."""

Logistics = dict[str, Logistic]


@dataclass(frozen=True)
class _Asked:
    """What was found for the queries of one modality. `fold` [q] is -1 for those of the train split."""

    found: Candidates
    pairs: tuple[str, ...]
    fold: npt.NDArray[np.intp]

    @property
    def rows(self) -> npt.NDArray[np.intp]:
        """The fold of every candidate."""
        return self.fold[self.found.query]

    def columns(self, values: npt.NDArray[np.float32]) -> Floats:
        return self.found.evidence(values)[:, [PAIRS.index(pair) for pair in self.pairs]].astype(np.float64)

    def calibrated(self, rows: npt.NDArray[np.bool_]) -> Logistics:
        """A logistic for each pair that found enough relevant items among `rows`."""
        similarity, found = self.columns(self.found.similarity), {}
        for column, pair in enumerate(self.pairs):
            own = rows & np.isfinite(similarity[:, column])
            relevant = self.found.relevant[own]
            heard = pair.startswith("transcript")  # calibrated as the text that it is
            if not heard and MIN_RELEVANT <= relevant.sum() < relevant.size:
                found[pair] = fit_logistic(Similarities(similarity[own, column], relevant))
        return found

    def examples(self, logistics: Mapping[str, Logistic] | None) -> Examples:
        """With the calibration that is served, or another one."""
        odds = log_odds(self.columns(self.found.probability))
        if logistics is not None:
            similarity = self.columns(self.found.similarity)
            for column, pair in enumerate(self.pairs):
                logistic = logistics[pair.replace("transcript", "text")]
                odds[:, column] = np.clip(logistic.scale * similarity[:, column] + logistic.bias, *LOG_ODDS)
        trust = self.columns(self.found.weight)
        return Examples(self.pairs, odds, trust, self.found.relevant, self.found.query)


def learn_fusion(
    profile: str, target: str, manifest: Path, settings: Settings, progress: Progress, seed: int = 0
) -> dict[str, Any]:
    """Writes `fusion.json`, `fusion.png` and the pairs of `calibration.json` in `<checkpoints>/<profile>/`;
    gives what `fusion.json` holds.

    The system at `target` must fuse without weights (SENSORIUM_FUSION__LEARNED=false).

    Raises:
        TrainingError, QueriesError, CatalogueError: queries cannot be made or are not answered.
    """
    catalogue = list(read_manifest(manifest))
    if not any(item.split == "validation" for item in catalogue):
        raise DataError(f"{manifest} has no splits: fusion is learned on the stamps")
    meaning = {item.id: normalise(item.description) for item in catalogue}
    held = {item.id for item in catalogue if item.split == "validation"}
    folder = settings.checkpoints / profile
    table = _calibration(folder)
    logistics = {name: Logistic(entry["scale"], entry["bias"]) for name, entry in table.items()}
    learned, figures, changes, curves = {}, {}, {}, {}
    for modality, kinds in KINDS.items():
        queries = [query for kind in kinds for query in _queries(kind, catalogue, settings, seed)]
        found = collect(target, queries, catalogue, settings.cache, progress, label=f"fusion-{modality}")
        of_validation = np.isin(found.source, sorted(held))
        fold = np.full(len(found.source), -1, np.intp)
        fold[of_validation] = fold_numbers([meaning[item] for item in found.source[of_validation]])
        asked = _Asked(found, _pairs(modality), fold)
        judged = _judge(asked, logistics)
        figures[modality], changes[modality] = compare(judged, found, of_validation)
        curves[modality] = (judged, found.relevant[asked.rows >= 0])
        fresh = asked.calibrated(asked.rows >= 0)
        logistics |= fresh
        for name, logistic in fresh.items():
            table[name] = _entry(name, logistic, asked, logistics)
        learned[modality] = _content(fit(asked.examples(logistics)))
        progress("fusion", len(figures), len(KINDS))
    write_json(folder / "calibration.json", table)
    serves = kept(figures, changes)
    content = {
        "fusion": {modality: learned[modality] for modality in serves},
        "calibration": calibration_hash(table),
        "seed": seed,
        "figures": figures,
    }
    write_json(folder / "fusion.json", content)
    draw(curves, folder / "fusion.png")
    return content


def _judge(asked: _Asked, logistics: Logistics) -> dict[str, Floats]:
    """Probabilities of the candidates of validation: as served, calibrated anew, and weighed."""
    rows, validation = asked.rows, asked.rows >= 0
    served = asked.examples(None).take(validation)
    calibrated, weighed = np.zeros(len(served.query)), np.zeros(len(served.query))
    for number in range(int(asked.fold.max()) + 1):
        held, own = rows == number, rows[validation] == number
        examples = asked.examples(logistics | asked.calibrated(validation & ~held))
        calibrated[own] = noisy_or(examples.take(held))
        weighed[own] = fit(examples.take(~held))(examples.take(held))
    return {"noisy-or": noisy_or(served), "calibrated": calibrated, "learned": weighed}


def _entry(name: str, logistic: Logistic, asked: _Asked, logistics: Logistics) -> dict[str, Any]:
    """An entry of `calibration.json`, with the error on validation before, and after from folds."""
    column = asked.pairs.index(name)
    similarity = asked.columns(asked.found.similarity)[:, column]
    rows = asked.rows
    own = np.isfinite(similarity) & (rows >= 0)
    after = np.zeros(len(rows))
    for number in range(int(asked.fold.max()) + 1):
        fitted = logistics | asked.calibrated((rows >= 0) & (rows != number))
        after[rows == number] = fitted[name](similarity[rows == number])
    served = asked.columns(asked.found.probability)[:, column]
    relevant = asked.found.relevant
    return {
        "scale": logistic.scale,
        "bias": logistic.bias,
        "fitted_on": name,
        "relevant": int(relevant[own].sum()),
        "candidates": int(own.sum()),
        "expected_calibration_error": error(after[own], relevant[own]),
        "expected_calibration_error_before": error(served[own], relevant[own]),
    }


def _content(weights: Weights) -> dict[str, Any]:
    return {
        "bias": weights.bias,
        "pairs": {
            pair: {"weight": weight, "floor": weights.floor[pair]} for pair, weight in weights.weight.items()
        },
    }


def _pairs(modality: str) -> tuple[str, ...]:
    prefixes = (f"{modality}->", "transcript->") if modality == "audio" else (f"{modality}->",)
    return tuple(pair for pair in PAIRS if pair.startswith(prefixes))


def _queries(kind: str, catalogue: Sequence[ManifestItem], settings: Settings, seed: int) -> list[MadeQuery]:
    """Those of the validation split and of a part of the train split."""
    train = [item for item in catalogue if item.split == "train"]
    order = np.random.default_rng(seed).permutation(len(train))[: TRAIN_ITEMS[kind]]
    known = [train[place] for place in sorted(order)]
    known += [item for item in catalogue if item.split == "validation"]
    if kind not in ("paraphrase", "speech"):
        return make_queries(kind, known, settings, seed)
    # Words are chosen with the whole catalogue in view, so that none is another item's description.
    words = {query.item.id: query for query in make_queries("paraphrase", catalogue, settings, seed)}
    if kind == "paraphrase":
        return [words[item.id] for item in known if item.id in words]
    made = make_queries("speech", known, settings, seed)
    return [query for query in made if query.way != "paraphrase" or query.item.id in words]


def _calibration(folder: Path) -> dict[str, Any]:
    try:
        table: dict[str, Any] = json.loads((folder / "calibration.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{folder}: no calibration, run `make train`: {error}") from error
    return table
