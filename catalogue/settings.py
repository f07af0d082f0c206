"""Settings of the catalogue commands: read once, then passed down."""

from __future__ import annotations

from pathlib import Path

from pydantic_settings import BaseSettings, SettingsConfigDict

__all__ = ["CatalogueSettings"]


class CatalogueSettings(BaseSettings):
    """`SENSORIUM_HOME` says where everything of ours that is not committed lives."""

    model_config = SettingsConfigDict(env_prefix="SENSORIUM_", frozen=True)

    home: Path = Path(".sensorium")

    @property
    def cache(self) -> Path:
        """Fetched packages, by hash."""
        return self.home.resolve() / "cache"

    @property
    def catalogues(self) -> Path:
        """Built catalogues, one folder each."""
        return self.home.resolve() / "catalogues"
