"""Standing queries of the validation split, as `python -m evaluation standing` asked them.

A user of whom nothing is known is moved by the weights of pairs alone: these queries tell what that does to
plain relevance.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from training.errors import DataError
from training.strengths import CAP

__all__ = ["Standing", "read_standing"]


@dataclass(frozen=True)
class Standing:
    """One query: ids of the items that answer it, and of those found the score (0..1) and the shares of
    evidence per pair of modalities."""

    name: str
    relevant: tuple[str, ...]
    found: tuple[tuple[str, float, Mapping[str, float]], ...]

    def ranked(self, pairs: Mapping[str, float], cap: float = CAP) -> list[str]:
        """Ids in the order that these weights of pairs give."""
        if not self.found:
            return []
        score = np.clip([score for _, score, _ in self.found], 1e-6, 1 - 1e-6)
        pull = np.array(
            [sum(pairs.get(n, 0.0) * v for n, v in shares.items()) for _, _, shares in self.found]
        )
        moved = np.log(score / (1 - score)) + cap * np.tanh((pull - pull.mean()) / cap)
        return [self.found[place][0] for place in np.argsort(-moved, kind="stable")]


def read_standing(path: Path) -> list[Standing]:
    """The queries that `evaluation` wrote.

    Raises:
        DataError: the file is missing or malformed.
    """
    try:
        content: Any = json.loads(path.read_bytes())
        return [
            Standing(
                query["name"],
                tuple(query["relevant"]),
                tuple((hit["id"], float(hit["score"]), dict(hit["evidence"])) for hit in query["found"]),
            )
            for query in content["queries"]
        ]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path} does not hold standing queries: {error}") from error
