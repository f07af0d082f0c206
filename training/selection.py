"""Choosing by cross-validation inside train and validation, and what each ingredient adds.

131 validation queries alone are noisy (a 95 % interval is about 0.07 wide on either side), so the
closed-form choices are made over five folds of train and validation together, folded by meaning. The test
split is never looked at.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from export.adapters import ImageHead, TextHead
from training.alignment import Options, concatenate, embed_images, embed_texts, fit_heads, weigh_blocks
from training.contrastive import Schedule, fit_learned
from training.dataset import Dataset
from training.figures import ndcg

__all__ = ["Recipe", "Score", "ablation", "choose", "choose_share", "cross_validate", "fold_numbers"]

FOLDS = 5
LEARNED_SHARES = (0.0, 0.25, 0.5, 0.75)
GRID = {
    "prior": (0.0, 0.5, 1.0, 1.5, 2.0),
    "temperature": (0.7, 1.0, 1.5),
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
    schedule: Schedule | None = None


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
    words = Options(prior=0.0, centre=False, mix=0.0)
    return [
        Recipe("class words (WordNet lemmas)", words, glosses=False, drawings=0.0),
        Recipe("+ definitions", words, drawings=0.0),
        Recipe("+ centred texts and words", replace(words, centre=True), drawings=0.0),
        Recipe("+ ridge map of features and words", replace(Options(), prior=0.0), drawings=0.0),
        Recipe("+ openclipart pairs", replace(Options(), prior=0.0)),
        Recipe("+ classes' prior taken off", Options()),
        Recipe("+ InfoNCE residual", replace(Options(), learned=0.5), schedule=Schedule()),
    ]


def choose_share(data: Dataset, closed: Recipe) -> tuple[Recipe, dict[str, Score]]:
    """How much of the cosine the block trained by InfoNCE gets, 0 included; all scores by name."""
    recipe = replace(closed, schedule=Schedule())
    figures: dict[float, list[npt.NDArray[np.float64]]] = {share: [] for share in LEARNED_SHARES}
    for fold in _folds(data):
        text, image = _fit(data, recipe, fold)
        for share, found in figures.items():
            weigh_blocks(text, image, replace(recipe.options, learned=share, visual=0.0))
            found.append(_figures(data, text, image, fold.asked))
    scores = {share: _score(found) for share, found in figures.items()}
    best = max(scores, key=lambda share: scores[share].both)
    chosen = replace(recipe, options=replace(recipe.options, learned=best))
    return chosen, {f"learned={share:g}": score for share, score in scores.items()}


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
    figures: list[list[npt.NDArray[np.float64]]] = [[] for _ in recipes]
    for fold in _folds(data):
        for recipe, found in zip(recipes, figures, strict=True):
            text, image = _fit(data, recipe, fold)
            weigh_blocks(text, image, replace(recipe.options, visual=0.0))
            found.append(_figures(data, text, image, fold.asked))
    return [_score(found) for found in figures]


@dataclass(frozen=True)
class _Fold:
    """Rows of the catalogue: `asked` are the queries, `held` they and the test split, `fresh` what may be
    learned."""

    asked: npt.NDArray[np.intp]
    held: npt.NDArray[np.intp]
    fresh: npt.NDArray[np.intp]


def _folds(data: Dataset) -> Iterator[_Fold]:
    known, test = data.rows("train", "validation"), data.rows("test")
    number = fold_numbers([data.stamps[row].meaning for row in known])
    for fold in range(FOLDS):
        asked = known[number == fold]
        held = np.concatenate([asked, test])
        yield _Fold(asked, held, data.fresh_stamps(known[number != fold], held))


def fold_numbers(meanings: Sequence[str]) -> npt.NDArray[np.intp]:
    """A fold for each meaning, balanced and the same on every machine."""
    order = np.random.default_rng(0).permutation(len(set(meanings)))
    fold = {meaning: int(place) % FOLDS for meaning, place in zip(sorted(set(meanings)), order, strict=True)}
    return np.array([fold[meaning] for meaning in meanings])


def _fit(data: Dataset, recipe: Recipe, fold: _Fold) -> tuple[TextHead, ImageHead]:
    own, others = data.catalogue_pairs(fold.fresh), data.drawing_pairs(fold.held, recipe.drawings)
    pairs = concatenate([own, others]) if recipe.drawings else own
    known = np.setdiff1d(np.arange(len(data.stamps)), fold.held)
    table = data.glosses if recipe.glosses else data.lemmas
    # the visual block is the same constant for every picture, so these figures do not depend on it
    options = replace(recipe.options, visual=0.0)
    text, image = fit_heads(pairs, table, data.text[known].mean(axis=0), own.logits, options)
    if recipe.schedule:
        views = data.pictures.features[fold.fresh], data.pictures.logits[fold.fresh]
        fit_learned(text, image, own, others, views, None, recipe.schedule)
    return text, image


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


def _score(figures: Sequence[npt.NDArray[np.float64]]) -> Score:
    return Score(*(float(value) for value in np.concatenate(figures, axis=1).mean(axis=1)))


def _with(options: Options, name: str, value: float) -> Options:
    changes: dict[str, Any] = {name: value}
    return replace(options, **changes)
