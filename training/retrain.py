"""Clicks -> weights, if they are better: the feedback loop.

Sessions are split by chance into those learned from and those held out. On the latter, what was in force and
what was learned each rank every answer anew; the gain is the difference of their DCG of liked items, each
weighted by the inverse probability of a look at the place where it had stood (an unbiased estimate of the DCG
that users would have had; Joachims et al. 2017), over the ideal one. Promoted is only what the gate passes:
enough held-out sessions, an interval of the gain that excludes 0, and no loss on the standing queries of the
validation split.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from evaluation.metrics import interval, per_query
from training.checkpoints import write_json
from training.errors import DataError
from training.feedback_log import FEATURES, Answer, Floats, read_log, sessions
from training.propensity import estimate_examination
from training.standing import Standing
from training.strengths import Weights, fit_weights, likings, scores

__all__ = ["Verdict", "judge", "read_weights", "retrain"]

HELD_OUT = 0.4
MIN_SESSIONS = 20
"""Held out, with something liked: with fewer an interval means little."""
STANDING_LOSS = 0.005
"""Of NDCG@10: the lower end of the interval on standing queries may not lie further below 0."""
DEPTH = 10


@dataclass(frozen=True)
class Verdict:
    """What was learned, what the gate measured, and why it was promoted or not."""

    promoted: bool
    why: str
    weights: Weights
    examination: tuple[float, ...]
    learned_from: int
    held_out: int
    gain: float
    gain_ci95: tuple[float, float]
    standing: float | None
    standing_ci95: tuple[float, float] | None


def retrain(log: Path, current: Path, standing: Sequence[Standing], out: Path, seed: int = 0) -> Verdict:
    """Learns from `log`, starting from `current`, and writes `out` if the gate passes; else leaves it alone.

    Raises:
        DataError: the log or the weights in force cannot be read, or hold nothing to learn from.
    """
    answers, names = read_log(log)
    try:
        verdict = judge(answers, names, read_weights(current), standing, seed)
    except ValueError as error:
        raise DataError(f"{log}: {error}") from error
    if verdict.promoted:
        out.parent.mkdir(parents=True, exist_ok=True)
        write_json(
            out,
            {
                "features": dict(verdict.weights.features),
                "pairs": dict(verdict.weights.pairs),
                "examination": list(verdict.examination),
                "about": {
                    key: value
                    for key, value in asdict(verdict).items()
                    if key not in ("weights", "examination", "promoted")
                },
            },
        )
    return verdict


def judge(
    answers: Sequence[Answer],
    names: Sequence[str],
    current: Weights,
    standing: Sequence[Standing],
    seed: int = 0,
) -> Verdict:
    """Learns from some sessions and measures on the others.

    Raises:
        ValueError: there is nothing to learn from.
    """
    numbers = sessions(answers)
    random = np.random.default_rng(seed)
    held = set(np.flatnonzero(random.random(max(numbers, default=-1) + 1) < HELD_OUT).tolist())
    known = [answer for answer, number in zip(answers, numbers, strict=True) if number not in held]
    examination = estimate_examination(known, seed)
    learned = fit_weights(known, names, examination, current)
    by_session: dict[int, list[float]] = {}
    for answer, number in zip(answers, numbers, strict=True):
        if number in held and answer.liked.any():
            by_session.setdefault(number, []).append(_gain(answer, current, learned, names, examination))
    gains = [float(np.mean(found)) for found in by_session.values()]
    bounds = interval(gains) if gains else (0.0, 0.0)
    losses = _standing_gain(standing, current, learned)
    standing_bounds = interval(losses) if losses else None
    why = _why(len(gains), bounds, standing_bounds)
    return Verdict(
        promoted=not why,
        why=why or "better on held-out sessions, no loss on the standing queries",
        weights=learned,
        examination=tuple(float(value) for value in examination),
        learned_from=len(set(numbers) - held),
        held_out=len(gains),
        gain=float(np.mean(gains)) if gains else 0.0,
        gain_ci95=bounds,
        standing=float(np.mean(losses)) if losses else None,
        standing_ci95=standing_bounds,
    )


def read_weights(path: Path) -> Weights:
    """The weights in force.

    Raises:
        DataError: the file is missing or malformed.
    """
    try:
        content: Any = json.loads(path.read_bytes())
        features = {name: float(content["features"][name]) for name in FEATURES}
        return Weights(features, {str(name): float(value) for name, value in content["pairs"].items()})
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{path} does not hold weights of personalisation: {error}") from error


def _why(held_out: int, gain: tuple[float, float], standing: tuple[float, float] | None) -> str:
    """Why not; empty when the gate passes."""
    if held_out < MIN_SESSIONS:
        return f"{held_out} held-out sessions with something liked, {MIN_SESSIONS} are needed"
    if gain[0] <= 0:
        return f"the gain on held-out sessions may be nothing: {gain[0]:+.4f} to {gain[1]:+.4f}"
    if standing is None:
        return "no standing queries were measured"
    if standing[0] < -STANDING_LOSS:
        return f"the standing queries may lose {-standing[0]:.4f} NDCG@10"
    return ""


def _gain(
    answer: Answer, current: Weights, learned: Weights, names: Sequence[str], examination: Floats
) -> float:
    """Difference of the two rankings' DCG of what was liked, over the ideal one."""
    worth = likings(answer, examination)

    def dcg(order: np.ndarray[Any, np.dtype[np.int64]]) -> float:
        top = worth[order[:DEPTH]]
        return float((top / np.log2(np.arange(2, len(top) + 2))).sum())

    ideal = dcg(np.argsort(-worth, kind="stable"))
    before, after = (
        dcg(np.argsort(-scores(answer, weights, names), kind="stable")) for weights in (current, learned)
    )
    return (after - before) / ideal


def _standing_gain(standing: Sequence[Standing], current: Weights, learned: Weights) -> list[float]:
    """Per standing query: NDCG@10 under the learned weights of pairs less that under those in force."""
    if not standing:
        return []
    relevant: Mapping[str, Sequence[str]] = {query.name: query.relevant for query in standing}
    before, after = (
        per_query(relevant, {query.name: query.ranked(weights.pairs) for query in standing})["ndcg@10"]
        for weights in (current, learned)
    )
    return [after[name] - before[name] for name in relevant]
