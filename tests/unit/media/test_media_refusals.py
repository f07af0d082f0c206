"""What must be turned away is, with a typed error and soon: the generous time limits only catch hangs."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib

import numpy as np
import pytest
from PIL import Image

from media import (
    BombError,
    CorruptError,
    DeadlineError,
    Kind,
    Limits,
    MediaError,
    Modality,
    TooLargeError,
    TooLongError,
    TooManyFramesError,
    TooManyPixelsError,
    TruncatedError,
    UnsupportedError,
    decode_audio,
    decode_image,
    decode_video,
    probe,
    sniff,
)
from media.cutting import encode_flac
from media.tracks import Tracks

pytestmark = pytest.mark.timeout(60)


def _chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def _png(side: int, *extra: bytes) -> bytes:
    """A grey picture of any size in few bytes."""
    rows = zlib.compressobj(9)
    packed = b"".join(rows.compress(bytes(side + 1)) for _ in range(min(side, 64))) + rows.flush()
    header = _chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(extra) + _chunk(b"IDAT", packed) + _chunk(b"IEND", b"")


def _all_ways(data: bytes, limits: Limits) -> MediaError:
    """The error of the first step that refuses; probing is asked first, then decoding alone."""
    try:
        kind = sniff(data, limits)
        probe(data, kind, limits)
    except MediaError as error:
        refused = error
    else:
        pytest.fail("probe accepted it")
    if not isinstance(refused, TooLargeError | UnsupportedError):
        with pytest.raises(type(refused)):
            _decode(data, sniff(data, limits), limits)
    return refused


def _decode(data: bytes, kind: Kind, limits: Limits) -> object:
    decode = {Modality.IMAGE: decode_image, Modality.AUDIO: decode_audio, Modality.VIDEO: decode_video}
    return decode[kind.modality](data, limits, kind)


@pytest.mark.parametrize(
    ("side", "error"),
    [(8_000, TooManyPixelsError), (12_000, BombError), (20_000, BombError), (2**31 - 1, MediaError)],
)
def test_pictures_of_huge_size(limits, side, error):
    data = _png(min(side, 70_000))
    if side > 70_000:
        data = data[:16] + struct.pack(">II", side, side) + data[24:]
    assert isinstance(_all_ways(data, limits), error)
    with pytest.raises(MediaError):
        decode_image(data, limits, Kind(Modality.IMAGE, "png", "image/png"))


@pytest.mark.parametrize("name", ["gif", "bmp", "webp", "tiff", "jpeg"])
def test_headers_that_claim_huge_sizes(files, limits, name):
    data = bytearray(files["image", name])
    huge = 0xFFF0
    if name == "gif":
        data[6:10] = struct.pack("<HH", huge, huge)
    elif name == "bmp":
        data[18:26] = struct.pack("<ii", huge, huge)
    elif name == "webp":  # lossless: 14 bits each
        data[21:25] = struct.pack("<I", 0x3FFF | 0x3FFF << 14)
    elif name == "tiff":
        directory = struct.unpack_from("<I", data, 4)[0]
        for at in range(directory + 2, directory + 26, 12):  # width and height come first
            data[at + 8 : at + 12] = struct.pack("<I", huge)
    else:
        at = data.index(b"\xff\xc0")
        data[at + 5 : at + 9] = struct.pack(">HH", huge, huge)
    assert isinstance(_all_ways(bytes(data), limits), TooManyPixelsError | BombError)


@pytest.mark.parametrize("chunk", ["zTXt", "iTXt", "iCCP"])
def test_deflated_text_in_a_picture(limits, chunk):
    flood = zlib.compress(bytes(50_000_000), 9)
    body = {"zTXt": b"k\0\0", "iTXt": b"k\0\1\0\0\0", "iCCP": b"k\0\0"}[chunk] + flood
    data = _png(8, _chunk(chunk.encode(), body))
    try:
        pixels = decode_image(data, limits)
    except MediaError as error:
        assert error.code == "media.bomb"  # noqa: PT017 - either it is refused as this, or it is left out
    else:
        assert pixels.shape == (8, 8, 3)


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
def test_an_animation_of_a_million_pictures(limits):
    picture = b"\x21\xf9\x04\x00\x00\x00\x00\x00\x2c\0\0\0\0\x01\0\x01\0\0\x02\x02\x44\x01\x00"
    data = b"GIF89a\x01\0\x01\0\x80\0\0\0\0\0\xff\xff\xff" + picture * 1_000_000 + b";"
    assert isinstance(_all_ways(data, limits), TooManyFramesError | TooLongError)


def test_a_small_animation_with_big_pictures():
    pictures = [Image.new("P", (1000, 1000), i) for i in range(60)]
    file = io.BytesIO()
    pictures[0].save(file, "GIF", save_all=True, append_images=pictures[1:], duration=50)
    error = _all_ways(file.getvalue(), Limits(max_animation_pixels=50_000_000))
    assert error.limit == "max_animation_pixels=50000000"


def test_much_silence_in_a_small_file():
    data = encode_flac(np.zeros(16_000 * 300, np.float32))
    assert len(data) < 100_000
    assert isinstance(_all_ways(data, Limits(max_audio_s=290)), TooLongError)


@pytest.mark.parametrize("name", ["jpeg", "png", "gif", "wav", "mp4"])
def test_floods_of_tiny_blocks(files, limits, name):
    """Readers walk block by block: 24 MB of empty ones would keep them busy for many seconds."""
    modality = {"wav": "audio", "mp4": "video"}.get(name, "image")
    data = files[modality, name]
    at, block = {
        "jpeg": (2, b"\xff\xfe\x00\x02"),
        "png": (33, _chunk(b"teXt", b"")),
        "gif": (13 + 3 * 256 if data[10] & 7 == 7 else 13 + (3 << (data[10] & 7) + 1), b"\x21\xfe\0"),
        "wav": (12, b"junk\0\0\0\0"),
        "mp4": (int.from_bytes(data[:4]), b"\0\0\0\x08free"),
    }[name]
    flooded = data[:at] + block * (24_000_000 // len(block)) + data[at:]
    if name == "wav":
        flooded = flooded[:4] + struct.pack("<I", len(flooded) - 8) + flooded[8:]
    assert isinstance(_all_ways(flooded, limits), CorruptError)
    few = data[:at] + block * 100 + data[at:]
    if name == "wav":
        few = few[:4] + struct.pack("<I", len(few) - 8) + few[8:]
    if name != "mp4":  # its index points to places that have moved
        _decode(few, sniff(few, limits), limits)


def test_archives(limits):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("zeros", bytes(20_000_000))
    error = _all_ways(file.getvalue(), limits)
    assert isinstance(error, UnsupportedError)
    assert error.kind == "zip"


def test_too_many_bytes_are_not_even_looked_at(limits):
    error = _all_ways(bytes(limits.max_bytes + 1), limits)
    assert isinstance(error, TooLargeError)
    assert error.limit == "max_bytes=26214400"


KINDS = [
    *(Kind(Modality.IMAGE, name, "image/x") for name in ("jpeg", "png", "webp", "gif", "bmp", "tiff", "svg")),
    *(Kind(Modality.AUDIO, name, "audio/x") for name in ("wav", "flac", "ogg", "mp3", "m4a", "webm")),
    *(Kind(Modality.VIDEO, name, "video/x") for name in ("mp4", "webm", "mov", "avi", "gif", "webp", "png")),
]


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: f"{kind.modality}-{kind.format}")
def test_a_wrong_kind_is_refused_not_guessed(files, limits, kind):
    """Only one reader is ever asked: the one of the kind."""
    for (modality, name), data in files.items():
        same = {name, kind.format} <= {"mp4", "m4a", "mov"} or name == kind.format
        if same:
            continue
        with pytest.raises(MediaError) as caught:
            _decode(data, kind, limits)
        assert caught.value.kind == kind.format, (modality, name)


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: f"{kind.modality}-{kind.format}")
def test_empty_and_tiny(files, limits, kind):
    data = files[str(kind.modality), kind.format]
    with pytest.raises(MediaError) as caught:
        _decode(b"", kind, limits)
    assert caught.value.code == "media.empty"
    for end in (1, 2, 4, 8, 12, 16, 24):
        for refuse in (_decode, probe):
            with pytest.raises(MediaError):
                refuse(data[:end], kind, limits)


def test_a_jpeg_of_thousands_of_scans(limits):
    """Each is a pass over all pixels: half a megabyte would be minutes of work."""
    file = io.BytesIO()
    Image.new("L", (2000, 2000), 128).save(file, "JPEG", progressive=True)
    data = file.getvalue()
    scan = data[data.rindex(b"\xff\xda") : -2]
    error = _all_ways(data[:-2] + scan * 200 + b"\xff\xd9", limits)
    assert isinstance(error, BombError)
    assert decode_image(data[:-2] + scan * 10 + b"\xff\xd9", limits).shape == (2000, 2000, 3)


def test_a_photograph_of_48_megapixels(limits):
    file = io.BytesIO()
    Image.effect_noise((800, 600), 60).resize((8000, 6000)).save(file, "JPEG", progressive=True)
    kind = sniff(file.getvalue(), limits)
    assert probe(file.getvalue(), kind, limits).width == 8000
    assert decode_image(file.getvalue(), limits, kind).shape == (6000, 8000, 3)


def test_a_large_run_length_coded_bitmap(limits):
    def bitmap(runs: bytes) -> bytes:
        info = struct.pack("<IiiHHIIiiII", 40, 4, 4, 1, 8, 1, len(runs), 0, 0, 256, 256)
        head = struct.pack("<2sIHHI", b"BM", 1078 + len(runs), 0, 0, 1078)
        return head + info + bytes(1024) + runs

    assert decode_image(bitmap(b"\4\7\0\0" * 4 + b"\0\1"), limits).shape == (4, 4, 3)
    assert isinstance(_all_ways(bitmap(b"\4\7" * 1_100_000), limits), UnsupportedError)


@pytest.mark.parametrize(("modality", "name"), [("image", "png"), ("video", "png"), ("audio", "ogg")])
def test_checksums_are_held_to(files, limits, modality, name):
    """One bit, late in the file, in what a decoder might make something of."""
    data = bytearray(files[modality, name])
    data[len(data) - (40 if name == "ogg" else 24)] ^= 1
    with pytest.raises(CorruptError):
        probe(bytes(data), sniff(files[modality, name], limits), limits)


def test_a_cut_mp3_that_tells_its_length(files, limits):
    data = files["audio", "mp3"]
    probe(data, sniff(data, limits), limits)
    assert isinstance(_all_ways(data[: len(data) // 2], limits), TruncatedError)


def test_a_video_with_too_much_to_decode_is_refused_before_the_first_frame(encoder, limits, monkeypatch):
    data = encoder("mp4", video="libx264", seconds=4.0, options={"g": "1000"})  # one group of 40 pictures
    slow = Limits(decode_deadline_s=10, decode_pixels_per_s=64 * 48)
    monkeypatch.setattr(Tracks, "_decode", lambda *_: pytest.fail("a frame was decoded"))
    with pytest.raises(DeadlineError) as caught:
        decode_video(data, slow, frames=8)
    assert caught.value.limit == "decode_deadline_s=10"


def test_only_what_is_wanted_counts_as_work(encoder):
    """Ten frames would do: of the first group alone, one frame has to be decoded."""
    data = encoder("mp4", video="libx264", seconds=4.0, options={"g": "4", "bf": "0"})
    limits = Limits(decode_deadline_s=10, decode_pixels_per_s=64 * 48)
    assert decode_video(data, limits, frames=1).frames.shape[0] == 1
    with pytest.raises(DeadlineError):
        decode_video(data, limits)
