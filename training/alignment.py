"""The closed-form part of the heads: class words, a ridge map to the text space, and what only pictures have.

Everything here is solved, not iterated, so cross-validation can afford to fit it many times.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from export.adapters import ImageHead, Kernel, Projection, TextHead

__all__ = [
    "Options",
    "Pairs",
    "concatenate",
    "embed_images",
    "embed_texts",
    "fit_heads",
    "fit_visual",
    "weigh_blocks",
]

Floats = npt.NDArray[np.float32]
MEDIAN_OF = 400
"""Pairs whose distances say how wide a kernel is; the catalogue's come first."""


@dataclass(frozen=True)
class Pairs:
    """Pictures with their texts: features [n, 1280], logits [n, 1000], text [n, 384] unit norm and about its
    own source's mean, weight [n], meaning (n normalised texts). `parts` [n, 2, 384], where a text has some,
    are the title's and the keywords' vectors, zeros for what is not there; none: the text is of one part."""

    features: Floats
    logits: Floats
    text: Floats
    weight: Floats
    meaning: tuple[str, ...]
    parts: Floats | None = None

    def take(self, rows: npt.NDArray[np.intp]) -> Pairs:
        meaning = tuple(self.meaning[row] for row in rows)
        return Pairs(
            self.features[rows],
            self.logits[rows],
            self.text[rows],
            self.weight[rows],
            meaning,
            self.split_text()[rows],
        )

    def split_text(self) -> Floats:
        """`parts`, or the text as its only part."""
        if self.parts is not None:
            return self.parts
        return np.stack([self.text, np.zeros_like(self.text)], axis=1)


def concatenate(parts: Sequence[Pairs]) -> Pairs:
    return Pairs(
        np.concatenate([part.features for part in parts]),
        np.concatenate([part.logits for part in parts]),
        np.concatenate([part.text for part in parts]),
        np.concatenate([part.weight for part in parts]),
        tuple(meaning for part in parts for meaning in part.meaning),
        np.concatenate([part.split_text() for part in parts]),
    )


@dataclass(frozen=True)
class Options:
    """What is chosen on validation. `prior` is how much of the training pictures' mean logits is taken off,
    `mix` the map's share beside the class words, `learned` the learned block's share of the cosine, `visual`
    the norm of the visual block beside the others' 1. `kernel` 0 is the linear ridge map of strength `ridge`;
    above it the map is kernel ridge regression of strength `noise`, a Gaussian that falls to exp(-kernel) at
    the median distance of training pictures. `hypernym` is the weight of a class's hypernym in its
    prototype."""

    temperature: float = 1.0
    prior: float = 1.0
    centre: bool = True
    ridge: float = 3_000.0
    words_scale: float = 30.0
    mix: float = 0.35
    kernel: float = 0.0
    noise: float = 0.2
    hypernym: float = 0.0
    learned: float = 0.0
    visual: float = 0.7


def fit_heads(
    pairs: Pairs, prototypes: Floats, text_mean: Floats, words_of: Floats, options: Options
) -> tuple[TextHead, ImageHead]:
    """Solve what texts and pictures share; the learned residuals are zero, the visual block is
    left as it was.

    Args:
        pairs: training pairs.
        prototypes: [1000, 384], unit norm.
        text_mean: [384], mean of the catalogue's training texts.
        words_of: logits [m, 1000] of the catalogue's training pictures, from which the words' centre and
            the classes' prior are taken.
        options: see `Options`.
    """
    points = len(pairs.meaning) if options.kernel else 0
    text, image = TextHead(), ImageHead(points=points)
    image.prototypes.copy_(torch.from_numpy(prototypes))
    image.temperature.fill_(options.temperature)
    with torch.no_grad():
        usual = torch.from_numpy(words_of).mean(dim=0)
        image.prior.copy_(options.prior * (usual - usual.mean()))
        centre = image.words(torch.from_numpy(words_of)).mean(dim=0)
        if options.centre:
            image.words_mean.copy_(centre)
            text.mean.copy_(torch.from_numpy(text_mean))
        features = torch.from_numpy(pairs.features)
        seen = torch.cat([features, image.words(torch.from_numpy(pairs.logits))], dim=1)
        for projection in (image.semantic_map, image.learned):
            projection.mean.copy_(torch.cat([features.mean(dim=0), centre]))
            projection.scale[:1280] = 1 / (features.std(dim=0) + 0.05)
            projection.scale[1280:] = options.words_scale
        if isinstance(image.semantic_map, Kernel):
            _solve_kernel(image.semantic_map, seen, pairs, options)
        else:
            standard = (seen - image.semantic_map.mean) * image.semantic_map.scale
            _set(image.semantic_map, _ridge(standard, pairs, options.ridge))
        for residual in (image.learned, text.learned):
            _set(residual, torch.zeros_like(residual.outer.weight))
        image.mix.fill_(options.mix)
    weigh_blocks(text, image, options)
    return text.eval(), image.eval()


