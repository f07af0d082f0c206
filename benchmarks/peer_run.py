"""`make peers`: our text encoder behind Triton and behind other servers, and our text search and a naive
one, in one interleaved run.

Writes reports/peers.json and reports/peers.md.
"""

from __future__ import annotations

import json
import resource
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import grpc
import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from tritonclient.grpc import service_pb2_grpc

from benchmarks import triton
from benchmarks.bound import InProcess
from benchmarks.closed_loop import Caller, closed_loop
from benchmarks.load import NoAnswerError, Sample, run_http_load, run_load
from benchmarks.machine import describe, memory_mib
from benchmarks.peer_figures import BOUND, OURS, PeerRow, markdown, ratios
from benchmarks.peer_servers import PeerError, Server
from benchmarks.peers import HttpPeer
from benchmarks.rounds import Burst, Target, bursts

__all__ = ["Comparison", "Search", "System"]

CONCURRENCY = (64, 1)
SEARCH_CONCURRENCY = (16, 1)
BATCHES = {64: 32, 1: 1}
"""Of the bound, beside each concurrency."""
BOUND_SECONDS = 2
CALL_TIMEOUT_S = 30.0
MODEL = "embed_text"
TOLERANCE = 1e-4
"""Largest difference of a number between two systems' vectors of the same text."""


@dataclass(frozen=True, slots=True)
class System:
    """One server of the text encoder at one precision: a peer, or ours at `triton_url`."""

    precision: str
    server: Server
    peer: HttpPeer | None = None
    concurrency: Sequence[int] = CONCURRENCY
    triton_url: str = ""

    @property
    def name(self) -> str:
        return self.peer.label if self.peer else OURS

    def ask(self, text: str) -> NDArray[np.float32]:
        """Raises OSError, ValueError or grpc.RpcError."""
        if self.peer:
            return self.peer.ask(text)
        with grpc.insecure_channel(self.triton_url, options=[("grpc.enable_http_proxy", 0)]) as channel:
            stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
            answer = stub.ModelInfer(triton.infer_request("text", text.encode()), timeout=CALL_TIMEOUT_S)
        return np.frombuffer(answer.raw_output_contents[0], np.float32)

    def load(self, text: str, concurrency: int, seconds: int) -> Sample:
        """Raises LoadError."""
        if self.peer:
            return run_http_load(self.peer.url, self.peer.body(text), concurrency, seconds)
        request = triton.infer_request("text", text.encode())
        return run_load(self.triton_url, triton.INFER, request, concurrency, seconds)


@dataclass(frozen=True, slots=True)
class Search:
    """One way of searching the same catalogue. `servers` are all that work for it."""

    name: str
    precision: str
    make: Callable[[], Caller]
    servers: Sequence[Server]


