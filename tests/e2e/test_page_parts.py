"""Queries of several parts: files, clipboard, microphone, weights, signs, and refusals beside the part."""

from __future__ import annotations

import io
import re
import wave
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect

IMAGES = {".png": "image/png", ".jpg": "image/jpeg", ".webp": "image/webp"}
SOUNDS = {".ogg": "audio/ogg", ".wav": "audio/wav", ".flac": "audio/flac", ".mp3": "audio/mpeg"}
VIDEOS = {".mp4": "video/mp4", ".webm": "video/webm"}


def first_with(items: list[dict[str, Any]], kinds: dict[str, str]) -> tuple[dict[str, Any], Path, str]:
    """The first item with a medium of these kinds, that file, and its media type."""
    for item in items:
        for path in item["files"]:
            if path.suffix in kinds:
                return item, path, kinds[path.suffix]
    pytest.fail(f"the indexed catalogue has nothing of {sorted(kinds)}")


def test_a_dropped_image_finds_its_item(search_page, catalogue_items):
    item, path, media_type = first_with(catalogue_items, IMAGES)
    search_page.drop(path.name, media_type, path.read_bytes())
    assert search_page.ids()[0] == item["id"]
    chip = search_page.chips.first
    expect(chip).to_contain_text(path.name)
    expect(chip.locator("img")).to_be_visible()
    assert chip.locator("img").evaluate("(node) => node.naturalWidth") > 0
    expect(search_page.page.locator("#read-as")).to_contain_text("read as image")
    expect(search_page.page.locator("#drop")).to_be_hidden()


def test_a_pasted_image_is_a_part(search_page, catalogue_items):
    item, path, media_type = first_with(catalogue_items, IMAGES)
    search_page.paste("image.png", media_type, path.read_bytes())
    expect(search_page.chips).to_have_count(1)
    assert search_page.ids()[0] == item["id"]


def test_picked_files_of_every_kind_are_previewed(search_page, catalogue_items):
    image, sound, video = (first_with(catalogue_items, kinds)[1] for kinds in (IMAGES, SOUNDS, VIDEOS))
    picker = search_page.page.locator("#files")
    search_page.answered(lambda: picker.set_input_files([image, sound, video]))
    expect(search_page.chips).to_have_count(3)
    expect(search_page.chips.nth(0).locator("img")).to_be_visible()
    expect(search_page.chips.nth(1).get_by_role("button", name=re.compile("^Play "))).to_be_visible()
    expect(search_page.chips.nth(2).locator("video")).to_be_visible()
    read_as = search_page.page.locator("#read-as li")
    for index, kind in enumerate(("image", "sound", "video")):
        expect(read_as.nth(index)).to_contain_text(f"read as {kind}")


def test_what_a_file_claims_to_be_does_not_count(search_page, catalogue_items):
    item, path, _ = first_with(catalogue_items, IMAGES)
    search_page.drop("song.mp3", "audio/mpeg", path.read_bytes())
    expect(search_page.page.locator("#read-as")).to_contain_text("read as image")
    assert search_page.ids()[0] == item["id"]


def test_a_negative_part_pushes_away(search_page, catalogue_items):
    page = search_page.page
    item, path, media_type = first_with(catalogue_items, IMAGES)
    search_page.search(item["title"])
    assert item["id"] in search_page.ids()
    before = search_page.ids().index(item["id"])
    score = float(page.locator(f"li[data-item-id='{item['id']}'] .score b").inner_text())
    search_page.drop(path.name, media_type, path.read_bytes())
    sign = search_page.chips.first.get_by_role("button", name=re.compile("^Less like "))
    search_page.answered(lambda: sign.click())
    expect(sign).to_have_attribute("aria-pressed", "true")
    assert search_page.last_request()["parts"][1] == {"file": "part1", "weight": -1}
    after = search_page.ids()
    pushed = item["id"] not in after or after.index(item["id"]) > before
    lowered = item["id"] in after and (
        float(page.locator(f"li[data-item-id='{item['id']}'] .score b").inner_text()) < score
    )
    assert pushed or lowered


def test_text_is_kept_or_excluded_as_a_part(search_page, catalogue_items):
    page = search_page.page
    first, second = catalogue_items[0]["title"], catalogue_items[-1]["title"]
    page.fill("#q", first)
    search_page.answered(lambda: page.click("#add-text"))
    expect(page.locator("#q")).to_have_value("")
    page.fill("#q", second)
    search_page.answered(lambda: page.click("#exclude-text"))
    assert search_page.last_request()["parts"] == [
        {"text": first, "weight": 1},
        {"text": second, "weight": -1},
    ]
    expect(page).to_have_url(re.compile("part=-1%3A"))


def test_only_negative_parts_ask_for_something_to_look_for(search_page):
    page = search_page.page
    page.fill("#q", "a parrot")
    page.click("#exclude-text")
    expect(page.locator("#state-negative")).to_be_visible()
    assert search_page.searches == []


