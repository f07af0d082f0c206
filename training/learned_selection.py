"""What is worth learning beside the closed form: each means of the learned block, cross-validated.

One means after another is switched on beside those that helped before it, and stays on where it adds at least
MARGIN, both directions averaged. The rows of those that did not are in the table too.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from export.adapters import ImageHead, TextHead
from training.alignment import Pairs, concatenate
from training.contrastive import Schedule, fit_learned
from training.dataset import Dataset
from training.selection import Fold, Recipe, Score, closed_form, cross_validate
from training.store import Progress
from training.teachers import Teachers

__all__ = ["Trial", "choose_learned", "other_pairs"]

MARGIN = 0.001
SHARES = (0.0, 0.25, 0.5, 0.75)
STEPS = (40, 160, 320)
MEANS: tuple[tuple[str, dict[str, object]], ...] = (
    ("MLP heads: inner layers of 256", {"hidden": 256}),
    ("one view instead of three: no augmentation", {"views": 1}),
    ("learned temperature", {"learn_temperature": True}),
    ("modality dropout 0.3", {"modality_dropout": 0.3}),
    ("hard negatives from 16 k-means clusters", {"clusters": 16}),
    ("loss weights by learned uncertainty", {"uncertainty": True}),
    ("loss weights by the classifier's confidence", {"confidence": True}),
    ("teacher: the classifier's rows as concepts", {"teacher": "classifier"}),
    ("teacher: descriptions in French, Spanish, German", {"teacher": "languages"}),
    ("teacher: emoji sets", {"teacher": "icons"}),
)


@dataclass(frozen=True)
class Trial:
    """One row of the table: a means beside those kept before it, and whether it is kept too."""

    score: Score
    kept: bool


def choose_learned(
    data: Dataset,
    folds: Sequence[Fold],
    teachers: Teachers,
    closed: Recipe,
    closed_score: Score,
    progress: Progress,
) -> tuple[Recipe, dict[str, Trial], dict[str, Score]]:
    """The recipe with the learned block that scores best; the trials; other choices' scores by name."""
    heads = {id(fold): closed_form(data, closed)(fold) for fold in folds}

    def score(recipe: Recipe) -> Score:
        return cross_validate(data, folds, _learn(data, teachers, heads, recipe), recipe)

    best = replace(closed, options=replace(closed.options, learned=0.5), schedule=Schedule())
    best_score = score(best)
    trials = {"InfoNCE: a linear residual, half of the cosine": Trial(best_score, True)}
    for number, (name, changes) in enumerate(MEANS):
        progress("means of the learned block", number, len(MEANS))
        recipe = _changed(best, changes)
        found = score(recipe)
        kept = found.both >= best_score.both + MARGIN
        trials[f"+ {name}"] = Trial(found, kept)
        if kept:
            best, best_score = recipe, found
    progress("means of the learned block", len(MEANS), len(MEANS))

    others: dict[str, Score] = {f"steps={_schedule(best).steps}": best_score}
    for recipe in [_changed(best, {"steps": steps}) for steps in STEPS]:
        found = others[f"steps={_schedule(recipe).steps}"] = score(recipe)
        if found.both > best_score.both:
            best, best_score = recipe, found
    fitted = {id(fold): _learn(data, teachers, heads, best)(fold) for fold in folds}
    for share in SHARES:
        recipe = replace(best, options=replace(best.options, learned=share))
        found = cross_validate(data, folds, lambda fold: fitted[id(fold)], recipe) if share else closed_score
        others[f"learned={share:g}"] = found
        if found.both > best_score.both:
            best, best_score = recipe, found
    return best, trials, others


def other_pairs(
    data: Dataset, teachers: Teachers, recipe: Recipe, fresh: npt.NDArray[np.intp], held: npt.NDArray[np.intp]
) -> Pairs:
    """What the learned block learns from beside the catalogue's own pairs."""
    drawings = data.drawing_pairs(held, recipe.drawings)
    taught = [teachers.pairs(name, data, fresh, held, recipe.drawings) for name in recipe.teachers]
    return concatenate([drawings, *taught])


def _learn(
    data: Dataset, teachers: Teachers, heads: dict[int, tuple[TextHead, ImageHead]], recipe: Recipe
) -> Callable[[Fold], tuple[TextHead, ImageHead]]:
    def fit(fold: Fold) -> tuple[TextHead, ImageHead]:
        text, image = copy.deepcopy(heads[id(fold)])
        others = other_pairs(data, teachers, recipe, fold.fresh, fold.held)
        views = data.pictures.features[fold.fresh], data.pictures.logits[fold.fresh]
        fit_learned(text, image, fold.own, others, views, None, _schedule(recipe))
        return text, image

    return fit


def _changed(recipe: Recipe, changes: dict[str, object]) -> Recipe:
    if "teacher" in changes:
        return replace(recipe, teachers=(*recipe.teachers, str(changes["teacher"])))
    return replace(recipe, schedule=replace(_schedule(recipe), **changes))  # type: ignore[arg-type]


def _schedule(recipe: Recipe) -> Schedule:
    assert recipe.schedule is not None
    return recipe.schedule
