"""How much each part of a profile counts: learned from feedback, read from ``personalise.json``.

The file that ``make retrain`` promoted stands in the home (``data/personalise.json``) and comes before the
one in the model repository. Without either the stage is off.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from annotated_types import Ge, Gt, Le, Len
from pydantic import BaseModel, ConfigDict, FiniteFloat, ValidationError

from orchestrator.errors import ConfigurationError
from orchestrator.feedback import FEATURES

__all__ = ["STRENGTHS_FILE", "Strengths", "load_strengths", "read_strengths"]

STRENGTHS_FILE = "personalise.json"


@dataclass(frozen=True, slots=True)
class Strengths:
    """Log-odds per unit of each feature, and per share of evidence that came through a pair of modalities."""

    features: Mapping[str, float]
    pairs: Mapping[str, float] = field(default_factory=dict)
    examination: tuple[float, ...] = (1.0,)

    def examined(self, position: int) -> float:
        """The probability that what stands at ``position`` (from 1) is looked at, relative to the first.

        Behind the places that were learned it falls as 1 / position does (Joachims et al. 2017, eta 1).
        """
        known = len(self.examination)
        if position <= known:
            return self.examination[position - 1]
        return self.examination[-1] * known / position


class _File(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")
    features: dict[str, Annotated[FiniteFloat, Ge(0)]]
    pairs: dict[str, FiniteFloat]
    examination: Annotated[tuple[Annotated[FiniteFloat, Gt(0), Le(1)], ...], Len(1)]
    about: dict[str, object]
    """Where the numbers come from; for people."""


def load_strengths(home: Path, repository: Path) -> Strengths | None:
    """The strengths in force, None when there are none.

    Raises:
        ConfigurationError: the file is malformed.
    """
    promoted = read_strengths(home / "data" / STRENGTHS_FILE)
    return promoted if promoted is not None else read_strengths(repository / STRENGTHS_FILE)


def read_strengths(path: Path) -> Strengths | None:
    """The strengths in a file, None when it is not there.

    Raises:
        ConfigurationError: the file is malformed.
    """
    try:
        file = _File.model_validate(json.loads(path.read_bytes()))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, ValidationError) as error:
        raise ConfigurationError(f"{path} does not hold strengths: {error}") from error
    if set(file.features) != set(FEATURES):
        raise ConfigurationError(f"{path} names other features than {', '.join(FEATURES)}")
    return Strengths(file.features, file.pairs, file.examination)
