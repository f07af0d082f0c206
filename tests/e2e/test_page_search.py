"""Searching by text: the right item, its card, its explanation, pages, and answers that come too late."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from playwright.sync_api import Route, expect


def unique_titles(items: list[dict[str, Any]]) -> list[dict[str, Any]]:
    count = Counter(item["title"] for item in items)
    return [item for item in items if count[item["title"]] == 1]


def test_a_title_finds_its_item_first(search_page, catalogue_items):
    wanted = unique_titles(catalogue_items)[0]
    search_page.search(wanted["title"])
    assert search_page.titles()[0] == wanted["title"]
    card = search_page.cards.first
    if wanted.get("price") is not None:
        expect(card.locator(".price")).to_have_text(f"{wanted['price']:,.2f}")
    availability = "Available" if wanted.get("available", True) else "Not available"
    expect(card.get_by_text(availability, exact=True)).to_be_visible()
    expect(card.locator(".card-category")).to_have_text(wanted["category"])
    assert 0 <= float(card.locator(".score b").inner_text()) <= 1


def test_thumbnails_load(search_page, catalogue_items):
    search_page.search(catalogue_items[0]["title"])
    image = search_page.page.locator(".card-picture img").first
    image.scroll_into_view_if_needed()
    expect(image).to_have_js_property("complete", True)
    assert image.evaluate("(node) => node.naturalWidth") > 0


def test_the_answer_says_what_was_read_and_where_time_went(search_page, catalogue_items):
    search_page.search(catalogue_items[0]["title"])
    page = search_page.page
    expect(page.locator("#read-as li")).to_have_count(1)
    expect(page.locator("#read-as li")).to_contain_text("read as text")
    total = page.locator("#timing .timing-title strong").inner_text()
    assert float(total.removesuffix(" ms")) > 0
    assert page.locator("#timing .legend li").count() >= 3
    assert page.locator("#timing .stack span").count() == page.locator("#timing .legend li").count()
    assert total in str(page.locator("#timing .stack").get_attribute("aria-label"))


def test_a_score_is_explained_by_its_signals(search_page, catalogue_items):
    search_page.search(catalogue_items[0]["title"])
    page = search_page.page
    title = search_page.titles()[0]
    page.get_by_role("button", name=f"Why {title} was found").first.click()
    dialog = page.get_by_role("dialog", name=title)
    expect(dialog).to_be_visible()
    rows = dialog.locator(".signals tbody tr")
    assert rows.count() >= 1
    for row in rows.all():
        assert row.locator("th").inner_text().startswith("text →")
        similarity, score, weight = (float(cell) for cell in row.locator("td.number").all_inner_texts())
        assert -1 <= similarity <= 1
        assert 0 <= score <= 1
        assert weight != 0
        width = row.locator(".bar-fill").nth(1).evaluate("(n) => n.offsetWidth / n.parentElement.offsetWidth")
        assert width == pytest.approx(score, abs=0.05)
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()


def test_the_address_holds_text_and_filters(search_page, open_page, catalogue_items):
    wanted = unique_titles(catalogue_items)[0]
    search_page.search(wanted["title"])
    search_page.page.fill("#price-max", "1000000")
    search_page.answered(lambda: search_page.page.press("#price-max", "Enter"))
    address = search_page.page.url.removeprefix(search_page.origin)
    other = open_page(address)
    expect(other.page.locator("#q")).to_have_value(wanted["title"])
    expect(other.page.locator("#price-max")).to_have_value("1000000")
    assert other.ids() == search_page.ids()


def test_going_back_restores_the_earlier_search(search_page, catalogue_items):
    first, second = unique_titles(catalogue_items)[:2]
    search_page.search(first["title"])
    before = search_page.ids()
    search_page.search(second["title"])
    search_page.answered(lambda: search_page.page.go_back())
    expect(search_page.page.locator("#q")).to_have_value(first["title"])
    assert search_page.ids() == before


def test_pages_do_not_overlap(search_page, catalogue_items):
    page = search_page.page
    search_page.search(catalogue_items[0]["category"])
    search_page.answered(lambda: page.select_option("#limit", "12"))
    first = search_page.ids()
    assert len(first) == 12
    search_page.answered(lambda: page.click("#next"))
    second = search_page.ids()
    assert second
    assert not set(first) & set(second)
    assert "offset=12" in page.url
    search_page.answered(lambda: page.click("#previous"))
    assert search_page.ids() == first


def test_a_newer_search_cancels_the_older(search_page, catalogue_items):
    older, newer = unique_titles(catalogue_items)[:2]
    page = search_page.page
    held: list[Route] = []
    failed: list[str] = []
    page.on("requestfailed", lambda request: failed.append(request.url))

    def hold_first(route: Route) -> None:
        if held:
            route.continue_()
        else:
            held.append(route)

    page.route("**/v1/search", hold_first)
    page.fill("#q", older["title"])
    with page.expect_request("**/v1/search"):
        page.press("#q", "Enter")
    expect(page.locator("#results")).to_have_attribute("aria-busy", "true")
    search_page.search(newer["title"])
    assert search_page.titles()[0] == newer["title"]
    assert any(url.endswith("/v1/search") for url in failed)
    held[0].abort()


def test_escape_stops_a_running_search(search_page):
    page = search_page.page
    held: list[Route] = []
    page.route("**/v1/search", lambda route: held.append(route))
    page.fill("#q", "anything")
    page.press("#q", "Enter")
    expect(page.locator("#results")).to_have_attribute("aria-busy", "true")
    page.keyboard.press("Escape")
    expect(page.locator("#results")).to_have_attribute("aria-busy", "false")
    expect(page.locator("#live")).to_have_text("Search stopped")
    expect(page.locator("#state-empty")).to_be_visible()
    held[0].abort()


def test_an_example_query_runs(search_page):
    search_page.answered(lambda: search_page.page.locator("#examples button").first.click())
    assert search_page.cards.count() > 0
    expect(search_page.page.locator("#state-empty")).to_be_hidden()


def test_degraded_answers_say_so(search_page, catalogue_items):
    search_page.patch_answer(lambda body: body.update(degraded=["rerank: deadline"]))
    search_page.search(catalogue_items[0]["title"])
    expect(search_page.page.locator("#degraded")).to_contain_text("rerank: deadline")
    assert search_page.cards.count() > 0


def test_absent_fields_are_zero_values(search_page):
    search_page.patch_answer(lambda body: body.clear())
    search_page.search("anything")
    expect(search_page.page.locator("#state-nothing")).to_be_visible()

    search_page.page.unroute("**/v1/search")
    search_page.patch_answer(
        lambda body: body.update(hits=[{"item": {"id": "bare"}}], parts=[{}], stages=[{}])
    )
    search_page.search("anything else")
    assert search_page.titles() == ["bare"]


def test_data_never_becomes_markup(search_page):
    hostile = "<img src=x onerror=alert(1)><script>alert(2)</script>"

    def poison(body: dict[str, Any]) -> None:
        item = body["hits"][0]["item"]
        item.update(title=hostile, description=hostile, category=hostile, tags=[hostile])
        body["degraded"] = [hostile]
        body["parts"] = [{"modality": "AUDIO", "format": hostile, "transcript": hostile}]

    search_page.patch_answer(poison)
    search_page.search("anything")
    page = search_page.page
    assert search_page.titles()[0] == hostile
    page.locator(".why").first.click()
    expect(page.locator("#explanation-title")).to_have_text(hostile)
    assert page.locator("main script, main img[src=x], dialog script, dialog img[src=x]").count() == 0


def test_a_server_that_is_gone_is_said_plainly(search_page):
    page = search_page.page
    search_page.refusals_expected = True
    page.route("**/v1/search", lambda route: route.abort("connectionrefused"))
    page.fill("#q", "anything")
    page.press("#q", "Enter")
    expect(page.locator("#failure")).to_contain_text("could not be reached")
    expect(page.locator("#grid .card")).to_have_count(0)
