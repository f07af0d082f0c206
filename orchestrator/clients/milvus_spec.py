"""What the YAML files of ``milvus/`` say, as frozen values, and how an index grows with its rows.

Nothing here talks to a server.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

import yaml
from annotated_types import Ge, Gt
from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from orchestrator.errors import ConfigurationError
from orchestrator.types import NATIVE_DIM, UNIFIED_DIM, Modality, Space

__all__ = [
    "CollectionSpec",
    "FieldSpec",
    "FlushPolicy",
    "IndexStep",
    "RowSpec",
    "StoreSpec",
    "index_step",
    "load_spec",
]

_DIRECTORY = Path(__file__).resolve().parents[2] / "milvus"
_DIMENSIONS: dict[Space, int] = {
    "unified": UNIFIED_DIM,
    "audio": NATIVE_DIM[Modality.AUDIO],
    "video": NATIVE_DIM[Modality.VIDEO],
}

ScalarType = Literal["VARCHAR", "INT32", "DOUBLE", "BOOL", "ARRAY"]
Count = Annotated[int, Ge(1)]


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class FieldSpec(_Value):
    """A scalar field. Lengths are UTF-8 bytes; ``max_capacity`` counts the elements of an array."""

    name: str
    type: ScalarType
    element: Literal["VARCHAR"] | None = None
    max_length: Count | None = None
    max_capacity: Count | None = None


class VectorFieldSpec(_Value):
    """The vector field; its dimension belongs to the collection."""

    name: str
    type: Literal["FLOAT_VECTOR"]


class RowSpec(_Value):
    """The fields of a row, the same in every collection."""

    primary: FieldSpec
    vector: VectorFieldSpec
    fields: tuple[FieldSpec, ...]


class IndexStep(_Value):
    """An index for collections of at most ``up_to_rows`` rows: what it is built and searched with."""

    up_to_rows: Count
    type: Literal["HNSW", "IVF_FLAT", "IVF_SQ8", "IVF_PQ"]
    build: dict[str, int]
    search: dict[str, int]


class CollectionSpec(_Value):
    """One vector space. ``index`` is ordered by rows."""

    dim: Count
    metric: Literal["COSINE", "L2"]
    partitions: tuple[Modality, ...]
    index: tuple[IndexStep, ...]

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        bounds = [step.up_to_rows for step in self.index]
        if not bounds or bounds != sorted(set(bounds)):
            raise ValueError("index steps must be there and grow in up_to_rows")
        return self


class FlushPolicy(_Value):
    """When written rows are flushed: after so many, or after so many quiet seconds."""

    rows: Count
    idle_s: Annotated[float, Gt(0)]


class StoreSpec(_Value):
    """One file of ``milvus/`` with the rows of ``rows.yaml``."""

    profile: str
    row: RowSpec
    planned_rows: Count
    flush: FlushPolicy | None = None
    wait_visible: bool
    """Whether a write is searchable only some time after its answer, and has to be waited for."""
    collections: dict[Space, CollectionSpec]

    @property
    def tags_as_tokens(self) -> bool:
        """Whether tags are a string of tokens (see ``milvus_lite_filter``) and not an array."""
        return any(field.name == "tags" and field.type == "VARCHAR" for field in self.row.fields)

    @model_validator(mode="after")
    def _dimensions(self) -> Self:
        found = {space: collection.dim for space, collection in self.collections.items()}
        if found != _DIMENSIONS:
            raise ValueError(f"collections must be {_DIMENSIONS}")
        return self


def index_step(collection: CollectionSpec, rows: int) -> IndexStep:
    """The index for a collection of ``rows`` rows: the first step that holds them, else the largest."""
    return next((step for step in collection.index if rows <= step.up_to_rows), collection.index[-1])


def load_spec(profile: str, directory: Path = _DIRECTORY) -> StoreSpec:
    """Read ``<directory>/<profile>.yaml`` and ``rows.yaml``, of which the former may replace fields.

    Raises:
        ConfigurationError: a file is missing or does not fit.
    """
    try:
        content = yaml.safe_load((directory / f"{profile}.yaml").read_text("utf-8"))
        row = yaml.safe_load((directory / "rows.yaml").read_text("utf-8"))
        other = {field["name"]: field for field in content.pop("fields", [])}
        row["fields"] = [other.get(field["name"], field) for field in row["fields"]]
        content["row"] = row
        return StoreSpec(profile=profile, **content)
    except (OSError, yaml.YAMLError, TypeError, ValidationError) as error:
        raise ConfigurationError(f"milvus/{profile}.yaml cannot be used: {error}") from error
