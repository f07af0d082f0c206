"""SVG: rendered alone, in bounded time, with nothing followed outside it."""

from __future__ import annotations

import base64
import contextlib
import gzip
import io
import os
import subprocess
import sys
import threading
import time
from dataclasses import replace

import numpy as np
import psutil
import pytest
from PIL import Image

import media.svg as svg_module
from media import (
    BombError,
    CorruptError,
    DeadlineError,
    ExternalReferenceError,
    Limits,
    TooLargeError,
    TruncatedError,
    UnsupportedError,
    decode_image,
    probe,
    sniff,
)
from media.svg_process import Renderer

HEAD = (
    '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
    ' width="40" height="20">'
)
LAUGHS = '<!ENTITY a0 "lol">' + "".join(f'<!ENTITY a{i} "{f"&a{i - 1};" * 10}">' for i in range(1, 9))


def _decode(body: str, limits: Limits, head: str = HEAD) -> np.ndarray:
    return decode_image(f"{head}{body}</svg>".encode(), limits)


def _png(size: tuple[int, int] = (2, 2)) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", size, (0, 255, 0)).save(file, "PNG")
    return file.getvalue()


def test_longest_side_and_white_ground(limits):
    pixels = _decode('<circle cx="20" cy="10" r="5" fill="red"/>', limits)
    assert pixels.shape == (256, 512, 3)
    np.testing.assert_array_equal(pixels[128, 256], (255, 0, 0))
    np.testing.assert_array_equal(pixels[0, 0], (255, 255, 255))


@pytest.mark.parametrize("unit", ["", "px", "pt", "mm", "cm", "in", "em"])
def test_units(limits, unit):
    pixels = _decode(
        "", limits, f'<svg xmlns="http://www.w3.org/2000/svg" width="40{unit}" height="20{unit}">'
    )
    assert pixels.shape[1] == 512
    assert abs(pixels.shape[0] - 256) <= 8  # sizes are first rounded to whole pixels


def test_gzipped(files, limits):
    plain = decode_image(files["image", "svg"], limits)
    np.testing.assert_array_equal(decode_image(gzip.compress(files["image", "svg"]), limits), plain)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "iso-8859-1"])
def test_encodings(limits, encoding):
    svg = f'<?xml version="1.0" encoding="{encoding}"?>{HEAD}<title>é</title></svg>'
    kind = sniff(b"<svg xmlns='x' />", limits)
    assert decode_image(svg.encode(encoding), limits, kind).shape == (256, 512, 3)


@pytest.mark.parametrize("size", ["1000000", "1e30", "100%"])
def test_size_is_ours_to_choose(limits, size):
    head = f'<svg xmlns="http://www.w3.org/2000/svg" width="{size}" height="{size}" viewBox="0 0 1 1">'
    assert _decode("", limits, head).shape == (512, 512, 3)


def test_doctype_without_entities_is_fine(limits):
    doctype = (
        '<!DOCTYPE svg PUBLIC "-//W3C//DTD SVG 1.1//EN" "http://www.w3.org/Graphics/SVG/1.1/DTD/svg11.dtd">'
    )
    assert _decode("", limits, doctype + HEAD).shape == (256, 512, 3)


def test_embedded_picture_is_drawn(limits):
    uri = "data:image/png;base64," + base64.b64encode(_png()).decode()
    pixels = _decode(f'<image width="40" height="20" preserveAspectRatio="none" href="{uri}"/>', limits)
    assert (pixels[128, 256] == (0, 255, 0)).all()


@pytest.mark.parametrize("attribute", ["href", "xlink:href"])
@pytest.mark.parametrize(
    "address",
    ["{file}", "file://{file}", "http://127.0.0.1:9/x.png", "//host/x.png", "x.svg#a", "../x.png", " {file}"],
)
@pytest.mark.parametrize("element", ["image", "use", "feImage", "linearGradient"])
def test_external_references_are_refused(limits, tmp_path, element, attribute, address):
    file = tmp_path / "x.png"
    file.write_bytes(_png())
    with pytest.raises(ExternalReferenceError) as caught:
        _decode(f'<{element} width="40" height="20" {attribute}="{address.format(file=file)}"/>', limits)
    assert str(file) not in str(caught.value)


def test_links_are_not_references(limits):
    assert _decode('<a href="https://example.org"><rect width="9" height="9"/></a>', limits).shape == (
        256,
        512,
        3,
    )


