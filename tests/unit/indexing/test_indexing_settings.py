"""Settings of indexing: an unknown one fails the start."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from indexing import IndexingSettings


def test_a_known_one_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SENSORIUM_INDEXING__MAX_MEDIA", "3")
    assert IndexingSettings().max_media == 3


def test_an_unknown_one_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SENSORIUM_INDEXING__MAX_MEDAI", "3")
    with pytest.raises(ValidationError, match="SENSORIUM_INDEXING__MAX_MEDAI"):
        IndexingSettings()
