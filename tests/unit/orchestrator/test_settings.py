"""Settings: read from the environment, checked, frozen."""

import pytest
from pydantic import ValidationError

from orchestrator.errors import ConfigurationError
from orchestrator.settings import Settings, load_settings


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    for name in list(os.environ):
        if name.startswith("SENSORIUM_"):
            monkeypatch.delenv(name)


def test_groups_nest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SENSORIUM_TRITON__URL", "127.0.0.1:9")
    monkeypatch.setenv("SENSORIUM_API__ALLOWED_HOSTS", '["search.example"]')
    settings = load_settings()
    assert settings.triton.url == "127.0.0.1:9"
    assert settings.api.allowed_hosts == ("search.example",)


def test_an_unknown_setting_fails_start_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SENSORIUM_TIRTON__URL", "x")
    with pytest.raises(ConfigurationError, match="SENSORIUM_TIRTON__URL"):
        load_settings()


def test_an_unknown_setting_in_a_group_fails_start_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SENSORIUM_TRITON__ULR", "x")
    with pytest.raises(ConfigurationError, match="TRITON__ULR"):
        load_settings()


def test_settings_of_other_rooms_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SENSORIUM_MEDIA_MAX_BYTES", "1000")
    monkeypatch.setenv("SENSORIUM_INDEXING__X", "1")
    load_settings()


def test_a_bad_value_is_named_and_not_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SENSORIUM_API__GRPC_PORT", "hunter2")
    with pytest.raises(ConfigurationError) as error:
        load_settings()
    assert "SENSORIUM_API__GRPC_PORT" in error.value.message
    assert "hunter2" not in error.value.message


def test_settings_are_frozen() -> None:
    settings = Settings()
    with pytest.raises(ValidationError):
        settings.home = settings.home / "x"  # type: ignore[misc]
    with pytest.raises(ValidationError):
        settings.api.grpc_port = 1  # type: ignore[misc]


def test_nothing_listens_beyond_this_machine_by_default() -> None:
    assert Settings().api.host == "127.0.0.1"
