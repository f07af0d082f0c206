"""Transcription by a CTC head: the best path, and the forward pass against every alignment there is."""

from __future__ import annotations

import importlib
import itertools
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

FOLDER = Path(__file__).resolve().parents[3] / "model_repository" / "transcribe_audio" / "ctc"


@pytest.fixture(scope="module")
def ctc() -> Iterator[ModuleType]:
    sys.path.insert(0, str(FOLDER))
    try:
        yield importlib.import_module("ctc")
    finally:
        sys.path.remove(str(FOLDER))
        sys.modules.pop("ctc", None)


def said(ctc: ModuleType, text: str, sure: float = 8.0) -> np.ndarray:
    """Log-probabilities of a sound that spells ``text``, two frames and a blank for each symbol."""
    symbols = [number for one in ctc.spelled(text)[:1] for symbol in one for number in (symbol, symbol, 0)]
    logits = np.zeros((len(symbols), 32), np.float32)
    logits[np.arange(len(symbols)), symbols] = sure
    found: np.ndarray = ctc.log_probabilities(logits)
    return found


def test_symbols_are_those_of_the_checkpoint(ctc: ModuleType) -> None:
    assert len(ctc.SYMBOLS) == 32
    assert [ctc.SYMBOLS.index(letter) for letter in "EZ' "] == [5, 31, 27, 4]


def test_the_best_path_is_read_without_blanks_and_repeats(ctc: ModuleType) -> None:
    symbols, score = ctc.best_path(said(ctc, "a zoo"))
    assert ctc.written(symbols) == "A zoo"
    assert -0.02 < score < 0
    assert ctc.best_path(ctc.log_probabilities(np.zeros((5, 32), np.float32)))[0] == []


def test_the_forward_pass_sums_every_alignment(ctc: ModuleType) -> None:
    random = np.random.default_rng(0)
    frames = ctc.log_probabilities(random.normal(size=(5, 32)).astype(np.float32))
    rows = [[5, 5], [6], [7, 8, 7], []]
    expected = []
    for row in rows:
        total = 0.0
        for path in itertools.product(sorted({0, *row}), repeat=len(frames)):
            kept = [symbol for symbol, _ in itertools.groupby(path) if symbol]
            # groupby joins repeats that no blank parts; those parted stay two
            if kept == row:
                total += float(np.exp(sum(frames[place, symbol] for place, symbol in enumerate(path))))
        expected.append(np.log(total))
    np.testing.assert_allclose(ctc._likelihoods(frames, rows), expected, atol=1e-5)


@pytest.mark.parametrize(
    ("heard", "phrases", "meant"),
    [
        ("dromadary", ["A dromedary.", "A frog."], "A dromedary."),
        ("piano", ["A dromedary.", "A frog."], None),
        ("frog", [], None),
        ("a", ["An extraordinarily long phrase that no such short sound can hold"], None),
    ],
)
def test_an_expected_phrase_is_taken_where_it_fits(
    ctc: ModuleType, heard: str, phrases: list[str], meant: str | None
) -> None:
    frames = said(ctc, heard, sure=2.0)
    symbols, _ = ctc.best_path(frames)
    forms = [(phrase, form) for phrase in phrases for form in ctc.spelled(phrase)]
    assert ctc.choose(frames, symbols, forms) == meant
