"""Nothing that is measured may be learned from: no shared meaning, no near-duplicate picture."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
import numpy.typing as npt

from training.pictures import NEAR_DUPLICATE_BITS, hash_distances

__all__ = ["may_train"]


def may_train(
    meanings: Sequence[str],
    hashes: npt.NDArray[np.uint8],
    held_meanings: Collection[str],
    held_hashes: npt.NDArray[np.uint8],
) -> npt.NDArray[np.bool_]:
    """Which candidates share neither a normalised text nor a near-equal picture with what is held out: bool
    [n].

    Args:
        meanings, hashes: of the candidates; hashes are uint8 [n, 256] of bits.
        held_meanings, held_hashes: of everything that is measured.
    """
    fresh = np.array([meaning not in held_meanings for meaning in meanings], np.bool_)
    if len(held_hashes):
        fresh &= hash_distances(hashes, held_hashes).min(axis=1) > NEAR_DUPLICATE_BITS
    return fresh
