"""`make bench-kernels`: cross-attention retrieval by `kernels` beside PyTorch eager, in one interleaved run.

python -m benchmarks.kernels [--rounds 7] [--threads 2] [--out reports]

Writes reports/kernels.json and reports/kernels.md. On a machine with a GPU the same command measures the GPU
kernels, too; without one their table is empty.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import psutil
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track

from benchmarks.machine import describe
from kernels import VectorSets, retrieve
from kernels.reference import scores

__all__ = ["Inputs", "Row", "main", "make", "measure", "ways"]

QUERIES = (1, 2, 4, 8, 16, 32, 64)
CANDIDATES = (100, 300, 1000, 3000, 10_000)
MEDIAN = QUERIES[len(QUERIES) // 2], CANDIDATES[len(CANDIDATES) // 2]
MAX_TOKENS = 16
MAX_SEGMENTS = 8
"""Sets have 1 to so many vectors, all equally often: a padded array of them is 53 and 56 % full."""
DIM = 1024
K = 10
TEMPERATURE = 0.07
BURST_S = 0.1
"""A burst of one way lasts at least so long, or one call."""
KERNEL = "kernels"
EAGER = ("eager, padded", "eager, packed")


@dataclass(frozen=True)
class Inputs:
    """The same vectors in the shapes that each way wants, made before the clock runs."""

    queries: VectorSets
    candidates: VectorSets
    padded: tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]


@dataclass(frozen=True)
class Row:
    """`ms`: median over the rounds, by way. `ratio`: median over the rounds of the faster eager way's time
    by the kernel's in the same round; `padded_ratio` the same of the padded way. `full`: no set was shorter
    than another, so padding costs nothing."""

    device: str
    queries: int
    candidates: int
    full: bool
    ms: Mapping[str, float]
    ratio: float
    padded_ratio: float


def make(queries: int, candidates: int, full: bool = False) -> Inputs:
    """Unit vectors in random directions, in sets of random size unless ``full``."""
    random = np.random.default_rng([queries, candidates])
    sets = [
        _sets(number, longest, longest if full else 1, random)
        for number, longest in ((queries, MAX_TOKENS), (candidates, MAX_SEGMENTS))
    ]
    return Inputs(sets[0], sets[1], (*_padded(sets[0], MAX_TOKENS), *_padded(sets[1], MAX_SEGMENTS)))


def _sets(count: int, longest: int, shortest: int, random: np.random.Generator) -> VectorSets:
    counts = random.integers(shortest, longest + 1, count)
    rows = random.standard_normal((int(counts.sum()), DIM), np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return VectorSets.of(rows, np.concatenate([[0], np.cumsum(counts)]))


def _padded(sets: VectorSets, longest: int) -> tuple[torch.Tensor, torch.Tensor]:
    mask = np.arange(longest) < sets.counts[:, None]
    values = np.zeros((*mask.shape, sets.dim), np.float32)
    values[mask] = sets.rows
    return torch.from_numpy(values), torch.from_numpy(mask)


def packed(
    tokens: torch.Tensor,
    token_owner: torch.Tensor,
    segments: torch.Tensor,
    segment_owner: torch.Tensor,
    shape: tuple[int, int],
) -> torch.Tensor:
    """Scores [b, n] in torch without padding: rows as they are, and who each belongs to."""
    similarity = tokens @ segments.T
    weights = similarity / TEMPERATURE
    owners = segment_owner.expand(len(tokens), -1)
    highest = weights.new_empty(len(tokens), shape[1]).scatter_reduce(
        1, owners, weights, "amax", include_self=False
    )
    weights = (weights - highest.gather(1, owners)).exp()
    total = torch.zeros_like(highest).index_add_(1, segment_owner, weights)
    weighted = torch.zeros_like(highest).index_add_(1, segment_owner, weights * similarity)
    sums = weighted.new_zeros(shape).index_add_(0, token_owner, weighted / total)
    return sums / torch.bincount(token_owner, minlength=shape[0])[:, None]


def ways(inputs: Inputs, device: str, threads: int) -> dict[str, Callable[[], NDArray[np.floating]]]:
    """What is measured on `device`, by name: each gives the best K scores of each query, on the host."""
    tokens, token_mask, segments, segment_mask = (tensor.to(device) for tensor in inputs.padded)
    rows = [torch.from_numpy(sets.rows).to(device) for sets in (inputs.queries, inputs.candidates)]
    owners = [
        torch.from_numpy(np.repeat(np.arange(len(sets)), sets.counts)).to(device)
        for sets in (inputs.queries, inputs.candidates)
    ]
    shape = len(inputs.queries), len(inputs.candidates)
    found: dict[str, Callable[[], NDArray[np.floating]]] = {
        "eager, padded": lambda: (
            scores(tokens, token_mask, segments, segment_mask, TEMPERATURE).topk(K).values.cpu().numpy()
        ),
        "eager, packed": lambda: (
            packed(rows[0], owners[0], rows[1], owners[1], shape).topk(K).values.cpu().numpy()
        ),
    }
    if device == "cpu":
        found[KERNEL] = lambda: retrieve(inputs.queries, inputs.candidates, K, TEMPERATURE, threads).scores
    else:
        queries, candidates = (
            VectorSets.of(tensor, sets.offsets)
            for tensor, sets in zip(rows, (inputs.queries, inputs.candidates), strict=True)
        )
        found[KERNEL] = lambda: retrieve(queries, candidates, K, TEMPERATURE).scores
        found["kernels, CUDA C++"] = lambda: retrieve(queries, candidates, K, TEMPERATURE, gpu="cuda").scores
    return found


def measure(device: str, queries: int, candidates: int, full: bool, rounds: int, threads: int) -> Row:
    """One size, every way once a round. Raises ValueError if the ways do not find the same."""
    calls = ways(make(queries, candidates, full), device, threads)
    _agree(calls)
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            times[name].append(burst(call))
    ratios = [
        [padded / own, min(padded, flat) / own]
        for padded, flat, own in zip(*(times[name] for name in (*EAGER, KERNEL)), strict=True)
    ]
    padded_ratio, ratio = (statistics.median(each) for each in zip(*ratios, strict=True))
    ms = {name: statistics.median(each) * 1000 for name, each in times.items()}
    return Row(device, queries, candidates, full, ms, ratio, padded_ratio)


def burst(call: Callable[[], object]) -> float:
    """Median seconds of a call."""
    times: list[float] = []
    while sum(times) < BURST_S:
        started = time.perf_counter()
        call()
        times.append(time.perf_counter() - started)
    return statistics.median(times)


def _agree(calls: Mapping[str, Callable[[], NDArray[np.floating]]]) -> None:
    """The best scores are the same by all ways, to float32's last digits."""
    first, *others = (call() for call in calls.values())
    for other in others:
        if not np.allclose(first, other, rtol=0, atol=1e-5):
            raise ValueError("the ways do not find the same")


