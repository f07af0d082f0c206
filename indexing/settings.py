"""Settings of indexing: ``SENSORIUM_INDEXING__*``."""

from __future__ import annotations

from typing import Annotated

from annotated_types import Ge, Gt, Le
from pydantic_settings import BaseSettings, SettingsConfigDict

__all__ = ["IndexingSettings"]

Count = Annotated[int, Ge(1)]
Seconds = Annotated[float, Gt(0), Le(3600)]


class IndexingSettings(BaseSettings):
    """How much is under way at once, and how long is waited."""

    model_config = SettingsConfigDict(env_prefix="SENSORIUM_INDEXING__", frozen=True, extra="forbid")

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
