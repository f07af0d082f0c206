"""The state changes whole, one change at a time, and is kept."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from releases.errors import StateError
from releases.state import Canary, State, change_state, read_state, state_path


def test_without_a_file_the_repository_is_served(tmp_path: Path) -> None:
    assert read_state(tmp_path) == State()
    assert not state_path(tmp_path).exists()


def test_a_change_is_kept_and_noted(tmp_path: Path) -> None:
    change_state(tmp_path, lambda old: old.model_copy(update={"current": "r1"}), "promote r1", "because")
    canary = Canary(release="r2", percent=10)
    change_state(tmp_path, lambda old: old.model_copy(update={"canary": canary}), "canary r2")
    state = read_state(tmp_path)
    assert (state.serial, state.current, state.canary) == (2, "r1", canary)
    assert [(entry.what, entry.why) for entry in state.history] == [
        ("promote r1", "because"),
        ("canary r2", ""),
    ]


def test_a_change_that_is_refused_changes_nothing(tmp_path: Path) -> None:
    def refuse(_: State) -> State:
        raise StateError("no")

    change_state(tmp_path, lambda old: old, "first")
    before = state_path(tmp_path).read_bytes()
    with pytest.raises(StateError, match="no"):
        change_state(tmp_path, refuse, "second")
    assert state_path(tmp_path).read_bytes() == before


def test_changes_at_once_are_made_one_after_the_other(tmp_path: Path) -> None:
    def more(old: State) -> State:
        return old.model_copy(update={"staged": (*old.staged, f"r{len(old.staged)}")})

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: change_state(tmp_path, more, str(n)), range(40)))
    state = read_state(tmp_path)
    assert state.serial == 40
    assert state.staged == tuple(f"r{n}" for n in range(40))


def test_the_history_is_bounded(tmp_path: Path) -> None:
    for number in range(205):
        change_state(tmp_path, lambda old: old, str(number))
    history = read_state(tmp_path).history
    assert [entry.what for entry in history] == [str(number) for number in range(5, 205)]


@pytest.mark.parametrize("content", ["", "[]", '{"serial": "x"}', json.dumps({"unknown": 1})])
def test_a_state_that_cannot_be_read_is_an_error_and_stays(tmp_path: Path, content: str) -> None:
    state_path(tmp_path).parent.mkdir()
    state_path(tmp_path).write_text(content)
    with pytest.raises(StateError):
        read_state(tmp_path)
    with pytest.raises(StateError):
        change_state(tmp_path, lambda old: old, "anything")
    assert state_path(tmp_path).read_text() == content
