"""The fused score of composed queries, from vectors alone, as the orchestrator makes it without attention.

It is what composition is held against and mixed with: parts are scored one by one by the calibration and the
learned fusion of the checkpoint, and joined as `orchestrator/fusion.py` does.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from export.reranker import KINDS, ROWS
from training.attend_asks import Ask
from training.attend_data import World, tensors
from training.calibration import Logistic
from training.fusion import LOG_ODDS

__all__ = ["FusedScores", "load_fused"]

Floats = npt.NDArray[np.float64]
FLOOR, CEILING = 1e-4, 1 - 1e-6


@dataclass(frozen=True)
class FusedScores:
    """Calibration by pair; by query modality the bias, and weight and floor by pair, where learned."""

    calibration: Mapping[str, Logistic]
    learned: Mapping[str, tuple[float, Mapping[str, tuple[float, float]]]]

    def __call__(self, world: World, asks: Sequence[Ask]) -> Floats:
        """Probabilities [len(asks), n]."""
        query, native, kind, weight = (tensor.numpy() for tensor in tensors(world, asks))
        out = np.zeros((len(asks), len(world.gallery.rows)))
        for number, each in enumerate(asks):
            looked = each.only or ROWS
            beliefs, weights = [], []
            for place, part in enumerate(each.parts):
                assert KINDS[kind[number, place]] == part.kind
                beliefs.append(
                    self.belief(part.kind, query[number, place], native[number, place], world, looked)
                )
                weights.append(float(weight[number, place]))
            out[number] = beliefs[0] if len(beliefs) == 1 else combine(beliefs, weights)
        return out

    def belief(
        self,
        kind: str,
        vector: npt.NDArray[np.float32],
        native: npt.NDArray[np.float32],
        world: World,
        looked: Sequence[str],
    ) -> Floats:
        """That each item [n] is what one part means."""
        gallery = world.gallery
        bias, pairs = self.learned.get(kind, (0.0, {}))
        counted = np.full(len(gallery.rows), bias)
        best: dict[str, Floats] = {}
        for place, row in enumerate(ROWS):
            if row not in looked:
                continue
            there = gallery.present[:, place]
            similarity = {f"{kind}->{row}": gallery.rows[:, place] @ vector}
            if kind == row == "audio":
                distance = ((gallery.native - native) ** 2).sum(axis=1)
                similarity["audio->audio/native"] = 1 / (1 + distance)
            for name, values in similarity.items():
                logistic = self.calibration[name]
                odds = np.clip(logistic.scale * values.astype(np.float64) + logistic.bias, *LOG_ODDS)
                if name in pairs:
                    pair_weight, floor = pairs[name]
                    counted += there * pair_weight * np.logaddexp(0, odds - floor)
                else:
                    best[row] = np.maximum(best.get(row, 0.0), there / (1 + np.exp(-odds)))
        doubt = 1 / (1 + np.exp(counted)) if pairs else np.ones(len(counted))
        for probability in best.values():
            doubt = doubt * (1 - probability)
        return np.asarray(1 - doubt, np.float64)


def combine(beliefs: Sequence[Floats], weights: Sequence[float]) -> Floats:
    """Positive parts by the weighted geometric mean, negative ones by the power of 1 - p."""
    positive = [weight for weight in weights if weight > 0]
    total = sum(positive)
    logarithm = np.zeros_like(beliefs[0])
    for belief, weight in zip(beliefs, weights, strict=True):
        if weight > 0:
            logarithm += weight / total * np.log(np.maximum(belief, FLOOR))
        else:
            logarithm += -weight * len(positive) / total * np.log1p(-np.minimum(belief, CEILING))
    return np.asarray(np.exp(logarithm), np.float64)


def load_fused(folder: Path) -> FusedScores:
    """Of a checkpoint folder. Raises OSError, ValueError, KeyError: its files are missing or malformed."""
    table = json.loads((folder / "calibration.json").read_text(encoding="utf-8"))
    calibration = {name: Logistic(entry["scale"], entry["bias"]) for name, entry in table.items()}
    path = folder / "fusion.json"
    content = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {"fusion": {}}
    learned = {
        modality: (
            float(entry["bias"]),
            {name: (float(pair["weight"]), float(pair["floor"])) for name, pair in entry["pairs"].items()},
        )
        for modality, entry in content["fusion"].items()
    }
    return FusedScores(calibration, learned)
