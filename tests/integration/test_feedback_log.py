"""What the orchestrator's store writes is what training reads: the two rooms share a schema, not code."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from orchestrator.clients.feedback import FeedbackStore
from orchestrator.feedback import FEATURES, Event, EventKind, Impression, Shown
from orchestrator.settings import FeedbackSettings, PersonaliseSettings
from orchestrator.strengths import load_strengths
from training import feedback_log
from training.feedback_log import read_log
from training.retrain import read_weights, retrain
from training.strengths import CAP

FIRST = Shown("a", 1, 0.9, 0.8, {"text->image": 1.0}, dict.fromkeys(FEATURES, 1.0))
SECOND = Shown("b", 2, 0.5, 0.2, {"text->text": 0.5, "text->image": 0.5}, {})


def test_the_rooms_agree_on_features_and_bound() -> None:
    assert feedback_log.FEATURES == FEATURES
    assert PersonaliseSettings().max_log_odds == CAP


async def test_a_log_is_read_as_it_was_written(tmp_path: Path) -> None:
    async with FeedbackStore(tmp_path, FeedbackSettings(), lambda: 5000.0) as store:
        await store.record(Impression("r", "ann", 4000.0, "", (FIRST, SECOND)))
        await store.record(Impression("short", "ann", 4100.0, "", (FIRST,)))
        await store.add(
            "ann",
            [Event("r", "b", EventKind.CLICK), Event("r", "b", EventKind.DWELL, 0, 60_000.0)],
        )
        answers, names = read_log(tmp_path / "feedback.sqlite")  # while it is open
    (answer,) = answers
    assert names == ("text->image", "text->text")
    assert (answer.user, answer.at_s) == ("ann", 4000.0)
    assert answer.base == pytest.approx([math.log(4), -math.log(4)])
    assert answer.position.tolist() == [1, 2]
    assert answer.clicked.tolist() == answer.liked.tolist() == [False, True]
    assert np.allclose(answer.features, [[0.5] * 4, [-0.5] * 4])
    assert np.allclose(answer.pairs, [[0.25, -0.25], [-0.25, 0.25]])


async def test_the_committed_strengths_are_read_by_both(tmp_path: Path) -> None:
    path = Path("model_repository/personalise.json")
    served = load_strengths(tmp_path, path.parent)
    assert served is not None
    weights = read_weights(path)
    assert dict(served.features) == dict(weights.features)
    assert dict(served.pairs) == dict(weights.pairs)


async def test_too_little_feedback_changes_nothing(tmp_path: Path) -> None:
    async with FeedbackStore(tmp_path, FeedbackSettings(), lambda: 5000.0) as store:
        for number in range(4):
            await store.record(Impression(f"r{number}", "ann", 4000.0 + number, "", (FIRST, SECOND)))
            await store.add("ann", [Event(f"r{number}", "b", EventKind.ADD)])
    current = tmp_path / "now.json"
    current.write_text(json.dumps({"features": dict.fromkeys(FEATURES, 0.5), "pairs": {}}))
    verdict = retrain(tmp_path / "feedback.sqlite", current, [], tmp_path / "personalise.json")
    assert not verdict.promoted
    assert not (tmp_path / "personalise.json").exists()
