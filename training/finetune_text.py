"""`python -m training finetune-text`: low-rank changes of the text encoder, by hand and before the heads.

How far to go from the published weights is chosen on the paraphrases of train and validation stamps, whose
words stand in no training pair (robust fine-tuning, Wortsman et al. 2022, arXiv:2109.01903). The test split
is not looked at.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from tokenizers import Tokenizer

from catalogue.manifest import read_manifest
from catalogue.split import Split, normalise
from export.encoders import TextEncoder, load_text
from export.fetch import source_files
from export.lowrank import lay_low_rank
from export.profile import load_profile
from export.settings import Settings
from queries import make_queries
from queries.wordnet import open_wordnet
from training.catalogue_data import Stamp, load_stamps
from training.checkpoints import save_tensors, write_json
from training.classwords import load_class_words
from training.figures import ndcg
from training.lexicon import load_lexicon
from training.plots import plot_curves
from training.store import Progress
from training.text_tuning import MAX_TOKENS, TextTuning, add_low_rank, low_rank_state, pool, tune_text

__all__ = ["Paraphrased", "finetune_text"]

FILE = "text_encoder.safetensors"
SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)
RESAMPLES = 5_000
SPLITS: tuple[Split, ...] = ("train", "validation")


class Paraphrased:
    """What a text encoder is measured on: paraphrases of train and validation stamps, all stamps' texts."""

    def __init__(self, manifest: Path, stamps: list[Stamp], settings: Settings, tokenizer: Tokenizer) -> None:
        items = list(read_manifest(manifest))
        asked = [query for split in SPLITS for query in make_queries("paraphrase", items, settings, 0, split)]
        self.split = np.array([query.item.split for query in asked])
        self._texts = [str(query.parts[0]) for query in asked]
        self._meanings = [normalise(query.item.description) for query in asked]
        self._indexed = [stamp.indexed for stamp in stamps]
        self._names = [stamp.meaning for stamp in stamps]
        self._tokenizer = tokenizer

    def values(self, encoder: TextEncoder) -> npt.NDArray[np.float64]:
        """NDCG@10 of each query."""
        asked, found = (
            pool(encoder, self._tokenizer, texts).numpy() for texts in (self._texts, self._indexed)
        )
        return ndcg(asked, self._meanings, found, self._names)


def finetune_text(
    profile_name: str, settings: Settings, threads: int, progress: Progress, seed: int = 0
) -> dict[str, Any]:
    """Tune, choose the share and write `<checkpoints>/<profile>/text_encoder.safetensors`, its curve and
    `finetune_text.json`.

    Returns:
        What `finetune_text.json` holds.

    Raises:
        TrainingError, ExportError, CatalogueError, QueriesError: something cannot be had, read or written.
    """
    torch.set_num_threads(threads)
    profile, tuning = load_profile(profile_name), TextTuning(seed=seed)
    published = profile.model_copy(update={"tuned": {}})
    manifest = settings.home / "catalogues" / "stamps" / "manifest.jsonl"
    stamps = list(load_stamps(manifest))
    tokenizer = Tokenizer.from_file(str(source_files(profile, "minilm", settings)["tokenizer"]))
    tokenizer.enable_truncation(MAX_TOKENS)
    tokenizer.enable_padding()
    bench = Paraphrased(manifest, stamps, settings, tokenizer)
    lexicon = load_lexicon((stamp.description for stamp in stamps), open_wordnet(settings.cache))
    classes = load_class_words(settings)
    kept = [stamp.description for stamp in stamps if stamp.split == "train"]
    kept += [text for item in classes for text in (item.lemmas[0], f"{item.lemmas[0]}: {item.definition}")]
    encoder = load_text(published, settings)
    add_low_rank(encoder, tuning)
    curve = tune_text(
        encoder, tokenizer, lexicon, kept, lambda: float(bench.values(encoder).mean()), tuning, progress
    )
    folder = settings.checkpoints / profile.name
    path = folder / profile.tuned.get("minilm", FILE)
    values: dict[float, npt.NDArray[np.float64]] = {}
    for share in SHARES:
        save_tensors(low_rank_state(encoder, share, tuning), path, {"share": share})
        # what is measured is what is served: the file, laid over the published weights
        laid = load_text(published, settings)
        lay_low_rank(laid.bert, path)
        values[share] = bench.values(laid)
    best = max(values, key=lambda share: float(values[share].mean()))
    save_tensors(low_rank_state(encoder, best, tuning), path, {"share": best})
    own = bench.split == "validation"
    found = {
        "entries": len(lexicon),
        "queries": len(own),
        "tuning": asdict(tuning),
        "curve": curve,
        "figure_by_share": {f"{share:g}": float(each.mean()) for share, each in values.items()},
        "validation_by_share": {f"{share:g}": float(each[own].mean()) for share, each in values.items()},
        "share": best,
        "gain_ci95": _interval(values[best] - values[0.0], seed),
    }
    write_json(folder / "finetune_text.json", found)
    plot_curves({"paraphrases": curve}, folder / "finetune_text.png")
    return found


def _interval(differences: npt.NDArray[np.float64], seed: int) -> tuple[float, float]:
    """95 % of the mean by paired bootstrap over queries."""
    rows = np.random.default_rng(seed).integers(len(differences), size=(RESAMPLES, len(differences)))
    low, high = np.percentile(differences[rows].mean(axis=1), (2.5, 97.5))
    return float(low), float(high)
