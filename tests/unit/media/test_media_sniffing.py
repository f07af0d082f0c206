"""What content is found to be."""

from __future__ import annotations

import io
import sys
import zipfile
from pathlib import Path

import pytest
from PIL import Image

from media import EmptyError, EncryptedError, Limits, Modality, TooLargeError, UnsupportedError, sniff

FORMATS = [
    *(("image", name) for name in ("jpeg", "png", "webp", "gif", "bmp", "tiff", "svg")),
    *(("audio", name) for name in ("wav", "flac", "ogg", "mp3", "m4a", "webm")),
    *(("video", name) for name in ("mp4", "webm", "mov", "avi", "gif", "webp", "png")),
    ("text", "text"),
]


@pytest.mark.parametrize(("modality", "name"), FORMATS)
def test_every_format_is_known_by_its_content(files, limits, modality, name):
    kind = sniff(files[modality, name], limits)
    assert (kind.modality, kind.format) == (modality, name)
    if modality == "audio":
        assert kind.mime.startswith("audio/")


@pytest.mark.parametrize(
    "text",
    [
        "a",
        "red",
        "a red car",
        "犬",
        "crème brûlée",
        "Ёлка",
        "🐸",
        '{"a": 1}',
        "def f():\n    return 1\n",
        "<b>hi</b>",
        "x" * 40_000,
    ],
)
def test_short_texts_are_text(text, limits):
    assert sniff(text.encode(), limits).modality is Modality.TEXT


@pytest.mark.parametrize(
    "prologue",
    [
        "",
        "\ufeff",
        '<?xml version="1.0"?>\n<!-- made by hand > -->\n',
        '<!DOCTYPE svg PUBLIC "-//W3C//DTD" "http://x">',
    ],
)
def test_svg_after_any_prologue(prologue, limits):
    svg = f'{prologue}<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>'
    assert sniff(svg.encode(), limits).format == "svg"


def test_html_with_a_drawing_in_it_is_text(limits):
    page = b"<!DOCTYPE html><html><body><p>Frogs</p><svg width='1' height='1'></svg></body></html>"
    assert sniff(page, limits).modality is Modality.TEXT


def test_gzipped_svg(files, limits):
    import gzip

    assert sniff(gzip.compress(files["image", "svg"]), limits).format == "svg"
    with pytest.raises(UnsupportedError) as caught:
        sniff(gzip.compress(b"not a drawing"), limits)
    assert caught.value.kind == "gzip"


def test_mp3_with_a_tag_in_front(files, limits):
    tag = b"ID3\x04\0\0" + bytes([0, 0, 2, 0]) + b"\0" * 256
    assert sniff(tag + files["audio", "mp3"], limits).format == "mp3"


def test_cover_art_does_not_make_a_video(encoder, limits):
    import av

    sound = encoder("ipod", audio="aac")
    cover = io.BytesIO()
    Image.new("RGB", (16, 16), "red").save(cover, "JPEG")
    out = io.BytesIO()
    with av.open(io.BytesIO(sound)) as source, av.open(out, "w", format="mp4") as target:
        stream = target.add_stream_from_template(source.streams.audio[0])
        picture = target.add_stream("mjpeg", rate=1)
        picture.width = picture.height = 16
        picture.pix_fmt = "yuvj420p"
        picture.disposition = av.stream.Disposition.attached_pic
        for packet in source.demux(source.streams.audio[0]):
            if packet.size:
                packet.stream = stream
                target.mux(packet)
        packet = av.Packet(cover.getvalue())
        packet.stream = picture
        packet.pts = packet.dts = 0
        target.mux(packet)
    assert sniff(out.getvalue(), limits).modality is Modality.AUDIO


def test_empty(limits):
    with pytest.raises(EmptyError):
        sniff(b"", limits)


def test_too_large_names_the_limit(files):
    with pytest.raises(TooLargeError) as caught:
        sniff(files["image", "png"], Limits(max_bytes=10))
    assert caught.value.limit == "max_bytes=10"


def _zip(flags: int = 0) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("frog.png", b"not a picture" * 9)
    data = bytearray(file.getvalue())
    data[6] |= flags
    return bytes(data)


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (_zip(), "zip"),
        (b"%PDF-1.7\n1 0 obj\n<<>>\nendobj\ntrailer\n<</Root 1 0 R>>\n%%EOF", "pdf"),
        (Path(sys.executable).read_bytes()[:100_000], "elf"),
        (b"\0\0\0\x1cftypavif\0\0\0\0avifmif1miaf" + bytes(500), "avif"),
    ],
)
def test_other_kinds_are_refused_by_name(data, kind, limits):
    with pytest.raises(UnsupportedError) as caught:
        sniff(data, limits)
    assert caught.value.kind == kind


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (_zip(flags=1), "zip"),
        (b"%PDF-1.7\ntrailer\n<</Root 1 0 R /Encrypt 2 0 R>>\n%%EOF", "pdf"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(500) + "EncryptedPackage".encode("utf-16-le"), "office"),
    ],
)
def test_encrypted_containers(data, kind, limits):
    with pytest.raises(EncryptedError) as caught:
        sniff(data, limits)
    assert caught.value.kind == kind


def test_polyglots_are_what_they_begin_with(files, limits):
    for key in [("image", "png"), ("image", "gif"), ("image", "jpeg"), ("audio", "flac"), ("video", "mp4")]:
        kind = sniff(files[key] + _zip(), limits)
        assert (kind.modality, kind.format) == key
    with pytest.raises(UnsupportedError):
        sniff(_zip() + files["image", "png"], limits)
