"""The one rendering process behind `media.svg`: started when first needed, replaced when it dies."""

from __future__ import annotations

import atexit
import math
import os
import select
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

from media import svg_worker
from media.errors import BombError, CorruptError, DeadlineError
from media.limits import Limits
from media.svg_worker import ANSWER, REQUEST

__all__ = ["RENDERER", "Renderer"]

_START_S = 15.0


class Renderer:
    """Thread-safe; renders one at a time. The process ends with this one, or when `close` is called."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._memory_bytes = 0
        self._is_ready = False
        self._owner = 0

    def render(self, markup: bytes, limits: Limits, cpu_s: float) -> bytes:
        """`markup` (UTF-8) as a PNG that fits into svg_render_px squared, in `cpu_s` of processor time.

        Raises CorruptError, DeadlineError and BombError (svg_memory_bytes).
        """
        request = REQUEST.pack(limits.svg_render_px, math.ceil(cpu_s * 1000), len(markup))
        until = time.monotonic() + limits.decode_deadline_s
        too_slow = DeadlineError(kind="svg", limit=f"svg_deadline_s={limits.svg_deadline_s:g}")
        if not self._lock.acquire(timeout=limits.decode_deadline_s):
            raise too_slow
        try:
            process = self._ready(limits)
            try:
                _write(process, request + markup, until)
                done, length = ANSWER.unpack(_read(process, ANSWER.size, until))
                png = _read(process, length, until)
            except TimeoutError as error:
                self._stop()
                raise too_slow from error
            except (BrokenPipeError, EOFError) as error:
                code = process.wait()
                # The next picture finds another process started, and does not pay for this one's end.
                self._start(limits)
                if code == -signal.SIGPROF:
                    raise too_slow from error
                raise BombError(kind="svg", limit=f"svg_memory_bytes={limits.svg_memory_bytes}") from error
            if not done:
                raise CorruptError(kind="svg")
            return png
        finally:
            self._lock.release()

    def close(self) -> None:
        """Stops the process; the next `render` starts another."""
        with self._lock:
            self._stop()

    def _ready(self, limits: Limits) -> subprocess.Popen[bytes]:
        process = self._process
        if (
            process is None
            or self._owner != os.getpid()
            or self._memory_bytes != limits.svg_memory_bytes
            or process.poll() is not None
        ):
            process = self._start(limits)
        if not self._is_ready:
            try:
                _read(process, 1, time.monotonic() + _START_S)
            except (EOFError, TimeoutError) as error:
                self._stop()
                raise RuntimeError("the SVG renderer does not start: is resvg_py installed?") from error
            self._is_ready = True
        return process

    def _start(self, limits: Limits) -> subprocess.Popen[bytes]:
        """A new process in place of the old one; it becomes ready while we go on."""
        self._stop()
        process = subprocess.Popen(
            # By its path, and -P: importing our package there would cost ten times the start.
            [_interpreter(), "-P", svg_worker.__file__, str(limits.svg_memory_bytes)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=_environment(),
        )
        self._process, self._owner = process, os.getpid()
        self._memory_bytes, self._is_ready = limits.svg_memory_bytes, False
        for pipe in (process.stdin, process.stdout):
            assert pipe is not None
            os.set_blocking(pipe.fileno(), False)
        return process

    def _stop(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        if self._owner == os.getpid():  # after a fork the process is our parent's child
            process.kill()
            process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()


def _environment() -> dict[str, str]:
    """Where our modules and the interpreter's libraries are, and nothing else."""
    environment = {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    if libraries := os.environ.get("LD_LIBRARY_PATH"):
        environment["LD_LIBRARY_PATH"] = libraries
    return environment


def _interpreter() -> str:
    """A Python of this version: inside Triton's stub `sys.executable` need not be one."""
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    candidates = (
        str(Path(sys.base_exec_prefix, "bin", version)),
        sys.executable or "",
        shutil.which(version) or "",
    )
    for candidate in candidates:
        if Path(candidate).name.startswith("python") and os.access(candidate, os.X_OK):
            return candidate
    raise RuntimeError(f"no {version} to run the SVG renderer with")


def _write(process: subprocess.Popen[bytes], data: bytes, until: float) -> None:
    assert process.stdin is not None
    rest = memoryview(data)
    while rest:
        _wait(process.stdin.fileno(), select.POLLOUT, until)
        rest = rest[os.write(process.stdin.fileno(), rest) :]


def _read(process: subprocess.Popen[bytes], length: int, until: float) -> bytes:
    assert process.stdout is not None
    data = bytearray()
    while len(data) < length:
        _wait(process.stdout.fileno(), select.POLLIN, until)
        chunk = os.read(process.stdout.fileno(), length - len(data))
        if not chunk:
            raise EOFError
        data += chunk
    return bytes(data)


def _wait(descriptor: int, event: int, until: float) -> None:
    poller = select.poll()  # select() fails beyond descriptor 1024
    poller.register(descriptor, event)
    if not poller.poll(max(0.0, until - time.monotonic()) * 1000):
        raise TimeoutError


RENDERER = Renderer()
atexit.register(RENDERER.close)
