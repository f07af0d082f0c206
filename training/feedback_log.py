"""The log of feedback as arrays: what stood where, through what it was found, and whether it was liked.

The log is `data/feedback.sqlite` of a home; its tables are described in
`orchestrator/clients/feedback_schema.sql`. It is read only, and may be read while it is written to.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from training.errors import DataError

__all__ = ["FEATURES", "Answer", "read_log", "sessions"]

FEATURES = ("taste", "category", "tags", "modality")
SESSION_GAP_S = 1800.0
LONG_DWELL_MS = 10_000.0

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Answer:
    """One answer of n items, in the order shown.

    `base` float64 [n]: log-odds before personalisation; `features` [n, 4] and `pairs` [n, p]: relative to
    their means over the answer, as the server weighs them; `position` int [n], from 1; `clicked` and `liked`
    bool [n]: a click, and one that lasted or led to more.
    """

    user: str
    at_s: float
    base: Floats
    features: Floats
    pairs: Floats
    position: npt.NDArray[np.int64]
    clicked: npt.NDArray[np.bool_]
    liked: npt.NDArray[np.bool_]


def read_log(path: Path) -> tuple[list[Answer], tuple[str, ...]]:
    """Every answer of at least two items, oldest first, and the names of the columns of `pairs`.

    Raises:
        DataError: there is no log, or it cannot be read.
    """
    if not path.is_file():
        raise DataError(f"{path} is missing: no feedback was given to this system")
    try:
        connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=10)
        try:
            impressions = connection.execute(
                "SELECT request_id, user, at_s FROM impressions ORDER BY at_s, request_id"
            ).fetchall()
            shown: dict[str, list[tuple[str, int, float, dict[str, float], dict[str, float]]]] = {}
            for request_id, item_id, position, base, evidence, features in connection.execute(
                "SELECT request_id, item_id, position, base, evidence, features FROM shown "
                "ORDER BY request_id, position"
            ):
                row = (item_id, position, base, json.loads(evidence), json.loads(features))
                shown.setdefault(request_id, []).append(row)
            events = connection.execute("SELECT request_id, item_id, kind, dwell_ms FROM events").fetchall()
        finally:
            connection.close()
    except (sqlite3.Error, ValueError) as error:
        raise DataError(f"{path} is not a log of feedback: {error}") from error
    clicked = {(request, item) for request, item, kind, _ in events if kind in ("click", "add")}
    liked = {
        (request, item)
        for request, item, kind, dwell_ms in events
        if kind == "add" or (kind == "dwell" and dwell_ms >= LONG_DWELL_MS)
    }
    rows = [row for found in shown.values() for row in found]
    names = tuple(sorted({pair for row in rows for pair in row[3]}))
    answers = []
    for request_id, user, at_s in impressions:
        found = shown.get(request_id, [])
        if len(found) < 2:
            continue
        score = np.clip([row[2] for row in found], 1e-6, 1 - 1e-6)
        answers.append(
            Answer(
                user=user,
                at_s=at_s,
                base=np.log(score / (1 - score)),
                features=_centred([[row[4].get(name, 0.0) for name in FEATURES] for row in found]),
                pairs=_centred([[row[3].get(name, 0.0) for name in names] for row in found]),
                position=np.array([row[1] for row in found]),
                clicked=np.array([(request_id, row[0]) in clicked for row in found]),
                liked=np.array([(request_id, row[0]) in liked for row in found]),
            )
        )
    return answers, names


def sessions(answers: Sequence[Answer]) -> list[int]:
    """The number of each answer's session: of one user, with no pause of SESSION_GAP_S seconds."""
    last: dict[str, tuple[float, int]] = {}
    numbers = []
    count = 0
    for answer in answers:
        before, number = last.get(answer.user, (-np.inf, -1))
        if answer.at_s - before > SESSION_GAP_S:
            number, count = count, count + 1
        last[answer.user] = answer.at_s, number
        numbers.append(number)
    return numbers


def _centred(values: Sequence[Sequence[float]]) -> Floats:
    array = np.asarray(values, dtype=np.float64)
    centred: Floats = array - array.mean(axis=0)
    return centred
