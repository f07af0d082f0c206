"""Profiles: what feedback says of a user, and what that says of an item."""

from __future__ import annotations

import math

import numpy as np
import pytest

from orchestrator.feedback import Event, EventKind, History, Impression, Shown, StoredEvent
from orchestrator.profile import Facts, Profile, affinities, build_profile, features, liking, looked_at
from orchestrator.types import FloatArray, Modality

HALF_LIFE_S = 100.0
NOW_S = 10_000.0


def axis(place: int) -> FloatArray:
    vector = np.zeros(1024, np.float32)
    vector[place] = 1
    return vector


FACTS = {
    "red1": Facts("mugs", ("red",), {Modality.TEXT: axis(0)}),
    "red2": Facts("bowls", ("red",), {Modality.TEXT: axis(0)}),
    "blue1": Facts("mugs", ("blue",), {Modality.TEXT: axis(1)}),
    "blue2": Facts("bowls", ("blue",), {Modality.TEXT: axis(1)}),
}


def history(
    *chosen: tuple[str, EventKind], at_s: float = NOW_S, shown: tuple[str, ...] = tuple(FACTS)
) -> History:
    """One answer per choice, each of the same items in the same order."""
    impressions = tuple(
        Impression(f"r{n}", "u", at_s, "", tuple(Shown(item, p, 0.5, 0.5) for p, item in enumerate(shown, 1)))
        for n in range(len(chosen))
    )
    events = tuple(
        StoredEvent(
            Event(f"r{n}", item, kind, shown.index(item) + 1, 60_000.0 if kind == "dwell" else 0.0), at_s
        )
        for n, (item, kind) in enumerate(chosen)
    )
    return History(impressions, events)


def profile(what: History) -> Profile:
    built = build_profile(what, FACTS, lambda _: 1.0, NOW_S, HALF_LIFE_S)
    assert built is not None
    return built


def pull(of: Profile, item: str) -> dict[str, float]:
    return features(of, FACTS[item], {})


def test_nothing_done_is_no_profile() -> None:
    assert build_profile(History(), FACTS, lambda _: 1.0, NOW_S, HALF_LIFE_S) is None
    untouched = History(history(("red1", EventKind.CLICK)).impressions)
    assert build_profile(untouched, FACTS, lambda _: 1.0, NOW_S, HALF_LIFE_S) is None


def test_who_clicks_red_is_pulled_to_red() -> None:
    lover = profile(history(*[("red1", EventKind.CLICK), ("red2", EventKind.CLICK)] * 5))
    red, blue = pull(lover, "red1"), pull(lover, "blue1")
    assert red["tags"] > 0 > blue["tags"]
    assert red["taste"] > 0 > blue["taste"]
    # Both categories alike: no say.
    assert red["category"] == pytest.approx(0, abs=1e-9)


def test_a_dismissal_pushes_away() -> None:
    hater = profile(history(*[("red1", EventKind.DISMISS)] * 5))
    assert pull(hater, "red2")["tags"] < pull(hater, "blue2")["tags"]
    assert pull(hater, "red2")["taste"] < pull(hater, "blue2")["taste"]


def test_few_clicks_say_little_and_many_say_more() -> None:
    sizes = [pull(profile(history(*[("red1", EventKind.CLICK)] * n)), "red1")["tags"] for n in (1, 5, 50)]
    assert 0 < sizes[0] < sizes[1] < sizes[2] < math.log(2)
    beliefs = [profile(history(*[("red1", EventKind.CLICK)] * n)).belief for n in (1, 5, 50)]
    assert beliefs == sorted(beliefs)
    assert beliefs[1] == pytest.approx(0.5)


def test_feedback_decays_by_half() -> None:
    click = Event("r", "a", EventKind.CLICK)
    for ages, weight in ((0, 1.0), (1, 0.5), (3, 0.125)):
        found = liking([(click, NOW_S - ages * HALF_LIFE_S)], NOW_S, HALF_LIFE_S)
        assert found["a"] == pytest.approx(weight)
    fresh, stale = (profile(history(("red1", EventKind.CLICK), at_s=NOW_S - age)) for age in (0.0, 500.0))
    assert pull(stale, "red1")["tags"] < pull(fresh, "red1")["tags"]


