"""The moment of a hit: which stretch of a sound or video, if any, an answer points at."""

from media import Modality
from orchestrator.answer import moment
from orchestrator.query import Candidate, Moment, Signal
from orchestrator.types import RowHit


def signal(
    modality: Modality, score: float, start_s: float = 0.0, end_s: float = 0.0, weight: float = 1.0
) -> Signal:
    row = RowHit("a", modality, 2, 1, start_s, end_s, 0.5)
    return Signal(0, Modality.TEXT, modality, "unified", 0.5, score, weight, row)


def candidate(*signals: Signal) -> Candidate:
    return Candidate("a", 0.9, tuple(sorted(signals, key=lambda s: -s.score)))


def test_the_best_segment_is_the_moment() -> None:
    found = candidate(signal(Modality.AUDIO, 0.4, 0, 30), signal(Modality.VIDEO, 0.8, 50, 110))
    assert moment(found) == Moment(Modality.VIDEO, 2, 50, 110)


def test_a_strong_text_does_not_hide_a_sound_that_matched_too() -> None:
    found = candidate(signal(Modality.TEXT, 0.9), signal(Modality.AUDIO, 0.6, 5, 9))
    assert moment(found) == Moment(Modality.AUDIO, 2, 5, 9)


def test_a_sound_that_did_not_match_has_no_moment() -> None:
    assert moment(candidate(signal(Modality.TEXT, 0.9), signal(Modality.AUDIO, 0.01, 5, 9))) is None


def test_pictures_and_disliked_sounds_have_none() -> None:
    assert moment(candidate(signal(Modality.IMAGE, 0.9))) is None
    assert moment(candidate(signal(Modality.AUDIO, 0.9, 0, 1, weight=-1.0))) is None
