"""Logs of libraries: where something failed, and not what was in it."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from orchestrator import logs
from orchestrator.settings import LogSettings


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


def test_a_librarys_exception_is_logged_without_its_message(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(LogSettings())
    try:
        raise RuntimeError("what a user wrote")
    except RuntimeError:
        logging.getLogger("some.library").exception("it failed")
    printed = capsys.readouterr().err
    line = json.loads(printed)
    assert line["event"] == "it failed"
    assert line["error"][0]["type"] == "RuntimeError"
    assert "what a user wrote" not in printed
