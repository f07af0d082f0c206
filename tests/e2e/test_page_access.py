"""The page for everybody: keyboard alone, names and roles, contrast, narrow and wide, light and dark."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Route, expect

SCREENSHOT = Path(__file__).parents[2] / "docs" / "images" / "search-page.png"


def focused(search_page: Any) -> str:
    return str(
        search_page.page.evaluate("() => document.activeElement.id || document.activeElement.className")
    )


def picture(search_page: Any, path: Path) -> None:
    page = search_page.page
    for image in page.locator(".card-picture img").all():
        image.evaluate("(node) => { node.loading = 'eager'; return node.decode() }")
    page.screenshot(path=path, animations="disabled")
    assert path.read_bytes().startswith(b"\x89PNG")


def test_the_whole_way_by_keyboard(search_page, catalogue_items):
    page = search_page.page
    keyboard = page.keyboard
    keyboard.press("/")
    assert focused(search_page) == "q"
    keyboard.type(catalogue_items[0]["title"])
    search_page.answered(lambda: keyboard.press("Enter"))
    for _ in range(60):
        keyboard.press("Tab")
        if focused(search_page) == "card":
            break
    assert focused(search_page) == "card"
    cards = search_page.cards
    expect(cards.nth(0)).to_be_focused()
    outline = cards.nth(0).evaluate("(node) => getComputedStyle(node).outlineStyle")
    assert outline == "solid"
    keyboard.press("ArrowRight")
    expect(cards.nth(1)).to_be_focused()
    keyboard.press("ArrowLeft")
    expect(cards.nth(0)).to_be_focused()
    columns = len({card.bounding_box()["x"] for card in cards.all()})
    keyboard.press("ArrowDown")
    expect(cards.nth(columns)).to_be_focused()
    keyboard.press("End")
    expect(cards.last).to_be_focused()
    keyboard.press("Home")
    expect(cards.first).to_be_focused()
    keyboard.press("Enter")
    expect(page.get_by_role("dialog")).to_be_visible()
    keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_be_hidden()
    assert "card" in focused(search_page) or "why" in focused(search_page)
    keyboard.press("/")
    assert focused(search_page) == "q"


def test_every_stop_of_the_keyboard_shows(search_page, catalogue_items):
    page = search_page.page
    search_page.search(catalogue_items[0]["title"])
    hidden = []
    for _ in range(40):
        page.keyboard.press("Tab")
        if not search_page.probe("focusShows"):
            hidden.append(focused(search_page))
    assert hidden == []


def test_a_slash_while_typing_is_a_slash(search_page):
    page = search_page.page
    page.locator("#category-input").press("/")
    expect(page.locator("#category-input")).to_have_value("/")


def test_removing_a_part_keeps_the_focus_near(search_page):
    page = search_page.page
    page.fill("#q", "one")
    page.click("#add-text")
    search_page.settled()
    page.get_by_role("button", name="Remove one").focus()
    page.keyboard.press("Enter")
    assert focused(search_page) == "q"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_names_structure_and_contrast(open_page, catalogue_items, scheme):
    search_page = open_page(color_scheme=scheme)
    page = search_page.page

    def check() -> None:
        assert search_page.probe("accessFaults") == []

    check()
    search_page.patch_answer(lambda body: body.update(degraded=["rerank: deadline"]))
    page.fill("#q", catalogue_items[0]["title"])
    search_page.answered(lambda: page.click("#add-text"))
    page.fill("#category-input", catalogue_items[0]["category"])
    search_page.answered(lambda: page.press("#category-input", "Enter"))
    check()
    page.locator(".why").first.click()
    check()
    page.keyboard.press("Escape")
    search_page.refusals_expected = True
    search_page.page.unroute("**/v1/search")
    search_page.drop("broken.png", "image/png", b"\x89PNG\r\n\x1a\n" + bytes(40))
    expect(page.locator(".chip .error").last).to_be_visible()
    check()


def test_answers_are_announced(search_page, catalogue_items):
    live = search_page.page.locator("#live")
    expect(live).to_have_attribute("aria-live", "polite")
    search_page.search(catalogue_items[0]["title"])
    expect(live).to_have_text(re.compile(r"^\d+ results? in [\d.]+ ms\. First: "))


@pytest.mark.parametrize("width", [360, 768, 1440])
def test_nothing_sticks_out_at_any_width(open_page, catalogue_items, width):
    search_page = open_page(viewport={"width": width, "height": 800})
    page = search_page.page
    search_page.search(catalogue_items[0]["title"])
    page.fill("#q", "w" * 120)
    search_page.answered(lambda: page.click("#add-text"))
    assert page.evaluate("() => document.documentElement.scrollWidth") == width
    assert search_page.probe("stickingOut") == []


def test_filters_fold_on_a_phone(open_page):
    page = open_page(viewport={"width": 360, "height": 800}).page
    toggle = page.locator("#filter-toggle")
    expect(page.locator(".keys")).to_be_hidden()
    expect(page.locator("#filters")).to_be_hidden()
    toggle.click()
    expect(toggle).to_have_attribute("aria-expanded", "true")
    expect(page.locator("#filters")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator("#filters")).to_be_hidden()
    expect(toggle).to_be_focused()


def test_the_theme_button_outlives_a_reload(open_page):
    page = open_page(color_scheme="light").page
    background = "() => getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(background)
    page.click("#theme")
    assert page.evaluate(background) == light
    page.click("#theme")
    dark = page.evaluate(background)
    assert dark != light
    page.reload()
    assert page.evaluate(background) == dark
    page.click("#theme")
    assert page.evaluate(background) == light


def test_reduced_motion_stands_still(open_page):
    page = open_page(reduced_motion="reduce").page
    held: list[Route] = []
    page.route("**/v1/search", lambda route: held.append(route))
    page.fill("#q", "anything")
    page.press("#q", "Enter")
    expect(page.locator("#results")).to_have_attribute("aria-busy", "true")
    assert page.evaluate("() => document.getAnimations().length") == 0
    page.keyboard.press("Escape")
    held[0].abort()


def test_the_policy_is_strict(search_page):
    response = search_page.page.request.get(search_page.origin + "/")
    policy = {}
    for directive in response.headers["content-security-policy"].split(";"):
        name, *sources = directive.split()
        policy[name] = sources
    assert policy["default-src"] == ["'none'"]
    assert policy["img-src"] == policy["media-src"] == ["'self'", "blob:"]
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == ["'self'"]
    for name in ("form-action", "frame-ancestors", "base-uri"):
        assert policy[name] == ["'none'"]
    assert "unsafe" not in response.headers["content-security-policy"]


def test_the_watch_sees_what_leaves_the_origin(search_page):
    page = search_page.page
    with page.expect_event("console"):
        page.evaluate(
            "() => { document.body.append(Object.assign(new Image(), { src: 'http://127.0.0.1:9/' })) }"
        )
    with pytest.raises(AssertionError):
        search_page.check()
    search_page.forget()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_picture_of_the_page(open_page, catalogue_items, tmp_path, scheme):
    search_page = open_page(color_scheme=scheme, viewport={"width": 1280, "height": 860})
    titled = catalogue_items[0]
    image = next(path for item in catalogue_items for path in item["files"] if path.suffix == ".png")
    search_page.search(titled["title"])
    search_page.drop(image.name, "image/png", image.read_bytes())
    write = scheme == "light" and os.environ.get("SENSORIUM_WRITE_SCREENSHOT") == "1"
    target = SCREENSHOT if write else tmp_path / f"search-page-{scheme}.png"
    target.parent.mkdir(parents=True, exist_ok=True)
    picture(search_page, target)
