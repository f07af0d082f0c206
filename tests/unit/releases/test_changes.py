"""What each command makes of the state, what it refuses, and the lock of those that load models."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from releases.changes import (
    canary_ended,
    canary_started,
    gated,
    promoted,
    rolled_back,
    staged,
    taken_out,
    unstaged,
)
from releases.command_lock import at_work
from releases.errors import StateError
from releases.state import Canary, State


def ready(state: State, *names: str) -> State:
    """With releases that have passed the gate."""
    for name in names:
        state = gated(staged(state, name), name)
    return state


def test_promotion_keeps_the_one_before_and_the_canary() -> None:
    state = promoted(ready(State(), "a", "b", "c"), "a")
    assert (state.current, state.previous, state.staged, state.gated) == ("a", None, ("a",), ("a",))
    state = canary_started(ready(state, "b", "c"), Canary(release="c", percent=5))
    state = promoted(state, "b")
    assert (state.current, state.previous, state.staged) == ("b", "a", ("a", "b", "c"))
    with pytest.raises(StateError):
        promoted(state, "b")
    state = promoted(state, "c")
    assert (state.current, state.previous, state.staged, state.canary) == ("c", "b", ("b", "c"), None)


def test_a_rollback_goes_back_and_forth_and_to_the_repository() -> None:
    with pytest.raises(StateError):
        rolled_back(State())
    state = rolled_back(promoted(ready(State(), "a"), "a"))
    assert (state.current, state.previous, state.staged) == (None, "a", ("a",))
    state = rolled_back(state)
    assert (state.current, state.previous) == ("a", None)


def test_what_has_not_passed_the_gate_answers_nobody() -> None:
    """A staging that was killed leaves its release in the state."""
    state = staged(State(), "a")
    for change in (
        lambda: promoted(state, "a"),
        lambda: canary_started(state, Canary(release="a", percent=1)),
    ):
        with pytest.raises(StateError, match="has not passed the gate"):
            change()
    assert promoted(gated(state, "a"), "a").current == "a"
    with pytest.raises(StateError, match="taken out"):
        gated(State(), "a")


def test_a_state_from_before_the_gate_was_noted_goes_forth_again() -> None:
    old = State(current="b", previous="a", staged=("a", "b"))
    assert promoted(old, "a").current == "a"


def test_what_answers_or_may_answer_again_is_not_unstaged() -> None:
    state = promoted(ready(promoted(ready(State(), "a"), "a"), "b", "c"), "b")
    with pytest.raises(StateError, match="current"):
        unstaged(state, "b")
    with pytest.raises(StateError, match="rollback"):
        unstaged(state, "a")
    with pytest.raises(StateError, match="not staged"):
        unstaged(state, "c")
    state = canary_started(ready(state, "d"), Canary(release="d", percent=5))
    state = unstaged(state, "d")
    assert (state.staged, state.gated, state.canary) == (("a", "b"), ("a", "b"), None)
    assert taken_out(state, "d") == state


def test_a_canary_ends_by_its_name() -> None:
    state = canary_started(ready(State(), "a"), Canary(release="a", percent=5))
    with pytest.raises(StateError):
        canary_ended(state, "b")
    assert canary_ended(state, "a").canary is None


def test_a_command_that_is_killed_holds_the_lock_no_longer(tmp_path: Path) -> None:
    code = (
        "import sys, pathlib; from releases.command_lock import at_work\n"
        "with at_work(pathlib.Path(sys.argv[1]), 'stage r1'): print('held', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        held = rf"at work: stage r1 \(process {other.pid}\)"
        with pytest.raises(StateError, match=held), at_work(tmp_path, "stage r2"):
            pytest.fail("two at once")
        other.kill()
    with at_work(tmp_path, "stage r2"):
        assert "stage r2" in (tmp_path / "releases" / "command.lock").read_text()
