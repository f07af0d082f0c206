"""Renders SVG in a fenced process: `python -P svg_worker.py MEMORY_BYTES`, over stdin and stdout.

A request is (side in pixels, processor time in ms, length) as big-endian uint32 and the markup; an answer is
(1, length) and a PNG, or (0, 0) when the markup does not render. One zero byte says that the worker is ready.
It ends with its input.

The kernel keeps the fence: no further file descriptors (so no file and no socket can be opened), a cap on
memory, and a processor-time alarm for each request that kills the process.
"""

from __future__ import annotations

import resource
import signal
import struct
import sys

import resvg_py

__all__ = ["ANSWER", "REQUEST", "main"]

REQUEST = struct.Struct(">III")
ANSWER = struct.Struct(">II")
_DPI = 96  # CSS's; without it resvg-py takes lengths in points or millimetres for nothing


def main(memory_bytes: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle: our input then ends
    _render(b'<svg xmlns="http://www.w3.org/2000/svg" width="1" height="1"/>', 1)  # loads what it will need
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with open("/proc/self/statm", "rb") as statm:  # noqa: PTH123 - the last file this process opens
        used_bytes = int(statm.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used_bytes + memory_bytes, used_bytes + memory_bytes))
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, 3))
    stdin, stdout = sys.stdin.buffer, sys.stdout.buffer
    stdout.write(b"\0")
    stdout.flush()
    while len(header := stdin.read(REQUEST.size)) == REQUEST.size:
        side_px, cpu_ms, length = REQUEST.unpack(header)
        markup = stdin.read(length)
        if len(markup) < length:
            return
        signal.setitimer(signal.ITIMER_PROF, cpu_ms / 1000)
        png = _render(markup, side_px)
        signal.setitimer(signal.ITIMER_PROF, 0)
        stdout.write(ANSWER.pack(bool(png), len(png)) + png)
        stdout.flush()


def _render(markup: bytes, side_px: int) -> bytes:
    try:
        # Width and height together are a box: the picture is fitted into it and keeps its shape.
        return resvg_py.svg_to_bytes(
            svg_string=markup.decode(),
            width=side_px,
            height=side_px,
            dpi=_DPI,
            skip_system_fonts=True,
        )
    except (ValueError, MemoryError):
        return b""


if __name__ == "__main__":
    main(int(sys.argv[1]))
