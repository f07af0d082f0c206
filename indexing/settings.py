"""Settings of indexing: ``SENSORIUM_INDEXING__*``."""

from __future__ import annotations

import os
from typing import Annotated

from annotated_types import Ge, Gt, Le
from pydantic import model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

__all__ = ["IndexingSettings"]

_PREFIX = "SENSORIUM_INDEXING__"

Count = Annotated[int, Ge(1)]
Seconds = Annotated[float, Gt(0), Le(3600)]


class IndexingSettings(BaseSettings):
    """How much is under way at once, and how long is waited.

    Raises pydantic.ValidationError for a value outside its range and for an unknown variable of the prefix.
    """

    model_config = SettingsConfigDict(env_prefix=_PREFIX, frozen=True, extra="forbid")

    items_in_flight: Count = 24
    """Items of one stream that are worked on at once."""
    bytes_in_flight: Count = 128 * 1024 * 1024
    """Media of one stream held in memory; one item may exceed it alone."""
    embeddings_in_flight: Count = 32
    """Requests to Triton at once, of all streams: enough for it to form full batches."""
    preparing: Count = 2
    """Threads that cut and probe media."""
    embed_s: Seconds = 60.0
    """How long one embedding may take."""
    retry_s: Seconds = 60.0
    """For how long a server that is not available is tried again before a stream ends with its error."""
    max_media: Count = 32
    compact_every_s: Seconds = 60.0
    """How often rows marked deleted are looked for and removed."""
    backfill_share: Annotated[float, Gt(0), Le(1)] = 0.5
    """Of the time, what filling a new embedding version may take; the rest is the searches' alone."""

    @model_validator(mode="after")
    def _known(self) -> IndexingSettings:
        known = {f"{_PREFIX}{name.upper()}" for name in type(self).model_fields}
        unknown = sorted({name for name in map(str.upper, os.environ) if name.startswith(_PREFIX)} - known)
        if unknown:
            raise ValueError(f"unknown settings: {', '.join(unknown)}")
        return self
