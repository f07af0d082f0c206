"""`make swaps`: releases swapped under load on a system of its own: what fails, is mixed, costs.

python -m cli.swaps [--items 60] [--swaps 100] [--rate 12] [--out reports]

Three releases: `r1` is the repository's own set, `r2` has other fusion weights, `r3` has the encoders of the
version before, so another embedding version. An answer is mixed when its scores are not those that its
release gives when it is asked by name: further from them than half of the way to those of the other.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import shutil
import sys
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import psutil
from rich.console import Console

from benchmarks.machine import describe
from catalogue import ManifestItem, read_manifest
from cli import processes
from cli.catalogues import demo_manifest
from cli.client import Client
from cli.failures import exit_code
from cli.indexing import index_items
from cli.release import MILVUS
from cli.releasing import Releasing
from cli.scratch import scratch_stack
from cli.stack import Stack
from orchestrator.settings import load_settings
from releases.errors import ReleaseError
from releases.manifest import EMBEDDING, create
from sensorium.v1 import sensorium_pb2 as pb
from sensorium.v1 import sensorium_pb2_grpc as rpc

__all__ = ["swaps"]

HEADER = "x-sensorium-release"
NEAR = 0.5
DEADLINE_S = 30.0
LIMIT = 10
SEED = 0
QUERIES = 24
AROUND_S = 20.0
"""Load before the first swap and after the last one."""

console = Console(stderr=True)


@dataclass
class Load:
    """Poisson arrivals at ``rate`` a second, sent when they are due, whatever became of those before."""

    target: str
    queries: Sequence[pb.QueryPart]
    rate: float
    references: Mapping[str, Mapping[int, dict[str, float]]]
    latencies_ms: dict[str, list[float]] = field(default_factory=dict)
    answered_by: dict[str, int] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)
    mixed: int = 0
    checked: int = 0
    phase: str = ""

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Sends while the block lasts; what is under way at its end is waited for."""
        async with grpc.aio.insecure_channel(self.target) as channel:
            stub = rpc.SensoriumStub(channel)  # type: ignore[no-untyped-call]
            task = asyncio.create_task(self._send(stub))
            try:
                yield
            finally:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
                await asyncio.gather(*self._under_way)

    def __post_init__(self) -> None:
        self._under_way: set[asyncio.Task[None]] = set()

    async def _send(self, stub: rpc.SensoriumStub) -> None:
        random, due = np.random.default_rng(SEED), time.perf_counter()
        while True:
            due += float(random.exponential(1 / self.rate))
            await asyncio.sleep(max(due - time.perf_counter(), 0))
            task = asyncio.create_task(self._ask(stub, int(random.integers(len(self.queries))), due))
            self._under_way.add(task)
            task.add_done_callback(self._under_way.discard)

    async def _ask(self, stub: rpc.SensoriumStub, query: int, due: float) -> None:
        phase = self.phase
        try:
            answer = await stub.Search(_request(self.queries[query]), timeout=DEADLINE_S)
        except grpc.aio.AioRpcError as error:
            self.failures.append(f"{phase}: {error.code().name}")
            return
        self.latencies_ms.setdefault(phase, []).append((time.perf_counter() - due) * 1000)
        self.answered_by[answer.release] = self.answered_by.get(answer.release, 0) + 1
        if answer.degraded:
            self.failures.append(f"{phase}: degraded: {answer.degraded[0]}")
            return
        self._check(query, answer)

    def _check(self, query: int, answer: pb.SearchResponse) -> None:
        own = self.references.get(answer.release, {}).get(query)
        if own is None:
            self.mixed += 1
            return
        scores = _scores(answer)
        for name, each in self.references.items():
            if name != answer.release and (apart := _distance(own, each[query])) > 0:
                self.checked += 1
                self.mixed += _distance(scores, own) > NEAR * apart
                return


def _request(part: pb.QueryPart) -> pb.SearchRequest:
    return pb.SearchRequest(parts=[part], limit=LIMIT, options=pb.SearchOptions(cache=False))


def _scores(answer: pb.SearchResponse) -> dict[str, float]:
    return {hit.item.id: hit.score for hit in answer.hits}


def _distance(one: Mapping[str, float], other: Mapping[str, float]) -> float:
    """Mean difference of the scores; an item that one of them lacks scores 0 there."""
    ids = {*one, *other}
    return sum(abs(one.get(each, 0.0) - other.get(each, 0.0)) for each in ids) / max(len(ids), 1)


