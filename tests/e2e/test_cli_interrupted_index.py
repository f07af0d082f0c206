"""Indexing that is interrupted in the middle, by the client's end and by the server's, and resumed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from rich.console import Console

from catalogue import read_manifest
from catalogue.manifest import ManifestItem
from cli import processes
from cli.client import Client, ClientError
from cli.indexing import index_items
from cli.scratch import scratch_stack
from cli.stack import Stack
from sensorium.v1 import sensorium_pb2 as pb

SOON_S = 60.0
ITEMS = 90
"""More, and a client is not through while somebody asks how far it is; fewer than a search has rows."""


def counts(stack: Stack) -> tuple[int, dict[str, int]]:
    status = stack.status()
    return status.items, dict(status.rows)


def wait_for(stack: Stack, item: ManifestItem) -> None:
    """Asks for one item: what the status asks of Triton waits behind the indexing itself."""
    deadline = time.monotonic() + SOON_S
    with Client(stack.target) as client:
        while True:
            try:
                client.get(item.id)
                return
            except ClientError:
                assert time.monotonic() < deadline, "indexing does not get on"
                time.sleep(0.01)


@pytest.mark.timeout(600)
def test_interrupted_indexing_is_resumed_with_nothing_lost_or_doubled(
    built_home: Path, tmp_path: Path
) -> None:
    arguments = ["--items", str(ITEMS), "--seed", "1", "--out", str(tmp_path / "generated")]
    subprocess.run([sys.executable, "-m", "catalogue", "generate", *arguments], check=True, timeout=240)
    manifest = tmp_path / "generated" / "manifest.jsonl"
    items = list(read_manifest(manifest))
    index = [str(Path(sys.executable).with_name("sensorium")), "index", str(manifest)]
    with scratch_stack(tmp_path / "home", built_home) as stack:
        stack.up()

        # The client goes away.
        client = subprocess.Popen(
            index, env=dict(stack.environ), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        wait_for(stack, items[2])
        client.send_signal(signal.SIGINT)
        client.wait(timeout=30)
        known = counts(stack)[0]
        assert known + 3 < len(items)

        # The server is killed while a second client sends.
        client = subprocess.Popen(
            index, env=dict(stack.environ), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        wait_for(stack, items[known + 3])
        record = processes.read_record("orchestrator", stack.settings.home / "run")
        assert record is not None
        os.kill(record.pid, signal.SIGKILL)
        assert client.wait(timeout=60) != 0
        stack.up()

        with Client(stack.target) as again:
            summary = index_items(again, items, Console(stderr=True))
            assert not summary.refused
            found, rows = counts(stack)
            assert found == len(items)
            ids = [
                hit.item.id
                for offset in range(0, len(items) + 10, 10)
                for hit in again.search(
                    pb.SearchRequest(parts=[pb.QueryPart(text="a thing")], offset=offset, limit=10)
                ).hits
            ]
            assert sorted(ids) == sorted(item.id for item in items)

    with scratch_stack(tmp_path / "clean", built_home) as clean:
        clean.up()
        with Client(clean.target) as client_of_clean:
            index_items(client_of_clean, items, Console(stderr=True))
        assert counts(clean) == (len(items), rows)
