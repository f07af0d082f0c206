"""A redis-server of our own on loopback that keeps nothing on disk: the machine's, or that of Debian's
packages, unpacked without root.

Error tree:

    RedisServerError       there is none, or it does not start; the message says what to do
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from redis import Redis
from redis.exceptions import RedisError

__all__ = ["RedisServer", "RedisServerError"]

INSTALL = "apt-get install redis-server"
PACKAGES = ("redis-server", "redis-tools", "libatomic1", "libjemalloc2", "liblzf1")
START_S = 20.0


class RedisServerError(Exception):
    """There is no redis-server, or it does not start."""


class RedisServer:
    """Reached at `url` once started; it can be killed and started again. `cache` is where packages are
    unpacked, `folder` where its log goes.

    Raises:
        RedisServerError: there is none, and it cannot be fetched.
    """

    def __init__(self, cache: Path, folder: Path) -> None:
        path = shutil.which("redis-server")
        self._command, self._environ = ([path], dict(os.environ)) if path else _unpacked(cache)
        self._folder = folder
        self.process: subprocess.Popen[bytes] | None = None
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()

    @property
    def url(self) -> str:
        """As SENSORIUM_CACHE__REDIS_URL has it."""
        return f"redis://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Returns when it answers. Raises RedisServerError."""
        arguments = ["--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
        arguments += ["--maxmemory", "64mb", "--maxmemory-policy", "allkeys-lru"]
        log = self._folder / "redis.log"
        with log.open("ab") as output:
            self.process = subprocess.Popen(
                [*self._command, *arguments],
                cwd=self._folder,
                env=self._environ,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        deadline_s = time.monotonic() + START_S
        while True:
            try:
                with Redis(port=self.port) as client:
                    client.ping()
                return
            except RedisError:
                if time.monotonic() > deadline_s or self.process.poll() is not None:
                    self.kill()
                    raise RedisServerError(f"redis-server does not start; see {log}") from None
                time.sleep(0.05)

    def kill(self) -> None:
        """Ends it at once (kill -9). May be called at any time, and again."""
        process, self.process = self.process, None
        if process is not None:
            process.kill()
            process.wait()


def _unpacked(cache: Path) -> tuple[list[str], dict[str, str]]:
    """apt checks what it fetches against the signed lists: no version is pinned, security fixes come in."""
    root = cache.absolute() / "redis-server"
    binary = root / "usr/bin/redis-server"
    if not binary.exists():
        if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
            raise RedisServerError(f"no redis-server: {INSTALL}")
        part = root.with_name(f"redis-server.{os.getpid()}")
        (part / "deb").mkdir(parents=True)
        try:
            _run(["apt-get", "-q", "-o", "APT::Sandbox::User=root", "download", *PACKAGES], part / "deb")
            for package in (part / "deb").glob("*.deb"):
                _run(["dpkg-deb", "--extract", str(package), str(part)], part)
        except (OSError, subprocess.SubprocessError) as error:
            shutil.rmtree(part)
            raise RedisServerError(f"no redis-server, and it cannot be fetched: {INSTALL}") from error
        shutil.rmtree(root, ignore_errors=True)
        part.rename(root)
    libraries = sorted({str(path.parent) for path in (root / "usr/lib").rglob("*.so*")})
    return [str(binary)], {**os.environ, "LD_LIBRARY_PATH": ":".join(libraries)}


def _run(command: list[str], folder: Path) -> None:
    subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=300)
