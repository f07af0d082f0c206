"""One training run of a profile, from the catalogue to checkpoints, calibration and metrics."""

from __future__ import annotations

import time
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import torch

from export.adapters import AudioHead, Heads, ImageHead, TextHead, VideoHead, load_heads
from export.profile import load_profile
from export.settings import Settings
from training import audio_head, clips, validation
from training.alignment import embed_images, embed_texts, fit_visual, weigh_blocks
from training.calibration import DEPTH, calibrate, expected_error
from training.checkpoints import save_heads, write_json
from training.classwords import load_class_words
from training.contrastive import Curve, fit_learned
from training.dataset import Dataset, load_dataset
from training.encoders import Encoders
from training.errors import TrainingError
from training.figures import ndcg
from training.learned_selection import choose_learned, other_pairs
from training.plots import plot_curves
from training.selection import (
    Recipe,
    Score,
    choose,
    closed_form,
    cross_validate,
    ingredients,
    make_folds,
    solve,
)
from training.sounds import Sounds, load_effects, load_speech
from training.store import FeatureStore, Progress
from training.teachers import Teachers, load_teachers

__all__ = ["train"]

VISUAL_WEIGHTS = (0.7, 1.0, 1.4, 2.0, 2.8)
"""Tried in image-to-image search on validation; figures between texts and pictures do not depend on it."""
NATIVE_PAIRS = ("audio->audio/native", "video->video/native")


def train(
    profile_name: str, settings: Settings, threads: int, progress: Progress, seed: int = 0
) -> dict[str, Any]:
    """Fit, select and calibrate; writes `<checkpoints>/<profile>/` and returns what `metrics.json` holds.

    Raises:
        TrainingError, ExportError, CatalogueError: something cannot be fetched, read or written.
    """
    torch.set_num_threads(threads)
    started = time.monotonic()
    profile = load_profile(profile_name)
    if any(model.encoder for model in profile.models.values()):
        raise TrainingError(
            f"{profile_name} has encoders of its own: `python -m training adapters --profile {profile_name}`"
        )
    encoders = Encoders(profile, settings, threads)
    store = FeatureStore(settings.cache / "features", progress)
    data = load_dataset(settings, encoders, store)
    class_names = [item.lemmas[0] for item in load_class_words(settings)]
    speech, asked = load_speech(data, class_names, encoders, store)
    effects = {split: load_effects(data, split, encoders, store) for split in ("train", "validation")}
    altered = load_effects(data, "validation", encoders, store, altered=True)
    known_clips = clips.load_clips(data, ("train", "validation"), encoders, store)

    teachers = load_teachers(settings, data, encoders, store)

    folds, recipes = make_folds(data), ingredients()
    steps: dict[str, Score] = {}
    for number, recipe in enumerate(recipes):
        progress("ingredients", number, len(recipes))
        steps[recipe.name] = cross_validate(data, folds, closed_form(data, recipe), recipe)
    progress("ingredients", len(recipes), len(recipes))
    closed, closed_score, tried = choose(data, folds, max(recipes, key=lambda each: steps[each.name].both))
    steps["options chosen on the folds"] = closed_score
    chosen, trials, tried_learned = choose_learned(data, folds, teachers, closed, closed_score, progress)

    progress("heads", 0, 2)
    text, image, learned, visual = _align(data, teachers, chosen, seed)
    progress("heads", 1, 2)
    audio, heard = _hear(text, data, speech, asked, effects["train"], encoders, seed)
    video = VideoHead(image)
    clips.fit_native(video, known_clips.take(data, "train"), seed)
    progress("heads", 2, 2)
    folder = settings.checkpoints / profile_name
    save_heads(Heads(text, image, audio, video.eval()), folder)

    # from here on the heads are what will be served: stored as FP16 and read again
    heads = load_heads(profile_name, settings.checkpoints)
    both = Sounds(
        np.concatenate([effects["train"].pooled, effects["validation"].pooled]),
        effects["train"].text + effects["validation"].text,
        effects["train"].meaning + effects["validation"].meaning,
    )
    embeddings = validation.embed_all(heads, data, asked, both, altered, known_clips)
    found = validation.examples(embeddings)
    names = [f"{query}->{item}" for query in validation.MODALITIES for item in validation.MODALITIES]
    logistics = calibrate(found, [*names, *NATIVE_PAIRS])
    write_json(
        folder / "calibration.json",
        {
            name: {
                "scale": logistic.scale,
                "bias": logistic.bias,
                "fitted_on": source,
                "relevant": int(found[name].relevant.sum()),
                "expected_calibration_error": expected_error(found[name], logistic),
            }
            for name, (logistic, source) in logistics.items()
        },
    )
    metrics = {
        "profile": profile_name,
        "seed": seed,
        "seconds": round(time.monotonic() - started),
        "trained_on": _trained_on(data, speech, effects["train"], known_clips),
        "ablation_cross_validated": {
            **{name: asdict(score) for name, score in steps.items()},
            **{name: {**asdict(trial.score), "kept": trial.kept} for name, trial in trials.items()},
        },
        "choices_cross_validated": {name: asdict(score) for name, score in (tried | tried_learned).items()},
        "chosen": asdict(chosen),
        "visual_weight": max(visual, key=lambda weight: visual[weight]),
        "image_to_image_by_visual_weight": {f"{weight:g}": figure for weight, figure in visual.items()},
        "curves": {"info_nce": learned, "audio": heard},
        "validation": validation.figures(embeddings),
        "frozen_features": _frozen(data),
        "calibration_candidates_per_query": DEPTH,
    }
    write_json(folder / "metrics.json", metrics)
    plot_curves({"InfoNCE, text and pictures": learned, "sounds": heard}, folder / "train.png")
    return metrics


