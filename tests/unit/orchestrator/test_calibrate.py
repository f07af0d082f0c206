"""Calibration: the logistic, its pairs, and the file they come from."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from media import Modality
from orchestrator.calibrate import Calibration, load_embedding_set
from orchestrator.errors import ConfigurationError

PAIRS = [f"{q.value}->{i.value}" for q in Modality for i in Modality] + [
    "audio->audio/native",
    "video->video/native",
]


def embedding_file(folder: Path, **changes: Any) -> Path:
    content = {
        "profile": "lite",
        "embedding_version": "lite-1-abcdef01",
        "models": {"encode_text": {"version": "1", "precision": "int8", "sha256": "00"}},
        "calibration": {name: {"scale": 10.0, "bias": -4.0} for name in PAIRS},
    } | changes
    path = folder / "embedding.json"
    path.write_text(json.dumps(content))
    return folder


def test_a_score_is_the_logistic_of_the_contract() -> None:
    calibration = Calibration({"text->image": (12.3, -4.5)})
    score = calibration.score(Modality.TEXT, Modality.IMAGE, "unified", 0.4)
    assert score == pytest.approx(1 / (1 + math.exp(-(12.3 * 0.4 - 4.5))))


def test_each_pair_and_space_has_its_own() -> None:
    calibration = Calibration({"audio->audio": (1.0, 0.0), "audio->audio/native": (2.0, 0.0)})
    plain = calibration.score(Modality.AUDIO, Modality.AUDIO, "unified", 0.5)
    native = calibration.score(Modality.AUDIO, Modality.AUDIO, "audio", 0.5)
    assert plain < native


def test_a_transcript_counts_as_a_text() -> None:
    calibration = Calibration({"text->image": (3.0, 0.0), "audio->image": (1.0, 0.0)})
    heard = calibration.score(Modality.AUDIO, Modality.IMAGE, "transcript", 0.5)
    assert heard == calibration.score(Modality.TEXT, Modality.IMAGE, "unified", 0.5)


@given(st.floats(1e-3, 1e6), st.floats(-1e6, 1e6), st.floats(-1, 1), st.floats(-1, 1))
def test_scores_stay_within_0_and_1_and_grow_with_similarity(
    scale: float, bias: float, a: float, b: float
) -> None:
    calibration = Calibration({"text->text": (scale, bias)})
    low, high = (
        calibration.score(Modality.TEXT, Modality.TEXT, "unified", value) for value in sorted((a, b))
    )
    assert 0 <= low <= high <= 1


def test_the_file_is_read(tmp_path: Path) -> None:
    found = load_embedding_set(embedding_file(tmp_path))
    assert found.version == "lite-1-abcdef01"
    assert found.precision == {"encode_text": "int8"}
    assert set(found.calibration.pairs) == set(PAIRS)
    assert found.rerank_for is None


def test_a_re_ranker_is_read_with_what_it_is_for(tmp_path: Path) -> None:
    entry = {"version": "2", "precision": "fp32", "sha256": "0" * 64, "default_for": ["image"]}
    found = load_embedding_set(embedding_file(tmp_path, rerank=entry))
    assert found.rerank_for == {"image"}
    assert found.precision == {"encode_text": "int8", "rerank": "fp32"}


@pytest.mark.parametrize("pair", ["video->audio", "audio->audio/native"])
def test_a_missing_pair_is_named(tmp_path: Path, pair: str) -> None:
    pairs = {name: {"scale": 1.0, "bias": 0.0} for name in PAIRS if name != pair}
    with pytest.raises(ConfigurationError, match=pair):
        load_embedding_set(embedding_file(tmp_path, calibration=pairs))


@pytest.mark.parametrize(
    "changes",
    [
        {"calibration": None},
        {"embedding_version": 7},
        {"rerank": {"version": "1", "precision": "fp32"}},
        {"calibration": {name: {"scale": -1.0, "bias": 0.0} for name in PAIRS}},
        {"calibration": {name: {"scale": 1.0} for name in PAIRS}},
    ],
)
def test_a_file_that_does_not_fit_is_an_error(tmp_path: Path, changes: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        load_embedding_set(embedding_file(tmp_path, **changes))


def test_a_missing_file_says_how_to_make_it(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="python -m export"):
        load_embedding_set(tmp_path)


def test_a_torn_file_is_an_error(tmp_path: Path) -> None:
    path = embedding_file(tmp_path) / "embedding.json"
    path.write_text(path.read_text()[:-20])
    with pytest.raises(ConfigurationError):
        load_embedding_set(tmp_path)


def test_random_weights_are_known_as_such(tmp_path: Path) -> None:
    assert not load_embedding_set(embedding_file(tmp_path)).random
    assert load_embedding_set(embedding_file(tmp_path, random=True)).random
