"""Stage compose, where attention fusion was trained: the parts become one vector for each modality of rows.

``export/attention.py`` is the model. What it makes takes the place of the weighted sum in recall and, by its
nearness to the rows of candidates, speaks for items beside the fused score. Without the model, or when it
fails or is late, weighted averaging stands. It is trained for kinds of queries, named by what they are made
of: "image+text", "image-text" with a text pushed away, or one sound that looks for anything but sounds.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from orchestrator.compose import Attended, Composition, EmbeddedPart
from orchestrator.composed_score import ComposedScore
from orchestrator.ports import Encoder
from orchestrator.query import Candidate, SearchOptions
from orchestrator.trace import Trace
from orchestrator.types import NATIVE_DIM, RERANK_KINDS, AttendInputs, Modality

__all__ = ["Attender", "Cosines", "attend_inputs", "attended_kind", "score_composed"]

Cosines = Mapping[str, Mapping[Modality, float]]
"""By item and modality: the best cosine of its rows with the composed vector for them."""


class Attender:
    """``kinds``: see ``EmbeddingSet.attend``."""

    def __init__(self, encoder: Encoder, kinds: Mapping[str, ComposedScore] | None) -> None:
        self._encoder = encoder
        self._kinds = kinds

    def wanted(
        self,
        options: SearchOptions,
        parts: Sequence[EmbeddedPart],
        targets: Sequence[Modality],
        trace: Trace,
    ) -> ComposedScore | None:
        """How such a query is scored when composed, None where it is not; asking in vain is noted."""
        kind = attended_kind(parts, targets)
        if kind is None or options.attend is False:
            return None
        score = (self._kinds or {}).get(kind)
        if score is None and options.attend:
            why = "no trained model" if self._kinds is None else f"not trained for {kind}"
            trace.degrade("compose", why)
        return score if score is not None and (options.attend or score.default) else None

    async def attend(
        self,
        composition: Composition,
        parts: Sequence[EmbeddedPart],
        score: ComposedScore,
        trace: Trace,
        budget_s: float,
    ) -> Composition:
        """``composition`` with what the model makes of the parts.

        Raises:
            DependencyError: Triton failed.
            TimeoutError: it took longer than ``budget_s``.
        """
        with trace.waiting("compose", "triton"):
            async with asyncio.timeout(budget_s):
                made = await self._encoder.attend(attend_inputs(parts), budget_s)
        vectors = {modality: made[place] for place, modality in enumerate(Modality)}
        return replace(composition, attended=Attended(vectors, score))


def attended_kind(parts: Sequence[EmbeddedPart], targets: Sequence[Modality]) -> str | None:
    """The name of such a query's kind, None for one that needs no composing.

    Speech is not composed: its words are a part of their own, which the model does not know. A single sound
    is, unless it looks for sounds too, which it finds by likeness.
    """
    if any(part.transcript is not None for part in parts):
        return None
    if len(parts) == 1 and (parts[0].modality is not Modality.AUDIO or Modality.AUDIO in targets):
        return None
    wanted = sorted({part.modality.value for part in parts if part.weight > 0})
    unwanted = sorted({part.modality.value for part in parts if part.weight < 0})
    return "+".join(wanted) + "".join(f"-{name}" for name in unwanted)


def attend_inputs(parts: Sequence[EmbeddedPart]) -> AttendInputs:
    """The tensors for ``parts``."""
    native = np.zeros((len(parts), NATIVE_DIM[Modality.AUDIO]), np.float32)
    for place, part in enumerate(parts):
        if part.modality is Modality.AUDIO and part.embedding and part.embedding.native is not None:
            native[place] = part.embedding.native
    return AttendInputs(
        query=np.stack([part.unified for part in parts]).astype(np.float32),
        native=native,
        query_kind=np.array([RERANK_KINDS[part.modality.value] for part in parts], np.int64),
        query_weight=np.array([part.weight for part in parts], np.float32),
    )


def score_composed(candidates: Sequence[Candidate], attended: Attended, cosines: Cosines) -> list[Candidate]:
    """The candidates by falling score with what the composed vectors say for them, equal ones by id."""
    scored = []
    for old, candidate in enumerate(candidates):
        score = attended.score.mixed(cosines.get(candidate.item_id, {}), candidate.score)
        scored.append((old, score, candidate))
    scored.sort(key=lambda entry: (-entry[1], entry[2].item_id))
    return [
        candidate.moved(score, "compose", "by the parts read together", old, new)
        for new, (old, score, candidate) in enumerate(scored)
    ]
