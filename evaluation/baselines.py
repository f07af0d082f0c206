"""What other ways of ranking would have answered, for the same queries and judgements.

- **bm25**: the words of the descriptions alone (Robertson and Zaragoza 2009; Lucene's variant by bm25s).
- **bm25+vector**: bm25 and the system's ranking by reciprocal rank fusion (Cormack, Clarke and Buettcher
  2009).
- **early**: the query's vector set beside itself once per modality against the concatenation of the item's
  vectors, zeros where it has none: the cosine is sum(cos_m) / (2 * sqrt(n)) over its n modalities. The
  cosines are those that the system tells as signals, so this ranks the 100 items it answered with; one that
  it does not tell, because the row was not among the nearest, counts as the lowest told of that modality.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import bm25s

from catalogue.manifest import ManifestItem
from evaluation.asked import HOLDING
from evaluation.client import LIMIT, Answer
from sensorium.v1 import sensorium_pb2 as pb

__all__ = ["Lexical", "early", "fused_ranks"]

RANK_CONSTANT = 60


class Lexical:
    """BM25 over title and description, as they are indexed for text search."""

    def __init__(self, items: Sequence[ManifestItem]) -> None:
        self._ids = [item.id for item in items]
        self._index = bm25s.BM25()
        texts = [f"{item.title}\n{item.description}" for item in items]
        self._index.index(bm25s.tokenize(texts, show_progress=False), show_progress=False)

    def ranked(self, text: str) -> list[str]:
        """Ids of the 100 best, best first; items that share no word with the text are not among them."""
        tokens = bm25s.tokenize([text], return_ids=False, show_progress=False)[0]
        known = [token for token in tokens if token in self._index.vocab_dict]
        if not known:
            return []
        scores = self._index.get_scores(known)
        order = sorted(range(len(scores)), key=lambda place: (-scores[place], self._ids[place]))
        return [self._ids[place] for place in order[:LIMIT] if scores[place] > 0]


def fused_ranks(*rankings: Sequence[str]) -> list[str]:
    """Reciprocal rank fusion: each ranking gives 1 / (60 + rank); equal sums in the order of the first."""
    scores: dict[str, float] = {}
    for ranking in rankings:
        for rank, item in enumerate(ranking, start=1):
            scores[item] = scores.get(item, 0.0) + 1 / (RANK_CONSTANT + rank)
    return sorted(scores, key=lambda item: -scores[item])[:LIMIT]


def early(answer: Answer, items: Mapping[str, ManifestItem]) -> list[str]:
    """The answer's items by the cosine of the concatenated vectors."""
    lowest: dict[str, float] = {}
    for told in answer.cosines.values():
        for modality, cosine in told.items():
            lowest[modality] = min(lowest.get(modality, 1.0), cosine)

    def score(item: str) -> float:
        told = answer.cosines[item]
        held = _held(items[item])
        total = sum(told.get(modality, lowest.get(modality, 0.0)) for modality in held)
        return total / math.sqrt(len(held))

    return sorted(answer.ids, key=score, reverse=True)


def _held(item: ManifestItem) -> list[str]:
    names = ["text", "image"]
    names += [pb.Modality.Name(modality).lower() for modality, role in HOLDING.items() if item.paths(role)]
    return names
