"""Learned fusion: the formula against brute force, what it must never do, and where it is not used."""

import math
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fakes import EMBEDDING_SET
from fixtures_orchestrator import MakeWorld
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from media import Modality
from orchestrator.calibrate import load_embedding_set
from orchestrator.errors import ConfigurationError
from orchestrator.evidence import Evidence, PairWeight, evidence_name
from orchestrator.fusion import explain, fuse
from orchestrator.lineup import Served
from orchestrator.query import Signal, SignalSpace
from orchestrator.settings import ExpandSettings, FusionSettings
from orchestrator.types import RowHit
from tests.unit.orchestrator.test_calibrate import embedding_file
from training.fusion import Examples, Weights, log_odds, noisy_or

TEXT, IMAGE, AUDIO, VIDEO = Modality
PAIRS = ("audio->text", "audio->audio", "audio->audio/native", "transcript->text")
EVIDENCE = Evidence(
    -4.0, {name: PairWeight(weight, -5.0) for name, weight in zip(PAIRS, (0.3, 1.2, 0.0, 0.8), strict=True)}
)
LEARNED = {AUDIO: EVIDENCE}
probabilities = st.floats(1e-6, 1 - 1e-6)


def signal(
    item: str,
    score: float,
    kind: Modality = TEXT,
    space: SignalSpace = "unified",
    *,
    part: int = 0,
    query: Modality = AUDIO,
    weight: float = 1.0,
) -> Signal:
    return Signal(part, query, kind, space, 0.5, score, weight, RowHit(item, kind, 0, 0, 0.0, 0.0, 0.5))


def score(signals: list[Signal]) -> float:
    (candidate,) = fuse(signals, {0: 1.0}, learned=LEARNED)
    return candidate.score


def test_the_names_of_the_evidence() -> None:
    assert evidence_name(signal("a", 0.5, TEXT)) == "audio->text"
    assert evidence_name(signal("a", 0.5, AUDIO, "audio")) == "audio->audio/native"
    assert evidence_name(signal("a", 0.5, IMAGE, "transcript")) == "transcript->image"


@given(probabilities, probabilities, probabilities, st.floats(0, 1))
def test_it_is_the_formula_that_training_fits(
    unified: float, sound: float, said: float, trust: float
) -> None:
    signals = [
        signal("a", unified, AUDIO),
        signal("a", sound, AUDIO, "audio"),
        signal("a", said, TEXT, "transcript", weight=trust),
    ]
    z = -4.0
    for p, w, t in ((unified, 1.2, 1.0), (sound, 0.0, 1.0), (said, 0.8, trust)):
        z += t * w * math.log(1 + math.exp(math.log(p / (1 - p)) + 5.0))
    expected = 1 / (1 + math.exp(-z))
    assert score(signals) == pytest.approx(expected, rel=1e-6, abs=1e-12)

    weights = Weights(
        -4.0,
        {name: pair.weight for name, pair in EVIDENCE.pairs.items()},
        {name: pair.floor for name, pair in EVIDENCE.pairs.items()},
    )
    found = np.array([[np.nan, unified, sound, said]])
    examples = Examples(
        PAIRS,
        log_odds(found),
        np.array([[np.nan, 1.0, 1.0, trust]]),
        np.array([True]),
        np.zeros(1, np.int32),
    )
    assert weights(examples)[0] == pytest.approx(expected, rel=1e-6, abs=1e-12)
    (plain,) = fuse(signals, {0: 1.0})
    assert noisy_or(examples)[0] == pytest.approx(plain.score)


@given(probabilities, probabilities, probabilities)
def test_more_similarity_and_more_evidence_never_hurt(a: float, b: float, other: float) -> None:
    low, high = sorted((a, b))
    without = [signal("a", other, AUDIO)]
    less, more = ([*without, signal("a", p)] for p in (low, high))
    assert score(without) <= score(less) <= score(more) <= 1


def test_certainty_is_finite() -> None:
    assert 0.0 < score([signal("a", 0.0)]) < score([signal("a", 1.0)]) <= 1.0


def test_of_one_pair_the_signal_that_counts_most_counts() -> None:
    weak = signal("a", 0.9, TEXT, "transcript", weight=0.1)
    strong = signal("a", 0.8, TEXT, "transcript", weight=0.9)
    assert score([weak, strong]) == score([strong, weak]) == score([strong])


def test_a_pair_that_nothing_was_learned_for_joins_by_noisy_or() -> None:
    known, unknown = signal("a", 0.3, AUDIO), signal("a", 0.4, VIDEO)
    assert score([known, unknown]) == pytest.approx(1 - (1 - score([known])) * 0.6)