def test_the_renderer_itself_opens_no_file(limits, tmp_path):
    """Past the check of the markup: the kernel refuses the renderer every new file descriptor."""
    file = tmp_path / "x.png"
    file.write_bytes(_png())
    nested = f'{HEAD}<image width="40" height="20" href="{file}"/></svg>'
    uri = "data:image/svg+xml;base64," + base64.b64encode(nested.encode()).decode()
    renderer = Renderer()
    try:
        for address in (str(file), uri):
            markup = (
                f'{HEAD}<image width="40" height="20" preserveAspectRatio="none" href="{address}"/></svg>'
            )
            drawn = Image.open(io.BytesIO(renderer.render(markup.encode(), limits, 5.0)))
            assert drawn.getextrema()[3] == (0, 0), "something was drawn"
    finally:
        renderer.close()


@pytest.mark.parametrize(
    ("entities", "error"),
    [
        ('<!ENTITY a "aaaa">', UnsupportedError),
        (LAUGHS, UnsupportedError),
        ('<!ENTITY a SYSTEM "file:///etc/passwd">', ExternalReferenceError),
        ('<!ENTITY % p SYSTEM "http://127.0.0.1:9/x.dtd"> %p;', ExternalReferenceError),
    ],
)
def test_entities_are_refused(limits, entities, error):
    with pytest.raises(error):
        _decode("<text>&a;</text>", limits, f"<!DOCTYPE svg [{entities}]>{HEAD}")


def _use_bomb(levels: int) -> str:
    groups = "".join(f'<g id="a{i}">' + f'<use href="#a{i - 1}"/>' * 10 + "</g>" for i in range(1, levels))
    return f'<defs><rect id="a0" width="1" height="1"/>{groups}</defs><use href="#a{levels - 1}"/>'


@pytest.mark.timeout(60)
@pytest.mark.parametrize("levels", [7, 10, 30])
def test_nested_use_is_stopped_and_the_renderer_goes_on(limits, levels):
    with pytest.raises((DeadlineError, BombError, CorruptError)) as caught:
        _decode(_use_bomb(levels), limits)
    assert caught.value.kind == "svg"
    assert _decode("", limits).shape == (256, 512, 3)


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    "body",
    [
        '<filter id="f"><feTurbulence numOctaves="100000000" baseFrequency="9"/></filter>'
        '<rect width="40" height="20" filter="url(#f)"/>',
        '<filter id="f"><feMorphology operator="dilate" radius="9000"/></filter>'
        '<rect width="40" height="20" filter="url(#f)"/>',
        '<path d="' + "M0 0L40 20 " * 200_000 + '" stroke="red" stroke-width="9" stroke-dasharray="0.001"/>',
        '<pattern id="p" width="0.0001" height="0.0001" patternUnits="userSpaceOnUse">'
        '<rect width="1" height="1"/></pattern><rect width="40" height="20" fill="url(#p)"/>',
        "<g>" * 5000 + "</g>" * 5000,
        '<use id="a" href="#b"/><use id="b" href="#a"/>',
    ],
)
def test_costly_drawings_end(limits, body):
    with contextlib.suppress(DeadlineError, BombError, CorruptError):  # or it is drawn in time
        assert _decode(body, limits).shape == (256, 512, 3)
    assert _decode("", limits).shape == (256, 512, 3)


def test_embedded_bomb(limits):
    """A 30000 x 30000 PNG inside: resvg would need 3.6 GB for it."""
    import zlib

    def chunk(name: bytes, body: bytes) -> bytes:
        return len(body).to_bytes(4) + name + body + zlib.crc32(name + body).to_bytes(4)

    side = 30_000
    rows = zlib.compressobj(9)
    packed = b"".join(rows.compress(bytes(1 + side * 4)) for _ in range(64)) + rows.flush()
    png = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", side.to_bytes(4) * 2 + b"\x08\x06\0\0\0")
    png += chunk(b"IDAT", packed) + chunk(b"IEND", b"")
    uri = "data:image/png;base64," + base64.b64encode(png).decode()
    with contextlib.suppress(DeadlineError, BombError, CorruptError):  # or resvg leaves it out
        assert _decode(f'<image width="40" height="20" href="{uri}"/>', limits).min() == 255
    assert _decode("", limits).shape == (256, 512, 3)


