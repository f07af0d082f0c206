"""What each command makes of the state; ``change_state`` writes it. Pure: a refusal leaves all as it is."""

from __future__ import annotations

from releases.errors import StateError
from releases.state import Canary, State

__all__ = [
    "canary_ended",
    "canary_started",
    "gated",
    "promoted",
    "rolled_back",
    "staged",
    "taken_out",
    "unstaged",
]


def staged(state: State, name: str) -> State:
    """With ``name`` among what stands ready; it has not passed the gate yet."""
    return state.model_copy(update={"staged": (*state.staged, name)})


def gated(state: State, name: str) -> State:
    """With the gate passed: only now may ``name`` become the canary or the current release.

    Raises StateError where it is no longer staged.
    """
    if name not in state.staged:
        raise StateError(f"release {name} was taken out of the state while it was staged")
    return state.model_copy(update={"gated": (*state.gated, name)})


def taken_out(state: State, name: str) -> State:
    """Without ``name`` among what stands ready, whatever it was there for."""
    canary = state.canary if state.canary and state.canary.release != name else None
    return state.model_copy(
        update={
            "staged": tuple(each for each in state.staged if each != name),
            "gated": tuple(each for each in state.gated if each != name),
            "canary": canary,
        }
    )


def unstaged(state: State, name: str) -> State:
    """As ``taken_out``. Raises StateError: it is not staged, answers, or is what a rollback goes to."""
    if name not in state.staged:
        raise StateError(f"release {name} is not staged")
    if name == state.current:
        raise StateError(f"release {name} is the current one: promote another one, or roll back")
    if name == state.previous:
        raise StateError(f"release {name} is what a rollback goes back to")
    return taken_out(state, name)


def canary_started(state: State, canary: Canary) -> State:
    """With ``canary`` in place of the one before. Raises StateError where its release may not answer."""
    _require_candidate(state, canary.release)
    return state.model_copy(update={"canary": canary})


def canary_ended(state: State, name: str) -> State:
    """Without a canary. Raises StateError where ``name`` is none."""
    if state.canary is None or state.canary.release != name:
        raise StateError(f"release {name} is no canary")
    return state.model_copy(update={"canary": None})


def promoted(state: State, name: str) -> State:
    """With ``name`` as the current release; what is neither it, the one before nor the canary is out.

    Raises StateError: it is not staged, has not passed the gate, or is the current one already.
    """
    _require_candidate(state, name)
    canary = state.canary if state.canary and state.canary.release != name else None
    kept = {name, state.current, canary.release if canary else None}
    return state.model_copy(
        update={
            "current": name,
            "previous": state.current,
            "canary": canary,
            "staged": tuple(each for each in state.staged if each in kept),
            "gated": tuple(each for each in state.gated if each in kept),
        }
    )


def rolled_back(state: State) -> State:
    """With the release before in place of the current one. Raises StateError where there was none."""
    if state.current is None and state.previous is None:
        raise StateError("there is nothing to go back to: no release was promoted")
    canary = state.canary if state.canary and state.canary.release != state.previous else None
    return state.model_copy(update={"current": state.previous, "previous": state.current, "canary": canary})


def _require_candidate(state: State, name: str) -> None:
    if name not in state.staged or name == state.current:
        raise StateError(f"release {name} is not staged, or is the current one already")
    if name not in (*state.gated, state.previous):
        raise StateError(f"release {name} has not passed the gate: stage it again")