def test_a_modality_that_nothing_was_learned_for_is_joined_by_noisy_or() -> None:
    signals = [signal("a", 0.5, TEXT, query=IMAGE), signal("a", 0.5, IMAGE, query=IMAGE)]
    (candidate,) = fuse(signals, {0: 1.0}, learned=LEARNED)
    assert candidate.score == pytest.approx(0.75)


def test_parts_of_a_mixed_query_are_weighed_each_by_its_modality() -> None:
    heard, seen = signal("a", 0.5, AUDIO), signal("a", 0.5, part=1, query=IMAGE)
    weights = {0: 1.0, 1: 3.0}
    signals = [heard, Signal(*(getattr(seen, name) for name in seen.__slots__[:6]), 3.0, seen.row)]
    (candidate,) = fuse(signals, weights, learned=LEARNED)
    assert candidate.score == pytest.approx(score([heard]) ** 0.25 * 0.5**0.75)


def test_the_weight_of_a_signal_is_told_and_the_score_stays() -> None:
    signals = [
        signal("a", 0.5, AUDIO),
        signal("a", 0.4, AUDIO, "audio"),
        signal("a", 0.3, TEXT, "transcript", weight=0.5),
        signal("a", 0.2, VIDEO),
    ]
    candidates = fuse(signals, {0: 1.0}, learned=LEARNED)
    (explained,) = explain(candidates, LEARNED)
    assert [s.weight for s in explained.signals] == pytest.approx([1.2, 0.0, 0.4, 1.0])
    assert explained.score == candidates[0].score
    assert explain(candidates, {}) == candidates


def fusion(**changes: Any) -> dict[str, Any]:
    pair = {"weight": 0.5, "floor": -5.0} | changes
    return {"text": {"bias": -6.0, "pairs": {"text->image": pair}}}


def test_weights_are_read_from_the_embedding_set(tmp_path: Path) -> None:
    found = load_embedding_set(embedding_file(tmp_path, fusion=fusion()))
    assert found.fusion == {TEXT: Evidence(-6.0, {"text->image": PairWeight(0.5, -5.0)})}
    assert load_embedding_set(embedding_file(tmp_path)).fusion == {}


@pytest.mark.parametrize(
    "wrong",
    [
        fusion(weight=-0.1),
        fusion(floor=1e9),
        fusion(weight=None),
        {"smell": {"bias": 0.0, "pairs": {}}},
        {"text": {"pairs": {}}},
    ],
)
def test_weights_that_do_not_fit_are_an_error(tmp_path: Path, wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        load_embedding_set(embedding_file(tmp_path, fusion=wrong))


@pytest.mark.parametrize("learned", [True, False])
async def test_the_pipeline_fuses_by_weights_unless_it_is_told_not_to(
    make_world: MakeWorld, learned: bool
) -> None:
    world = make_world(fusion=FusionSettings(learned=learned), expand=ExpandSettings(enabled=False))
    await world.add("frog", "green frog")
    plain = await world.search("green frog", mmr_lambda=1.0)
    weighed = Evidence(-3.0, {"text->text": PairWeight(0.25, -5.0)})
    embedding_set = replace(EMBEDDING_SET, fusion={TEXT: weighed})
    world.served = Served(world.runtime(embedding_set))
    result = await world.search("green frog", mmr_lambda=1.0)
    (hit,), (before,) = result.hits, plain.hits
    (signal,) = hit.signals
    assert signal.score == before.signals[0].score
    assert signal.weight == (0.25 if learned else 1.0)
    expected = weighed.probability([(before.signals[0], 1.0)]) if learned else before.score
    assert hit.score == pytest.approx(expected)
    assert (hit.score == before.score) is not learned


async def test_what_is_recorded_is_what_personalise_saw(make_world: MakeWorld) -> None:
    """Shares of the pairs by trust and score; the learned weights only explain an answer."""
    weighed = Evidence(-3.0, {"text->text": PairWeight(0.25, -5.0), "text->image": PairWeight(2.0, -5.0)})
    world = make_world(replace(EMBEDDING_SET, fusion={TEXT: weighed}))
    buffer = BytesIO()
    Image.new("RGB", (8, 8), "green").save(buffer, "PNG")
    world.encoder.means[buffer.getvalue()] = "green frog"
    await world.add("frog", "green frog", buffer.getvalue())
    result = await world.search("green frog", user="ann", request_id="r")
    (impression,) = (await world.feedback.history("ann", 1)).impressions
    (hit,), (shown,) = result.hits, impression.shown
    weights = {f"{s.query_modality.value}->{s.item_modality.value}": s.weight for s in hit.signals}
    assert weights == pytest.approx({"text->text": 0.25, "text->image": 2.0})
    scores = {f"{s.query_modality.value}->{s.item_modality.value}": s.score for s in hit.signals}
    shares = {pair: score / sum(scores.values()) for pair, score in scores.items()}
    assert shown.evidence == pytest.approx(shares, abs=1e-5)
