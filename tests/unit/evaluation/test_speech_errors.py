"""Word errors against counts by hand."""

from __future__ import annotations

import pytest

from evaluation.speech import speech_table, word_errors


@pytest.mark.parametrize(
    ("said", "heard", "errors", "words"),
    [
        ("A frog.", "Frog", 0, 1),
        ("A frog.", "the frog!", 0, 1),
        ("A frog.", "Prague.", 1, 1),
        ("Two wild boars.", "Wild boar.", 2, 3),
        ("A red kangaroo.", "", 2, 2),
        ("A bee.", "I see a bee", 3, 1),
    ],
)
def test_errors_by_hand(said: str, heard: str, errors: int, words: int) -> None:
    assert word_errors(said, heard) == (errors, words)


def test_silence_has_no_rate() -> None:
    with pytest.raises(ValueError, match="nothing"):
        word_errors("...", "a frog")


def test_the_table_tells_splits_and_ways_apart() -> None:
    way = {"queries": 8, "wer": 0.375, "wer_ci95": [0.1, 0.6], "right": 0.625, "right_ci95": [0.3, 0.9]}
    report = {"speech_recognition": {"recording": {"validation": {"free": way, "vocabulary": way}}}}
    rows = [line for line in speech_table(report) if line.startswith("| human")]
    assert rows == [
        f"| human voices | validation | 8 | {name} vocabulary | 0.38 | 0.10 to 0.60 | 62% | 30% to 90% |"
        for name in ("without", "with")
    ]
