"""From embedded parts to the vectors to search with.

Every part keeps vectors of its own, because what a similarity means depends on the pair of modalities
(calibration is per pair), so scores of a mixed query are made per part and joined in ``fusion``. A single
composed vector serves another end: recall. An item that is near to all parts together need not be among the
nearest of any one of them, so when there are several parts the weighted sum of their unified vectors,
negative ones subtracted, is searched with too (Rocchio, "Relevance feedback in information retrieval", 1971);
what it finds is scored part by part like the rest. docs/adr/0005-mixed-queries.md weighs the alternatives.
Where attention fusion was trained (``attend.py``), its vectors take the place of the sum and speak for items
as well.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from orchestrator.composed_score import ComposedScore
from orchestrator.query import SignalSpace
from orchestrator.types import Embedding, FloatArray, Modality

__all__ = ["Attended", "Composition", "EmbeddedPart", "QueryVector", "compose", "pool"]


@dataclass(frozen=True, slots=True)
class EmbeddedPart:
    """A part and its vectors.

    ``transcript`` is the embedding of what was said in it, trusted to ``confidence``. It may be all there is:
    ``embedding`` is None where the sound itself could not be embedded.
    """

    index: int
    modality: Modality
    weight: float
    embedding: Embedding | None
    transcript: Embedding | None = None
    confidence: float = 0.0

    @property
    def unified(self) -> FloatArray:
        """[1024]: its direction in the unified space, by its words where there is nothing else."""
        whole = self.embedding or self.transcript
        if whole is None:
            raise ValueError("a part has an embedding or a transcript")
        return whole.unified


@dataclass(frozen=True, slots=True)
class QueryVector:
    """One vector to search with. ``trust`` (0..1) is how far what it finds speaks for the part."""

    part: int
    modality: Modality
    space: SignalSpace
    vector: FloatArray
    weight: float
    trust: float


@dataclass(frozen=True, slots=True)
class Attended:
    """What attention fusion made of the parts: a vector [1024] for the rows of each modality, and how near
    rows of them speak for an item."""

    vectors: Mapping[Modality, FloatArray]
    score: ComposedScore


@dataclass(frozen=True, slots=True)
class Composition:
    """What to search with: ``vectors`` of every part, also negative ones; ``recall`` [1024] if composed."""

    vectors: tuple[QueryVector, ...]
    weights: dict[int, float]
    recall: FloatArray | None
    attended: Attended | None = None

    @property
    def kind(self) -> str:
        """ "negative" if a part is; else the modality of the parts, "mixed" if they are of several."""
        if min(self.weights.values()) < 0:
            return "negative"
        kinds = {vector.modality.value for vector in self.vectors}
        return kinds.pop() if len(kinds) == 1 else "mixed"

    @property
    def mixed(self) -> bool:
        """Whether candidates have to be scored against more than found them."""
        return len(self.weights) > 1 or self.attended is not None

    def composed(self, target: Modality) -> FloatArray | None:
        """The composed vector [1024] to search rows of ``target`` with, if there is one."""
        return self.recall if self.attended is None else self.attended.vectors[target]


def compose(parts: Sequence[EmbeddedPart]) -> Composition:
    """The composition of ``parts``, of which at least one has a positive weight."""
    vectors: list[QueryVector] = []
    for part in parts:
        found: list[tuple[SignalSpace, FloatArray, float]] = []
        if part.embedding is not None:
            found.append(("unified", part.embedding.unified, 1.0))
            if part.embedding.native is not None:
                native: SignalSpace = "audio" if part.modality is Modality.AUDIO else "video"
                found.append((native, part.embedding.native, 1.0))
        if part.transcript is not None:
            found.append(("transcript", part.transcript.unified, part.confidence))
        vectors += [
            QueryVector(part.index, part.modality, space, vector, part.weight, trust)
            for space, vector, trust in found
        ]
    recall = None
    if len(parts) > 1:
        total = np.sum([np.float32(part.weight) * part.unified for part in parts], axis=0)
        norm = float(np.linalg.norm(total))
        # Opposite parts may cancel out; then there is no direction to search in.
        recall = (total / norm).astype(np.float32) if norm > 1e-6 else None
    return Composition(tuple(vectors), {part.index: part.weight for part in parts}, recall)


def pool(segments: Sequence[Embedding]) -> Embedding:
    """One embedding for the segments of one long sound or video: the mean direction, of unit norm."""
    if len(segments) == 1:
        return segments[0]
    natives = [segment.native for segment in segments if segment.native is not None]
    return Embedding(
        _mean_direction([segment.unified for segment in segments]),
        _mean_direction(natives) if natives else None,
    )


def _mean_direction(vectors: Sequence[FloatArray]) -> FloatArray:
    mean = np.mean(vectors, axis=0)
    norm = float(np.linalg.norm(mean))
    # Vectors that cancel out exactly have no mean direction; the first segment stands for the whole then.
    return (mean / norm).astype(np.float32) if norm > 1e-6 else vectors[0]
