"""The search page in headless Chromium, watched: what it must never do fails the test that made it do so."""

from __future__ import annotations

import base64
import json
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import (
    Browser,
    ConsoleMessage,
    Locator,
    Page,
    Request,
    Route,
    expect,
    sync_playwright,
)

CHROMIUM_ARGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--use-fake-ui-for-media-stream",
    "--use-fake-device-for-media-stream",
    "--autoplay-policy=no-user-gesture-required",
]
ANSWER_MS = 30_000  # a first search may warm models up while other work shares the cores

# Chromium reports every refused fetch on the console; a test that means to be refused says so.
REFUSAL = re.compile(
    r"Failed to load resource: (the server responded with a status of 4\d\d|net::ERR_CONNECTION)"
)

SCRIPT = Path(__file__).with_name("fixtures_page.js")


class SearchPage:
    """What a person does on the page, and what they then see."""

    def __init__(self, page: Page, origin: str) -> None:
        self.page = page
        self.origin = origin
        self.complaints: list[str] = []
        self.refusals_expected = False
        self.requests: list[str] = []
        self.searches: list[Request] = []
        page.add_init_script(path=SCRIPT)
        page.on("console", self._on_console)
        page.on("pageerror", lambda error: self.complaints.append(f"uncaught: {error}"))
        page.on("request", self._on_request)

    def open(self, address: str = "/") -> None:
        self.page.goto(self.origin + address)
        self.settled()

    def settled(self) -> None:
        """Wait until no search runs."""
        expect(self.page.locator("#results")).to_have_attribute("aria-busy", "false", timeout=ANSWER_MS)

    def answered(self, act: Callable[[], object]) -> None:
        """Do ``act``, which starts a search, and wait until its answer is shown."""
        with self.page.expect_response("**/v1/search", timeout=ANSWER_MS):
            act()
        self.settled()

    def search(self, text: str) -> None:
        self.page.fill("#q", text)
        self.answered(lambda: self.page.press("#q", "Enter"))

    def drop(self, name: str, media_type: str, data: bytes) -> None:
        """Drop a file on the page and wait for the answer."""
        file = {"name": name, "type": media_type, "data": base64.b64encode(data).decode()}
        self.answered(lambda: self.probe("drop", file))

    def paste(self, name: str, media_type: str, data: bytes) -> None:
        """Paste a file and wait for the answer."""
        file = {"name": name, "type": media_type, "data": base64.b64encode(data).decode()}
        self.answered(lambda: self.probe("paste", file))

    def probe(self, name: str, argument: Any = None) -> Any:
        """Call a function of fixtures_page.js in the page."""
        return self.page.evaluate("([name, argument]) => window.__probe[name](argument)", [name, argument])

    def patch_answer(self, change: Callable[[dict[str, Any]], None]) -> None:
        """From now on, real answers pass through ``change``: for states that cannot be had on demand."""

        def patch(route: Route) -> None:
            response = route.fetch(timeout=ANSWER_MS)
            body = response.json()
            change(body)
            route.fulfill(response=response, json=body)

        self.page.route("**/v1/search", patch)

    @property
    def cards(self) -> Locator:
        return self.page.locator("#grid .card")

    @property
    def chips(self) -> Locator:
        return self.page.locator("#parts .chip")

    def titles(self) -> list[str]:
        return self.page.locator("#grid .card-title").all_inner_texts()

    def ids(self) -> list[str]:
        return [str(item.get_attribute("data-item-id")) for item in self.page.locator("#grid > li").all()]

    def last_request(self) -> dict[str, Any]:
        """The SearchRequest of the newest search."""
        return dict(self.probe("sentRequest"))

    def last_file(self, name: str) -> bytes:
        """A file sent with the newest search, by its name in the form."""
        data_url = self.probe("sentFile", name)
        return base64.b64decode(data_url.split(",", 1)[1])

    def check(self) -> None:
        """What must hold after every test, whatever it did."""
        complaints = [
            line for line in self.complaints if not (self.refusals_expected and REFUSAL.search(line))
        ]
        assert complaints == []
        assert self.probe("violations") == []
        strangers = [url for url in self.requests if not self._is_ours(url)]
        assert strangers == []

    def forget(self) -> None:
        """Start watching anew, after a test of the watch itself."""
        self.page.reload()
        self.complaints.clear()
        self.requests.clear()

    def _is_ours(self, url: str) -> bool:
        if url.startswith("blob:"):
            url = url.removeprefix("blob:")
        parts = urlsplit(url)
        return f"{parts.scheme}://{parts.netloc}" == self.origin

    def _on_console(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(message.text)

    def _on_request(self, request: Request) -> None:
        self.requests.append(request.url)
        if request.url.endswith("/v1/search"):
            self.searches.append(request)


@pytest.fixture(scope="module")
def chromium(system: Any) -> Iterator[Browser]:
    """One browser a module: Playwright's loop must not be alive while asynchronous tests run."""
    executable = shutil.which("chromium")
    if executable is None:
        pytest.skip("Chromium is not here; install it with: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=CHROMIUM_ARGS)
        try:
            yield browser
        finally:
            browser.close()


@pytest.fixture
def open_page(chromium: Browser, system: Any) -> Iterator[Callable[..., SearchPage]]:
    """A new page; the keywords are those of Playwright's ``new_context``."""
    opened: list[SearchPage] = []
    contexts = []

    def open_one(address: str = "/", **options: Any) -> SearchPage:
        context = chromium.new_context(
            **{"viewport": {"width": 1440, "height": 900}, "permissions": ["microphone"], **options}
        )
        contexts.append(context)
        page = SearchPage(context.new_page(), system.rest_url.rstrip("/"))
        opened.append(page)
        page.open(address)
        return page

    try:
        yield open_one
        for page in opened:
            page.check()
    finally:
        for context in contexts:
            context.close()


@pytest.fixture
def search_page(open_page: Callable[..., SearchPage]) -> SearchPage:
    """The page at desk size, before the first search."""
    return open_page()


@pytest.fixture(scope="module")
def catalogue_items(system: Any) -> list[dict[str, Any]]:
    """The lines of the indexed catalogue's manifest, with the paths of its media as ``files``."""
    manifest = Path(system.catalogue)
    items = [json.loads(line) for line in manifest.read_text("utf-8").splitlines()]
    for item in items:
        item["files"] = [manifest.parent / medium["path"] for medium in item["media"] if "path" in medium]
    return items
