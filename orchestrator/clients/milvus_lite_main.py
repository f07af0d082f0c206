"""Milvus Lite in a process of its own: ``python -m orchestrator.clients.milvus_lite_main DATA_DIR PORT``.

It listens on 127.0.0.1 (PORT 0: a free one), writes the port as one line on standard output, and ends in
order when its standard input does, which is when the process that started it is gone, for whatever reason.

``milvus-lite server`` cannot stand in for it: it reports no port, outlives its parent, and opens a collection
when it is first asked for, without a lock, so that two callers at once open it twice, and one of them loads
what the others do not search. Here all are open and loaded before anybody is listened to.
"""

from __future__ import annotations

import contextlib
import signal
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import grpc
from milvus_lite.adapter.grpc.servicer import MilvusServicer
from milvus_lite.db import MilvusLite
from milvus_lite.exceptions import DataDirLockedError
from pymilvus.grpc_gen import milvus_pb2_grpc

from orchestrator.clients.milvus_lite_speed import hasten

EXIT_LOCKED = 75
"""Another process holds the data directory."""

_GRACE_S: Final = 2.0
_THREADS: Final = 10
_MESSAGE_BYTES: Final = 256 << 20


def main() -> int:
    data_dir, port = sys.argv[1], int(sys.argv[2])
    # Ctrl-C reaches the whole foreground group; only the parent decides when this ends.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    hasten()
    try:
        db = MilvusLite(data_dir)
    except DataDirLockedError:
        return EXIT_LOCKED
    with contextlib.closing(db):
        _load(db)
        server = grpc.server(
            ThreadPoolExecutor(_THREADS),
            options=[
                ("grpc.max_receive_message_length", _MESSAGE_BYTES),
                ("grpc.max_send_message_length", _MESSAGE_BYTES),
            ],
        )
        milvus_pb2_grpc.add_MilvusServiceServicer_to_server(MilvusServicer(db), server)
        bound_port = server.add_insecure_port(f"127.0.0.1:{port}")
        server.start()
        print(bound_port, flush=True)
        sys.stdin.buffer.read()
        server.stop(grace=_GRACE_S).wait()
    return 0


def _load(db: MilvusLite) -> None:
    for name in db.list_collections():
        # One that cannot be opened or loaded is left to whoever asks for it, who is told why.
        with contextlib.suppress(Exception):
            db.get_collection(name).load()


if __name__ == "__main__":
    sys.exit(main())
