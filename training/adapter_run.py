"""One run over a profile's adapters: features of its frozen encoders, texts with pictures, then the rest."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from export.encoded import adapter_file
from export.profile import Profile
from export.samples import Samples
from export.settings import Settings
from export.sources import file_of
from training.adapter_features import Features, features_of, is_trained
from training.adapters import Adapter, Schedule, embed, fit, run
from training.catalogue_data import load_stamps
from training.checkpoints import save_tensors, write_json
from training.errors import DataError, TrainingError
from training.figures import ndcg
from training.leakage import may_train
from training.pictures import LIMITS, hash_pictures
from training.store import FeatureStore, Progress

__all__ = ["train_adapters"]

TEXT, IMAGE = "encode_text", "encode_image"
LARGEST_BYTES = 100_000_000
"""Of one adapter's file; it is no part of the repository."""
FEWEST = 4
"""Inputs that a graph can be trained on."""
Rows = npt.NDArray[np.intp]


def train_adapters(
    profile: Profile,
    settings: Settings,
    threads: int,
    progress: Progress,
    seed: int = 0,
    schedule: Schedule | None = None,
) -> dict[str, Any]:
    """Train every adapter of a profile; writes `<checkpoints>/<profile>/adapter_<graph>.safetensors` and
    `adapters.json`, of which it returns the content.

    Raises:
        TrainingError, ExportError: something cannot be had, or there is nothing to train.
    """
    if profile.origin.is_random:
        raise TrainingError(
            "adapters of random weights would carry nothing: name a folder of weights, or a hub"
        )
    trained = [model for model in profile.models if is_trained(profile, model)]
    if not trained:
        raise TrainingError(f"{profile.name} has no adapters to train")
    torch.set_num_threads(threads)
    started = time.monotonic()
    stock = _Stock(profile, settings, FeatureStore(settings.cache / "features", progress))
    asked, indexed = stock.texts()
    found = _Adapters(stock, asked, indexed, schedule or Schedule(seed=seed))
    graphs: dict[str, Any] = {}
    for model in sorted((model for model in profile.models if model != TEXT), key=lambda each: each != IMAGE):
        # pictures come with the texts; when these are done, the rest goes towards them
        also = [TEXT] if model == IMAGE and TEXT in trained else []
        if model in trained or also:
            graphs[model] = found.train(model, model in trained, bool(also))
    folder = settings.checkpoints / profile.name
    folder.mkdir(parents=True, exist_ok=True)
    for model, adapter in found.adapters.items():
        state = {name: each.half().contiguous() for name, each in adapter.state().items()}
        save_tensors(state, adapter_file(profile, model, settings), {}, LARGEST_BYTES)
    metrics = {
        "profile": profile.name,
        "weights": profile.origin.kind,
        "seed": seed,
        "seconds": round(time.monotonic() - started),
        "graphs": graphs,
    }
    write_json(folder / "adapters.json", metrics)
    return metrics


class _Stock:
    """The stamps of train and validation, and what the encoders make of them."""

    def __init__(self, profile: Profile, settings: Settings, store: FeatureStore) -> None:
        self._profile, self._settings, self._store = profile, settings, store
        manifest = settings.home / "catalogues" / "stamps" / "manifest.jsonl"
        stamps = load_stamps(manifest)
        held = [stamp for stamp in stamps if stamp.split != "train"]
        self.stamps = [stamp for stamp in stamps if stamp.split != "test"]
        self.meaning = [stamp.meaning for stamp in self.stamps]
        # what comes close to anything that is measured is not learned from
        self.fresh = may_train(
            self.meaning,
            hash_pictures([stamp.picture for stamp in self.stamps], store),
            {stamp.meaning for stamp in held},
            hash_pictures([stamp.picture for stamp in held], store),
        )
        self.validation = np.array([stamp.split == "validation" for stamp in self.stamps])
        tokenizer = file_of(profile, profile.files["decode_text"]["tokenizer.json"], settings)
        self._samples = Samples(manifest, tokenizer, profile.inputs, LIMITS)

    def texts(self) -> tuple[Features, Features]:
        """Descriptions, as users ask, and texts as items are found by them; one of each a stamp."""
        asked = self.features(TEXT, [stamp.description for stamp in self.stamps])
        return asked, self.features(TEXT, [stamp.indexed for stamp in self.stamps])

    def features(self, model: str, texts: list[str] | None = None) -> Features:
        """Of one graph; its encoder is let go."""
        arguments = self._profile, model, self.stamps, texts or [], self._samples, self._settings
        return features_of(*arguments, self._store)


class _Adapters:
    """The adapters as they come, and how each is trained against the texts."""

    def __init__(self, stock: _Stock, asked: Features, indexed: Features, schedule: Schedule) -> None:
        self._stock, self._asked, self._indexed, self._schedule = stock, asked, indexed, schedule
        names = {name: number for number, name in enumerate(dict.fromkeys(stock.meaning))}
        self._number = torch.tensor([names[name] for name in stock.meaning])
        self.adapters: dict[str, Adapter] = {}

    def train(self, model: str, own: bool, text: bool) -> dict[str, Any]:
        """A graph's adapter (`own`), the texts' (`text`), or both together; figures of the outcome.

        Raises:
            DataError: the catalogue has too little for it.
        """
        features = self._stock.features(model)
        learned = np.flatnonzero(self._stock.fresh[features.stamp])
        held = np.flatnonzero(self._stock.validation[features.stamp])
        if len(learned) < FEWEST or not len(held):
            raise DataError(
                f"{model}: {len(learned)} inputs to learn from and {len(held)} to validate on: too few"
            )
        torch.manual_seed(self._schedule.seed)
        if text:
            self.adapters[TEXT] = Adapter(self._asked, np.flatnonzero(self._stock.fresh), self._schedule)
        if own:
            self.adapters[model] = Adapter(features, learned, self._schedule)
        trained = [self.adapters[name] for name in [TEXT] * text + [model] * own]
        figure = self._figure(model, features, held)
        curve = fit(trained, self._reader(model, features), learned, figure, self._schedule)
        return {"inputs": len(learned), "held": len(held), "ndcg@10": figure(), "curve": curve}

    def _reader(
        self, model: str, features: Features
    ) -> Callable[[Rows, np.random.Generator], tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
        def read(rows: Rows, rng: np.random.Generator) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
            stamps = features.stamp[rows]
            asks = torch.from_numpy(rng.random((len(rows), 1)) < 0.5)
            asked, indexed = (
                run(self.adapters.get(TEXT), texts, stamps) for texts in (self._asked, self._indexed)
            )
            here = run(self.adapters.get(model), features, rows)
            return here, torch.where(asks, asked, indexed), self._number[torch.from_numpy(stamps)]

        return read

    def _figure(self, model: str, features: Features, held: Rows) -> Callable[[], float]:
        """NDCG@10 of validation inputs for texts, and of their texts for inputs, all of them as galleries."""
        names = self._stock.meaning
        shown = [names[stamp] for stamp in features.stamp]
        asking = np.unique(features.stamp[held])

        def figure() -> float:
            found = embed(self.adapters.get(model), features)
            asked, indexed = (embed(self.adapters.get(TEXT), each) for each in (self._asked, self._indexed))
            there = ndcg(found[held], [shown[row] for row in held], indexed, names).mean()
            back = ndcg(asked[asking], [names[row] for row in asking], found, shown).mean()
            return float((there + back) / 2)

        return figure
