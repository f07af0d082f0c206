"""Transcription on Moonshine's own weights and read speech: what is left out changes no answer, and nobody is
heard to speak in a noise.

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
NAMES = ("tokens", "vocabulary", "moonshine", "search", "speech")
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
            detector=modules["speech"].SpeechDetector(FOLDER / "speech.json"),
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
    first = model.moonshine.start(model.moonshine.read(samples[None], mask[None]), mask[None])
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
    mask = np.ones((1, 16000), np.int64)
    _, state = model.moonshine.start(model.moonshine.read(sound, mask), mask)
    tokens = np.arange(500, 508)
    apart, _ = model.moonshine.step(tokens, copied(state, [0] * 8))
    shared, _ = model.moonshine.step(tokens, state.branch([0] * 8))
    assert np.array_equal(apart, shared)


def frames_of(model: Any, samples: Any) -> Any:
    samples, mask = audio_input(np.asarray(samples, np.float32))
    frames = model.moonshine.read(samples[None], mask[None])[0]
    return frames[: round(len(frames) * mask.mean())]


@pytest.mark.parametrize("said", SPOKEN)
def test_a_word_in_long_silence_or_noise_is_listened_to(model: Any, said: str, espeak: str) -> None:
    spoken = subprocess.run([espeak, "--stdout", "-v", "en-gb", said], capture_output=True, check=True)
    word = decode_audio(spoken.stdout, Limits()).samples
    rng = np.random.default_rng(1)
    for loudness in (0.0, 3e-3):
        sound = rng.standard_normal(5 * SAMPLE_RATE_HZ) * loudness
        sound[SAMPLE_RATE_HZ : SAMPLE_RATE_HZ + word.size] += word[: 4 * SAMPLE_RATE_HZ]
        assert model.detector.score(frames_of(model, sound)) > 0


@pytest.mark.parametrize("kind", ["silence", "hiss", "tone", "hammer"])
def test_nobody_speaks_in_a_noise(model: Any, kind: str) -> None:
    time_s = np.arange(3 * SAMPLE_RATE_HZ) / SAMPLE_RATE_HZ
    hiss = np.random.default_rng(2).standard_normal(time_s.size)
    sounds = {
        "silence": np.zeros(time_s.size),
        "hiss": 0.1 * hiss,
        "tone": 0.3 * np.sin(2 * np.pi * 440 * time_s),
        "hammer": 0.5 * hiss * np.exp(-40 * (time_s % 0.5)),
    }
    assert model.detector.score(frames_of(model, sounds[kind])) <= 0
