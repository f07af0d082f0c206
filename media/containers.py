"""Sound and video containers through PyAV (FFmpeg), fenced in.

Only in-memory bytes are read, by the one demuxer that the content calls for; no protocol is allowed, so
playlists, concatenations and data references lead nowhere; only listed decoders run.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeAlias

import av
import av.container
import av.stream

from media.damage import check_structure
from media.errors import (
    CorruptError,
    DeadlineError,
    MediaError,
    UnsupportedError,
)
from media.limits import Limits
from media.types import Kind

__all__ = ["SoundPacket", "VideoPacket", "has_pictures", "open_container", "sound_stream", "video_stream"]

SoundPacket: TypeAlias = "av.Packet[av.AudioStream]"
VideoPacket: TypeAlias = "av.Packet[av.VideoStream]"

_DEMUXERS = {
    "wav": "wav",
    "flac": "flac",
    "ogg": "ogg",
    "mp3": "mp3",
    "m4a": "mov",
    "mp4": "mov",
    "mov": "mov",
    "webm": "matroska",
    "mkv": "matroska",
    "avi": "avi",
}
_SOUND_CODECS = {
    *("mp3", "mp3float", "mp2", "aac", "opus", "libopus", "vorbis", "flac", "alac", "ac3", "eac3"),
    *("pcm_u8", "pcm_s16le", "pcm_s16be", "pcm_s24le", "pcm_s24be", "pcm_s32le", "pcm_s32be"),
    *("pcm_f32le", "pcm_f32be", "pcm_f64le", "pcm_alaw", "pcm_mulaw", "adpcm_ms", "adpcm_ima_wav"),
}
_VIDEO_CODECS = {
    *("h264", "hevc", "vp8", "vp9", "libvpx", "libvpx-vp9", "av1", "libdav1d", "theora", "prores"),
    *("mpeg4", "msmpeg4", "msmpeg4v3", "mpeg1video", "mpeg2video", "h263", "mjpeg", "png", "rawvideo"),
}


# FFmpeg would read on and on to see whether raw samples are something else in disguise (8 ms).
_WAV_PROBE_BYTES = 32 * 1024


@contextmanager
def open_container(data: bytes, kind: Kind, limits: Limits) -> Iterator[av.container.InputContainer]:
    """`data` as an open container; every error of PyAV inside the block becomes a MediaError.

    Raises what `check_structure` raises, UnsupportedError, CorruptError and DeadlineError.
    """
    if kind.format not in _DEMUXERS:
        raise UnsupportedError("there is neither sound nor video in it", kind=kind.format)
    check_structure(data, kind.format)
    options = {
        "protocol_whitelist": "none",
        "codec_whitelist": ",".join(sorted(_SOUND_CODECS | _VIDEO_CODECS)),
        # While streams are found, sizes somewhat over the limit must still come through, to be named.
        "max_pixels": str(8 * limits.max_frame_pixels),
    }
    if kind.format == "wav":
        options["probesize"] = str(_WAV_PROBE_BYTES)
    with (
        _foreign_errors(kind.format),
        av.open(
            io.BytesIO(data),
            mode="r",
            format=_DEMUXERS[kind.format],
            options=options,
            timeout=limits.decode_deadline_s,
            metadata_errors="replace",
        ) as container,
    ):
        yield container


@contextmanager
def _foreign_errors(kind: str) -> Iterator[None]:
    """PyAV's errors become ours. They come from opening, demuxing, decoding, scaling and resampling."""
    try:
        yield
    except MediaError:
        raise
    except (av.error.TimeoutError, av.error.ExitError) as error:
        raise DeadlineError(kind=kind) from error
    except (av.error.DecoderNotFoundError, av.error.PatchWelcomeError) as error:
        raise UnsupportedError("the codec is not supported", kind=kind) from error
    # ValueError: odd layouts and pixel formats; OverflowError: nonsense times and rates.
    except (av.error.FFmpegError, ValueError, OverflowError, ZeroDivisionError, MemoryError) as error:
        raise CorruptError(kind=kind) from error


def video_stream(container: av.container.InputContainer, kind: str) -> av.VideoStream | None:
    """The first stream of moving pictures; cover art does not count.

    Raises UnsupportedError for a codec that is not on the list.
    """
    for stream in container.streams.video:
        if not _is_cover(stream):
            _check_codec(stream, _VIDEO_CODECS, kind)
            return stream
    return None


def sound_stream(container: av.container.InputContainer, kind: str) -> av.AudioStream | None:
    """The first stream of sound. Raises what `video_stream` raises."""
    for stream in container.streams.audio:
        _check_codec(stream, _SOUND_CODECS, kind)
        return stream
    return None


def _check_codec(stream: av.VideoStream | av.AudioStream, allowed: set[str], kind: str) -> None:
    # PyAV leaves a stream without a context when FFmpeg knows no decoder for it.
    context = getattr(stream, "codec_context", None)
    if context is None or context.name not in allowed:
        raise UnsupportedError("the codec is not supported", kind=kind)


def _is_cover(stream: av.VideoStream) -> bool:
    return bool(stream.disposition & av.stream.Disposition.attached_pic)


def has_pictures(data: bytes, kind: Kind, limits: Limits) -> bool:
    """False for a container with sound and nothing to see."""
    with open_container(data, kind, limits) as container:
        return not container.streams.audio or not all(map(_is_cover, container.streams.video))
