"""A circuit breaker: leaves a server alone that has stopped answering, and asks again now and then.

::

    closed -- so many failures in a row --> open -- its time is over --> half-open
      ^                                      ^                              |
      |                                      +------ the probe failed ------+
      +------------------------------------------- the probe worked --------+

A failure is the server's own: it could not be reached, broke its contract, or kept a call waiting. Content
that was refused is an answer. A call that was given up counts only where it had waited for ``patience_s``:
otherwise clients with deadlines that nobody can meet would close the door for all.
docs/adr/0021-circuit-breakers.md says why this is not a library's.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from typing import TypeAlias

from orchestrator.errors import (
    CircuitOpenError,
    DependencyDeadlineError,
    DependencyError,
    SensoriumError,
)
from orchestrator.settings import BreakerSettings

__all__ = ["Breaker", "Listener", "State"]

_JITTER = 0.25
"""Of the open time, either way: several processes shall not ask at once."""


class State(StrEnum):
    """Whether calls go through: all, one at a time, none."""

    CLOSED = "closed"
    HALF_OPEN = "half_open"
    OPEN = "open"


Listener: TypeAlias = Callable[[str, State], None]
"""Told of each change: the call, the new state."""


class Breaker:
    """For one ``call`` ("embed_image") of one ``dependency`` ("triton"). Used on the event loop only.

    ``patience_s``: see the module. ``clock`` gives seconds that never go back, ``draw`` numbers in 0..1.
    """

    def __init__(
        self,
        dependency: str,
        call: str,
        settings: BreakerSettings,
        *,
        patience_s: float,
        listener: Listener = lambda _call, _state: None,
        clock: Callable[[], float] = time.monotonic,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self.dependency = dependency
        self.call = call
        self._settings = settings
        self._patience_s = patience_s
        self._listener = listener
        self._clock = clock
        self._draw = draw
        self._state = State.CLOSED
        self._failures = 0
        self._openings = 0
        self._until_s = 0.0
        self._probing = False

    @property
    def state(self) -> State:
        """As the next call finds it."""
        if self._state is State.OPEN and self._clock() >= self._until_s:
            return State.HALF_OPEN
        return self._state

    @contextmanager
    def guard(self, deadline_s: float) -> Iterator[float]:
        """Around one call; yields how many seconds it may take, at most ``deadline_s``.

        Raises:
            CircuitOpenError: the call may not be made.
        """
        probe = self._enter()
        openings = self._openings
        began_s = self._clock()
        try:
            yield min(deadline_s, self._settings.probe_s) if probe else deadline_s
        except BaseException as error:
            worked = self._judge(error, self._clock() - began_s)
            self._leave(worked, probe, openings)
            raise
        else:
            self._leave(True, probe, openings)

    def _enter(self) -> bool:
        """Whether the call is a probe."""
        if self._state is State.CLOSED:
            return False
        now_s = self._clock()
        if self._state is State.OPEN and now_s >= self._until_s:
            self._move(State.HALF_OPEN)
        if self._state is State.HALF_OPEN and not self._probing:
            self._probing = True
            return True
        wait_s = self._until_s - now_s if self._state is State.OPEN else self._settings.open_s
        raise CircuitOpenError(
            self.dependency, f"{self.call} has failed repeatedly and is left alone", retry_after_s=wait_s
        )

    def _judge(self, error: BaseException, waited_s: float) -> bool | None:
        """Whether the server worked; None where the error does not tell."""
        if isinstance(error, DependencyDeadlineError | TimeoutError | asyncio.CancelledError):
            return False if waited_s >= self._patience_s else None
        if isinstance(error, DependencyError):
            return False
        return True if isinstance(error, SensoriumError) else None

    def _leave(self, worked: bool | None, probe: bool, openings: int) -> None:
        if probe:
            self._probing = False
            if worked is not None:
                self._close() if worked else self._open()
        elif self._state is State.CLOSED and self._openings == openings:  # else it is of the time before
            if worked:
                self._failures = 0
            elif worked is False:
                self._failures += 1
                if self._failures >= self._settings.failures:
                    self._open()

    def _open(self) -> None:
        longest_s = min(self._settings.open_s * 2.0 ** min(self._openings, 16), self._settings.max_open_s)
        self._until_s = self._clock() + longest_s * (1 - _JITTER + 2 * _JITTER * self._draw())
        self._openings += 1
        self._move(State.OPEN)

    def _close(self) -> None:
        self._failures = self._openings = 0
        self._move(State.CLOSED)

    def _move(self, state: State) -> None:
        self._state = state
        self._listener(self.call, state)
