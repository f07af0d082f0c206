"""`make bench`: the bound, Triton and whole searches in one interleaved run.

Writes reports/bench.json, reports/bench.md and reports/bench.png.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from tritonclient.grpc import service_pb2

from benchmarks import searches, triton
from benchmarks.bound import InProcess
from benchmarks.load import Sample
from benchmarks.machine import describe, memory_mib
from benchmarks.payloads import Payloads
from benchmarks.report import Row, write_report
from benchmarks.rounds import Burst, Target, interleave
from media import Modality

__all__ = ["Bench", "Encoders"]

CONCURRENCY = (1, 16, 64)
SEARCH_CONCURRENCY = (1, 16)
# 32 clips are 256 pictures at once: their activations do not fit beside the rest in 24 GiB.
BATCHES: Mapping[str, tuple[int, ...]] = {
    "text": (1, 32),
    "image": (1, 32),
    "audio": (1, 32),
    "video": (1, 4),
    "rerank": (1, 8),
}
BATCH_CHECK_CONCURRENCY = 32
# Long enough for some tens of answers of the slowest at the highest concurrency.
SECONDS: Mapping[str, int] = {"text": 3, "image": 3, "audio": 3, "video": 5, "rerank": 3}


@dataclass(frozen=True, slots=True)
class Encoders:
    """One precision of the encoders: where Triton serves it, and its model files by modality."""

    precision: str
    triton_url: str
    models: Mapping[str, Path]


@dataclass(frozen=True, slots=True)
class Bench:
    """What is measured. `reranker` is None where none is served. `systems` are whole systems by the name of
    their Milvus, without embedding cache; `processes` are process ids by name, for the memory table.
    """

    python: Path
    payloads: Payloads
    texts: Sequence[str]
    encoders: Sequence[Encoders]
    systems: Mapping[str, str]
    processes: Mapping[str, int]
    reranker: Encoders | None = None

    def run(self, rounds: int, out: Path, console: Console) -> dict[str, object]:
        """Measures and writes the report. Raises LoadError when an answer was no success."""
        with contextlib.ExitStack() as stack:
            targets = [*self._bounds(stack), *self._triton(), *self._searches()]
            columns = (
                TextColumn("{task.description:<40}"),
                BarColumn(30),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
            )
            with Progress(*columns, console=console) as progress:
                bar = progress.add_task("", total=rounds * len(targets))

                def begun(number: int, target: Target) -> None:
                    text = f"round {number + 1}: {target.what}, {target.modality} x {target.concurrency}"
                    progress.update(bar, description=text, completed=progress.tasks[0].completed + 1)

                rows = [Row.of(target, figures) for target, figures in interleave(targets, rounds, begun)]
        result = {
            "machine": describe(),
            "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "rounds": rounds,
            "rows": [row.as_dict() for row in rows],
            "mean_batch_at_32": {
                one.precision: triton.batch_formed(
                    one.triton_url,
                    "text",
                    self.payloads.of(Modality.TEXT),
                    BATCH_CHECK_CONCURRENCY,
                    SECONDS["text"],
                )
                for one in self.encoders
            },
            "text_search": {name: searches.own_share(at, self.texts) for name, at in self.systems.items()},
            "memory_mib": {name: memory_mib(pid) for name, pid in self.processes.items()},
        }
        out.mkdir(parents=True, exist_ok=True)
        (out / "bench.json").write_text(json.dumps(result, indent=1) + "\n")
        write_report(result, rows, out)
        return result

    def _bounds(self, stack: contextlib.ExitStack) -> list[Target]:
        targets = []
        for one in self.encoders:
            for modality, model in one.models.items():
                payload = self.payloads.of(Modality(modality))
                worker = stack.enter_context(InProcess(self.python, modality, model, payload))
                targets += [
                    Target("in process", modality, one.precision, batch, bound_burst(worker, batch, modality))
                    for batch in BATCHES[modality]
                ]
        if self.reranker is not None:
            model, precision = self.reranker.models["rerank"], self.reranker.precision
            worker = stack.enter_context(InProcess(self.python, "rerank", model, b""))
            targets += [
                Target("in process", "rerank", precision, batch, bound_burst(worker, batch, "rerank"))
                for batch in BATCHES["rerank"]
            ]
        return targets

    def _triton(self) -> list[Target]:
        served = [(one, modality) for one in self.encoders for modality in one.models]
        served += [] if self.reranker is None else [(self.reranker, "rerank")]
        return [
            Target(
                "triton",
                modality,
                one.precision,
                concurrency,
                triton_burst(one.triton_url, modality, self._request(modality), concurrency),
            )
            for one, modality in served
            for concurrency in CONCURRENCY
        ]

    def _request(self, modality: str) -> service_pb2.ModelInferRequest:
        if modality == "rerank":
            return triton.rerank_request()
        return triton.infer_request(modality, self.payloads.of(Modality(modality)))

    def _searches(self) -> list[Target]:
        return [
            Target(
                f"search on {name}",
                modality.value,
                "as served",
                concurrency,
                search_burst(at, modality.value, self.payloads.of(modality), concurrency),
            )
            for name, at in self.systems.items()
            for modality in Modality
            for concurrency in SEARCH_CONCURRENCY
        ]


def bound_burst(worker: InProcess, batch: int, modality: str) -> Callable[[], Burst]:
    return lambda: worker.burst(batch, SECONDS[modality])


def triton_burst(
    url: str, modality: str, request: service_pb2.ModelInferRequest, concurrency: int
) -> Callable[[], Burst]:
    return lambda: figures(triton.burst(url, request, concurrency, SECONDS[modality]))


def search_burst(target: str, modality: str, payload: bytes, concurrency: int) -> Callable[[], Burst]:
    return lambda: figures(searches.burst(target, modality, payload, concurrency, SECONDS[modality]))


def figures(sample: Sample) -> Burst:
    return {
        "per_second": sample.per_second,
        "p50_ms": sample.p50_ms,
        "p95_ms": sample.p95_ms,
        "p99_ms": sample.p99_ms,
    }
