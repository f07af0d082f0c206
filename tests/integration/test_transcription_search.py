"""The phrase search on Moonshine's own weights and read speech: what is left out of it changes no answer.

The reference is a plain beam without bounds, each hypothesis with its own copy of what the encoder gave, and
without looking at the spelling first. The decoder is quantised dynamically, so that a score depends a little
on how many hypotheses are read at once: scores agree to 0.05, words exactly.
"""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from media import SAMPLE_RATE_HZ, Limits, audio_input, decode_audio

FOLDER = Path(__file__).resolve().parents[2] / "model_repository" / "transcribe_audio" / "1"
NAMES = ("tokens", "vocabulary", "moonshine", "search")
SPOKEN = ("A dromedary.", "A green frog.", "A washing machine.", "Please close the window.", "A red apple.")
PHRASES = [
    *("Dromedary", "Green frog", "Washing machine", "Red apple", "Frog", "Apple", "Red car", "Green apple"),
    *("A washing line", "Machine", "Drum", "Window cleaner", "Frog pond", "Wash basin", "Red admiral"),
    *("Green grape", "Dromedary camel", "Closed window", "Read a book", "Drawing pin"),
]
BEAM = 8


@pytest.fixture(scope="module")
def model() -> Iterator[Any]:
    if not (FOLDER / "decoder_model_merged.ort").is_file():
        pytest.skip("transcribe_audio is not built: make models")
    sys.path.insert(0, str(FOLDER))
    try:
        modules = {name: importlib.import_module(name) for name in NAMES}
        tokens = modules["tokens"].Tokens(FOLDER / "tokenizer.bin")
        vocabulary = modules["vocabulary"].Vocabularies(tokens).get(json.dumps(PHRASES).encode())
        yield SimpleNamespace(
            search=modules["search"],
            tokens=tokens,
            vocabulary=vocabulary,
            letters=modules["vocabulary"].letters,
            moonshine=modules["moonshine"].Moonshine(FOLDER, 1),
        )
    finally:
        sys.path.remove(str(FOLDER))
        for name in NAMES:
            sys.modules.pop(name, None)


def copied(state: Any, rows: list[int]) -> Any:
    """The state of these hypotheses, everything repeated for each."""
    return replace(
        state,
        memory=state.memory[rows],
        mask=state.mask[rows],
        encoder={name: array[rows] for name, array in state.encoder.items()},
        decoder={name: array[rows] for name, array in state.decoder.items()},
    )


def plain_beam(model: Any, first: Any) -> tuple[str, float]:
    scores, state = first
    beam, ended = [(0.0, model.vocabulary.root)], []
    for length in range(64):
        ways = []
        for row, (total, node) in enumerate(beam):
            if node.phrase is not None:
                ended.append((total + float(scores[row, 2]), length + 1, node.phrase))
            ways += [(total + float(scores[row, token]), row, token) for token in node.children]
        ways = sorted(ways, reverse=True)[:BEAM]
        if not ways:
            break
        beam = [(total, beam[row][1].children[token]) for total, row, token in ways]
        state = copied(state, [row for _, row, _ in ways])
        scores, state = model.moonshine.step(np.array([token for *_, token in ways], np.int64), state)
    total, count, phrase = max(sorted(ended, reverse=True)[:BEAM], key=lambda end: end[0] / end[1])
    return phrase, total / count


@pytest.mark.parametrize("said", SPOKEN)
def test_what_is_left_out_changes_no_answer(model: Any, said: str, espeak: str) -> None:
    spoken = subprocess.run([espeak, "--stdout", "-v", "en-us", said], capture_output=True, check=True)
    samples, mask = audio_input(decode_audio(spoken.stdout, Limits()).samples)
    first = model.moonshine.start(samples[None], mask[None])
    limit = int(mask.sum() / SAMPLE_RATE_HZ * 6.5) + 4
    ids, score = model.search.greedy(model.moonshine, first, limit)
    free = model.search.Transcript(model.tokens.decode(ids), score)
    phrase, mean = plain_beam(model, first)
    spelt = model.vocabulary.by_letters.get(model.letters(free.text))
    expected = spelt or (phrase if mean >= free.score - model.search.MARGIN else free.text)
    chosen = model.search.choose(model.moonshine, first, free, model.vocabulary)
    assert chosen.text == expected
    if chosen.text == phrase and spelt is None:
        assert chosen.score == pytest.approx(mean, abs=0.05)


def test_one_row_of_the_encoder_serves_all_hypotheses(model: Any) -> None:
    sound = np.random.default_rng(0).standard_normal((1, 16000)).astype(np.float32) * 0.05
    _, state = model.moonshine.start(sound, np.ones((1, 16000), np.int64))
    tokens = np.arange(500, 508)
    apart, _ = model.moonshine.step(tokens, copied(state, [0] * 8))
    shared, _ = model.moonshine.step(tokens, state.branch([0] * 8))
    assert np.array_equal(apart, shared)