def _align(
    data: Dataset, teachers: Teachers, chosen: Recipe, seed: int
) -> tuple[TextHead, ImageHead, Curve, dict[float, float]]:
    """Closed form on the train split, then the learned block, then the weight of the visual one."""
    held = data.rows("validation", "test")
    rows = data.fresh_stamps(data.rows("train"), held)
    own, drawings = data.catalogue_pairs(rows), data.drawing_pairs(held, 1.0)
    text, image = solve(data, chosen, own, drawings, data.rows("train"))
    fit_visual(image, np.concatenate([own.features, drawings.features]))

    def figure() -> float:
        return _score(text, image, data).both

    curve: Curve = []
    if chosen.schedule and chosen.options.learned:
        views = data.pictures.features[rows], data.pictures.logits[rows]
        others = other_pairs(data, teachers, chosen, rows, held)
        schedule = replace(chosen.schedule, seed=seed)
        weigh_blocks(text, image, replace(chosen.options, visual=0.0))
        curve = fit_learned(text, image, own, others, views, figure, schedule)
    found: dict[float, float] = {}
    for weight in VISUAL_WEIGHTS:
        weigh_blocks(text, image, replace(chosen.options, visual=weight))
        found[weight] = _image_to_image(image, data)
    best = max(found, key=lambda weight: found[weight])
    weigh_blocks(text, image, replace(chosen.options, visual=best))
    return text.eval(), image.eval(), curve, found


def _image_to_image(image: ImageHead, data: Dataset) -> float:
    """Validation pictures, altered, against the pictures of train and validation."""
    known, asked = data.rows("train", "validation"), data.rows("validation")
    gallery = embed_images(image, data.pictures.features[known, 0], data.pictures.logits[known, 0])
    queries = embed_images(image, data.pictures.features[asked, 1], data.pictures.logits[asked, 1])
    names = [data.stamps[row].meaning for row in known]
    return float(ndcg(queries, [data.stamps[row].meaning for row in asked], gallery, names).mean())


def _hear(
    text: TextHead,
    data: Dataset,
    speech: Sounds,
    asked: Sounds,
    effects: Sounds,
    encoders: Encoders,
    seed: int,
) -> tuple[AudioHead, Curve]:
    audio = AudioHead()
    pooled = np.concatenate([speech.pooled, effects.pooled])
    audio_head.fit_native(audio, pooled)
    distinct = sorted({*speech.text, *effects.text})
    place = {name: row for row, name in enumerate(distinct)}
    embedded = embed_texts(text, encoders.text(distinct))
    targets = embedded[[place[name] for name in (*speech.text, *effects.text)]]
    texts = embed_texts(text, data.indexed)

    def figure() -> float:
        with torch.no_grad():
            queries = audio(torch.from_numpy(asked.pooled))[0].numpy()
        return float(ndcg(queries, asked.meaning, texts, data.meanings).mean())

    schedule = audio_head.AudioSchedule(seed=seed)
    curve = audio_head.fit_unified(audio, pooled, targets, speech.meaning + effects.meaning, figure, schedule)
    return audio.eval(), curve


def _score(text: TextHead, image: ImageHead, data: Dataset) -> Score:
    asked = data.rows("validation")
    meanings = [data.stamps[row].meaning for row in asked]
    pictures = embed_images(image, data.pictures.features[:, 0], data.pictures.logits[:, 0])
    texts, indexed = embed_texts(text, data.text), embed_texts(text, data.indexed)
    return Score(
        float(ndcg(texts[asked], meanings, pictures, data.meanings).mean()),
        float(ndcg(pictures[asked], meanings, indexed, data.meanings).mean()),
    )


def _frozen(data: Dataset) -> dict[str, float]:
    """image->image and text->text of the encoders alone, as the heads' figures beside them in
    `validation`."""
    known, asked = data.rows("train", "validation"), data.rows("validation")
    names = [data.stamps[row].meaning for row in known]
    meanings = [data.stamps[row].meaning for row in asked]
    unit = data.pictures.features / np.linalg.norm(data.pictures.features, axis=-1, keepdims=True)
    return {
        "image->image": float(ndcg(unit[asked, 1], meanings, unit[known, 0], names).mean()),
        "text->text": float(ndcg(data.text[asked], meanings, data.indexed[known], names).mean()),
    }


def _trained_on(data: Dataset, speech: Sounds, effects: Sounds, known: clips.Clips) -> dict[str, int]:
    held = data.rows("validation", "test")
    return {
        "catalogue_pairs": len(data.fresh_stamps(data.rows("train"), held)),
        "openclipart_pairs": len(data.drawing_pairs(held, 1.0).meaning),
        "spoken_texts": len(speech.text),
        "sound_effects": len(effects.text),
        "clips": len(known.take(data, "train").meaning),
    }
