"""`make loadtest`: a system of its own with the catalogue in it, and the load of `loadtests/` upon it.

python -m cli.loadtest [--pool 200] [options of loadtests/locustfile.py and of locust]
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import psutil
from rich.console import Console

from benchmarks.machine import describe
from cli import processes
from cli.catalogues import demo_manifest
from cli.failures import exit_code
from cli.measure import indexed
from cli.stack import Stack
from orchestrator.settings import load_settings

__all__ = ["load"]

LOCUSTFILE = Path("loadtests/locustfile.py")
MILVUS_LITE = "orchestrator.clients.milvus_lite_main"

console = Console(stderr=True)


def load(pool: int, more: Sequence[str]) -> int:
    """Exit code of Locust, which is given `more` too, or of what makes the payloads."""
    home = load_settings().home.absolute()
    manifest = demo_manifest(home)
    payloads = home / "cache" / "loadtest"
    command = processes.python("-m", "loadtests.prepare", "--catalogue", str(manifest))
    command += ["--out", str(payloads), "--pool", str(pool)]
    with console.status("making queries"):
        prepared = subprocess.run(command, check=False).returncode
    if prepared:
        return prepared
    with indexed(home / "measure" / "lite", home, manifest, {}) as stack:
        command = processes.python("-m", "locust", "-f", str(LOCUSTFILE), "--headless", "--only-summary")
        command += ["-u", "1", "--host", stack.page, "--grpc-target", stack.target]
        command += ["--payloads", str(payloads), "--pids", _pids(stack)]
        command += ["--machine", f"{describe()}; client and server share it"]
        return subprocess.run([*command, *more], check=False).returncode


def _pids(stack: Stack) -> str:
    """As `--pids` reads them. Milvus Lite is a child of the orchestrator."""
    found = {}
    for name in stack.names:
        if record := processes.read_record(name, stack.settings.home / "run"):
            found[name] = record.pid
            for child in psutil.Process(record.pid).children(recursive=True):
                if MILVUS_LITE in child.cmdline():
                    found["milvus"] = child.pid
    return ",".join(f"{name}={pid}" for name, pid in found.items())


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m cli.loadtest", description="Load on a system of its own.", allow_abbrev=False
    )
    parser.add_argument("--pool", type=int, default=200, help="queries of each modality")
    arguments, more = parser.parse_known_args()
    return exit_code(lambda: load(arguments.pool, more))


if __name__ == "__main__":
    sys.exit(main())
