"""The page before a server that wants a key: it asks, keeps the key for its tab, and shows media with it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from fixtures_page import SearchPage
from playwright.sync_api import Browser, expect
from rich.console import Console

from catalogue import read_manifest
from cli.client import Client
from cli.indexing import index_items
from cli.scratch import scratch_stack
from cli.stack import StackError
from orchestrator.access.keys import create_key
from orchestrator.access.scopes import Scope


class Guarded:
    """A second orchestrator on the Triton of the first, with keys; `key` is one for the page."""

    def __init__(self, rest_url: str, key: str) -> None:
        self.rest_url = rest_url
        self.key = key


@pytest.fixture(scope="module")
def guarded(system: Any, built_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    keys_file = tmp_path_factory.mktemp("access") / "keys.json"
    _, writer = create_key(keys_file, "index", [Scope.READ, Scope.WRITE])
    _, reader = create_key(keys_file, "page", [Scope.SEARCH, Scope.READ, Scope.FEEDBACK])
    extra = {
        "SENSORIUM_TRITON__URL": system.stack.settings.triton.url,
        "SENSORIUM_ACCESS__KEYS_FILE": str(keys_file),
    }
    with (
        pytest.MonkeyPatch.context() as patch,
        scratch_stack(tmp_path_factory.mktemp("home"), built_home, extra, ("orchestrator",)) as stack,
    ):
        with pytest.raises(StackError, match="SENSORIUM_CLIENT_CREDENTIAL"):
            stack.up()
        patch.setenv("SENSORIUM_CLIENT_CREDENTIAL", writer)
        stack.up()
        with Client(stack.target) as client:
            summary = index_items(client, list(read_manifest(system.catalogue)), Console(stderr=True))
        assert not summary.refused
        yield Guarded(stack.page, reader)


@pytest.fixture
def page(chromium: Browser, guarded: Guarded) -> Iterator[SearchPage]:
    context = chromium.new_context(viewport={"width": 1440, "height": 900})
    opened = SearchPage(context.new_page(), guarded.rest_url)
    opened.refusals_expected = True
    opened.open()
    yield opened
    opened.check()
    # Not in an address, a referrer, the history, or what other tabs and later sessions read.
    assert not [url for url in opened.requests if "sns_" in url]
    assert guarded.key not in opened.page.evaluate("() => JSON.stringify(localStorage) + document.cookie")
    assert "sns_" not in opened.page.url
    context.close()


def give(page: SearchPage, key: str) -> None:
    page.page.fill("#key", key)
    page.page.press("#key", "Enter")


def test_it_asks_for_a_key_and_works_with_it(
    page: SearchPage, guarded: Guarded, catalogue_items: Any
) -> None:
    expect(page.page.locator("#key-form")).to_be_visible()
    page.search(catalogue_items[0]["title"])
    expect(page.page.locator("#failure")).to_contain_text("needs a key")
    give(page, guarded.key[:-1] + "B")
    expect(page.page.locator("#failure")).to_contain_text("not valid")
    expect(page.page.locator("#key-form")).to_be_visible()
    page.answered(lambda: give(page, guarded.key))
    expect(page.page.locator("#key-form")).to_be_hidden()
    expect(page.page.locator("#status")).to_contain_text("items")
    assert catalogue_items[0]["title"] in page.titles()

    shown = page.page.locator("#grid img").first
    page.page.wait_for_function("() => document.querySelector('#grid img')?.naturalWidth > 0")
    assert str(shown.get_attribute("src")).startswith("blob:")

    page.page.reload()  # the tab keeps it
    page.settled()
    assert catalogue_items[0]["title"] in page.titles()
    page.page.click("#key-forget")
    expect(page.page.locator("#key-form")).to_be_visible()
    assert page.page.evaluate("() => sessionStorage.getItem('key')") is None


def test_sounds_and_videos_play_with_it(page: SearchPage, guarded: Guarded, catalogue_items: Any) -> None:
    give(page, guarded.key)
    item = next(item for item in catalogue_items if any(str(f).endswith(".flac") for f in item["files"]))
    page.search(item["title"])
    button = page.page.locator(".player .play").first
    button.click()
    page.page.wait_for_function("() => document.querySelector('.player audio').currentTime > 0")
    assert page.page.evaluate("() => document.querySelector('.player audio').src").startswith("blob:")


def test_another_tab_has_no_key(page: SearchPage, guarded: Guarded) -> None:
    give(page, guarded.key)
    expect(page.page.locator("#key-form")).to_be_hidden()
    other = page.page.context.new_page()
    other.goto(page.origin)
    expect(other.locator("#key-form")).to_be_visible()
    other.close()


def test_the_page_itself_is_for_everybody_and_nothing_else_is(guarded: Guarded) -> None:
    assert httpx.get(guarded.rest_url).status_code == 200
    assert httpx.get(f"{guarded.rest_url}/static/key.js").status_code == 200
    assert httpx.get(f"{guarded.rest_url}/v1/status").status_code == 401
