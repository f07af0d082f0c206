"""Filters and options: what they send, that they narrow, and that nonsense is refused beside the field."""

from __future__ import annotations

from collections import Counter
from typing import Any

from playwright.sync_api import expect


def prices(search_page: Any) -> list[float]:
    return [
        float(text.replace(",", "")) for text in search_page.page.locator("#grid .price").all_inner_texts()
    ]


def test_a_price_range_narrows(search_page, catalogue_items):
    page = search_page.page
    search_page.search(catalogue_items[0]["category"])
    everything = prices(search_page)
    middle = sorted(everything)[len(everything) // 2]
    assert min(everything) < middle
    page.fill("#price-max", str(middle))
    search_page.answered(lambda: page.press("#price-max", "Enter"))
    assert prices(search_page)
    assert max(prices(search_page)) <= middle
    page.fill("#price-min", str(middle))
    search_page.answered(lambda: page.press("#price-min", "Enter"))
    assert set(prices(search_page)) <= {middle}
    assert search_page.last_request()["filter"] == {"price": {"min": middle, "max": middle}}
    search_page.answered(lambda: page.click("#reset-filters"))
    assert prices(search_page) == everything


def test_a_swapped_price_range_is_refused_beside_its_fields(search_page, catalogue_items):
    page = search_page.page
    search_page.search(catalogue_items[0]["title"])
    sent = len(search_page.searches)
    page.fill("#price-max", "5")
    search_page.answered(lambda: page.press("#price-max", "Enter"))
    page.fill("#price-min", "9")
    page.press("#price-min", "Enter")
    expect(page.locator("#price-error")).to_have_text("The lower price is above the upper one.")
    expect(page.locator("#price-min")).to_have_attribute("aria-invalid", "true")
    assert len(search_page.searches) == sent + 1


def test_a_category_and_availability_narrow(search_page, catalogue_items):
    page = search_page.page
    available = [item for item in catalogue_items if item.get("available", True)]
    category = Counter(item["category"] for item in available).most_common(1)[0][0]
    search_page.search(category)
    page.fill("#category-input", category)
    search_page.answered(lambda: page.press("#category-input", "Enter"))
    expect(page.locator("#category .token")).to_have_text(category)
    assert set(page.locator("#grid .card-category").all_inner_texts()) == {category}
    search_page.answered(lambda: page.check("#available"))
    assert search_page.cards.count() > 0
    assert page.locator("#grid .unavailable").count() == 0
    assert search_page.last_request()["filter"] == {
        "and": {"filters": [{"category": {"values": [category]}}, {"available": True}]}
    }
    expect(page.locator("#filter-count")).to_have_text(" (2)")
    remove = page.get_by_role("button", name=f"Remove {category} from Category")
    search_page.answered(lambda: remove.click())
    expect(page.locator("#category .token")).to_have_count(0)


def test_tags_narrow_by_any_and_by_all(search_page, catalogue_items):
    page = search_page.page
    tagged = next(item for item in catalogue_items if item.get("tags"))
    of_tag = {item["id"]: set(item.get("tags", [])) for item in catalogue_items}
    search_page.search(tagged["title"])
    for field in ("tags-any", "tags-all"):
        tag = tagged["tags"][0]
        page.fill(f"#{field}-input", tag)
        search_page.answered(lambda field=field: page.press(f"#{field}-input", "Enter"))
        assert search_page.cards.count() > 0
        assert all(tag in of_tag[item_id] for item_id in search_page.ids())
        search_page.answered(lambda: page.click("#reset-filters"))


def test_values_seen_are_suggested(search_page, catalogue_items):
    search_page.search(catalogue_items[0]["title"])
    shown = set(search_page.page.locator("#grid .card-category").all_inner_texts())
    options = search_page.page.locator("#category datalist option")
    assert {str(option.get_attribute("value")) for option in options.all()} == shown


def test_targets_count_and_diversity_are_sent(search_page, catalogue_items):
    page = search_page.page
    search_page.search(catalogue_items[0]["title"])
    assert search_page.last_request()["mmrLambda"] == 0.5
    assert "targetModalities" not in search_page.last_request()
    search_page.answered(lambda: page.get_by_label("Images").check())
    assert search_page.last_request()["targetModalities"] == ["IMAGE"]
    search_page.answered(lambda: page.select_option("#limit", "12"))
    assert search_page.cards.count() <= 12
    search_page.answered(lambda: page.locator("#diversity").fill("0.8"))
    assert search_page.last_request()["mmrLambda"] == 0.2
    page.locator(".why").first.click()
    kinds = page.locator(".signals tbody th").all_inner_texts()
    assert set(kinds) == {"text → image"}


def test_nothing_found_says_so(search_page, catalogue_items):
    page = search_page.page
    search_page.search(catalogue_items[0]["title"])
    page.fill("#category-input", "no such category")
    search_page.answered(lambda: page.press("#category-input", "Enter"))
    expect(page.locator("#state-nothing")).to_be_visible()
    expect(page.locator("#live")).to_have_text("Nothing found.")


def test_an_address_anybody_edited_falls_back_to_defaults(open_page):
    search_page = open_page("/?limit=999&diversity=x&price_min=-3&part=0:a&part=nonsense&in=smell&offset=-5")
    page = search_page.page
    expect(page.locator("#limit")).to_have_value("24")
    expect(page.locator("#diversity")).to_have_value("0.5")
    expect(page.locator("#price-min")).to_have_value("")
    expect(search_page.chips).to_have_count(0)
    expect(page.locator("#state-empty")).to_be_visible()
