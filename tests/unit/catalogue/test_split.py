"""The split is by meaning, and its values were worked out by hand (sha1sum)."""

from __future__ import annotations

import hashlib

import pytest

from catalogue import normalise, split_of


@pytest.mark.parametrize(
    ("description", "expected"),
    [
        ("A green tree frog.", "green tree frog"),
        ("An   owl!", "owl"),
        ("The the house.", "the house"),
        ("A wizard's hat.", "wizards hat"),
        ("Tux—the Linux mascot!", "tuxthe linux mascot"),
        ("  Some  GRAPES ", "grapes"),
        ("Anteater", "anteater"),
        ("A", "a"),
        ("“Café”", "caf"),
        ("", ""),
    ],
)
def test_normalise(description: str, expected: str) -> None:
    assert normalise(description) == expected


@pytest.mark.parametrize(
    ("description", "expected"),
    [
        # printf '%s' "happy snail" | sha1sum, and that number modulo 10
        ("A flower.", "train"),  # 0
        ("A cow.", "train"),  # 1
        ("A happy snail.", "train"),  # 3
        ("A mug.", "train"),  # 4
        ("A frog.", "validation"),  # 6
        ("An airplane.", "validation"),  # 6
        ("A dingo.", "test"),  # 8
    ],
)
def test_split_by_hand(description: str, expected: str) -> None:
    assert split_of(description) == expected


def test_same_meaning_same_side() -> None:
    for words in ("owl", "red fedora", "cup of tea"):
        assert (
            len(
                {split_of(form) for form in (words, f"A {words}.", f"the  {words.upper()}!", f"some {words}")}
            )
            == 1
        )


def test_shares_over_many_descriptions() -> None:
    sides = [split_of(hashlib.sha256(str(number).encode()).hexdigest()) for number in range(4000)]
    shares = {side: sides.count(side) / len(sides) for side in ("train", "validation", "test")}
    assert shares == pytest.approx({"train": 0.6, "validation": 0.2, "test": 0.2}, abs=0.03)
