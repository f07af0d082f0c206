"""Text normalisation."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from media import EmptyError, Limits, NotUtf8Error, TextTooLongError, decode_text

LIMITS = Limits()


@pytest.mark.parametrize(
    ("raw", "clean"),
    [
        (b"plain", "plain"),
        ("e\u0301te\u0301".encode(), "été"),
        (b"\xef\xbb\xbfmark", "mark"),
        (b"a\r\nb\rc\nd\xe2\x80\xa8e", "a\nb\nc\nd\ne"),
        (b" \t around \n", "around"),
        (b"bell\x07 nul\x00 del\x7f.", "bell  nul  del ."),
        ("한", "한"),
        ("👩‍👩‍👧", "👩‍👩‍👧"),
    ],
)
def test_normal_form(raw, clean):
    assert decode_text(raw, LIMITS) == clean


@pytest.mark.parametrize("raw", [b"\xff\xfea\x00", b"caf\xe9", b"\xed\xa0\x80", "\ud800", b"\xc0\xaf"])
def test_not_utf8(raw):
    with pytest.raises(NotUtf8Error):
        decode_text(raw, LIMITS)


@pytest.mark.parametrize("raw", [b"", "", b" \n\t", b"\xef\xbb\xbf", b"\x00\x01"])
def test_nothing_in_it(raw):
    with pytest.raises(EmptyError):
        decode_text(raw, LIMITS)


def test_too_long_before_and_after_normalisation():
    with pytest.raises(TextTooLongError) as caught:
        decode_text("x" * 101, Limits(max_text_bytes=100))
    assert caught.value.limit == "max_text_bytes=100"
    with pytest.raises(TextTooLongError):
        decode_text("é" * 60, Limits(max_text_bytes=100))
    with pytest.raises(TextTooLongError):
        decode_text("\U0001d15e" * 25, Limits(max_text_bytes=100))  # NFC makes each twice as long


@pytest.mark.timeout(10)
def test_stacked_marks_do_not_cost_quadratic_time():
    bomb = "a" + "\u0315\u0300" * 15_000
    assert len(decode_text(bomb, LIMITS)) <= 31


@settings(deadline=None)
@given(st.one_of(st.binary(max_size=300), st.text(max_size=300)))
def test_any_input_gives_normal_text_or_a_typed_error(raw):
    try:
        text = decode_text(raw, LIMITS)
    except (EmptyError, NotUtf8Error):
        return
    assert text == text.strip()
    assert unicodedata.is_normalized("NFC", text)
    assert not any(unicodedata.category(c) == "Cc" and c not in "\n\t" for c in text)
    assert decode_text(text, LIMITS) == text
