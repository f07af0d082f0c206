"""Batches of pairs that are easily taken for each other, from k-means clusters of what they are now.

Clusters are made again each epoch, as the embeddings move (as in DeepCluster, Caron et al. 2018,
arXiv:1807.05520).
"""

from __future__ import annotations

import faiss
import numpy as np
import numpy.typing as npt

__all__ = ["cluster", "draw"]

ITERATIONS = 10


def cluster(embeddings: npt.NDArray[np.float32], count: int, seed: int) -> npt.NDArray[np.intp]:
    """The nearest of `count` k-means centres for every row: [n, d] -> [n]."""
    rows = np.ascontiguousarray(embeddings)
    means = faiss.Kmeans(rows.shape[1], count, niter=ITERATIONS, seed=seed, min_points_per_centroid=1)
    means.train(rows)
    found: npt.NDArray[np.intp] = means.index.search(rows, 1)[1][:, 0].astype(np.intp)
    return found


def draw(
    clusters: npt.NDArray[np.intp], own: int, sizes: tuple[int, int], rng: np.random.Generator
) -> npt.NDArray[np.intp]:
    """Rows of one batch: whole clusters in a random order, until there are enough of either kind.

    Args:
        clusters: [n] cluster of each row; the first `own` rows are the catalogue's.
        own: how many rows are the catalogue's.
        sizes: how many rows of the catalogue and how many others the batch has.
        rng: of the run.
    """
    rank = rng.permutation(int(clusters.max()) + 1)[clusters]
    order = np.lexsort((rng.random(len(clusters)), rank))
    return np.concatenate([order[order < own][: sizes[0]], order[order >= own][: sizes[1]]])
