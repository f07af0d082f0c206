"""`make fusion`, `make rerank`: learning that needs the running pipeline, on a system of its own.

python -m cli.learn fusion [--seed 0]
python -m cli.learn reranker [--seed 0]
"""

from __future__ import annotations

import argparse
import subprocess
import sys

from cli import processes
from cli.catalogues import demo_manifest
from cli.failures import exit_code
from cli.measure import indexed
from orchestrator.settings import load_settings

__all__ = ["fusion", "reranker"]

# Nobody waits for the answers that something is learned from: a busy machine must not degrade or refuse them.
PATIENT = {
    **{
        f"SENSORIUM_BUDGET__{stage}_S": "50"
        for stage in ("REQUEST", "EMBED", "TRANSCRIBE", "RETRIEVE", "ANSWER")
    },
    "SENSORIUM_ADMISSION__MAX_WAIT_S": "50",
}
# Weights are learned from evidence that was neither weighed nor added to before.
PLAIN = {
    **PATIENT,
    "SENSORIUM_FUSION__LEARNED": "false",
    "SENSORIUM_EXPAND__ENABLED": "false",
    # every candidate, not the page that somebody would look at: training/candidates.py
    "SENSORIUM_ADMISSION__MAX_RESULTS": "400",
}


def fusion(seed: int) -> int:
    """Exit code of `python -m training fusion` against a system with the catalogue indexed."""
    home = load_settings().home.absolute()
    manifest = demo_manifest(home)
    with indexed(home / "measure" / "lite", home, manifest, PLAIN) as stack:
        command = processes.python("-m", "training", "fusion")
        arguments = ["--grpc", stack.target, "--catalogue", str(manifest), "--seed", str(seed)]
        return subprocess.run([*command, *arguments], check=False).returncode


def reranker(seed: int) -> int:
    """Exit code of `python -m training rerank` against a system in which no test item is indexed."""
    home = load_settings().home.absolute()
    manifest = home / "catalogues" / "stamps" / "manifest.jsonl"
    splits = ("train", "validation")
    with indexed(home / "measure" / "train", home, manifest, PATIENT, splits=splits) as stack:
        command = processes.python("-m", "training", "rerank")
        arguments = ["--grpc", stack.target, "--triton", stack.settings.triton.url, "--seed", str(seed)]
        return subprocess.run([*command, *arguments], check=False).returncode


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m cli.learn", description="Learn from the pipeline.")
    parser.add_argument("what", choices=("fusion", "reranker"))
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    learn = {"fusion": fusion, "reranker": reranker}[arguments.what]
    return exit_code(lambda: learn(arguments.seed))


if __name__ == "__main__":
    sys.exit(main())