def weigh_blocks(text: TextHead, image: ImageHead, options: Options) -> None:
    """Between texts and pictures the cosine is a fixed multiple of (1 - learned) * semantic + learned *
    learned."""
    shares = torch.tensor([1 - options.learned, options.learned]).sqrt()
    text.weights.copy_(shares)
    image.weights.copy_(torch.cat([shares, torch.tensor([options.visual])]))


def embed_images(head: ImageHead, features: Floats, logits: Floats) -> Floats:
    with torch.no_grad():
        out: Floats = head(torch.from_numpy(features), torch.from_numpy(logits)).numpy()
    return out


def embed_texts(head: TextHead, pooled: Floats) -> Floats:
    with torch.no_grad():
        out: Floats = head(torch.from_numpy(pooled)).numpy()
    return out


def _ridge(inputs: torch.Tensor, pairs: Pairs, strength: float) -> torch.Tensor:
    """Weighted ridge regression to the unit-norm texts (Hoerl and Kennard 1970): [384, inputs]."""
    weight = torch.from_numpy(pairs.weight).double()[:, None]
    x, y = inputs.double(), torch.from_numpy(pairs.text).double()
    gram = x.T @ (x * weight) + strength * torch.eye(x.shape[1], dtype=torch.float64)
    solved: torch.Tensor = torch.linalg.solve(gram, x.T @ (y * weight))
    return solved.T.float()


def _solve_kernel(kernel: Kernel, seen: torch.Tensor, pairs: Pairs, options: Options) -> None:
    """Weighted kernel ridge regression to the unit-norm texts: every pair is a point."""
    x = (seen - kernel.mean) * kernel.scale
    _, axes = torch.linalg.eigh((x.T @ x).double())
    kernel.axes.copy_(axes.flip(1)[:, : kernel.axes.shape[1]])
    kernel.points.copy_(x @ kernel.axes)
    squared = torch.cdist(kernel.points[:MEDIAN_OF], kernel.points[:MEDIAN_OF]).square()
    kernel.width.copy_(options.kernel / squared.median())
    gram = kernel.near(seen).double()
    gram += options.noise * torch.diag(1 / torch.from_numpy(pairs.weight).double())
    solved = torch.linalg.solve(gram, torch.from_numpy(pairs.text).double())
    kernel.outer.weight.data.copy_(solved.T)


def fit_visual(image: ImageHead, pictures: Floats) -> None:
    """The first principal axes of features [n, 1280], unscaled, so that cosines stay close to the features'
    own."""
    features = torch.from_numpy(pictures)
    image.visual.mean.copy_(features.mean(dim=0))
    centred = (features - image.visual.mean).double()
    _, axes = torch.linalg.eigh(centred.T @ centred)
    _set(image.visual, axes.flip(1).T[: image.visual.outer.out_features].float())


def _set(projection: Projection, weight: torch.Tensor) -> None:
    projection.outer.weight.data.copy_(weight)
    projection.outer.bias.data.zero_()
