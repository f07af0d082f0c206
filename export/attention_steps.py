"""The steps of attention fusion's export.

Its inputs are made of what the exported encoders give for catalogue items of the validation split: a text, a
picture, or both, as the parts of a query that looks for the item's other row. Nothing of the run that trained
it is needed.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from export.attention import Attention, AttentionShape, load_attention
from export.errors import WeightsError
from export.graphs import Graph
from export.measure import ndcg_at_10
from export.profile import Int8, Profile
from export.reranker import KINDS, ROWS
from export.samples import Sample
from export.settings import Settings
from export.trained_steps import TrainedSteps, heads_sha256

__all__ = [
    "ATTEND",
    "AttentionSteps",
    "attention_graph",
    "attention_kinds",
    "attention_trained",
    "has_attention",
]

ATTEND = "attend"
QUERIES = 60
Floats = NDArray[np.float32]


def attention_trained(settings: Settings, profile: str) -> bool:
    """Whether attention fusion was trained on the heads that are there.

    Raises:
        WeightsError: its file is damaged, or heads are missing.
    """
    folder = settings.checkpoints / profile
    path = folder / f"{ATTEND}.safetensors"
    return path.is_file() and load_attention(path)[1].get("heads_sha256") == heads_sha256(folder)


def is_random(profile: Profile) -> bool:
    """Whether there is attention fusion with random weights, as large as the profile says."""
    return profile.origin.is_random and profile.attention is not None


def has_attention(settings: Settings, profile: Profile) -> bool:
    """Whether there is one to export. Raises WeightsError as ``attention_trained`` does."""
    return is_random(profile) or attention_trained(settings, profile.name)


def attention_kinds(settings: Settings, profile: Profile) -> dict[str, Any]:
    """Kinds of query it was trained for, and how each is scored; none with random weights.

    Raises:
        WeightsError: its training did not say.
    """
    if is_random(profile):
        return {}
    kinds = load_attention(settings.checkpoints / profile.name / f"{ATTEND}.safetensors")[1].get("kinds")
    if not isinstance(kinds, dict) or not kinds:
        raise WeightsError(f"{ATTEND}.safetensors does not say which queries it is for; run `make attend`")
    return kinds


def attention_graph(model: Attention) -> Graph:
    """The tensors of the served graph. Queries of a batch have the same number of parts."""
    return Graph(
        ATTEND,
        {
            "query": ("batch", "parts", 1024),
            "native": ("batch", "parts", 512),
            "query_kind": ("batch", "parts"),
            "query_weight": ("batch", "parts"),
        },
        {"composed": len(ROWS) * 1024},
        (),
        lambda *_: model,
        _example,
    )


def _example() -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(0)
    query = torch.rand(2, 3, 1024, generator=generator)
    native = torch.rand(2, 3, 512, generator=generator)
    return (
        query,
        native,
        torch.tensor([[2, 1, 0], [3, 1, 1]]),
        torch.tensor([[1.0, 1.0, 0.0], [1.0, 0.5, -1.0]]),
    )


class AttentionSteps(TrainedSteps):
    """See `TrainedSteps`."""

    name = ATTEND
    modules = ("attention", "attention_steps", "reranker", "trained_steps", "graphs", "vectors")

    @property
    def recipe(self) -> Int8:
        return self._profile.attend

    @cached_property
    def model(self) -> Attention:
        size = self._profile.attention
        if not is_random(self._profile) or size is None:
            return load_attention(self._checkpoint)[0]
        torch.manual_seed(self._profile.origin.seed)
        model = Attention(AttentionShape(size.layers, size.width, size.heads, size.hidden))
        # its last layer begins at zero, and would show nothing of what lies before it
        with torch.no_grad():
            for parameter in model.change.parameters():
                parameter.normal_(std=0.02)
        return model.eval().requires_grad_(False)

    @property
    def lists(self) -> list[Sample]:
        return self._made[0]

    def graph(self) -> Graph:
        return attention_graph(self.model)

    def compared(self, output: Floats) -> Floats:
        return output.reshape(len(output), -1)

    def ndcg(self, output: Floats) -> float:
        """Over the texts or the pictures of all items, whichever a query looks for; their mean."""
        texts, pictures, meanings = self._vectors.gallery
        found = []
        for row, vectors in ((ROWS.index("text"), texts), (ROWS.index("image"), pictures)):
            own = [number for number, looked in enumerate(self._made[1]) if looked == row]
            asked = [self.lists[number].meaning for number in own]
            found.append(ndcg_at_10(output[own][:, row], asked, vectors, meanings))
        return float(np.mean(found))

    @cached_property
    def _made(self) -> tuple[list[Sample], list[int]]:
        """Inputs, and the row each looks for: a text for pictures, a picture and both for texts."""
        texts, pictures, meanings = self._vectors.gallery
        lists, looked = [], []
        for number in range(min(QUERIES, len(meanings))):
            kinds = (("text",), ("image",), ("image", "text"))[number % 3]
            vectors = {"text": texts[number], "image": pictures[number]}
            feed = {
                "query": np.stack([vectors[kind] for kind in kinds])[None],
                "native": np.zeros((1, len(kinds), 512), np.float32),
                "query_kind": np.array([[KINDS.index(kind) for kind in kinds]], np.int64),
                "query_weight": np.ones((1, len(kinds)), np.float32),
            }
            lists.append(Sample(meanings[number], "validation", feed))
            looked.append(ROWS.index("image" if kinds == ("text",) else "text"))
        return lists, looked