def test_the_newer_taste_wins() -> None:
    old = history(*[("red1", EventKind.CLICK)] * 5, at_s=NOW_S - 5 * HALF_LIFE_S)
    new = history(*[("blue1", EventKind.CLICK)] * 5)
    renamed = tuple(
        Impression("new" + i.request_id, i.user, i.at_s, i.query, i.shown) for i in new.impressions
    )
    events = tuple(
        StoredEvent(Event("new" + s.event.request_id, s.event.item_id, s.event.kind), s.at_s)
        for s in new.events
    )
    both = profile(History((*renamed, *old.impressions), (*events, *old.events)))
    assert pull(both, "blue1")["tags"] > pull(both, "red1")["tags"]


def test_one_visit_is_one_sign() -> None:
    events = [
        (Event("r", "a", EventKind.CLICK), NOW_S),
        (Event("r", "a", EventKind.DWELL, 0, 15_000.0), NOW_S),
    ]
    assert liking(events, NOW_S, HALF_LIFE_S) == {"a": 1.0}
    events.append((Event("r", "a", EventKind.ADD), NOW_S))
    assert liking(events, NOW_S, HALF_LIFE_S) == {"a": 2.0}
    events.append((Event("r", "a", EventKind.DISMISS), NOW_S))
    assert liking(events, NOW_S, HALF_LIFE_S) == {"a": -1.0}


def test_what_stands_where_nobody_looks_is_no_evidence_against_it() -> None:
    """A click on the second place says more for it the less it is looked at."""
    what = history(*[("blue1", EventKind.CLICK)] * 5, shown=("red1", "blue1"))
    sure = build_profile(what, FACTS, lambda _: 1.0, NOW_S, HALF_LIFE_S)
    biased = build_profile(what, FACTS, lambda place: 1.0 / place**2, NOW_S, HALF_LIFE_S)
    assert sure is not None
    assert biased is not None
    assert pull(biased, "blue1")["tags"] > pull(sure, "blue1")["tags"]


def test_affinities_by_hand() -> None:
    found = affinities([({"a": 1.0}, 6.0, 3.0), ({"b": 1.0}, 0.0, 3.0)])
    assert found["a"] == pytest.approx(math.log((6 + 2) / (3 + 2)))
    assert found["b"] == pytest.approx(math.log(2 / (3 + 2)))
    assert affinities([({"a": 1.0}, 0.0, 0.0)]) == {"a": 0.0}
    assert affinities([({"a": 1.0}, -1e9, 1.0)])["a"] == pytest.approx(-math.log(8))


def test_what_was_asked_for_is_no_taste() -> None:
    """Somebody who asks for mugs and clicks mugs of every colour does not like mugs more than bowls."""
    shown = tuple(
        Shown(item, place, score, score)
        for place, (item, score) in enumerate(
            (("red1", 0.9), ("blue1", 0.9), ("red2", 0.02), ("blue2", 0.02)), 1
        )
    )
    impressions = tuple(Impression(f"r{n}", "u", NOW_S, "", shown) for n in range(8))
    events = tuple(
        StoredEvent(Event(f"r{n}", item, EventKind.CLICK), NOW_S)
        for n in range(8)
        for item in ("red1", "blue1")
    )
    found = profile(History(impressions, events))
    assert abs(found.category["mugs"]) < 0.05
    assert abs(found.tags["red"]) < 0.05


def test_modalities_that_led_to_clicks_count_for_the_user() -> None:
    shown = (
        Shown("red1", 1, 0.5, 0.5, {"text->image": 1.0}),
        Shown("blue1", 2, 0.5, 0.5, {"text->text": 1.0}),
    )
    impressions = tuple(Impression(f"r{n}", "u", NOW_S, "", shown) for n in range(6))
    events = tuple(StoredEvent(Event(f"r{n}", "red1", EventKind.CLICK), NOW_S) for n in range(6))
    looker = profile(History(impressions, events))
    by_image = features(looker, Facts(), {"audio->image": 1.0})["modality"]
    by_text = features(looker, Facts(), {"text->text": 1.0})["modality"]
    assert by_image > 0 > by_text
    assert features(looker, Facts(), {"text->video": 1.0})["modality"] == 0


def test_items_to_look_up_are_those_of_answers_with_feedback() -> None:
    what = history(("red1", EventKind.CLICK))
    untouched = Impression("other", "u", NOW_S, "", (Shown("z", 1, 0.5, 0.5),))
    assert looked_at(History((*what.impressions, untouched), what.events)) == list(FACTS)
