"""The gate's decision on constructed figures, and the measures it rests on."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest

from export.gate import decide, judge
from export.measure import cosines, drift, ndcg_at_10
from export.profile import Gate

GATE = Gate(drift_mean_min=0.99, ndcg_loss_max=0.018, speed_up_min=1.2, threads=1, seconds=1.0)


def _figures(
    cosine: float = 0.995, loss: float = 0.01, speed: tuple[float, float] = (2.0, 1.5)
) -> dict[str, Any]:
    return {
        "drift": {"embedding": {"mean": 0.999, "worst": 0.99}, "native": {"mean": cosine, "worst": 0.9}},
        "ndcg": {"fp32": 0.3, "int8": 0.3 * (1 - loss), "loss": loss},
        "speed": {"1": {"speed_up": speed[0]}, "8": {"speed_up": speed[1]}},
    }


def test_int8_is_served_when_everything_holds() -> None:
    assert judge(_figures(), GATE).precision == "int8"


def test_random_weights_have_no_retrieval_to_lose() -> None:
    verdict = judge({**_figures(), "ndcg": None}, GATE)
    assert (verdict.precision, verdict.reasons) == (
        "int8",
        ("drift and speed-up are within the gate; random weights retrieve nothing",),
    )


def test_a_gain_in_ndcg_is_no_loss() -> None:
    assert judge(_figures(loss=-0.05), GATE).precision == "int8"


@pytest.mark.parametrize(
    ("figures", "said"),
    [
        (_figures(cosine=0.989), "mean cosine of native"),
        (_figures(loss=0.02), "NDCG@10 loss 2.00%"),
        (_figures(speed=(1.1, 2.0)), "speed-up 1.10 at batch 1"),
        (_figures(speed=(2.0, 0.9)), "speed-up 0.90 at batch 8"),
        (_figures(cosine=float("nan")), "mean cosine of native"),
        (_figures(loss=float("nan")), "NDCG@10 loss"),
    ],
)
def test_one_failure_is_enough_for_fp32(figures: dict[str, Any], said: str) -> None:
    verdict = judge(figures, GATE)
    assert verdict.precision == "fp32"
    assert len(verdict.reasons) == 1
    assert said in verdict.reasons[0]


def test_all_failures_are_named() -> None:
    assert len(judge(_figures(cosine=0.5, loss=0.5, speed=(1.0, 1.0)), GATE).reasons) == 4


class Session:
    """Takes so long."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def run(self, _outputs: None, _feed: Any) -> None:
        time.sleep(self._seconds)


@pytest.mark.parametrize(("cosine", "measurements"), [(0.995, [3, 1]), (0.5, [1, 1])])
def test_only_what_hangs_on_its_speed_is_measured_again(cosine: float, measurements: list[int]) -> None:
    figures = {name: each for name, each in _figures(cosine).items() if name != "speed"}
    gate = GATE.model_copy(update={"seconds": 0.0})
    quick: Any = Session(0.0)
    slow: Any = Session(0.002)
    decided = decide(figures, quick, slow, {1: {}, 8: {}}, gate)
    assert [timed["measurements"] for timed in decided["speed"].values()] == measurements
    assert decided["precision"] == "fp32"
    assert len(decided["reasons"]) == (2 if cosine > 0.99 else 3)
    assert decide(figures, slow, quick, {1: {}}, gate)["precision"] == ("int8" if cosine > 0.99 else "fp32")


def test_cosine_and_drift() -> None:
    a = np.array([[1, 0], [0, 2]], np.float32)
    b = np.array([[3, 0], [1, 0]], np.float32)
    assert cosines(a, b).tolist() == [1.0, 0.0]
    assert drift({"embedding": a}, {"embedding": b}) == {"embedding": {"mean": 0.5, "worst": 0.0}}


def test_ndcg_by_hand() -> None:
    gallery = np.array([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0]], np.float32)
    query = np.array([[1.0, 0.0]], np.float32)
    assert ndcg_at_10(query, ["frog"], gallery, ["frog", "cat", "dog"]) == pytest.approx(1.0)
    assert ndcg_at_10(query, ["frog"], gallery, ["cat", "frog", "dog"]) == pytest.approx(1 / np.log2(3))
    # first and third of two relevant ones
    expected = (1 + 1 / np.log2(4)) / (1 + 1 / np.log2(3))
    assert ndcg_at_10(query, ["frog"], gallery, ["frog", "cat", "frog"]) == pytest.approx(expected)
    # what the gallery does not show cannot be asked for
    both = np.repeat(query, 2, axis=0)
    assert ndcg_at_10(both, ["frog", "bee"], gallery, ["frog", "cat", "dog"]) == pytest.approx(1.0)
