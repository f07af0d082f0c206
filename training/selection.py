"""Choosing the closed form by cross-validation inside train and validation, and what each ingredient adds.

131 validation queries alone are noisy (a 95 % interval is about 0.07 wide on either side), so choices are
made over five folds of train and validation together, folded by meaning. The test split is never looked at.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from export.adapters import ImageHead, TextHead
from training.alignment import (
    Options,
    Pairs,
    concatenate,
    embed_images,
    embed_texts,
    fit_heads,
    weigh_blocks,
)
from training.classwords import with_hypernyms
from training.contrastive import Schedule
from training.dataset import Dataset
from training.figures import ndcg

__all__ = [
    "Fold",
    "Recipe",
    "Score",
    "choose",
    "closed_form",
    "cross_validate",
    "fold_numbers",
    "ingredients",
    "make_folds",
    "solve",
]

FOLDS = 5
GRID = {
    "prior": (0.0, 0.5, 1.0, 1.5, 2.0),
    "temperature": (0.7, 1.0, 1.5),
    "ridge": (1_000.0, 3_000.0, 10_000.0),
    "kernel": (0.0, 2.0, 3.0, 5.0),
    "noise": (0.05, 0.2, 0.5),
    "words_scale": (12.0, 20.0, 30.0),
    "mix": (0.2, 0.35, 0.5, 0.65),
    "hypernym": (0.0, 0.15),
}


@dataclass(frozen=True)
class Recipe:
    """What goes into the heads. `drawings` is the weight of an openclipart pair beside a catalogue pair, in
    the closed form and in the learned block; the pairs of `teachers` weigh as much, in the learned block."""

    name: str
    options: Options
    glosses: bool = True
    drawings: float = 0.3
    schedule: Schedule | None = None
    teachers: tuple[str, ...] = ()


@dataclass(frozen=True)
class Score:
    """Mean NDCG@10 over the queries of all folds."""

    text_to_image: float
    image_to_text: float

    @property
    def both(self) -> float:
        return (self.text_to_image + self.image_to_text) / 2


@dataclass(frozen=True)
class Fold:
    """Rows of the catalogue: `asked` are the queries, `held` they and the test split, `fresh` what may be
    learned; `own` and `drawings` are the pairs of it."""

    asked: npt.NDArray[np.intp]
    held: npt.NDArray[np.intp]
    fresh: npt.NDArray[np.intp]
    own: Pairs
    drawings: Pairs


def ingredients() -> list[Recipe]:
    """The closed form from the untrained class words up, one ingredient more each time."""
    words = Options(prior=0.0, centre=False, mix=0.0)
    linear = replace(Options(), prior=0.0)
    return [
        Recipe("class words (WordNet lemmas)", words, glosses=False, drawings=0.0),
        Recipe("+ definitions", words, drawings=0.0),
        Recipe("+ centred texts and words", replace(words, centre=True), drawings=0.0),
        Recipe("+ ridge map of features and words", linear, drawings=0.0),
        Recipe("+ openclipart pairs", linear),
        Recipe("+ classes' prior taken off", Options()),
        Recipe("the same with hypernyms in the class words", replace(Options(), hypernym=0.3)),
        Recipe("+ a Gaussian kernel instead of the linear map", replace(Options(), kernel=3.0)),
    ]


def choose(data: Dataset, folds: Sequence[Fold], start: Recipe) -> tuple[Recipe, Score, dict[str, Score]]:
    """One option after another, each set to its best value with the others held: the recipe, its score, and
    all scores by name."""
    best = start
    best_score = cross_validate(data, folds, closed_form(data, best), best)
    tried: dict[str, Score] = {}
    for option, values in GRID.items():
        held, held_score = best, best_score
        if option == ("ridge" if held.options.kernel else "noise"):
            continue  # of the other map
        for value in values:
            recipe = replace(held, options=_with(held.options, option, value))
            score = held_score
            if recipe != held:
                score = cross_validate(data, folds, closed_form(data, recipe), recipe)
            tried[f"{option}={value:g}"] = score
            if score.both > best_score.both:
                best, best_score = recipe, score
    return best, best_score, tried


def cross_validate(
    data: Dataset, folds: Sequence[Fold], fit: Callable[[Fold], tuple[TextHead, ImageHead]], recipe: Recipe
) -> Score:
    """Figures of held-out queries, the whole catalogue as gallery. `fit` gives the heads of a fold; the
    blocks are weighed as the recipe says."""
    found = []
    for fold in folds:
        text, image = fit(fold)
        # the visual block is the same constant for every picture, so these figures do not depend on it
        weigh_blocks(text, image, replace(recipe.options, visual=0.0))
        found.append(_figures(data, text, image, fold.asked))
    return Score(*(float(value) for value in np.concatenate(found, axis=1).mean(axis=1)))


def closed_form(data: Dataset, recipe: Recipe) -> Callable[[Fold], tuple[TextHead, ImageHead]]:
    """The heads that a fold's pairs give by the recipe's closed form."""

    def fit(fold: Fold) -> tuple[TextHead, ImageHead]:
        known = np.setdiff1d(np.arange(len(data.stamps)), fold.held)
        return solve(data, recipe, fold.own, fold.drawings, known)

    return fit


def solve(
    data: Dataset, recipe: Recipe, own: Pairs, drawings: Pairs, known: npt.NDArray[np.intp]
) -> tuple[TextHead, ImageHead]:
    """The recipe's closed form of these pairs; texts are centred about those of the stamps `known`."""
    pairs = own
    if recipe.drawings:
        weighed = replace(drawings, weight=np.full_like(drawings.weight, recipe.drawings))
        pairs = concatenate([own, weighed])
    table = data.glosses if recipe.glosses else data.lemmas
    if recipe.options.hypernym:
        table = with_hypernyms(table, data.hypernyms, recipe.options.hypernym)
    options = replace(recipe.options, visual=0.0)
    return fit_heads(pairs, table, data.text[known].mean(axis=0), own.logits, options)


