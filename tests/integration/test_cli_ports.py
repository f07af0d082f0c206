"""A port that something else has is found out before anything is started."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from cli.scratch import free_ports
from cli.stack import Stack, StackError
from orchestrator.settings import Settings


@pytest.mark.parametrize("taken", ["grpc_port", "http_port"])
def test_a_taken_port_is_named(tmp_path: Path, taken: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        ports = dict(zip(("grpc_port", "http_port"), free_ports(2), strict=True))
        ports[taken] = other.getsockname()[1]
        stack = Stack(Settings.model_validate({"home": tmp_path, "api": ports}))
        with pytest.raises(StackError, match=str(ports[taken])):
            stack.up()
    assert list((tmp_path / "run").glob("*.json")) == []
