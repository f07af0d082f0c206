"""The real Milvus of the wheel `milvus` (2.3.5, standalone), without a container and without open ports.

Milvus listens on every interface and cannot be told otherwise. So it runs in a network namespace of its own,
which has nothing but a loopback, and only its API is reachable from outside, through a relay on one loopback
port:

    client -> 127.0.0.1:PORT (bound outside) -> relay -> 127.0.0.1:19530 (inside) -> Milvus

The relay process holds the port from before it enters the namespace. It ends, and Milvus with it, when its
standard input does: whatever ends the process that started it ends all. `python -m cli.milvus_server DATA_DIR
[PORT]` runs one until it gets SIGTERM or SIGINT; `MilvusServer` is the same for tests.

Error tree:

    MilvusServerError      the server cannot be started here; the message says what is missing
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import ctypes
import fcntl
import importlib
import importlib.util
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Final

__all__ = ["MilvusServer", "MilvusServerError", "milvus_standalone", "why_not_here"]

_START_S: Final = 180.0
_GRACE_S: Final = 3
_STOP_S: Final = 20.0
_INSIDE_PORT: Final = 19530
_HEALTH_URL: Final = "http://127.0.0.1:9091/healthz"
_UNSHARE: Final = ("unshare", "--user", "--map-root-user", "--net", "--")
_CHUNK_BYTES: Final = 256 * 1024


class MilvusServerError(Exception):
    """The server cannot be started here, or ended by itself."""


def why_not_here() -> str | None:
    """What is missing on this machine, with how to get it; None when nothing is."""
    found = importlib.util.find_spec("milvus")
    if found is None or found.origin is None:  # without an origin it is the project's folder of YAML files
        return "the Milvus server is not installed: pip install -e '.[milvus-server]'"
    if shutil.which("unshare") is None:
        return "`unshare` is missing: apt-get install util-linux"
    tried = subprocess.run([*_UNSHARE, "true"], capture_output=True, text=True, timeout=10, check=False)
    if tried.returncode != 0:
        return (
            "this machine allows no user namespaces, without which Milvus would listen on every interface: "
            "sysctl kernel.unprivileged_userns_clone=1"
        )
    return None


class MilvusServer:
    """Milvus with its data in `data_dir`, reached at `uri` once started. `port` 0 takes a free one."""

    def __init__(self, data_dir: Path, port: int = 0) -> None:
        self._data_dir = data_dir.absolute()
        self._port = port
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def uri(self) -> str:
        """Where its API is."""
        return f"http://127.0.0.1:{self._port}"

    def start(self) -> None:
        """Returns when it is healthy.

        Raises MilvusServerError: it cannot run here, the port is taken, or it was not healthy within 180 s.
        """
        if reason := why_not_here():
            raise MilvusServerError(reason)
        self._data_dir.mkdir(parents=True, exist_ok=True)
        with socket.create_server(("127.0.0.1", self._port)) as listener:
            self._port = listener.getsockname()[1]
            with (self._data_dir / "relay.log").open("ab") as log:
                self._process = subprocess.Popen(
                    [
                        *_UNSHARE,
                        *(sys.executable, "-m", "cli.milvus_server"),
                        *("--inside", str(listener.fileno()), str(self._data_dir)),
                    ],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=log,
                    pass_fds=[listener.fileno()],
                    cwd=Path(__file__).parents[1],
                    start_new_session=True,
                )
        assert self._process.stdout is not None
        if not _first_line(self._process.stdout, _START_S + 10):
            self.stop()
            raise MilvusServerError(f"Milvus did not start; see {self._data_dir}/relay.log and logs/")

    def wait(self) -> int:
        """Waits until it has ended; its exit code."""
        assert self._process is not None
        return self._process.wait()

    def stop(self) -> None:
        """Lets it end in order, and kills it if it does not. May be called at any time, and again."""
        process, self._process = self._process, None
        if process is None:
            return
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.close()
        try:
            process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        process.stdout.close()


@contextlib.contextmanager
def milvus_standalone(data_dir: Path, port: int = 0) -> Iterator[str]:
    """The uri of a Milvus that runs while the block does. Raises MilvusServerError."""
    server = MilvusServer(data_dir, port)
    try:
        server.start()
        yield server.uri
    finally:
        server.stop()


def _first_line(stream: IO[bytes], deadline_s: float) -> bytes:
    """The first line of `stream`, empty when it ends or the deadline passes before."""
    lines: list[bytes] = []
    thread = threading.Thread(target=lambda: lines.append(stream.readline()), daemon=True)
    thread.start()
    thread.join(deadline_s)
    return lines[0] if lines else b""


# ---- inside the namespace ----


def _inside(listener: socket.socket, data_dir: Path) -> int:
    _raise_loopback()
    process = _start_milvus(data_dir)
    try:
        _wait_healthy(process)
        print("ready", flush=True)
        return asyncio.run(_relay_until_eof(listener, process))
    finally:
        process.terminate()
        try:
            process.wait(_STOP_S - 5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _raise_loopback() -> None:
    """A new namespace has its loopback down (netdevice(7): SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP)."""
    get_flags, set_flags, up = 0x8913, 0x8914, 0x1
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        request = struct.pack("16sH14x", b"lo", 0)
        flags = struct.unpack("16sH14x", fcntl.ioctl(any_socket, get_flags, request))[1]
        fcntl.ioctl(any_socket, set_flags, struct.pack("16sH14x", b"lo", flags | up))


def _start_milvus(data_dir: Path) -> subprocess.Popen[bytes]:
    # By name, because to a type checker `milvus` is the project's folder of YAML files.
    milvus = importlib.import_module("milvus")
    config = milvus.MilvusServerConfig(data_dir=str(data_dir), proxy_port=_INSIDE_PORT)
    config.set("etcd_log_level", "error")
    config.set("log.level", "warn")
    # A standalone's parts wait for each other while they stop; its log keeps what they have not written out.
    config.set("common.gracefulStopTimeout", _GRACE_S)
    config.resolve()
    # The wheel's own start() waits one second at a stop before it kills, and ties nothing to its parent.
    milvus._initialize_data_files(str(data_dir))
    binaries = data_dir / "bin"
    environment = {
        **os.environ,
        "DEPLOY_MODE": "STANDALONE",
        "METRICS_PORT": "9091",
        "MILVUS_RUN_DIR": str(data_dir / "run"),
        "LD_LIBRARY_PATH": f"{binaries}:{os.environ.get('LD_LIBRARY_PATH', '')}",
    }
    libc = ctypes.CDLL(None, use_errno=True)
    with (data_dir / "logs" / "milvus.log").open("ab") as log:
        return subprocess.Popen(
            [str(binaries / "milvus"), "run", "standalone"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=data_dir,
            env=environment,
            # PR_SET_PDEATHSIG: Milvus must not outlive a killed relay, in a namespace nobody can reach.
            preexec_fn=lambda: libc.prctl(1, signal.SIGTERM),
        )


def _wait_healthy(process: subprocess.Popen[bytes]) -> None:
    give_up_s = time.monotonic() + _START_S
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # no proxy reaches in here
    while True:
        if process.poll() is not None:
            raise MilvusServerError(f"Milvus ended with code {process.returncode}")
        with contextlib.suppress(OSError), direct.open(_HEALTH_URL, timeout=5) as answer:
            if b"OK" in answer.read():
                return
        if time.monotonic() > give_up_s:
            raise MilvusServerError(f"Milvus was not healthy within {_START_S:g} s")
        time.sleep(0.1)


async def _relay_until_eof(listener: socket.socket, process: subprocess.Popen[bytes]) -> int:
    """Relays connections until standard input or Milvus ends; 1 in the latter case."""
    loop = asyncio.get_running_loop()
    server = await asyncio.start_server(_relay, sock=listener, limit=_CHUNK_BYTES)
    asked = loop.run_in_executor(None, sys.stdin.buffer.read)
    ended = loop.run_in_executor(None, process.wait)
    async with server:
        done, _ = await asyncio.wait({asked, ended}, return_when=asyncio.FIRST_COMPLETED)
    if ended in done:
        os._exit(1)  # the thread that reads standard input cannot be woken
    process.terminate()
    await ended
    return 0


async def _relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        inner_reader, inner_writer = await asyncio.open_connection(
            "127.0.0.1", _INSIDE_PORT, limit=_CHUNK_BYTES
        )
        await asyncio.gather(_pump(reader, inner_writer), _pump(inner_reader, writer))


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(_CHUNK_BYTES):
            writer.write(data)
            await writer.drain()
    writer.close()


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m cli.milvus_server", description=__doc__.split("\n")[0])
    parser.add_argument("data_dir", type=Path)
    parser.add_argument("port", type=int, nargs="?", default=_INSIDE_PORT)
    parser.add_argument("--inside", type=int, metavar="FD", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.inside is not None:
        return _inside(socket.socket(fileno=arguments.inside), arguments.data_dir)
    server = MilvusServer(arguments.data_dir, arguments.port)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: sys.exit(0))
    try:
        server.start()
        print(f"Milvus is ready on {server.uri}", flush=True)
        return server.wait()
    except MilvusServerError as error:
        print(error, file=sys.stderr)
        return 1
    finally:
        server.stop()


if __name__ == "__main__":
    sys.exit(main())
