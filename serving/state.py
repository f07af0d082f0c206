"""The state file: what others may know of the server without asking it."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

__all__ = ["STATE_FILE", "ModelState", "Phase", "ServerState", "read_state", "write_state"]

STATE_FILE = "tritonserver.json"


class Phase(StrEnum):
    """Of the server as a whole, or of one public model."""

    STARTING = "starting"
    READY = "ready"  # every public model answered its last canary
    DEGRADED = "degraded"  # serving, but at least one model is not
    STOPPING = "stopping"
    STOPPED = "stopped"
    FAILED = "failed"  # given up; `error` says why


class ModelState(BaseModel):
    """One public model."""

    model_config = ConfigDict(extra="forbid")

    phase: Phase = Phase.STARTING
    canary_ms: float | None = None
    reloads: int = 0
    error: str = ""


class ServerState(BaseModel):
    """Content of `$SENSORIUM_HOME/run/tritonserver.json`; rewritten atomically at every change."""

    model_config = ConfigDict(extra="forbid")

    phase: Phase = Phase.STARTING
    supervisor_pid: int
    server_pid: int | None = None
    http: str
    grpc: str
    metrics: str
    updated_at: float = 0.0  # seconds since the epoch
    restarts: int = 0
    reloads: int = 0
    error: str = ""
    models: dict[str, ModelState] = Field(default_factory=dict)
    incomplete: dict[str, str] = Field(default_factory=dict)
    staged: dict[str, str] = Field(default_factory=dict)
    """Models of releases that do not answer yet, or no longer -> what is done with them, or what failed."""


def read_state(run: Path) -> ServerState | None:
    """The last state written below `run`; None when there is none or it is not readable."""
    try:
        return ServerState.model_validate_json((run / STATE_FILE).read_bytes())
    except (OSError, ValidationError):
        return None


def write_state(run: Path, state: ServerState) -> None:
    """Replace the state file."""
    partial = run / f"{STATE_FILE}.partial"
    partial.write_text(state.model_dump_json(indent=1), encoding="utf-8")
    partial.replace(run / STATE_FILE)
