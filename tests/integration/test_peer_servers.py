"""A peer's process: started, frozen while others are measured, woken, and stopped by its process id."""

from __future__ import annotations

import http.client
import sys
from pathlib import Path

import psutil
import pytest

from benchmarks.peer_servers import PeerError, running
from cli.scratch import free_ports


def test_a_server_is_frozen_between_its_bursts_and_stopped_at_the_end(tmp_path: Path) -> None:
    (port,) = free_ports(1)

    def status() -> int:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        try:
            connection.request("GET", "/")
            return connection.getresponse().status
        finally:
            connection.close()

    command = [sys.executable, "-m", "http.server", str(port), "--bind", "127.0.0.1"]
    with running("files", command, tmp_path / "log", status, cwd=tmp_path) as server:
        process = psutil.Process(server.pid)
        assert process.status() == psutil.STATUS_STOPPED
        server.wake()
        assert status() == 200
        assert server.cpu_s() > 0
        server.freeze()
    assert not psutil.pid_exists(server.pid)


def test_a_server_that_ends_is_named_with_its_log(tmp_path: Path) -> None:
    def never() -> None:
        raise ConnectionRefusedError("nobody listens")

    with (
        pytest.raises(PeerError, match=r"broken ended with code 3, see .*log"),
        running("broken", [sys.executable, "-c", "raise SystemExit(3)"], tmp_path / "log", never),
    ):
        pass
