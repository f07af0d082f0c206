"""A second system beside the first: a home and ports of its own, sharing what is only read.

For measurements and tests, which must neither touch a running system's data nor build everything again.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path

from cli.stack import COMMANDS, Stack
from orchestrator.settings import Settings

__all__ = ["free_ports", "scratch_stack"]

SHARED = ("cache", "triton")
PORTS = ("GRPC", "HTTP", "TRITON_GRPC", "TRITON_HTTP", "TRITON_METRICS")


def free_ports(count: int) -> list[int]:
    """Loopback ports that were free a moment ago, all different."""
    with contextlib.ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


@contextlib.contextmanager
def scratch_stack(
    folder: Path,
    base_home: Path,
    extra: Mapping[str, str] | None = None,
    names: tuple[str, ...] = tuple(COMMANDS),
) -> Iterator[Stack]:
    """A stack, not yet started, whose home is `folder`; it is stopped at the end.

    `base_home` holds the server and the caches that it shares. `extra` are more SENSORIUM_ settings.
    `names`: see Stack.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name in SHARED:
        link = folder / name
        if not link.is_symlink():
            link.symlink_to(base_home.absolute() / name)
    grpc, http, triton_grpc, triton_http, triton_metrics = free_ports(len(PORTS))
    groups: dict[str, dict[str, object]] = {
        "api": {"grpc_port": grpc, "http_port": http},
        "triton": {"url": f"127.0.0.1:{triton_grpc}"},
    }
    environ = {
        **os.environ,
        **{
            f"SENSORIUM_{group}__{name}".upper(): str(value)
            for group, values in groups.items()
            for name, value in values.items()
        },
        "SENSORIUM_SERVING_GRPC_PORT": str(triton_grpc),
        "SENSORIUM_SERVING_HTTP_PORT": str(triton_http),
        "SENSORIUM_SERVING_METRICS_PORT": str(triton_metrics),
        **(extra or {}),
    }
    stack = Stack(Settings.model_validate({"home": folder.absolute(), **groups}), environ, names)
    try:
        yield stack
    finally:
        stack.down()
