"""The steps of the re-ranker's export.

Its inputs are made of what the exported encoders give for catalogue items of the validation split: texts that
look for pictures, pictures that look for texts, and both together, each with its 50 nearest candidates,
scored by the calibration that is served. Nothing of the run that trained it is needed.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from export.errors import WeightsError
from export.graphs import Graph
from export.measure import ndcg_at_10
from export.profile import Int8, Profile
from export.reranker import KINDS, ROWS, Reranker, Shape, load_reranker
from export.samples import Feed, Sample
from export.settings import Settings
from export.trained_steps import TrainedSteps, heads_sha256

__all__ = ["RERANK", "RerankerSteps", "default_for", "has_reranker", "is_trained", "reranker_graph"]

RERANK = "rerank"
CANDIDATES, QUERIES = 50, 60
Floats = NDArray[np.float32]


def is_trained(settings: Settings, profile: str) -> bool:
    """Whether there is a re-ranker, trained on the heads that are there. See ``is_random`` for others.

    Raises:
        WeightsError: its file is damaged, or heads are missing.
    """
    folder = settings.checkpoints / profile
    path = folder / f"{RERANK}.safetensors"
    return path.is_file() and load_reranker(path)[1].get("heads_sha256") == heads_sha256(folder)


def is_random(profile: Profile) -> bool:
    """Whether there is a re-ranker with random weights, as large as the profile says."""
    return profile.origin.is_random and profile.reranker is not None


def has_reranker(settings: Settings, profile: Profile) -> bool:
    """Whether there is one to export. Raises WeightsError as ``is_trained`` does."""
    return is_random(profile) or is_trained(settings, profile.name)


def default_for(settings: Settings, profile: Profile) -> list[str]:
    """Kinds of query that the re-ranker helped with, as its training found; none with random weights.

    Raises:
        WeightsError: its training did not say.
    """
    if is_random(profile):
        return []
    about = load_reranker(settings.checkpoints / profile.name / f"{RERANK}.safetensors")[1]
    kinds = about.get("default_for")
    if not isinstance(kinds, list) or not all(isinstance(kind, str) for kind in kinds):
        raise WeightsError(f"{RERANK}.safetensors does not say which queries it is for; run `make rerank`")
    return kinds


def _example() -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(0)

    def numbers(*sizes: int) -> torch.Tensor:
        return torch.rand(sizes, generator=generator)

    kinds = torch.tensor([[1, 2, 0], [3, 5, 1]])
    return (
        numbers(2, 3, 1024),
        kinds,
        numbers(2, 3),
        numbers(2, 5, 4, 1024),
        numbers(2, 5, 3, 4),
        numbers(2, 5),
    )


def reranker_graph(model: Reranker) -> Graph:
    """The tensors of the served graph. Queries of a batch have the same numbers of vectors and candidates."""
    return Graph(
        RERANK,
        {
            "query": ("batch", "vectors", 1024),
            "query_kind": ("batch", "vectors"),
            "query_weight": ("batch", "vectors"),
            "rows": ("batch", "candidates", len(ROWS), 1024),
            "evidence": ("batch", "candidates", "vectors", len(ROWS)),
            "fused": ("batch", "candidates"),
        },
        {"score": 1},
        (),
        lambda *_: model,
        _example,
    )


class RerankerSteps(TrainedSteps):
    """See `TrainedSteps`."""

    name = RERANK
    modules = ("reranker", "reranker_steps", "trained_steps", "graphs", "vectors")

    @property
    def recipe(self) -> Int8:
        return self._profile.rerank

    @cached_property
    def model(self) -> Reranker:
        size = self._profile.reranker
        if not is_random(self._profile) or size is None:
            return load_reranker(self._checkpoint)[0]
        torch.manual_seed(self._profile.origin.seed)
        model = Reranker(Shape(size.layers, size.width, size.heads, size.hidden))
        # its last layers begin at zero, and would show nothing of what lies before them
        with torch.no_grad():
            for last in (model.whole, model.plain, model.features[2]):
                for parameter in last.parameters():
                    parameter.normal_(std=0.02)
            model.pairs.normal_(std=0.02)
        return model.eval().requires_grad_(False)

    @property
    def lists(self) -> list[Sample]:
        return self._made[0]

    def graph(self) -> Graph:
        return reranker_graph(self.model)

    def compared(self, output: Floats) -> Floats:
        return _centred(output)

    def ndcg(self, output: Floats) -> float:
        """NDCG@10 over the whole gallery; what is no candidate of a query comes last in it."""
        shown, lists = self._shown, self.lists
        whole = np.full((len(lists), len(shown)), -1.0, np.float32)
        for row, (places, values) in enumerate(zip(self._places, output, strict=True)):
            whole[row, places] = values
        return ndcg_at_10(whole, [one.meaning for one in lists], np.eye(len(shown), dtype=np.float32), shown)

    @property
    def _shown(self) -> list[str]:
        return self._vectors.gallery[2]

    @cached_property
    def _made(self) -> tuple[list[Sample], list[NDArray[np.intp]]]:
        texts, pictures, meanings = self._vectors.gallery
        calibration = self._vectors.calibration
        lists, places = [], []
        for number in range(min(QUERIES, len(meanings))):
            asked = [[("text", texts)], [("image", pictures)], [("text", texts), ("image", pictures)]][
                number % 3
            ]
            feed, near = self._list(number, asked, calibration)
            lists.append(Sample(meanings[number], "validation", feed))
            places.append(near)
        return lists, places

    @property
    def _places(self) -> list[NDArray[np.intp]]:
        return self._made[1]

    def _list(
        self, number: int, asked: list[tuple[str, Floats]], calibration: Mapping[str, Any]
    ) -> tuple[Feed, NDArray[np.intp]]:
        """Item ``number`` as a query, and its candidates; an item is found by its other modality alone."""
        texts, pictures, _ = self._vectors.gallery
        query = np.stack([vectors[number] for _, vectors in asked])
        rows = np.zeros((len(texts), len(ROWS), 1024), np.float32)
        evidence = np.zeros((len(texts), len(asked), len(ROWS)), np.float32)
        for place, (kind, _) in enumerate(asked):
            row, found = ("image", pictures) if kind == "text" else ("text", texts)
            pair = calibration[f"{kind}->{row}"]
            rows[:, ROWS.index(row)] = found
            odds = pair["scale"] * (found @ query[place]) + pair["bias"]
            evidence[:, place, ROWS.index(row)] = 1 / (1 + np.exp(-odds))
        fused = evidence.max(axis=2).prod(axis=1) ** (1 / len(asked))
        near = np.argsort(-fused, kind="stable")[:CANDIDATES]
        feed = {
            "query": query[None],
            "query_kind": np.array([[KINDS.index(kind) for kind, _ in asked]], np.int64),
            "query_weight": np.ones((1, len(asked)), np.float32),
            "rows": rows[None, near],
            "evidence": evidence[None, near],
            "fused": fused[None, near].astype(np.float32),
        }
        return feed, near


def _centred(scored: Floats) -> Floats:
    """Log-odds of each list around their mean, so that a cosine of two of them is their correlation."""
    odds = np.log(np.clip(scored, 1e-6, 1 - 1e-6) / (1 - np.clip(scored, 1e-6, 1 - 1e-6)))
    centred: Floats = (odds - odds.mean(axis=1, keepdims=True)).astype(np.float32)
    return centred
