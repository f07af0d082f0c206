"""`python -m training finetune`: new weights for the last blocks of the image encoder, by hand.

Several members start from the published weights and see the drawings in different orders; their mean is kept
(model soup, Wortsman et al. 2022, arXiv:2203.05482). How far to go from the published weights to that mean is
chosen by the figure on train and validation stamps (robust fine-tuning, Wortsman et al. 2022,
arXiv:2109.01903), none of which was trained on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.functional import normalize

from export.adapters import ImageHead
from export.efficientnet import FIRST_TUNED, EfficientNetLite2, tuned_names
from export.encoders import load_published
from export.profile import Profile, load_profile
from export.settings import Settings
from media import decode_image, image_input
from training.checkpoints import save_tensors, write_json
from training.contrastive import Curve
from training.dataset import Dataset, load_dataset
from training.encoders import Encoders
from training.figures import ndcg
from training.icons import load_icons
from training.openclipart import load_things
from training.pictures import LIMITS
from training.plots import plot_curves
from training.store import FeatureStore, Progress
from training.tuning import Tuning, fine_tune
from training.tuning_data import Views, load_views

__all__ = ["Bench", "blend", "finetune", "load_bench", "mean_state"]

FILE = "encoder.safetensors"
MEMBERS = 3
SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)
State = dict[str, torch.Tensor]


class Bench:
    """What a network is measured on while it is tuned: stamps of train and validation ask, all are found.

    The head is the simplest there is: class words and the map that is being trained, half and half.
    """

    def __init__(self, data: Dataset, encoders: Encoders) -> None:
        self._data = data
        self._asked = data.rows("train", "validation")
        self._fronts = [
            encoders.front(image_input(decode_image(stamp.picture.read_bytes(), LIMITS))[None])[0].astype(
                np.float16
            )
            for stamp in data.stamps
        ]
        self._words = ImageHead()
        self._words.prototypes.copy_(torch.from_numpy(data.glosses))
        self._words.temperature.fill_(1.0)
        mean = data.text[data.rows("train")].mean(axis=0)
        self._text, self._indexed = (
            normalize(torch.from_numpy(texts - mean), dim=1).numpy() for texts in (data.text, data.indexed)
        )

    def figure(self, network: EfficientNetLite2, outer: nn.Linear) -> float:
        """NDCG@10, text to image and image to text averaged."""
        features, named = [], []
        with torch.inference_mode():
            for start in range(0, len(self._fronts), 32):
                front = torch.from_numpy(np.concatenate(self._fronts[start : start + 32])).float()
                found, logits = network.back(front.contiguous(memory_format=torch.channels_last), FIRST_TUNED)
                features.append(found)
                named.append(self._words.words(logits))
            x, words = torch.cat(features), torch.cat(named)
            train = torch.from_numpy(self._data.rows("train"))
            mapped = normalize((x - x[train].mean(dim=0)) @ outer.weight.T, dim=1)
            words = normalize(words - words[train].mean(dim=0), dim=1)
            pictures = normalize(mapped + words, dim=1).numpy()
        names = self._data.meanings
        meanings = [names[row] for row in self._asked]
        found = ndcg(self._text[self._asked], meanings, pictures, names).mean()
        back = ndcg(pictures[self._asked], meanings, self._indexed, names).mean()
        return float(found + back) / 2


def load_bench(
    profile: Profile, settings: Settings, threads: int, progress: Progress
) -> tuple[Bench, Views, Dataset]:
    """Everything that fine-tuning reads, through the published image encoder.

    Raises:
        TrainingError, ExportError, CatalogueError: something cannot be had or read.
    """
    tuned = {source: file for source, file in profile.tuned.items() if source != "efficientnet"}
    encoders = Encoders(profile.model_copy(update={"tuned": tuned}), settings, threads)
    store = FeatureStore(settings.cache / "features", progress)
    data = load_dataset(settings, encoders, store)
    drawings = load_things(settings.cache) + load_icons(settings.cache)
    return Bench(data, encoders), load_views(drawings, data, encoders, store), data


def finetune(
    profile_name: str, settings: Settings, threads: int, progress: Progress, seed: int = 0
) -> dict[str, Any]:
    """Tune, average, choose and write `<checkpoints>/<profile>/encoder.safetensors` and `finetune.json`.

    Returns:
        What `finetune.json` holds.

    Raises:
        TrainingError, ExportError, CatalogueError: something cannot be had, read or written.
    """
    torch.set_num_threads(threads)
    profile = load_profile(profile_name)
    bench, views, data = load_bench(profile, settings, threads, progress)
    members: list[State] = []
    maps: list[State] = []
    curves: dict[str, Curve] = {}
    first: State = {}
    for number in range(MEMBERS):
        network = load_published(profile, settings)
        tuning = Tuning(seed=seed + number)
        seen = _Watch(bench, network)
        curves[f"member {number}"] = fine_tune(
            network, views, torch.from_numpy(data.glosses), seen.figure, tuning, progress
        )
        first = seen.first
        members.append(_tuned(network))
        maps.append(seen.last)
    network = load_published(profile, settings)
    published, target, goal = _tuned(network), mean_state(members), mean_state(maps)
    figures: dict[float, float] = {}
    outer = nn.Linear(goal["weight"].shape[1], goal["weight"].shape[0])
    for share in SHARES:
        network.load_state_dict(blend(published, target, share), strict=False)
        outer.load_state_dict(blend(first, goal, share))
        figures[share] = bench.figure(network, outer)
    best = max(figures, key=lambda share: figures[share])
    folder = settings.checkpoints / profile.name
    state = {name: value.half().contiguous() for name, value in blend(published, target, best).items()}
    save_tensors(
        state, folder / profile.tuned.get("efficientnet", FILE), {"first_tuned": FIRST_TUNED, "share": best}
    )
    found = {
        "drawings": len(views.meaning),
        "names": len(set(views.meaning)),
        "tuning": asdict(Tuning(seed=seed)),
        "curves": curves,
        "figure_by_share": {f"{share:g}": figure for share, figure in figures.items()},
        "share": best,
    }
    write_json(folder / "finetune.json", found)
    plot_curves(curves, folder / "finetune.png")
    return found


def mean_state(states: Sequence[State]) -> State:
    """The mean of networks' states, tensor by tensor."""
    return {name: torch.stack([state[name] for state in states]).mean(dim=0) for name in states[0]}


def blend(start: State, end: State, share: float) -> State:
    """`share` of the way from `start` to `end`."""
    return {name: torch.lerp(start[name], end[name], share) for name in start}


class _Watch:
    """The figure of a network under training, and the first and last map it was asked with."""

    def __init__(self, bench: Bench, network: EfficientNetLite2) -> None:
        self._bench, self._network = bench, network
        self.first: State = {}
        self.last: State = {}

    def figure(self, outer: nn.Linear) -> float:
        self.last = {name: value.detach().clone() for name, value in outer.state_dict().items()}
        self.first = self.first or self.last
        return self._bench.figure(self._network, outer)


def _tuned(network: EfficientNetLite2) -> State:
    state = network.state_dict()
    return {name: state[name].detach().clone() for name in tuned_names(network)}
