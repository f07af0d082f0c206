"""What decides whether a sound is listened to: how it is fitted, and that the committed one is whole."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from export.settings import Settings
from training import speech_detection
from training.speech_detection import TARGET


def test_the_committed_one_is_finite_and_loses_no_speech() -> None:
    learned = json.loads((Settings().model_repository / TARGET).read_text())
    assert len(learned["weight"]) == 288
    assert all(math.isfinite(value) for value in (*learned["weight"], learned["bias"]))
    held_out = learned["held_out"]
    assert held_out["recordings"]["listened_to"] == held_out["recordings"]["of"] > 50
    assert held_out["readings"]["listened_to"] == held_out["readings"]["of"] > 100
    assert held_out["effects"]["listened_to"] < 0.5 * held_out["effects"]["of"]


def test_a_fit_parts_what_can_be_parted_whatever_the_scales() -> None:
    rng = np.random.default_rng(0)
    scales = np.array([1e-3, 1.0, 1e3])
    rows = rng.standard_normal((300, 3)) * scales + np.array([5.0, 0.0, -2e3])
    is_speech = (rows[:, 0] - 5.0) / 1e-3 > 0.5
    weight, bias = speech_detection._fit(rows.astype(np.float64), is_speech)
    assert ((rows @ weight + bias > 0) == is_speech).mean() > 0.95
    alone, of_alone = speech_detection._fit(rows[:60].astype(np.float64), is_speech[:60])
    assert np.isfinite(alone).all()
    assert math.isfinite(of_alone)


@pytest.mark.parametrize("snr_db", [3.0, 20.0])
def test_noise_has_the_level_that_was_asked_for(snr_db: float) -> None:
    rng = np.random.default_rng(1)
    sound = (0.1 * rng.standard_normal(16_000)).astype(np.float32)
    noise = (0.01 * rng.standard_normal(3_000)).astype(np.float32)
    added = speech_detection._mixed(sound, noise, snr_db) - sound
    assert 10 * math.log10((sound**2).mean() / (added**2).mean()) == pytest.approx(snr_db, abs=0.2)
    assert np.array_equal(speech_detection._mixed(sound, np.zeros(5, np.float32), snr_db), sound)


def test_a_long_sound_is_taken_a_second_at_a_time() -> None:
    frames = np.repeat(np.arange(3, dtype=np.float32), 42)[:, None] * np.ones((1, 288), np.float32)
    assert speech_detection._seconds(frames, 42)[:, 0].tolist() == [0.0, 0.5, 1.0, 1.5, 2.0]
    assert speech_detection._seconds(frames[:5], 42).shape == (1, 288)
