"""Similarities of different kinds made comparable: the logistic of ``model_repository/embedding.json``.

A cosine of 0.3 is much between a text and a picture and nothing between two texts. For each pair
(query modality -> item modality) the embedding set carries the scale and bias of a logistic fitted on
validation data (Platt, 1999): p = 1 / (1 + exp(-(scale * similarity + bias))). Native spaces have pairs of
their own ("audio->audio/native").
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Annotated, Any

from annotated_types import Ge, Gt, Le
from pydantic import BaseModel, ConfigDict, FiniteFloat, ValidationError

from orchestrator.composed_score import ComposedScore, RowScore
from orchestrator.errors import ConfigurationError
from orchestrator.evidence import Evidence, PairWeight
from orchestrator.query import SignalSpace
from orchestrator.types import Modality

__all__ = ["Calibration", "EmbeddingSet", "load_embedding_set"]

_MAX_EXPONENT = 60.0


@dataclass(frozen=True, slots=True)
class Calibration:
    """(scale, bias) per pair, by the name that ``embedding.json`` gives it."""

    pairs: Mapping[str, tuple[float, float]]

    def score(self, query: Modality, item: Modality, space: SignalSpace, similarity: float) -> float:
        """The probability, 0..1, that a row of ``similarity`` is what the query means."""
        scale, bias = self.pairs[pair_name(query, item, space)]
        exponent = max(-_MAX_EXPONENT, min(_MAX_EXPONENT, scale * similarity + bias))
        return 1.0 / (1.0 + math.exp(-exponent))


@cache
def pair_name(query: Modality, item: Modality, space: SignalSpace) -> str:
    """How ``embedding.json`` names a pair. A transcript is a text, whatever it was heard in."""
    if space == "transcript":
        query = Modality.TEXT
    native = "/native" if space in ("audio", "video") else ""
    return f"{query.value}->{item.value}{native}"


class _Pair(BaseModel):
    model_config = ConfigDict(frozen=True)
    scale: Annotated[FiniteFloat, Gt(0)]
    bias: FiniteFloat


_LogOdds = Annotated[float, Ge(-100), Le(100)]


class _Weight(BaseModel):
    model_config = ConfigDict(frozen=True)
    weight: Annotated[FiniteFloat, Ge(0)]
    floor: _LogOdds


class _Fusion(BaseModel):
    model_config = ConfigDict(frozen=True)
    bias: _LogOdds
    pairs: dict[str, _Weight]


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True)
    version: str
    precision: str


class _Reranker(_Model):
    default_for: tuple[str, ...]


class _RowScore(BaseModel):
    model_config = ConfigDict(frozen=True)
    weight: Annotated[FiniteFloat, Ge(0)]
    scale: Annotated[FiniteFloat, Gt(0)]
    offset: FiniteFloat


class _ComposedScore(BaseModel):
    model_config = ConfigDict(frozen=True)
    default: bool
    share: Annotated[float, Ge(0), Le(1)]
    bias: _LogOdds
    rows: dict[Modality, _RowScore]


class _Attention(_Model):
    kinds: dict[str, _ComposedScore]


class _File(BaseModel):
    model_config = ConfigDict(frozen=True)
    profile: str
    embedding_version: str
    models: dict[str, _Model]
    calibration: dict[str, _Pair]
    random: bool = False
    fusion: dict[Modality, _Fusion] = {}
    rerank: _Reranker | None = None
    attend: _Attention | None = None


@dataclass(frozen=True, slots=True)
class EmbeddingSet:
    """One consistent set of encoders, adapters and calibration; fusion and re-ranker learned on it."""

    profile: str
    version: str
    precision: Mapping[str, str]
    """Triton model -> precision of the weights served."""
    calibration: Calibration
    fusion: Mapping[Modality, Evidence] = field(default_factory=dict)
    """Learned fusion by query modality; empty where none was learned."""
    rerank_for: frozenset[str] | None = None
    """Kinds of query (see ``Composition``) re-ranked unless they say otherwise; None: none was trained."""
    attend: Mapping[str, ComposedScore] | None = None
    """Kinds of query (see ``attend.attended_kind``) that attention fusion was trained for; None: none."""
    random: bool = False
    """The weights were never trained: what is found means nothing."""


def load_embedding_set(repository: Path) -> EmbeddingSet:
    """Reads ``embedding.json`` of a model repository.

    Raises:
        ConfigurationError: it is missing, malformed, or lacks a pair that searches need.
    """
    path = repository / "embedding.json"
    try:
        content: Any = json.loads(path.read_bytes())
        file = _File.model_validate(content)
    except FileNotFoundError as error:
        raise ConfigurationError(f"{path} is missing: run `python -m export --profile lite`") from error
    except (OSError, ValueError, ValidationError) as error:
        raise ConfigurationError(f"{path} is not an embedding set: {error}") from error
    spaces: list[tuple[Modality, Modality, SignalSpace]] = [
        (q, i, "unified") for q in Modality for i in Modality
    ]
    spaces += [(Modality.AUDIO, Modality.AUDIO, "audio"), (Modality.VIDEO, Modality.VIDEO, "video")]
    missing = [name for name in (pair_name(*pair) for pair in spaces) if name not in file.calibration]
    if missing:
        raise ConfigurationError(f"{path} has no calibration for {', '.join(missing)}")
    optional = {"rerank": file.rerank, "attend": file.attend}
    models = {**file.models, **{name: model for name, model in optional.items() if model is not None}}
    return EmbeddingSet(
        profile=file.profile,
        version=file.embedding_version,
        precision={name: model.precision for name, model in models.items()},
        calibration=Calibration({name: (pair.scale, pair.bias) for name, pair in file.calibration.items()}),
        fusion={
            modality: Evidence(
                fusion.bias,
                {name: PairWeight(pair.weight, pair.floor) for name, pair in fusion.pairs.items()},
            )
            for modality, fusion in file.fusion.items()
        },
        rerank_for=None if file.rerank is None else frozenset(file.rerank.default_for),
        attend=None if file.attend is None else _kinds(file.attend),
        random=file.random,
    )


def _kinds(attention: _Attention) -> dict[str, ComposedScore]:
    return {
        kind: ComposedScore(
            said.default,
            said.share,
            said.bias,
            {row: RowScore(score.weight, score.scale, score.offset) for row, score in said.rows.items()},
        )
        for kind, said in attention.kinds.items()
    }
