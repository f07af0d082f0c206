"""Which variables the server's settings come from."""

from pathlib import Path

import pytest

from serving.settings import ROOT, Settings


def test_shared_variables_have_the_names_that_other_rooms_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SENSORIUM_HOME", "/elsewhere")
    monkeypatch.setenv("SENSORIUM_MODEL_REPOSITORY", "/models")
    settings = Settings()
    assert (settings.home, settings.model_repository) == (Path("/elsewhere"), Path("/models"))
    assert Settings(home=Path("/code")).home == Path("/code")


def test_variables_that_are_not_ours_are_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SENSORIUM_HOME", raising=False)
    monkeypatch.delenv("SENSORIUM_MODEL_REPOSITORY", raising=False)
    monkeypatch.setenv("HOME", "/home/someone")
    monkeypatch.setenv("MODEL_REPOSITORY", "/wrong")
    settings = Settings()
    assert (settings.home, settings.model_repository) == (Path(".sensorium"), ROOT / "model_repository")
