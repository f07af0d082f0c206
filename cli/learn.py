"""`make fusion`: learning that needs the running pipeline, on a system of its own.

python -m cli.learn fusion [--seed 0]
"""

from __future__ import annotations

import argparse
import subprocess
import sys

from rich.console import Console

from catalogue import CatalogueError
from cli import processes
from cli.catalogues import demo_manifest
from cli.client import ClientError
from cli.measure import indexed
from cli.processes import ProcessError
from cli.stack import StackError
from orchestrator.errors import ConfigurationError
from orchestrator.settings import load_settings

__all__ = ["fusion"]

PLAIN = {
    "SENSORIUM_FUSION__LEARNED": "false",
    "SENSORIUM_EXPAND__ENABLED": "false",
    "SENSORIUM_BUDGET__REQUEST_S": "60",
    "SENSORIUM_BUDGET__EMBED_S": "30",
    "SENSORIUM_BUDGET__TRANSCRIBE_S": "30",
    "SENSORIUM_BUDGET__RETRIEVE_S": "30",
}
"""Weights are learned from evidence that was not weighed before, and nobody waits for these answers."""


def fusion(seed: int) -> int:
    """Exit code of `python -m training fusion` against a system with the catalogue indexed."""
    home = load_settings().home.absolute()
    manifest = demo_manifest(home)
    with indexed(home / "measure" / "lite", home, manifest, PLAIN) as stack:
        command = processes.python("-m", "training", "fusion")
        arguments = ["--grpc", stack.target, "--catalogue", str(manifest), "--seed", str(seed)]
        return subprocess.run([*command, *arguments], check=False).returncode


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m cli.learn", description="Learn from the pipeline.")
    parser.add_argument("what", choices=("fusion",))
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    try:
        return fusion(arguments.seed)
    except KeyboardInterrupt:
        return 130
    except (CatalogueError, ClientError, ConfigurationError, ProcessError, StackError) as error:
        Console(stderr=True).print(f"error: {error}", style="red", markup=False)
        return 1


if __name__ == "__main__":
    sys.exit(main())
