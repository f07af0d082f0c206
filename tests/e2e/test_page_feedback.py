"""The page tells what was opened only when asked to, under a random name, and forgets it on both sides."""

from __future__ import annotations

import re
from typing import Any

import httpx
import pytest
from playwright.sync_api import expect

UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def stored_user(search_page: Any) -> str | None:
    return search_page.page.evaluate("() => localStorage.getItem('user')")


def open_first(search_page: Any) -> None:
    search_page.page.locator(".why").first.click()
    expect(search_page.page.locator("#explanation")).to_be_visible()


def test_nothing_is_told_or_stored_unless_asked_for(search_page, catalogue_items):
    search_page.search(catalogue_items[0]["title"])
    open_first(search_page)
    search_page.page.keyboard.press("Escape")
    assert "user" not in search_page.last_request()
    assert stored_user(search_page) is None
    assert not [url for url in search_page.requests if "/v1/feedback" in url]
    expect(search_page.page.locator("#forget")).to_be_hidden()


def known(system: Any, sent: dict[str, Any]) -> bool:
    """Whether the server has these events already. Chromium hides the answers to what outlives its page."""
    answer = httpx.post(f"{system.rest_url}/v1/feedback", json=sent, timeout=10)
    return bool(answer.json() == {"known": len(sent["events"])})


def test_what_is_opened_is_told_under_a_random_name(search_page, catalogue_items, system):
    page = search_page.page
    page.check("#learn")
    user = stored_user(search_page)
    assert user is not None
    assert UUID.fullmatch(user)
    search_page.search(catalogue_items[0]["title"])
    assert search_page.last_request()["user"] == user
    with page.expect_response("**/v1/feedback") as told:
        open_first(search_page)
    sent = told.value.request.post_data_json
    assert known(system, sent)
    assert sent["user"] == user
    (event,) = sent["events"]
    assert (event["kind"], event["itemId"], event["position"]) == ("CLICK", search_page.ids()[0], 1)
    page.wait_for_timeout(1100)
    with page.expect_response("**/v1/feedback") as told:
        page.keyboard.press("Escape")
    (event,) = told.value.request.post_data_json["events"]
    assert event["kind"] == "DWELL"
    assert event["dwellMs"] >= 1000
    search_page.search(catalogue_items[0]["title"])
    page.locator(".why").first.click()
    expect(page.locator(".influences")).to_contain_text("personalise")


@pytest.mark.parametrize("how", ["switch", "button"])
def test_being_forgotten(search_page, catalogue_items, system, how):
    page = search_page.page
    page.check("#learn")
    user = stored_user(search_page)
    search_page.search(catalogue_items[0]["title"])
    with page.expect_response("**/v1/feedback") as told:
        open_first(search_page)
    assert known(system, told.value.request.post_data_json)
    page.keyboard.press("Escape")
    with page.expect_response(f"**/v1/users/{user}"):
        if how == "switch":
            page.uncheck("#learn")
        else:
            page.click("#forget")
    search_page.settled()
    now = stored_user(search_page)
    assert now is None if how == "switch" else now not in (None, user)
    again = httpx.delete(f"{system.rest_url}/v1/users/{user}", timeout=10)
    assert again.json() == {}
