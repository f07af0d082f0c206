"""Marks every test by its folder, puts them in order and loads the shared fixtures."""

from __future__ import annotations

import shutil
from pathlib import Path

import hypothesis
import pytest

FOLDERS = ("unit", "integration", "contract", "e2e")
"""In the order in which they run: servers that live as long as the session are started late, and nothing that
needs none waits beside them."""
TESTS = Path(__file__).parent

# A property is about what comes out, not about how long a busy machine took for one example.
hypothesis.settings.register_profile("sensorium", deadline=None)
hypothesis.settings.load_profile("sensorium")

pytest_plugins = sorted(path.stem for path in TESTS.glob("fixtures_*.py"))


@pytest.fixture(scope="session")
def espeak() -> str:
    """The program that speaks queries."""
    found = shutil.which("espeak-ng")
    if found is None:
        pytest.skip("espeak-ng is needed to speak queries: apt-get install espeak-ng")
    return found


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        folder = _folder(item)
        if folder not in FOLDERS:
            raise pytest.UsageError(f"{item.path} stands in none of {FOLDERS}")
        item.add_marker(folder)
    items.sort(key=lambda item: FOLDERS.index(_folder(item)))


def _folder(item: pytest.Item) -> str:
    return item.path.relative_to(TESTS).parts[0]
