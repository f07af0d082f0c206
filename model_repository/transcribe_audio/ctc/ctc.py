"""Connectionist temporal classification (Graves et al. 2006): the best path, and how well words fit."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

__all__ = ["BLANK", "SLACK", "best_path", "choose", "log_probabilities", "spelled", "written"]

# The symbols of wav2vec2's English checkpoints, by number; 0 is the blank, 4 the space between words.
SYMBOLS = ("", "", "", "", " ", *"ETAONIHSRDLUMWCFGYPBVK'XJQZ")
BLANK, SPACE = 0, 4
SLACK = 0.5
"""What an expected phrase may fit worse than what was heard, in nats a symbol."""
_NUMBER = {symbol: number for number, symbol in enumerate(SYMBOLS) if number >= SPACE}
_ARTICLE = re.compile(r"^(?:A|AN|THE|SOME) ")

Floats = npt.NDArray[np.float32]


def log_probabilities(logits: Floats) -> Floats:
    """FP32 [..., V] -> the same shape."""
    shifted = logits - logits.max(axis=-1, keepdims=True)
    found: Floats = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return found


def best_path(frames: Floats) -> tuple[list[int], float]:
    """Log-probabilities [T, V] -> symbols, and their mean log-probability; of all frames without any."""
    best = frames.argmax(axis=-1)
    values = frames[np.arange(best.size), best]
    starts = np.flatnonzero(np.diff(best, prepend=-1))
    runs = [run for run in np.split(np.arange(best.size), starts[1:]) if best[run[0]] >= SPACE]
    if not runs:
        return [], float(values.mean())
    return [int(best[run[0]]) for run in runs], float(np.mean([values[run].max() for run in runs]))


def spelled(text: str) -> list[list[int]]:
    """How a phrase may be spoken, with and without its article, as symbols; no way without letters."""
    plain = " ".join("".join(c if c in _NUMBER else " " for c in text.upper()).split())
    forms = dict.fromkeys((plain, _ARTICLE.sub("", plain)))
    return [[_NUMBER[char] for char in form] for form in forms if form]


def choose(frames: Floats, heard: Sequence[int], phrases: Sequence[tuple[str, Sequence[int]]]) -> str | None:
    """The phrase that fits log-probabilities [T, V] best, where it fits nearly as well as what was heard."""
    fitting = [(phrase, symbols) for phrase, symbols in phrases if len(symbols) <= len(frames)]
    if not fitting:
        return None
    fits = _likelihoods(frames, [list(heard), *(list(symbols) for _, symbols in fitting)])
    place = int(fits[1:].argmax())
    allowed = SLACK * max(len(fitting[place][1]), len(heard))
    return fitting[place][0] if fits[1 + place] >= fits[0] - allowed else None


def _likelihoods(frames: Floats, rows: Sequence[list[int]]) -> npt.NDArray[np.float64]:
    """log p(symbols | frames) of each row, over all alignments: the forward pass, all rows at once."""
    longest = max(len(row) for row in rows)
    states = np.full((len(rows), 2 * longest + 1), BLANK)
    for place, row in enumerate(rows):
        states[place, 1 : 2 * len(row) : 2] = row
    # A symbol may follow the one before it at once, without a blank between, where the two differ.
    skips = np.zeros(states.shape, bool)
    skips[:, 3::2] = states[:, 3::2] != states[:, 1:-2:2]
    alpha = np.full(states.shape, -np.inf)
    alpha[:, 0] = frames[0, BLANK]
    if longest:
        alpha[:, 1] = frames[0, states[:, 1]]
    for frame in frames[1:].astype(np.float64):
        before = np.pad(alpha, ((0, 0), (2, 0)), constant_values=-np.inf)
        skipped = np.where(skips, before[:, :-2], -np.inf)
        alpha = np.logaddexp(np.logaddexp(alpha, before[:, 1:-1]), skipped) + frame[states]
    ends = np.array([2 * len(row) for row in rows])
    last = alpha[np.arange(len(rows)), ends]
    before_last = np.where(ends > 0, alpha[np.arange(len(rows)), np.maximum(ends - 1, 0)], -np.inf)
    found: npt.NDArray[np.float64] = np.logaddexp(last, before_last)
    return found


def written(symbols: Sequence[int]) -> str:
    """Symbols as a sentence begins: lower case behind a capital."""
    text = " ".join("".join(SYMBOLS[symbol] for symbol in symbols).split()).lower()
    return text[:1].upper() + text[1:]
