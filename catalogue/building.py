"""What both builders need: whole files or none, jobs on a few processes, no stale files."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

__all__ = ["Step", "prune", "run_jobs", "write_bytes"]

Step = Callable[[str, int, int], None]
"""Called with (what is being done, done, of how many)."""


def write_bytes(path: Path, content: bytes) -> None:
    """The file is there whole or not at all, also after an interruption."""
    temporary = path.with_name(f".{path.name}.part")
    temporary.write_bytes(content)
    temporary.replace(path)


def prune(folder: Path, keep: Iterable[str]) -> None:
    """Remove the files of `folder` that are not in `keep`: left by an earlier recipe or a killed process."""
    wanted = set(keep)
    for path in folder.iterdir():
        if path.name not in wanted:
            path.unlink()


def run_jobs(
    name: str,
    function: Callable[..., Any],
    jobs: list[tuple[Any, ...]],
    already: int,
    processes: int,
    step: Step,
) -> None:
    """Call `function` with each tuple of arguments on `processes` processes; the first error stops the rest.

    `already` counts jobs that needed no doing, for the progress bar.
    """
    total = already + len(jobs)
    step(name, already, total)
    if not jobs:
        return
    # Not fork: the progress bar has a thread, and a forked lock may stay locked for ever.
    context = multiprocessing.get_context("spawn")
    # The processes are the parallelism; threads of a BLAS in each would only get in each other's way.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    with ProcessPoolExecutor(processes, mp_context=context) as pool:
        running = [pool.submit(function, *job) for job in jobs]
        try:
            for done, job in enumerate(as_completed(running), start=already + 1):
                job.result()
                step(name, done, total)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
