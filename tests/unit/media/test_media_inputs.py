"""Encoder inputs."""

from __future__ import annotations

import numpy as np
import pytest

from media import (
    AUDIO_BUCKETS_S,
    TOKEN_BUCKETS,
    Audio,
    TextTooLongError,
    Video,
    audio_input,
    image_input,
    token_bucket,
    video_input,
)


@pytest.mark.parametrize("shape", [(260, 260), (1, 1), (1, 3000), (3000, 1), (100, 700), (2000, 1500)])
def test_the_whole_picture_on_a_white_square(shape):
    prepared = image_input(np.zeros((*shape, 3), np.uint8))
    assert prepared.shape == (260, 260, 3)
    assert prepared.dtype == np.uint8
    dark = (prepared < 128).all(axis=2)
    rows, columns = np.flatnonzero(dark.any(axis=1)), np.flatnonzero(dark.any(axis=0))
    long, short = max(shape), min(shape)
    extents = (rows.size, columns.size)
    assert max(extents) == 260
    assert min(extents) == max(1, round(260 * short / long))
    assert (prepared[~dark] == 255).all()
    assert abs((rows[0] + rows[-1]) / 2 - 129.5) <= 0.5
    assert abs((columns[0] + columns[-1]) / 2 - 129.5) <= 0.5


def test_the_right_size_passes_unchanged():
    picture = np.random.default_rng(0).integers(0, 256, (260, 260, 3), np.uint8)
    np.testing.assert_array_equal(image_input(picture), picture)


def test_corners_survive():
    picture = np.full((520, 1040, 3), 255, np.uint8)
    for row in (0, -40):
        for column in (0, -40):
            picture[row : row + 40 or None, column : column + 40 or None] = 0
    prepared = image_input(picture)
    assert (prepared[67:72, 2:7] < 30).all()
    assert (prepared[188:193, 253:258] < 30).all()


@pytest.mark.parametrize("seconds", [0, 0.5, 1, 1.01, 7.9, 15, 29.99, 30, 31, 500])
def test_sounds_go_into_the_smallest_bucket(seconds):
    samples = np.ones(round(seconds * 16_000), np.float32)
    padded, mask = audio_input(samples)
    bucket_s = next((b for b in AUDIO_BUCKETS_S if b >= seconds), 30)
    assert padded.shape == mask.shape == (bucket_s * 16_000,)
    assert (padded.dtype, mask.dtype) == (np.float32, np.int64)
    assert mask.sum() == min(samples.size, 480_000)
    np.testing.assert_array_equal(padded, mask)


def _video(count: int, audio: Audio | None) -> Video:
    frames = np.arange(count, dtype=np.uint8)[:, None, None, None] * np.ones((1, 40, 60, 3), np.uint8)
    return Video(frames, np.arange(count) / 10, count / 10, audio)


@pytest.mark.parametrize(("count", "expected"), [(8, range(8)), (1, [0] * 8), (4, [0, 0, 1, 1, 2, 2, 3, 3])])
def test_eight_frames(count, expected):
    frames, samples, mask = video_input(_video(count, None))
    assert frames.shape == (8, 260, 260, 3)
    assert frames[:, 130, 130, 0].tolist() == list(expected)
    assert samples.shape == mask.shape == (16_000,)
    assert not mask.any()
    assert not samples.any()


def test_sound_of_a_video():
    _, samples, mask = video_input(_video(8, Audio(np.ones(20_000, np.float32), 1.25)))
    assert samples.shape == (32_000,)
    assert mask.sum() == 20_000


def test_token_buckets():
    assert [token_bucket(n) for n in (1, 8, 9, 16, 17, 2048)] == [8, 8, 16, 16, 32, 2048]
    assert all(token_bucket(n) == n for n in TOKEN_BUCKETS)
    with pytest.raises(TextTooLongError) as caught:
        token_bucket(2049)
    assert caught.value.limit == "max_text_tokens=2048"
