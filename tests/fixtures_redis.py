"""A real redis-server, once per session, and Redis stores on it that begin empty."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import AsyncGenerator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from redis import Redis
from redis.exceptions import RedisError

from orchestrator.clients.redis import RedisStore

INSTALL = "apt-get install redis-server"
PACKAGES = ("redis-server", "redis-tools", "libatomic1", "libjemalloc2", "liblzf1")
START_S = 20.0
TIMEOUT_S = 0.5
"""Of one call: generous, for what is tested here is not how fast a busy machine is."""


@dataclass
class RedisServer:
    """A redis-server of our own on loopback that keeps nothing on disk. It can be stopped and started."""

    command: list[str]
    environ: dict[str, str]
    folder: Path
    port: int
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}"

    def start(self) -> None:
        arguments = ["--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
        arguments += ["--maxmemory", "64mb", "--maxmemory-policy", "allkeys-lru"]
        with (self.folder / "redis.log").open("ab") as log:
            self.process = subprocess.Popen(
                [*self.command, *arguments], cwd=self.folder, env=self.environ, stdout=log, stderr=log
            )
        deadline_s = time.monotonic() + START_S
        while True:
            try:
                with Redis(port=self.port) as client:
                    client.ping()
                return
            except RedisError:
                if time.monotonic() > deadline_s or self.process.poll() is not None:
                    raise RuntimeError(f"redis-server does not start; see {self.folder}/redis.log") from None
                time.sleep(0.05)

    def stop(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def contents(self) -> dict[bytes, bytes]:
        """Every key with its value."""
        with Redis(port=self.port) as client:
            return {key: client.get(key) or b"" for key in client.scan_iter()}  # type: ignore[union-attr,misc]


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """The machine's redis-server, or Debian's packages of it, unpacked without root."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    folder = tmp_path_factory.mktemp("redis")
    command, environ = _found() or _unpacked()
    server = RedisServer(command, environ, folder, port)
    server.start()
    yield server
    server.stop()


@pytest.fixture
async def redis_store(redis_server: RedisServer) -> AsyncGenerator[Callable[[], RedisStore]]:
    """Makes stores, as several processes would, on the running server, which begins empty."""
    with Redis(port=redis_server.port) as client:
        client.flushall()
    stores: list[RedisStore] = []

    def make() -> RedisStore:
        stores.append(RedisStore(redis_server.url, TIMEOUT_S))
        return stores[-1]

    yield make
    for store in stores:
        await store.close()


def _found() -> tuple[list[str], dict[str, str]] | None:
    path = shutil.which("redis-server")
    return ([path], dict(os.environ)) if path else None


def _unpacked() -> tuple[list[str], dict[str, str]]:
    """apt checks what it fetches against the signed lists: no version is pinned, security fixes come in."""
    home = Path(os.environ.get("SENSORIUM_HOME", ".sensorium")).absolute()
    root = home / "cache" / "redis-server"
    binary = root / "usr/bin/redis-server"
    if not binary.exists():
        if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
            pytest.skip(f"no redis-server: {INSTALL}")
        part = root.with_name(f"redis-server.{os.getpid()}")
        (part / "deb").mkdir(parents=True)
        try:
            _run(["apt-get", "-q", "-o", "APT::Sandbox::User=root", "download", *PACKAGES], part / "deb")
            for package in (part / "deb").glob("*.deb"):
                _run(["dpkg-deb", "--extract", str(package), str(part)], part)
        except (OSError, subprocess.SubprocessError):
            shutil.rmtree(part)
            pytest.skip(f"no redis-server, and it cannot be fetched: {INSTALL}")
        shutil.rmtree(root, ignore_errors=True)
        part.rename(root)
    libraries = sorted({str(path.parent) for path in (root / "usr/lib").rglob("*.so*")})
    return [str(binary)], {**os.environ, "LD_LIBRARY_PATH": ":".join(libraries)}


def _run(command: list[str], folder: Path) -> None:
    subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=300)