@dataclass(frozen=True, slots=True)
class Comparison:
    """What is measured. `text` is timed; the vectors of `equal_texts` must be equal everywhere, so they fill
    their bucket of tokens: padding beside it changes the activations' range, and with it INT8's vectors.
    """

    text: str
    equal_texts: Sequence[str]
    search_texts: Iterator[str]
    systems: Sequence[System]
    bounds: Mapping[str, InProcess]
    searches: Sequence[Search]
    versions: Mapping[str, Mapping[str, str]]

    def run(self, rounds: int, seconds: int, out: Path, console: Console) -> list[str]:
        """Measures and writes the report; the targets that were missed. Raises PeerError, LoadError."""
        equal = {precision: self._equal(precision) for precision in self.bounds}
        targets = [*self._bounds(), *self._embeddings(seconds), *self._searches(seconds)]

        def begun(number: int, target: Target) -> None:
            console.print(f"round {number + 1}: {target.what}, {target.precision} x {target.concurrency}")

        rows = [
            PeerRow(target.what, target.precision, target.concurrency, figures)
            for target, figures in bursts(targets, rounds, begun)
        ]
        found = ratios(rows)
        result = {
            "machine": describe(),
            "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "rounds": rounds,
            "seconds": seconds,
            "text": self.text,
            "versions": self.versions,
            "largest_difference": equal,
            "rows": [row.as_dict() for row in rows],
            "ratios": [one.as_dict() for one in found],
            "memory_mib": self._memory(),
        }
        out.mkdir(parents=True, exist_ok=True)
        (out / "peers.json").write_text(json.dumps(result, indent=1) + "\n")
        (out / "peers.md").write_text(markdown(result, rows, found))
        return [
            f"{one.precision} x {one.concurrency} by {one.to}: {one.spread.median:.2f}, asked {one.asked}"
            for one in found
            if one.asked is not None and one.spread.median < one.asked
        ]

    def _equal(self, precision: str) -> dict[str, float]:
        """The largest difference of each system's vectors from ours. Raises PeerError beyond TOLERANCE."""
        systems = [one for one in self.systems if one.precision == precision]
        vectors = {}
        for one in systems:
            one.server.wake()
            vectors[one.name] = np.stack([one.ask(text) for text in self.equal_texts])
            one.server.freeze()
        found = {
            name: float(np.abs(each - vectors[OURS]).max()) for name, each in vectors.items() if name != OURS
        }
        for name, largest in found.items():
            if not largest <= TOLERANCE:
                raise PeerError(f"{name}, {precision}: a vector differs by {largest:.6f} from ours")
        return found

    def _bounds(self) -> list[Target]:
        return [
            Target(BOUND, "text", precision, concurrency, _bound_burst(worker, BATCHES[concurrency]))
            for precision, worker in self.bounds.items()
            for concurrency in CONCURRENCY
        ]

    def _embeddings(self, seconds: int) -> list[Target]:
        return [
            Target(
                one.name,
                "text",
                one.precision,
                concurrency,
                _watched([one.server], _embedding_burst(one, self.text, concurrency, seconds)),
            )
            for concurrency in CONCURRENCY
            for precision in self.bounds
            for one in self.systems
            if one.precision == precision and concurrency in one.concurrency
        ]

    def _searches(self, seconds: int) -> list[Target]:
        return [
            Target(
                one.name,
                "text",
                one.precision,
                concurrency,
                _watched(one.servers, _search_burst(one, self.search_texts, concurrency, seconds)),
            )
            for concurrency in SEARCH_CONCURRENCY
            for one in self.searches
        ]

    def _memory(self) -> dict[str, float]:
        served = {f"{one.server.name} {one.precision}": one.server for one in self.systems}
        served |= {server.name: server for one in self.searches for server in one.servers}
        found = {name: memory_mib(server.pid) for name, server in served.items()}
        for one in self.systems:
            if one.peer is None:
                steps = [each for each in one.server.family() if f"/{MODEL}/" in " ".join(each.cmdline())]
                found[f"{MODEL} of {one.name} {one.precision}"] = sum(memory_mib(each.pid) for each in steps)
        return found


def _bound_burst(worker: InProcess, batch: int) -> Callable[[], Burst]:
    return lambda: worker.burst(batch, BOUND_SECONDS)


def _embedding_burst(system: System, text: str, concurrency: int, seconds: int) -> Callable[[], Burst]:
    def burst() -> Burst:
        try:
            sample = system.load(text, concurrency, seconds)
        except NoAnswerError:  # a busy machine gave it no time; once more, and no further
            sample = system.load(text, concurrency, seconds)
        system.ask(text)  # what was still queued when the load ended has been worked on then
        return {
            "per_second": sample.per_second,
            "p50_ms": sample.p50_ms,
            "p95_ms": sample.p95_ms,
            "p99_ms": sample.p99_ms,
        }

    return burst


def _search_burst(
    search: Search, texts: Iterator[str], concurrency: int, seconds: int
) -> Callable[[], Burst]:
    return lambda: closed_loop(search.make, texts, concurrency, seconds)


def _watched(servers: Sequence[Server], burst: Callable[[], Burst]) -> Callable[[], Burst]:
    """The burst with the servers awake, and what it cost them and the client."""

    def watched() -> Burst:
        for server in servers:
            server.wake()
        served, asked, began = sum(map(Server.cpu_s, servers)), _client_cpu_s(), time.perf_counter()
        figures = burst()
        elapsed = time.perf_counter() - began
        cores = (sum(map(Server.cpu_s, servers)) - served) / elapsed
        figures["server_cpu_ms"] = 1000 * cores / figures["per_second"]
        figures["client_cores"] = (_client_cpu_s() - asked) / elapsed
        for server in servers:
            server.freeze()
        return figures

    return watched


def _client_cpu_s() -> float:
    """Of this process and of the h2load processes that have ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)