def make_folds(data: Dataset) -> list[Fold]:
    """Each meaning of train and validation is asked in one of FOLDS folds, and held out of it."""
    known, test = data.rows("train", "validation"), data.rows("test")
    number = fold_numbers([data.stamps[row].meaning for row in known])
    folds = []
    for fold in range(FOLDS):
        asked = known[number == fold]
        held = np.concatenate([asked, test])
        fresh = data.fresh_stamps(known[number != fold], held)
        folds.append(Fold(asked, held, fresh, data.catalogue_pairs(fresh), data.drawing_pairs(held, 1.0)))
    return folds


def fold_numbers(meanings: Sequence[str]) -> npt.NDArray[np.intp]:
    """A fold for each meaning, balanced and the same on every machine."""
    order = np.random.default_rng(0).permutation(len(set(meanings)))
    fold = {meaning: int(place) % FOLDS for meaning, place in zip(sorted(set(meanings)), order, strict=True)}
    return np.array([fold[meaning] for meaning in meanings])


def _figures(
    data: Dataset, text: TextHead, image: ImageHead, asked: npt.NDArray[np.intp]
) -> npt.NDArray[np.float64]:
    """[2, asked]: text to image, image to text."""
    pictures = embed_images(image, data.pictures.features[:, 0], data.pictures.logits[:, 0])
    texts, indexed = embed_texts(text, data.text), embed_texts(text, data.indexed)
    meanings = [data.stamps[row].meaning for row in asked]
    return np.stack(
        [
            ndcg(texts[asked], meanings, pictures, data.meanings),
            ndcg(pictures[asked], meanings, indexed, data.meanings),
        ]
    )


def _with(options: Options, name: str, value: float) -> Options:
    changes: dict[str, Any] = {name: value}
    return replace(options, **changes)