def swaps(items: int, count: int, rate: float, out: Path) -> int:
    """Writes ``out``/swaps.json; 1 when a request failed or an answer was mixed."""
    home = load_settings().home.absolute()
    manifest = demo_manifest(home)
    folder = home / "measure" / "swaps"
    shutil.rmtree(folder, ignore_errors=True)
    with processes.exclusive(folder), scratch_stack(folder, home) as stack:
        with console.status("starting a system"):
            stack.up()
        chosen = [item for item in read_manifest(manifest) if item.split == "train"][:items]
        with Client(stack.target) as client:
            console.print(index_items(client, chosen, console).line())
        report = _Run(stack, manifest, chosen, rate).measure(count)
    out.mkdir(parents=True, exist_ok=True)
    (out / "swaps.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    console.print_json(data=report)
    return 1 if report["failed"] or report["mixed"] else 0


class _Run:
    def __init__(self, stack: Stack, catalogue: Path, items: Sequence[ManifestItem], rate: float) -> None:
        self._stack, self._catalogue, self._items, self._rate = stack, catalogue, items, rate
        # Ports are the scratch system's; the repository is the one that it serves.
        self._releasing = Releasing(
            stack.settings, MILVUS, stack.target, lambda line: console.print(line, markup=False)
        )
        self._queries = _queries(items)
        self._memory: dict[str, float] = {}

    def measure(self, count: int) -> dict[str, Any]:
        home, repository = self._releasing.home, self._stack.settings.model_repository.absolute()
        variants = home / "variants"
        self._remember("own set alone")
        for name, source in (
            ("r1", repository),
            ("r2", _other_fusion(repository, variants / "r2")),
            ("r3", _older_encoders(repository, variants / "r3")),
        ):
            create(home, name, source, MILVUS, source / "personalise.json")
        self._stage("r1")
        self._releasing.promote("r1")
        self._stage("r2")
        same = self._under_load(("r1", "r2"), "r2", count, "same embedding version")
        self._stage("r3")
        current = self._releasing_current()
        other = self._under_load((current, "r3"), "r3", max(count // 5, 2), "another embedding version")
        self._remember("r2 unloaded, r1 and r3 loaded")
        return {
            "machine": f"{describe()}; client and server share it",
            "command": f"make swaps ARGS='--items {len(self._items)} --swaps {count} --rate {self._rate:g}'",
            "items": len(self._items),
            "rate": self._rate,
            "failed": same["failed"] + other["failed"],
            "mixed": same["mixed"] + other["mixed"],
            "runs": [same, other],
            "memory_mib": self._memory,
        }

    def _stage(self, name: str) -> None:
        self._releasing.stage(name, self._catalogue, relevance=False)
        self._remember(f"{name} staged beside")

    def _under_load(self, names: tuple[str, str], new: str, count: int, what: str) -> dict[str, Any]:
        references = {name: self._reference(name) for name in names}
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
            "requests": sum(map(len, load.latencies_ms.values())) + len(load.failures),
            "failed": len(load.failures),
            "failures": load.failures[:20],
            "answers_checked": load.checked,
            "mixed": load.mixed,
            "answered_by": load.answered_by,
            "latency_ms": {
                phase: {f"p{q}": float(np.percentile(each, q)) for q in (50, 95, 99)}
                | {"requests": len(each)}
                for phase, each in load.latencies_ms.items()
            },
        }

    def _reference(self, name: str) -> dict[int, dict[str, float]]:
        found = {}
        with grpc.insecure_channel(self._stack.target) as channel:
            stub = rpc.SensoriumStub(channel)  # type: ignore[no-untyped-call]
            for number, part in enumerate(self._queries):
                answer = stub.Search(_request(part), timeout=DEADLINE_S, metadata=[(HEADER, name)])
                if answer.release != name:
                    raise ReleaseError(f"{answer.release} answered in the place of {name}")
                found[number] = _scores(answer)
        return found

    def _releasing_current(self) -> str:
        with Client(self._stack.target) as client:
            return client.status().release

    def _remember(self, when: str) -> None:
        record = processes.read_record("triton", self._stack.settings.home / "run")
        if record is not None:
            top = psutil.Process(record.pid)
            family = [top, *top.children(recursive=True)]
            self._memory[when] = round(sum(each.memory_full_info().pss for each in family) / 2**20, 1)


def _queries(items: Sequence[ManifestItem]) -> list[pb.QueryPart]:
    """Two texts to one picture."""
    texts = [pb.QueryPart(text=item.description) for item in items if item.description]
    files = [path for item in items for path in item.paths() if path.suffix == ".png"]
    pictures = [pb.QueryPart(data=path.read_bytes()) for path in files]
    return [*texts[: QUERIES * 2 // 3], *pictures[: QUERIES // 3]]


def _variant(repository: Path, folder: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    folder.mkdir(parents=True)
    for source in repository.iterdir():
        if source.is_dir() and source.name != "__pycache__":
            (folder / source.name).symlink_to(source)
    embedding = json.loads((repository / EMBEDDING).read_bytes())
    change(embedding)
    (folder / EMBEDDING).write_text(json.dumps(embedding), encoding="utf-8")
    return folder


def _other_fusion(repository: Path, folder: Path) -> Path:
    """What is found counts less: no improvement, a difference that shows."""

    def change(embedding: dict[str, Any]) -> None:
        for modality in embedding["fusion"].values():
            modality["bias"] -= 1.0

    return _variant(repository, folder, change)


def _older_encoders(repository: Path, folder: Path) -> Path:
    def change(embedding: dict[str, Any]) -> None:
        for name, model in embedding["models"].items():
            versions = sorted(int(path.name) for path in (repository / name).glob("[1-9]*"))
            if len(versions) < 2:
                raise ReleaseError(f"{name} has one version only: export another one before")
            model["version"] = str(versions[-2])
        for learned in ("fusion", "rerank", "attend"):  # on other heads
            embedding.pop(learned, None)
        embedding["embedding_version"] += "-older"

    return _variant(repository, folder, change)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m cli.swaps", description="Releases swapped under load.")
    parser.add_argument("--items", type=int, default=60)
    parser.add_argument("--swaps", type=int, default=100)
    parser.add_argument("--rate", type=float, default=12.0, help="requests a second")
    parser.add_argument("--out", type=Path, default=Path("reports"))
    arguments = parser.parse_args()
    return exit_code(lambda: swaps(arguments.items, arguments.swaps, arguments.rate, arguments.out))


if __name__ == "__main__":
    sys.exit(main())
