"""Sound and video containers through PyAV (FFmpeg), fenced in.

Only in-memory bytes are read, by the one demuxer that the content calls for; no protocol is allowed, so
playlists, concatenations and data references lead nowhere; only listed decoders run.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager

import av
import av.container

from media.errors import CorruptError, DeadlineError, EncryptedError, MediaError, UnsupportedError
from media.limits import Limits
from media.types import Kind

__all__ = ["foreign_errors", "has_pictures", "open_container", "sound_stream", "video_stream"]

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
    *(
        "mp3",
        "mp3float",
        "mp2",
        "aac",
        "opus",
        "libopus",
        "vorbis",
        "libvorbis",
        "flac",
        "alac",
        "ac3",
        "eac3",
    ),
    *("pcm_u8", "pcm_s16le", "pcm_s16be", "pcm_s24le", "pcm_s24be", "pcm_s32le", "pcm_s32be"),
    *("pcm_f32le", "pcm_f32be", "pcm_f64le", "pcm_alaw", "pcm_mulaw", "adpcm_ms", "adpcm_ima_wav"),
}
_VIDEO_CODECS = {
    *("h264", "hevc", "vp8", "vp9", "libvpx", "libvpx-vp9", "av1", "libdav1d", "theora", "prores"),
    *(
        "mpeg4",
        "msmpeg4",
        "msmpeg4v3",
        "mpeg1video",
        "mpeg2video",
        "h263",
        "mjpeg",
        "png",
        "rawvideo",
        "wmv2",
    ),
}
_ENCRYPTED_TAGS = {"encv", "enca", "drms", "drmi"}


@contextmanager
def foreign_errors(kind: str) -> Iterator[None]:
    """PyAV's errors become ours. They come from opening, demuxing and decoding (av.error.FFmpegError)."""
    try:
        yield
    except MediaError:
        raise
    except (av.error.TimeoutError, av.error.ExitError) as error:
        raise DeadlineError(kind=kind) from error
    except (av.error.DecoderNotFoundError, av.error.PatchWelcomeError) as error:
        raise UnsupportedError("the codec is not supported", kind=kind) from error
    except (av.error.FFmpegError, ValueError, OverflowError) as error:
        raise CorruptError(kind=kind) from error


@contextmanager
def open_container(data: bytes, kind: Kind, limits: Limits) -> Iterator[av.container.InputContainer]:
    """`data` as an open container; every PyAV error inside the block becomes a MediaError."""
    options = {
        "protocol_whitelist": "none",
        "codec_whitelist": ",".join(sorted(_SOUND_CODECS | _VIDEO_CODECS)),
        "max_pixels": str(limits.max_frame_pixels),
    }
    with (
        foreign_errors(kind.format),
        av.open(
            io.BytesIO(data),
            mode="r",
            format=_DEMUXERS[kind.format],
            options=options,
            timeout=limits.decode_deadline_s,
            metadata_errors="replace",
        ) as container,
    ):
        for stream in container.streams:
            if stream.codec_context is not None and stream.codec_context.codec_tag in _ENCRYPTED_TAGS:
                raise EncryptedError(kind=kind.format)
        yield container


def video_stream(container: av.container.InputContainer) -> av.VideoStream | None:
    """The first stream of moving pictures; cover art does not count."""
    for stream in container.streams.video:
        if not stream.disposition & av.stream.Disposition.attached_pic:
            return stream
    return None


def sound_stream(container: av.container.InputContainer) -> av.AudioStream | None:
    return container.streams.audio[0] if container.streams.audio else None


def has_pictures(data: bytes, kind: Kind, limits: Limits) -> bool:
    """False for a container with sound and nothing to see."""
    with open_container(data, kind, limits) as container:
        return video_stream(container) is not None or sound_stream(container) is None
