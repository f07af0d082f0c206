"""Milvus Lite in a process of its own: ``python -m orchestrator.clients.milvus_lite_main DATA_DIR PORT``.

It listens on 127.0.0.1 (PORT 0: a free one), writes the port as one line on standard output, and ends in
order when its standard input does, which is when the process that started it is gone, for whatever reason.

``milvus-lite server`` cannot stand in for it: it reports no port, and outlives its parent.
"""

from __future__ import annotations

import signal
import sys

from milvus_lite.adapter.grpc.server import start_server_in_thread
from milvus_lite.exceptions import DataDirLockedError

from orchestrator.clients.milvus_lite_speed import hasten

EXIT_LOCKED = 75
"""Another process holds the data directory."""

_GRACE_S = 2.0


def main() -> int:
    data_dir, port = sys.argv[1], int(sys.argv[2])
    # Ctrl-C reaches the whole foreground group; only the parent decides when this ends.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    hasten()
    try:
        server, db, bound_port = start_server_in_thread(data_dir, host="127.0.0.1", port=port)
    except DataDirLockedError:
        return EXIT_LOCKED
    print(bound_port, flush=True)
    sys.stdin.buffer.read()
    server.stop(grace=_GRACE_S).wait()
    db.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
