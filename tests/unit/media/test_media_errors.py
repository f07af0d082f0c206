"""Errors travel between processes as JSON; limits are validated."""

from __future__ import annotations

import copy
import json
import pickle
import subprocess
import sys

import pytest

import media
from media import CorruptError, Limits, MediaError, TooLargeError, TruncatedError

CLASSES = [getattr(media, name) for name in media.errors.__all__]


@pytest.mark.parametrize("cls", CLASSES)
def test_round_trips(cls):
    error = cls("why", kind="png", limit="max_bytes=5")
    for back in (MediaError.from_json(error.to_json()), pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert type(back) is cls
        assert (back.code, back.message, back.kind, back.limit) == (cls.code, "why", "png", "max_bytes=5")
    assert str(error) == "why"


def test_codes_are_unique_and_in_the_drawn_tree():
    codes = [cls.code for cls in CLASSES]
    assert len(set(codes)) == len(codes)
    drawn = media.errors.__doc__
    for cls in CLASSES[:]:
        assert cls.__name__ in drawn
        assert cls is MediaError or cls.code in drawn


def test_truncated_is_corrupt():
    assert issubclass(TruncatedError, CorruptError)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "{}", '{"code": "no.such"}', '{"code": "media.empty", "kind": 3}']
)
def test_other_json_is_a_value_error(text):
    with pytest.raises(ValueError):  # noqa: PT011 - also json's own, which is one
        MediaError.from_json(text)


def test_json_shape():
    assert json.loads(TooLargeError("big", kind="zip", limit="max_bytes=1").to_json()) == {
        "code": "media.too_large",
        "message": "big",
        "kind": "zip",
        "limit": "max_bytes=1",
    }


def test_limits_from_environment():
    limits = Limits.from_environment(
        {"SENSORIUM_MEDIA_MAX_BYTES": "7", "SENSORIUM_MEDIA_MAX_VIDEO_S": "1.5", "A": "b"}
    )
    assert (limits.max_bytes, limits.max_video_s, limits.max_audio_s) == (7, 1.5, Limits().max_audio_s)


@pytest.mark.parametrize(
    "environment",
    [
        {"SENSORIUM_MEDIA_MAX_BITES": "7"},
        {"SENSORIUM_MEDIA_MAX_BYTES": "many"},
        {"SENSORIUM_MEDIA_MAX_BYTES": "1.5"},
        {"SENSORIUM_MEDIA_MAX_BYTES": "0"},
        {"SENSORIUM_MEDIA_MAX_VIDEO_S": "nan"},
        {"SENSORIUM_MEDIA_SEGMENT_AUDIO_OVERLAP_S": "15"},
    ],
)
def test_bad_settings_fail(environment):
    with pytest.raises(ValueError, match=r".*_.*"):
        Limits.from_environment(environment)


def test_import_loads_no_decoder():
    heavy = ("PIL", "av", "magika", "onnxruntime", "resvg_py")
    code = f"import sys, media; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == "[]"


def test_all_names_resolve():
    for name in media.__all__:
        assert getattr(media, name) is not None
    with pytest.raises(AttributeError):
        media.no_such_name  # noqa: B018
