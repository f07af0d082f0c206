"""Which release is served, and what stands ready: one JSON file, changed whole, under a lock.

Without a current release the model repository itself is served.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

from annotated_types import Ge, Gt, Le
from pydantic import BaseModel, ConfigDict, ValidationError

from releases.errors import StateError
from releases.naming import releases_dir

__all__ = ["Bounds", "Canary", "Change", "State", "change_state", "read_state", "state_path"]

_KEPT = 200


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Bounds(_Value):
    """What a canary may be worse by than the current release, per modality, before it is taken back."""

    latency_ratio: Annotated[float, Gt(0)] = 1.5
    """Of the 95th percentiles."""
    error_rate: Annotated[float, Ge(0), Le(1)] = 0.02
    """Difference of the shares of searches that failed or were degraded."""
    score_drift: Annotated[float, Ge(0), Le(1)] = 0.25
    """Largest distance between the distributions of best scores (Kolmogorov and Smirnov)."""
    min_requests: Annotated[int, Ge(1)] = 50
    """Of each, within the window, before anything is concluded."""
    window_s: Annotated[float, Gt(0)] = 60.0
    for_s: Annotated[float, Ge(0)] = 10.0
    """How long a bound must be passed."""


class Canary(_Value):
    """A release that answers a share of the users."""

    release: str
    percent: Annotated[float, Gt(0), Le(100)]
    since_s: float = 0.0
    """Unix time."""
    bounds: Bounds = Bounds()


class Change(_Value):
    """One entry of the history."""

    at_s: float
    what: str
    why: str = ""


class State(_Value):
    """``serial`` grows with every change."""

    serial: int = 0
    current: str | None = None
    previous: str | None = None
    staged: tuple[str, ...] = ()
    """Releases whose models stand ready, the current and the previous among them."""
    gated: tuple[str, ...] = ()
    """Those of them that have passed the gate. One that is not among them is being staged, or that was cut
    short."""
    canary: Canary | None = None
    history: tuple[Change, ...] = ()
    """The newest last."""


def state_path(home: Path) -> Path:
    """Where the state is kept."""
    return releases_dir(home) / "state.json"


def read_state(home: Path) -> State:
    """What is served now. Raises StateError when the file is there and cannot be read."""
    path = state_path(home)
    try:
        return State.model_validate(json.loads(path.read_bytes()))
    except FileNotFoundError:
        return State()
    except (OSError, ValueError, ValidationError) as error:
        raise StateError(f"{path} cannot be read: {error}") from error


def change_state(home: Path, change: Callable[[State], State], what: str, why: str = "") -> State:
    """The new state: what ``change`` makes of the old one. ``what`` and ``why`` go into the history.

    One change at a time, of any process; ``change`` may raise to leave everything as it is.

    Raises:
        StateError: the state cannot be read or written.
    """
    with _locked(home):
        old = read_state(home)
        note = Change(at_s=time.time(), what=what, why=why)
        new = change(old).model_copy(
            update={"serial": old.serial + 1, "history": (*old.history, note)[-_KEPT:]}
        )
        path = state_path(home)
        partial = path.with_name(f".state.{os.getpid()}.partial")
        try:
            with partial.open("w", encoding="utf-8") as file:
                file.write(new.model_dump_json(indent=1) + "\n")
                file.flush()
                os.fsync(file.fileno())
            partial.replace(path)
        except OSError as error:
            partial.unlink(missing_ok=True)
            raise StateError(f"{path} cannot be written: {error}") from error
        return new


@contextmanager
def _locked(home: Path) -> Iterator[None]:
    folder = releases_dir(home)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / "state.lock").open("wb") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield
    except OSError as error:
        raise StateError(f"{folder} cannot be used: {error}") from error