def report(rows: Sequence[Row], machine: str, rounds: int, threads: int) -> str:
    """Markdown: a table for the CPU and one for the GPU."""
    lines = [
        f"Measured on {machine}; torch {torch.__version__}, NumPy {np.__version__}; threads: {threads}; "
        f"medians of {rounds} interleaved rounds. {DIM} dimensions, float32, k {K}; 1 to {MAX_TOKENS} tokens "
        f"a query and 1 to {MAX_SEGMENTS} segments a candidate, uniformly; where it says full, so many each.",
    ]
    for device, title in (("cpu", "CPU"), ("cuda", "GPU")):
        here = [row for row in rows if row.device == device]
        names = list(here[0].ms) if here else [*EAGER, KERNEL, "kernels, CUDA C++"]
        heads = ["queries", "candidates", *(f"{name}, ms" for name in names), "of padded", "of the faster"]
        lines += ["", f"### {title}", "", f"| {' | '.join(heads)} |", f"|{'--:|' * len(heads)}"]
        for row in here:
            full = ", full" if row.full else ""
            cells = [
                f"{row.queries}{full}",
                f"{row.candidates:,}",
                *(f"{row.ms[name]:.2f}" for name in names),
            ]
            lines.append(f"| {' | '.join([*cells, f'{row.padded_ratio:.1f}x', f'{row.ratio:.1f}x'])} |")
    return "\n".join(lines) + "\n"


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures and writes the report; exit code 0."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.kernels", description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=psutil.cpu_count() or 1, help="of each way on the CPU")
    parser.add_argument("--out", type=Path, default=Path("reports"))
    asked = parser.parse_args(arguments)
    console = Console(stderr=True)
    torch.set_num_threads(asked.threads)
    devices = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
    machine = describe(torch.cuda.get_device_name() if len(devices) > 1 else "no GPU")
    sizes = [(*size, False) for size in itertools.product(devices, QUERIES, CANDIDATES)]
    sizes += [(device, *MEDIAN, True) for device in devices]
    rows = [measure(*size, asked.rounds, asked.threads) for size in track(sizes, "kernels", console=console)]
    asked.out.mkdir(parents=True, exist_ok=True)
    result = {
        "machine": machine,
        "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "rounds": asked.rounds,
        "threads": asked.threads,
        "torch": torch.__version__,
        "median_size": MEDIAN,
        "rows": [asdict(row) for row in rows],
    }
    (asked.out / "kernels.json").write_text(json.dumps(result, indent=1) + "\n")
    text = report(rows, machine, asked.rounds, asked.threads)
    (asked.out / "kernels.md").write_text(text)
    console.print(text, markup=False)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
