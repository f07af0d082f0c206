"""Choosing by cross-validation inside train and validation, and what each ingredient adds.

131 validation queries alone are noisy (a 95 % interval is about 0.07 wide on either side), so the
closed-form choices are made over five folds of train and validation together, folded by meaning. The test
split is never looked at.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from training.alignment import Options, Pairs, concatenate, embed_images, embed_texts, fit_heads, weigh_blocks
from training.dataset import Dataset
from training.figures import ndcg

__all__ = ["Recipe", "Score", "ablation", "choose", "cross_validate"]

FOLDS = 5
GRID = {
    "temperature": (1.0, 1.5, 2.0),
    "ridge": (1_000.0, 3_000.0, 10_000.0),
    "mix": (0.2, 0.35, 0.5, 0.65),
}


@dataclass(frozen=True)
class Recipe:
    """What goes into the closed form. `drawings` is the weight of an openclipart pair beside a catalogue
    pair."""

    name: str
    options: Options
    glosses: bool = True
    drawings: float = 0.3


@dataclass(frozen=True)
class Score:
    """Mean NDCG@10 over the queries of all folds."""

    text_to_image: float
    image_to_text: float

    @property
    def both(self) -> float:
        return (self.text_to_image + self.image_to_text) / 2


def ablation() -> list[Recipe]:
    """From the untrained class words up, one ingredient more each time."""
    words = Options(centre=False, mix=0.0)
    return [
        Recipe("class words (WordNet lemmas)", words, glosses=False, drawings=0.0),
        Recipe("+ definitions", words, drawings=0.0),
        Recipe("+ centred texts and words", replace(words, centre=True), drawings=0.0),
        Recipe("+ ridge map of features and words", Options(), drawings=0.0),
        Recipe("+ openclipart pairs", Options()),
    ]


def choose(data: Dataset, start: Recipe) -> tuple[Recipe, dict[str, Score]]:
    """One option after another, each set to its best value with the others held; all scores by name."""
    best, best_score = start, cross_validate(data, [start])[0]
    tried: dict[str, Score] = {}
    for option, values in GRID.items():
        recipes = [replace(best, options=_with(best.options, option, value)) for value in values]
        for value, recipe, score in zip(values, recipes, cross_validate(data, recipes), strict=True):
            tried[f"{option}={value:g}"] = score
            if score.both > best_score.both:
                best, best_score = recipe, score
    return best, tried


def cross_validate(data: Dataset, recipes: Sequence[Recipe]) -> list[Score]:
    """Held-out figures of each recipe over the whole catalogue as gallery."""
    known, test = data.rows("train", "validation"), data.rows("test")
    fold = _folds([data.stamps[row].meaning for row in known])
    figures = np.zeros((len(recipes), 2, len(known)))
    for number in range(FOLDS):
        asked = known[fold == number]
        held = np.concatenate([asked, test])
        own = data.catalogue_pairs(data.fresh_stamps(known[fold != number], held))
        for place, recipe in enumerate(recipes):
            figures[place][:, fold == number] = _held_out(data, recipe, own, held, asked)
    return [Score(*(float(value) for value in figures[place].mean(axis=1))) for place in range(len(recipes))]


def _held_out(
    data: Dataset,
    recipe: Recipe,
    own: Pairs,
    held: npt.NDArray[np.intp],
    asked: npt.NDArray[np.intp],
) -> npt.NDArray[np.float64]:
    """[2, asked]: text to image, image to text."""
    pairs = concatenate([own, data.drawing_pairs(held, recipe.drawings)]) if recipe.drawings else own
    known = np.setdiff1d(np.arange(len(data.stamps)), held)
    table = data.glosses if recipe.glosses else data.lemmas
    text, image = fit_heads(pairs, table, data.text[known].mean(axis=0), own.logits, recipe.options)
    # the visual block is the same constant for every picture, so these figures do not depend on it
    weigh_blocks(text, image, replace(recipe.options, visual=0.0))
    pictures = embed_images(image, data.pictures.features[:, 0], data.pictures.logits[:, 0])
    texts, indexed = embed_texts(text, data.text), embed_texts(text, data.indexed)
    meanings = [data.stamps[row].meaning for row in asked]
    return np.stack(
        [
            ndcg(texts[asked], meanings, pictures, data.meanings),
            ndcg(pictures[asked], meanings, indexed, data.meanings),
        ]
    )


def _folds(meanings: Sequence[str]) -> npt.NDArray[np.intp]:
    """A fold for each meaning, balanced and the same on every machine."""
    order = np.random.default_rng(0).permutation(len(set(meanings)))
    fold = {meaning: int(place) % FOLDS for meaning, place in zip(sorted(set(meanings)), order, strict=True)}
    return np.array([fold[meaning] for meaning in meanings])


def _with(options: Options, name: str, value: float) -> Options:
    changes: dict[str, Any] = {name: value}
    return replace(options, **changes)
