"""`make evaluate` and `make bench`: systems of their own, measured through their public faces.

python -m cli.measure relevance [--out reports]
python -m cli.measure speed [--rounds 3] [--out reports]
"""

from __future__ import annotations

import argparse
import contextlib
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from rich.console import Console

from catalogue import CatalogueError, read_manifest
from cli import processes
from cli.catalogues import demo_manifest
from cli.client import Client, ClientError
from cli.indexing import index_items
from cli.milvus_server import milvus_standalone
from cli.processes import ProcessError
from cli.scratch import free_ports, scratch_stack
from cli.stack import Stack, StackError
from orchestrator.errors import ConfigurationError
from orchestrator.settings import load_settings

__all__ = ["relevance", "speed"]

console = Console(stderr=True)
NO_CACHE = {"SENSORIUM_CACHE__MAX_BYTES": "0"}
TEXTS = 200


@contextlib.contextmanager
def indexed(folder: Path, home: Path, manifest: Path, extra: Mapping[str, str]) -> Iterator[Stack]:
    """A running system with the catalogue in it. What was indexed in `folder` before is used again."""
    with scratch_stack(folder, home, extra) as stack:
        with console.status("starting a system to measure"):
            stack.up()
        with Client(stack.target) as client:
            console.print(index_items(client, list(read_manifest(manifest)), console).line())
        yield stack


def relevance(out: Path) -> int:
    """Exit code of `python -m evaluation relevance` against a system with the catalogue indexed."""
    home = load_settings().home.absolute()
    manifest = demo_manifest(home)
    with indexed(home / "measure" / "lite", home, manifest, {}) as stack:
        command = processes.python("-m", "evaluation", "relevance")
        arguments = [
            "--grpc",
            stack.target,
            "--catalogue",
            str(manifest),
            "--out",
            str(out / "evaluation.json"),
        ]
        return subprocess.run([*command, *arguments], check=False).returncode


def speed(rounds: int, out: Path) -> int:
    """Runs the bench on Milvus Lite and standalone side by side. Needs h2load."""
    from benchmarks.payloads import choose
    from benchmarks.speed import Bench, Encoders

    if shutil.which("h2load") is None:
        console.print("needs h2load: apt-get install nghttp2-client", style="red")
        return 1
    home = load_settings().home.absolute()
    manifest = demo_manifest(home)
    with contextlib.ExitStack() as held:
        lite = held.enter_context(indexed(home / "measure" / "lite", home, manifest, NO_CACHE))
        uri = held.enter_context(milvus_standalone(home / "measure" / "milvus", *free_ports(1)))
        standalone = held.enter_context(
            indexed(
                home / "measure" / "standalone",
                home,
                manifest,
                {**NO_CACHE, "SENSORIUM_MILVUS__URI": uri, "SENSORIUM_MILVUS__PARAMETERS": "standalone"},
            )
        )
        bench = Bench(
            python=Path(".venv-triton/bin/python"),
            payloads=choose(manifest),
            texts=[item.description for item in read_manifest(manifest) if item.description][:TEXTS],
            encoders=[Encoders("fp32", lite.settings.triton.url, {})],
            systems={"lite": lite.target, "standalone": standalone.target},
            processes={},
        )
        bench.run(rounds, out, console)
    console.print((out / "bench.md").read_text(), markup=False, highlight=False)
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m cli.measure", description="Measure relevance or speed.")
    parser.add_argument("what", choices=("relevance", "speed"))
    parser.add_argument("--out", type=Path, default=Path("reports"))
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    try:
        if arguments.what == "relevance":
            return relevance(arguments.out)
        return speed(arguments.rounds, arguments.out)
    except KeyboardInterrupt:
        return 130
    except (
        CatalogueError,
        ClientError,
        ConfigurationError,
        FileNotFoundError,
        ProcessError,
        StackError,
    ) as error:
        console.print(f"error: {error}", style="red", markup=False)
        return 1


if __name__ == "__main__":
    sys.exit(main())
