"""Small files of every format, made on the spot."""

from __future__ import annotations

import io
from collections.abc import Callable
from fractions import Fraction

import av
import numpy as np
import pytest
from PIL import Image

from media import Limits

SECONDS = 2.0
SVG = (
    '<svg xmlns="http://www.w3.org/2000/svg" width="40pt" height="20pt">'
    '<rect width="40pt" height="20pt" fill="#ff0000"/></svg>'
)


def _picture() -> Image.Image:
    """96 x 64: red left, blue right."""
    pixels = np.zeros((64, 96, 3), np.uint8)
    pixels[:, :48, 0] = 255
    pixels[:, 48:, 2] = 255
    return Image.fromarray(pixels)


def _still(name: str, **options: object) -> bytes:
    file = io.BytesIO()
    _picture().save(file, name, **options)
    return file.getvalue()


def _moving(name: str) -> bytes:
    """20 pictures, 0.1 s each, ever lighter."""
    pictures = [Image.new("RGB", (48, 32), (10 * i, 10 * i, 10 * i)) for i in range(20)]
    options: dict[str, object] = {"save_all": True, "append_images": pictures[1:], "duration": 100}
    file = io.BytesIO()
    pictures[0].save(file, name, **options, **({"lossless": True} if name == "WEBP" else {}))
    return file.getvalue()


def tone(seconds: float, rate: int = 44_100, channels: int = 1, hertz: float = 440.0) -> np.ndarray:
    """float32 [channels, n]."""
    wave = 0.5 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)
    return np.repeat(wave[np.newaxis], channels, axis=0).astype(np.float32)


def encode(
    container: str,
    *,
    video: str = "",
    audio: str = "",
    seconds: float = SECONDS,
    fps: int = 10,
    size: tuple[int, int] = (64, 48),
    rate: int = 48_000,
    channels: int = 1,
    samples: np.ndarray | None = None,
    options: dict[str, str] | None = None,
) -> bytes:
    """A file by PyAV. Picture i is grey of level i (modulo 200) + 20; the sound is a tone."""
    file = io.BytesIO()
    with av.open(file, "w", format=container) as out:
        pictures = sound = None
        if video:
            pictures = out.add_stream(video, rate=fps, options=options or {})
            pictures.width, pictures.height = size
            pictures.pix_fmt = "yuvj420p" if video == "mjpeg" else "yuv420p"
        if audio:
            sound = out.add_stream(audio, rate=rate, layout="mono" if channels == 1 else "stereo")
        if pictures is not None:
            for i in range(round(seconds * fps)):
                grey = np.full((size[1], size[0], 3), i % 200 + 20, np.uint8)
                frame = av.VideoFrame.from_ndarray(grey, format="rgb24")
                frame.pts, frame.time_base = i, Fraction(1, fps)
                out.mux(pictures.encode(frame))
            out.mux(pictures.encode(None))
        if sound is not None:
            wave = tone(seconds, rate, channels) if samples is None else samples
            layout = "mono" if channels == 1 else "stereo"
            resampler = av.AudioResampler(sound.format, layout, rate)
            block = av.AudioFrame.from_ndarray(np.ascontiguousarray(wave), format="fltp", layout=layout)
            block.sample_rate, block.pts, block.time_base = rate, 0, Fraction(1, rate)
            for part in [*resampler.resample(block), *resampler.resample(None)]:
                out.mux(sound.encode(part))
            out.mux(sound.encode(None))
    return file.getvalue()


IMAGES: dict[str, Callable[[], bytes]] = {
    "jpeg": lambda: _still("JPEG", quality=95, subsampling=0),
    "png": lambda: _still("PNG"),
    "webp": lambda: _still("WEBP", lossless=True),
    "gif": lambda: _still("GIF"),
    "bmp": lambda: _still("BMP"),
    "tiff": lambda: _still("TIFF", compression="tiff_lzw"),
    "svg": lambda: SVG.encode(),
}
SOUNDS: dict[str, Callable[[], bytes]] = {
    "wav": lambda: encode("wav", audio="pcm_s16le"),
    "flac": lambda: encode("flac", audio="flac", channels=2),
    "ogg": lambda: encode("ogg", audio="libopus"),
    "mp3": lambda: encode("mp3", audio="libmp3lame"),
    "m4a": lambda: encode("ipod", audio="aac", rate=44_100),
    "webm": lambda: encode("webm", audio="libopus"),
}
VIDEOS: dict[str, Callable[[], bytes]] = {
    "mp4": lambda: encode("mp4", video="libx264", audio="aac"),
    "webm": lambda: encode("webm", video="libvpx", audio="libopus"),
    "mov": lambda: encode("mov", video="mpeg4"),
    "avi": lambda: encode("avi", video="mpeg4", audio="pcm_s16le"),
    "gif": lambda: _moving("GIF"),
    "webp": lambda: _moving("WEBP"),
    "png": lambda: _moving("PNG"),
}


@pytest.fixture(scope="session")
def files() -> dict[tuple[str, str], bytes]:
    """(modality, format) -> an encoded file."""
    made = {("image", name): make() for name, make in IMAGES.items()}
    made |= {("audio", name): make() for name, make in SOUNDS.items()}
    made |= {("video", name): make() for name, make in VIDEOS.items()}
    made["text", "text"] = "Ein grüner Frosch – 一只绿色的青蛙".encode()
    return made


@pytest.fixture(scope="session")
def encoder() -> Callable[..., bytes]:
    return encode


@pytest.fixture(scope="session")
def sine() -> Callable[..., np.ndarray]:
    return tone


@pytest.fixture
def limits() -> Limits:
    return Limits()
