"""The container job that builds plans: ``python3 -m export.tensorrt_job --repository DIR --cache DIR``.

On compose it runs once, on Kubernetes before every server, on the server's own node. Several may therefore
run at a time, and while an export is still writing: they go one after the other, and not before the export is
done.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from export.errors import TensorRTError
from export.tensorrt_plan import build_plans, find_device, graph_digest, newest_manifests

__all__ = ["alone", "check_whole", "main"]


@contextmanager
def alone(cache: Path) -> Iterator[None]:
    """Wait until no other job uses the cache. The lock ends with its process."""
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def check_whole(repository: Path) -> None:
    """See that the graphs are those that ``embedding.json`` names, which an export writes last.

    Raises:
        TensorRTError: they are not, or not yet.
    """
    try:
        named = json.loads((repository / "embedding.json").read_text(encoding="utf-8")).get("tensorrt", {})
        there = {
            path.parent.parent.name: graph_digest(json.loads(path.read_text(encoding="utf-8"))["graph"])
            for path in newest_manifests(repository)
        }
    except (OSError, ValueError) as error:
        raise TensorRTError(f"no finished export in {repository} ({error}): let it end first") from error
    if not named:
        raise TensorRTError(
            f"{repository} names no graphs for TensorRT: run `python -m export --target tensorrt-graphs`"
        )
    if other := sorted(name for name in named if named[name] != there.get(name)):
        raise TensorRTError(
            f"{repository}: embedding.json names other graphs of {', '.join(other)}: let the export end first"
        )


def main(arguments: list[str] | None = None) -> int:
    """See the module's description."""
    parser = argparse.ArgumentParser(prog="python3 -m export.tensorrt_job", description=__doc__)
    parser.add_argument("--repository", type=Path, required=True)
    parser.add_argument("--cache", type=Path, required=True)
    asked = parser.parse_args(arguments)
    try:
        device = find_device()
        with alone(asked.cache):
            check_whole(asked.repository)
            build_plans(asked.repository, asked.cache, device)
    except (TensorRTError, OSError) as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