def test_gzip_bomb(limits):
    bomb = gzip.compress(f"{HEAD}".encode() + b" " * (limits.max_svg_bytes + 1) + b"</svg>")
    kind = sniff(bomb, limits)
    with pytest.raises(BombError) as caught:
        decode_image(bomb, limits, kind)
    assert caught.value.limit.startswith("max_svg_bytes=")


def test_sizes_are_bounded():
    with pytest.raises(TooLargeError):
        _decode(" " * 200, Limits(max_svg_bytes=200))
    with pytest.raises(BombError):
        _decode("<g/>" * 20, Limits(max_svg_elements=20))
    with pytest.raises(BombError) as caught:  # one element: the parser reads all of it before it says a word
        _decode("<g " + " ".join(f'a{i}=""' for i in range(20)) + "/>", Limits(max_svg_attributes=20))
    assert caught.value.limit == "max_svg_attributes=20"


def test_reading_counts_against_the_time_for_rendering(limits, monkeypatch):
    asked: list[float] = []

    def render(markup: bytes, limits: Limits, cpu_s: float) -> bytes:
        asked.append(cpu_s)
        return _png()

    def slow_check(data: bytes, limits: Limits) -> bytes:
        until = time.thread_time() + 0.2
        while time.thread_time() < until:
            pass
        return data

    monkeypatch.setattr(svg_module.RENDERER, "render", render)
    _decode("", limits)
    monkeypatch.setattr(svg_module, "check_svg", slow_check)
    _decode("", limits)
    _decode("", replace(limits, svg_deadline_s=0.1))
    assert 0 < asked[1] <= limits.svg_deadline_s - 0.2 < asked[0] <= limits.svg_deadline_s
    assert 0 < asked[2] < 0.1


def test_a_renderer_that_was_stopped_is_replaced_before_the_next_picture(limits):
    renderer = Renderer()
    markup = f"{HEAD}{_use_bomb(8)}</svg>".encode()
    try:
        with pytest.raises((DeadlineError, BombError)):
            renderer.render(markup, limits, 0.01)
        waiting = renderer._process.pid
        assert renderer.render(f"{HEAD}</svg>".encode(), limits, 0.5)
        assert renderer._process.pid == waiting
    finally:
        renderer.close()


def test_cut_and_broken(limits):
    svg = f'{HEAD}<rect width="9" height="9"/></svg>'.encode()
    for end in (len(svg) - 3, len(svg) - 6, len(svg) // 2):
        with pytest.raises(TruncatedError):
            decode_image(svg[:end], limits, sniff(svg, limits))
    with pytest.raises(CorruptError):
        decode_image(svg.replace(b"</svg>", b"</g>"), limits)
    with pytest.raises(TruncatedError):
        decode_image(gzip.compress(svg)[:-9], limits, sniff(svg, limits))


def test_probe_checks_without_rendering(limits):
    svg = f'{HEAD}<image href="x.png"/></svg>'.encode()
    with pytest.raises(ExternalReferenceError):
        probe(svg, sniff(svg, limits), limits)


def test_renderer_is_shared_by_threads_and_survives_being_killed(limits):
    renderer = Renderer()
    markup = f'{HEAD}<rect width="9" height="9"/></svg>'.encode()
    sizes: list[int] = []
    threads = [
        threading.Thread(target=lambda: sizes.append(len(renderer.render(markup, limits, 5.0))))
        for _ in range(6)
    ]
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert len(set(sizes)) == 1
        assert len(sizes) == 6
        os.kill(renderer._process.pid, 9)
        renderer._process.wait()
        assert len(renderer.render(markup, limits, 5.0)) == sizes[0]
    finally:
        renderer.close()
    assert renderer._process is None


def test_the_renderer_ends_with_its_owner(limits):
    """Even when the owner is killed and cannot clean up."""
    code = (
        "import os; from media import Limits, decode_image; from media.svg_process import RENDERER\n"
        f"decode_image({HEAD + '</svg>'!r}.encode(), Limits())\n"
        "print(RENDERER._process.pid, flush=True); os.kill(os.getpid(), 9)"
    )
    owner = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    pid = int(owner.stdout)
    for _ in range(200):
        if not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
            return
        time.sleep(0.05)
    pytest.fail("the renderer is still there")
