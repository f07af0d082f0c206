"""Products that look like something else: their shape's own direction exchanged for a stamp's.

There are a dozen shapes, which a model can learn by heart; what it is to learn is to keep whatever the
picture shows and to change what the words ask for. So in part of the steps the mean of a shape is taken out
of its products' vectors and that of a stamp of the train split put in its place: its text in texts, its
picture in pictures, a photograph of it in photographs.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from training.attend_data import World

__all__ = ["Transplanter"]

Floats = npt.NDArray[np.float32]
TEXT, IMAGE = 0, 1


class Transplanter:
    """``products`` with the shapes of other things; ``stamps`` have them."""

    def __init__(self, products: World, stamps: World) -> None:
        self._products, self._stamps = products, stamps
        shapes = products.gallery.attributes["shape"]
        self._shapes, self._shape_of = np.unique(shapes, return_inverse=True)
        rows = products.gallery.rows
        self._texts = self._means(rows[:, TEXT])
        self._pictures = self._means(rows[:, IMAGE])
        self._sources = {name: self._means(products.sources[name]) for name in ("picture", "photograph")}
        photographed = np.abs(stamps.sources["photograph"]).sum(axis=1) > 0
        self._givers = np.flatnonzero(photographed & stamps.gallery.present[:, IMAGE])

    def __call__(self, rng: np.random.Generator) -> World:
        """The products' world, each shape another stamp's. Their sounds are gone: they ring as they did."""
        givers = rng.choice(self._givers, len(self._shapes), replace=False)[self._shape_of]
        stamps, products = self._stamps, self._products
        rows = np.zeros_like(products.gallery.rows)
        rows[:, TEXT] = self._moved(
            products.gallery.rows[:, TEXT], self._texts, stamps.gallery.rows[givers, TEXT]
        )
        pictures = stamps.gallery.rows[givers, IMAGE]
        rows[:, IMAGE] = self._moved(products.gallery.rows[:, IMAGE], self._pictures, pictures)
        shown = {"picture": pictures, "photograph": stamps.sources["photograph"][givers]}
        sources = {
            name: self._moved(products.sources[name], means, shown[name])
            for name, means in self._sources.items()
        }
        return replace(
            products, gallery=replace(products.gallery, rows=rows), sources={**products.sources, **sources}
        )

    def _means(self, vectors: Floats) -> Floats:
        """[shapes, 1024]"""
        return np.stack([vectors[self._shape_of == place].mean(axis=0) for place in range(len(self._shapes))])

    def _moved(self, vectors: Floats, means: Floats, givers: Floats) -> Floats:
        own = means[self._shape_of]
        # as much of the other thing as there was of the shape, so that what varies keeps its share
        length = np.linalg.norm(own, axis=1, keepdims=True)
        moved = vectors - own + length * givers
        out: Floats = (moved / np.linalg.norm(moved, axis=1, keepdims=True)).astype(np.float32)
        return out