def test_a_weight_is_sent_as_set(search_page, catalogue_items):
    page = search_page.page
    page.fill("#q", catalogue_items[0]["title"])
    search_page.answered(lambda: page.click("#add-text"))
    slider = search_page.chips.first.get_by_role("slider", name=re.compile("^Weight of "))
    search_page.answered(lambda: slider.fill("2.5"))
    expect(search_page.chips.first.locator(".weight")).to_have_text("+2.5")
    assert search_page.last_request()["parts"][0]["weight"] == 2.5


def test_the_microphone_gives_a_sound_part(search_page):
    page = search_page.page
    page.click("#record")
    expect(page.locator("#recording-time")).to_contain_text("0:02")  # the fake device beeps once a second
    search_page.answered(lambda: page.click("#recording-stop"))
    expect(page.locator("#recording")).to_be_hidden()
    chip = search_page.chips.first
    expect(chip).to_contain_text("recording.wav")
    play = chip.get_by_role("button", name=re.compile("^Play recording"))
    play.click()
    expect(chip.get_by_role("button", name=re.compile("^Pause recording"))).to_be_visible()
    expect(page.locator("#read-as")).to_contain_text("read as sound, wav")
    with wave.open(io.BytesIO(search_page.last_file("part0"))) as recording:
        assert recording.getnchannels() == 1
        assert recording.getsampwidth() == 2
        samples = recording.readframes(recording.getnframes())
        assert recording.getnframes() / recording.getframerate() >= 2
    assert any(samples)


def test_a_recording_can_be_cancelled(search_page):
    page = search_page.page
    page.click("#record")
    expect(page.locator("#recording")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator("#recording")).to_be_hidden()
    expect(search_page.chips).to_have_count(0)
    assert search_page.searches == []


def test_a_refused_microphone_is_said_plainly(open_page):
    page = open_page(permissions=[]).page
    page.evaluate(
        """() => {
          const refuse = async () => { throw new DOMException("", "NotAllowedError"); };
          navigator.mediaDevices.getUserMedia = refuse;
        }"""
    )
    page.click("#record")
    expect(page.locator("#q-error")).to_contain_text("not allowed to use the microphone")


def test_a_bad_file_is_refused_beside_its_part(search_page, catalogue_items):
    page = search_page.page
    search_page.refusals_expected = True
    _, path, media_type = first_with(catalogue_items, IMAGES)
    search_page.drop(path.name, media_type, path.read_bytes())
    page.evaluate("() => scrollTo(0, document.documentElement.scrollHeight)")
    search_page.drop("broken.png", "image/png", path.read_bytes()[:60])
    good, bad = search_page.chips.all()
    expect(bad.get_by_role("alert")).to_be_in_viewport()
    assert len(bad.locator(".error-message").inner_text()) > 10
    expect(bad.locator(".error-details")).to_contain_text("Found:")
    expect(good.locator(".error")).to_be_hidden()
    expect(page.locator("#failure")).to_be_hidden()
    expect(page.locator("#state-failed")).to_be_visible()
    search_page.answered(lambda: bad.get_by_role("button", name="Remove broken.png").click())
    assert search_page.cards.count() > 0
    expect(page.locator("#state-failed")).to_be_hidden()


def test_a_text_past_the_limit_is_refused_beside_the_search_bar(search_page):
    page = search_page.page
    search_page.refusals_expected = True
    search_page.search("red mug " * 1200)
    expect(page.locator("#q-error")).to_be_visible()
    expect(page.locator("#q-error")).to_contain_text("Limit:")
    expect(page.locator("#q")).to_have_attribute("aria-invalid", "true")


@pytest.mark.parametrize(("kinds", "tag"), [(SOUNDS, "audio"), (VIDEOS, "video")])
def test_a_match_plays_from_its_moment(search_page, catalogue_items, kinds, tag):
    item, path, media_type = first_with(catalogue_items, kinds)
    start = 0.4

    def move_moment(body: dict[str, Any]) -> None:
        # A short medium is one segment from 0, where a start in the right place proves nothing.
        moment = body["hits"][0]["moment"]
        moment["startS"] = moment.get("startS", 0) + start
        moment["endS"] = max(moment["endS"], moment["startS"] + 0.2)

    search_page.patch_answer(move_moment)
    search_page.drop(path.name, media_type, path.read_bytes())
    assert search_page.ids()[0] == item["id"]
    card = search_page.cards.first
    search_page.page.evaluate(
        """() => document.addEventListener(
          "playing", ({ target }) => { target.dataset.from ??= target.currentTime; }, { capture: true },
        )"""
    )
    card.get_by_role("button", name=re.compile("^Play the matching moment")).click()
    media = card.locator(tag)
    expect(media).to_have_attribute("data-from", re.compile(r"^\d"))
    assert float(str(media.get_attribute("data-from"))) >= start - 0.05


def test_files_come_back_with_the_history(search_page, catalogue_items):
    _, path, media_type = first_with(catalogue_items, IMAGES)
    search_page.drop(path.name, media_type, path.read_bytes())
    found = search_page.ids()
    chip = search_page.chips.first
    chip.get_by_role("button", name=f"Remove {path.name}").click()
    expect(search_page.page.locator("#state-empty")).to_be_visible()
    search_page.answered(lambda: search_page.page.go_back())
    expect(search_page.chips.first).to_contain_text(path.name)
    assert search_page.ids() == found
