"""Settings of the server and its supervisor, read once from the environment."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

from pydantic import Field, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

__all__ = ["PREFIX", "ROOT", "Settings"]

PREFIX = "SENSORIUM_SERVING_"
ROOT = Path(__file__).resolve().parent.parent

Port = Annotated[int, Field(ge=1, le=65535)]
Seconds = Annotated[float, Field(gt=0, le=3600)]


class Settings(BaseSettings):
    """Frozen. Variables are SENSORIUM_SERVING_<FIELD>, but for SENSORIUM_HOME, SENSORIUM_MODEL_REPOSITORY and
    SENSORIUM_ALLOW_RANDOM, which other rooms read too. Code gives fields by their names.

    Raises pydantic.ValidationError for a value outside its range and an unknown SENSORIUM_SERVING_ variable.
    """

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, frozen=True, extra="forbid", populate_by_name=True, protected_namespaces=()
    )

    home: Path = Field(default=Path(".sensorium"), validation_alias="SENSORIUM_HOME")
    model_repository: Path = Field(
        default=ROOT / "model_repository", validation_alias="SENSORIUM_MODEL_REPOSITORY"
    )
    allow_random: bool = Field(
        default=False,
        validation_alias="SENSORIUM_ALLOW_RANDOM",
        description="whether weights that were never trained may be served",
    )
    environment: Path = ROOT / ".venv-triton"
    config_name: str = Field(
        default="embedded",
        pattern=r"^\w*$",
        description="configs/<this>.pbtxt is used where a model has one; empty: config.pbtxt everywhere",
    )

    http_port: Port = 8000
    grpc_port: Port = 8001
    metrics_port: Port = 8002
    http_threads: int = Field(default=2, ge=1, le=64)
    load_threads: int = Field(default=2, ge=1, le=64)
    response_cache_bytes: int = Field(default=0, ge=0, description="0 switches the response cache off")
    trace_url: str | None = Field(
        default=None,
        pattern=r"^https?://\S+$",
        description="where spans of sampled requests go, OTLP over HTTP: http://127.0.0.1:4318/v1/traces",
    )

    install_timeout_s: Seconds = 900.0
    start_timeout_s: Seconds = 180.0
    stop_timeout_s: Seconds = 15.0
    watch_period_s: Seconds = 0.25
    canary_period_s: Seconds = 5.0
    canary_timeout_s: Seconds = 20.0
    canary_timeouts_allowed: int = Field(
        default=1, ge=0, description="in a row, before the server is restarted"
    )
    silences_allowed: int = Field(
        default=4, ge=0, description="signs of life in a row that a server may owe, 2 s each"
    )
    restarts_allowed: int = Field(default=6, ge=0, description="within restart_window_s; more is a failure")
    restart_window_s: Seconds = 600.0
    restart_backoff_s: Seconds = 0.5
    restart_backoff_max_s: Seconds = 30.0

    @model_validator(mode="after")
    def _consistent(self) -> Settings:
        known = {f"{PREFIX}{name.upper()}" for name in type(self).model_fields}
        unknown = sorted(name for name in os.environ if name.startswith(PREFIX) and name not in known)
        if unknown:
            raise ValueError(f"unknown settings: {', '.join(unknown)}")
        if len({self.http_port, self.grpc_port, self.metrics_port}) != 3:
            raise ValueError("http_port, grpc_port and metrics_port must differ")
        return self

    @property
    def cache(self) -> Path:
        """Fetched wheels, by hash."""
        return self.home.absolute() / "cache"

    @property
    def tree(self) -> Path:
        """Server binary, libraries, backend directory."""
        return self.home.absolute() / "triton"

    @property
    def staged(self) -> Path:
        """A second model repository: the models of releases that stand ready."""
        return self.home.absolute() / "releases" / "models"

    @property
    def run(self) -> Path:
        """State file, lock and logs."""
        return self.home.absolute() / "run"
