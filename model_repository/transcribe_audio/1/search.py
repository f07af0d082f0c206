"""Decoding: the most probable words, and the most probable phrase of a vocabulary.

A phrase is taken instead of the free transcript when both are spelt with the same letters, or when the mean
log-probability of its tokens is at most MARGIN below the transcript's. MARGIN was set on the recordings of
the train split and on synthetic speech; docs/adr/0007-expected-phrases.md has the figures.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from moonshine import END, Floats, Moonshine, State
from vocabulary import Node, Vocabulary, letters

__all__ = ["MARGIN", "Transcript", "choose", "greedy", "phrase_search"]

MARGIN = 1.3
_BEAM = 8
_MAX_PHRASE_TOKENS = 64
_MAX_TOKENS = 194  # the length Moonshine was trained to


@dataclass(frozen=True, slots=True)
class Transcript:
    """score: mean natural log-probability of a token, the end included."""

    text: str
    score: float


def greedy(model: Moonshine, first: tuple[Floats, State], limit: int) -> tuple[list[int], float]:
    """The most probable token at each step, for one sound: tokens and their mean log-probability.

    `limit` bounds them; a decoder that repeats itself ends there.
    """
    scores, state = first
    tokens: list[int] = []
    total = 0.0
    while True:
        token = int(scores[0].argmax())
        total += float(scores[0, token])
        if token == END:
            return tokens, total / (len(tokens) + 1)
        tokens.append(token)
        if len(tokens) >= min(limit, _MAX_TOKENS):
            return tokens, total / len(tokens)
        scores, state = model.step(np.array([token], np.int64), state)


def phrase_search(
    model: Moonshine, first: tuple[Floats, State], root: Node, least: float = -np.inf
) -> Transcript | None:
    """Beam search that never leaves the prefix tree, for one sound.

    None when no phrase has a mean of at least `least`. A hypothesis that cannot reach `least`, or the best
    mean found so far, even if all that may follow were certain, is not continued.
    """
    scores, state = first
    beam: list[tuple[float, Node]] = [(0.0, root)]
    ended: list[tuple[float, int, str]] = []  # sum of log-probabilities, tokens, phrase
    for length in range(_MAX_PHRASE_TOKENS):
        for row, (total, node) in enumerate(beam):
            if node.phrase is not None:
                ended.append((total + float(scores[row, END]), length + 1, node.phrase))
                least = max(least, ended[-1][0] / ended[-1][1])
        steps = [
            (total, row, child)
            for total, row, child in _best_children(scores, beam)
            if total >= least * (length + 1 + child.longest)
        ]
        if not steps:
            break
        beam = [(total, child) for total, _, child in steps]
        state = state.branch([row for _, row, _ in steps])
        scores, state = model.step(np.array([child.token for _, child in beam], np.int64), state)
    if not ended:
        return None
    # Sums chose the beam; among the best, means judge, or short phrases would always win.
    total, count, phrase = max(sorted(ended, reverse=True)[:_BEAM], key=lambda end: end[0] / end[1])
    return Transcript(phrase, total / count) if total / count >= least else None


def _best_children(scores: Floats, beam: list[tuple[float, Node]]) -> list[tuple[float, int, Node]]:
    """The _BEAM most probable ways to go on: (sum of log-probabilities, row of the parent, child)."""
    ways: list[tuple[float, int, Node]] = []
    for row, (total, node) in enumerate(beam):
        if node.children:
            children = list(node.children.values())
            values = scores[row, [child.token for child in children]]
            best = np.argsort(-values)[:_BEAM] if len(children) > _BEAM else range(len(children))
            ways += [(total + float(values[place]), row, children[place]) for place in best]
    ways.sort(key=lambda way: way[0], reverse=True)
    return ways[:_BEAM]


def choose(
    model: Moonshine, first: tuple[Floats, State], free: Transcript, vocabulary: Vocabulary
) -> Transcript:
    """The free transcript of one sound, or the phrase that was meant."""
    spelt = vocabulary.by_letters.get(letters(free.text))
    if spelt is not None:
        return Transcript(spelt, free.score)
    return phrase_search(model, first, vocabulary.root, free.score - MARGIN) or free
