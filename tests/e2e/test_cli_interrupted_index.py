"""Indexing that is interrupted in the middle, by the client's end and by the server's, and resumed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from fixtures_system import System
from rich.console import Console

from catalogue import read_manifest
from cli import processes
from cli.client import Client
from cli.indexing import index_items
from cli.scratch import scratch_stack
from cli.stack import Stack
from sensorium.v1 import sensorium_pb2 as pb

SOON_S = 60.0


def counts(stack: Stack) -> tuple[int, dict[str, int]]:
    status = stack.status()
    return status.items, dict(status.rows)


def wait_for_items(stack: Stack, at_least: int) -> None:
    deadline = time.monotonic() + SOON_S
    while counts(stack)[0] < at_least:
        assert time.monotonic() < deadline, "indexing does not get on"
        time.sleep(0.02)


@pytest.mark.timeout(600)
def test_interrupted_indexing_is_resumed_with_nothing_lost_or_doubled(
    system: System, built_home: Path, tmp_path: Path
) -> None:
    """On an orchestrator and a Milvus of its own, with the Triton of the system that nobody interrupts."""
    items = list(read_manifest(system.catalogue))
    index = [str(Path(sys.executable).with_name("sensorium")), "index", str(system.catalogue)]
    triton = {"SENSORIUM_TRITON__URL": system.stack.settings.triton.url}
    with scratch_stack(tmp_path / "home", built_home, triton, ("orchestrator",)) as stack:
        stack.up()

        # The client goes away.
        client = subprocess.Popen(
            index, env=dict(stack.environ), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        wait_for_items(stack, 3)
        client.send_signal(signal.SIGINT)
        client.wait(timeout=30)
        assert counts(stack)[0] < len(items)

        # The server is killed while a second client sends.
        client = subprocess.Popen(
            index, env=dict(stack.environ), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        wait_for_items(stack, counts(stack)[0] + 3)
        record = processes.read_record("orchestrator", stack.settings.home / "run")
        assert record is not None
        os.kill(record.pid, signal.SIGKILL)
        assert client.wait(timeout=60) != 0
        stack.up()

        with Client(stack.target) as again:
            summary = index_items(again, items, Console(stderr=True))
            assert not summary.refused
            assert counts(stack) == (len(items), system.rows)
            ids = [
                hit.item.id
                for offset in range(0, len(items) + 10, 10)
                for hit in again.search(
                    pb.SearchRequest(parts=[pb.QueryPart(text="a thing")], offset=offset, limit=10)
                ).hits
            ]
            assert sorted(ids) == sorted(item.id for item in items)
