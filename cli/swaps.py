"""`make swaps`: releases swapped under load on a system of its own: what fails, is mixed, costs.

python -m cli.swaps [--items 60] [--swaps 100] [--rate 8] [--out reports]

Three releases: `r1` is the repository's own set, `r2` has other fusion weights, `r3` has the encoders in
another precision, so another embedding version. In between `r2` is a canary, whose scores are to be noticed.
Nothing is kept, neither answers nor embeddings: every search goes through the models that are swapped.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from rich.console import Console

from benchmarks.machine import describe
from catalogue import read_manifest
from cli import processes
from cli.catalogues import demo_manifest
from cli.client import Client
from cli.failures import exit_code
from cli.indexing import index_items
from cli.release import MILVUS
from cli.releasing import Releasing
from cli.scratch import scratch_stack
from cli.stack import Stack
from cli.swap_load import Load, Queries, reference
from cli.swap_variants import other_fusion, other_precision
from loadtests.payloads import read_payloads
from loadtests.prepare import prepare
from orchestrator.settings import load_settings
from releases.errors import ReleaseError
from releases.manifest import create
from releases.state import Bounds, read_state
from sensorium.v1 import sensorium_pb2 as pb

__all__ = ["swaps"]

QUERIES = 12
"""Of each modality."""
NOTHING_KEPT = {"SENSORIUM_CACHE__MAX_BYTES": "0"}
"""The queries themselves ask for answers that are not kept."""
CANARY_S = 120.0
AROUND_S = 20.0
"""Load before the first swap and after the last one."""

console = Console(stderr=True)


def swaps(items: int, count: int, rate: float, out: Path) -> int:
    """Writes ``out``/swaps.json; 1 when a request failed or an answer was mixed."""
    settings = load_settings()
    home = settings.home.absolute()
    manifest = demo_manifest(home)
    folder = home / "measure" / "swaps"
    with contextlib.ExitStack() as held:
        held.enter_context(processes.exclusive(folder))
        shutil.rmtree(folder / "system", ignore_errors=True)
        stack = held.enter_context(scratch_stack(folder / "system", home, NOTHING_KEPT))
        with console.status("making queries"):
            prepare(manifest, settings, folder / "queries", QUERIES)
        with console.status("starting a system"):
            stack.up()
        chosen = [item for item in read_manifest(manifest) if item.split == "train"][:items]
        with Client(stack.target) as client:
            console.print(index_items(client, chosen, console).line())
        run = _Run(stack, home, manifest, _queries(folder / "queries"), len(chosen), rate)
        report = run.measure(count)
    out.mkdir(parents=True, exist_ok=True)
    (out / "swaps.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    console.print_json(data=report)
    return 1 if report["failed"] or report["mixed"] else 0


class _Run:
    def __init__(
        self, stack: Stack, built: Path, catalogue: Path, queries: Queries, items: int, rate: float
    ) -> None:
        self._stack, self._built, self._catalogue = stack, built, catalogue
        self._queries, self._items, self._rate = queries, items, rate
        # Ports are the scratch system's; the repository is the one that it serves.
        self._releasing = Releasing(
            stack.settings, MILVUS, stack.target, lambda line: console.print(line, markup=False)
        )
        self._memory: dict[str, float] = {}

    def measure(self, count: int) -> dict[str, Any]:
        home, repository = self._releasing.home, self._stack.settings.model_repository.absolute()
        variants = home / "variants"
        self._remember("own set alone")
        for name, source in (
            ("r1", repository),
            ("r2", other_fusion(repository, variants / "r2")),
            ("r3", other_precision(repository, self._built, variants / "r3")),
        ):
            create(home, name, source, MILVUS, source / "personalise.json")
        self._stage("r1")
        self._releasing.promote("r1")
        self._stage("r2")
        same = self._under_load(("r1", "r2"), "r2", count, "same embedding version")
        canary = asyncio.run(self._canary_under_load("r1", "r2"))
        self._stage("r3")
        current = self._releasing_current()
        other = self._under_load((current, "r3"), "r3", max(count // 5, 2), "another embedding version")
        self._remember("r2 unloaded, r1 and r3 loaded")
        return {
            "machine": f"{describe()}; client and server share it",
            "command": f"make swaps ARGS='--items {self._items} --swaps {count} --rate {self._rate:g}'",
            "items": self._items,
            "rate": self._rate,
            "failed": same["failed"] + canary["failed"] + other["failed"],
            "mixed": same["mixed"] + canary["mixed"] + other["mixed"],
            "runs": [same, other],
            "canary": canary,
            "memory_mib": self._memory,
        }

    def _stage(self, name: str) -> None:
        self._releasing.stage(name, self._catalogue, relevance=False)
        self._remember(f"{name} staged beside")

    def _under_load(self, names: tuple[str, str], new: str, count: int, what: str) -> dict[str, Any]:
        references = {name: reference(self._stack.target, self._queries, name) for name in names}
        load = Load(self._stack.target, self._queries, self._rate, references)
        took: list[float] = []

        async def run() -> None:
            async with load.running():
                load.phase = "before"
                began = time.perf_counter()
                await asyncio.sleep(AROUND_S)
                load.phase = "swaps"
                for number in range(count):
                    change: Callable[[], Any] = (
                        (lambda: self._releasing.promote(new))
                        if number % 2 == 0
                        else (lambda: self._releasing.rollback("make swaps"))
                    )
                    started = time.perf_counter()
                    await asyncio.to_thread(change)
                    took.append(time.perf_counter() - started)
                load.phase = "after"
                await asyncio.sleep(AROUND_S)
                console.print(f"{what}: {count} swaps in {time.perf_counter() - began:.0f} s")

        asyncio.run(run())
        return {
            "what": what,
            "swaps": count,
            "swap_s": {"median": float(np.median(took)), "worst": max(took)},
            "requests": load.requests,
            "failed": len(load.failures),
            "failures": load.failures[:20],
            "answers_checked": load.checked,
            "mixed": load.mixed,
            "answered_by": load.answered_by,
            "latency_ms": {
                phase: {
                    "all": _percentiles([each for took in by_modality.values() for each in took]),
                    **{modality: _percentiles(took) for modality, took in by_modality.items()},
                }
                for phase, by_modality in load.latencies_ms.items()
            },
        }

    async def _canary_under_load(self, current: str, name: str) -> dict[str, Any]:
        """`name`, whose scores are others, answers half of the requests until it is taken back by itself.

        Raises:
            ReleaseError: it was not.
        """
        references = {each: reference(self._stack.target, self._queries, each) for each in (current, name)}
        load = Load(self._stack.target, self._queries, self._rate, references, phase="canary")
        if self._releasing_current() != current:
            await asyncio.to_thread(self._releasing.rollback, "make swaps")
        bounds = Bounds(min_requests=30, window_s=60.0, for_s=2.0)
        async with load.running():
            self._releasing.canary(name, 50, bounds)
            began_s = time.perf_counter()
            while (state := read_state(self._releasing.home)).canary is not None:
                if time.perf_counter() - began_s > CANARY_S:
                    raise ReleaseError(f"the canary {name} was not taken back within {CANARY_S:g} s")
                await asyncio.sleep(0.1)
            took_s = time.perf_counter() - began_s
            await asyncio.sleep(AROUND_S / 4)
        change = state.history[-1]
        return {
            "percent": 50,
            "bounds": bounds.model_dump(),
            "taken_back_s": round(took_s, 1),
            "history": f"{change.what}: {change.why}",
            "requests": load.requests,
            "failed": len(load.failures),
            "failures": load.failures[:20],
            "mixed": load.mixed,
            "answered_by": load.answered_by,
        }

    def _releasing_current(self) -> str:
        with Client(self._stack.target) as client:
            return client.status().release

    def _remember(self, when: str) -> None:
        record = processes.read_record("triton", self._stack.settings.home / "run")
        if record is not None:
            top = psutil.Process(record.pid)
            family = [top, *top.children(recursive=True)]
            self._memory[when] = round(sum(each.memory_full_info().pss for each in family) / 2**20, 1)


def _queries(folder: Path) -> Queries:
    """Each as the part of a request."""
    return {
        modality: [
            pb.QueryPart(text=each.decode()) if modality == "text" else pb.QueryPart(data=each)
            for each in contents
        ]
        for modality, contents in read_payloads(folder).queries.items()
    }


def _percentiles(took: Sequence[float]) -> dict[str, float]:
    return {f"p{q}": float(np.percentile(took, q)) for q in (50, 95, 99)} | {"requests": len(took)}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m cli.swaps", description="Releases swapped under load.")
    parser.add_argument("--items", type=int, default=60)
    parser.add_argument("--swaps", type=int, default=100)
    parser.add_argument("--rate", type=float, default=8.0, help="requests a second")
    parser.add_argument("--out", type=Path, default=Path("reports"))
    arguments = parser.parse_args()
    return exit_code(lambda: swaps(arguments.items, arguments.swaps, arguments.rate, arguments.out))


if __name__ == "__main__":
    sys.exit(main())
