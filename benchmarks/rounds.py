"""Interleaved measurement: every target once a round, so that a machine that slows down slows all of them."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

__all__ = ["Burst", "Target", "bursts", "interleave"]

Burst = dict[str, float]


@dataclass(frozen=True, slots=True)
class Target:
    """One thing that is measured. `burst` runs it for its bounded time and gives figures by name."""

    what: str  # "in process", "triton", "search on lite", "search on standalone"
    modality: str
    precision: str  # of the encoder: "fp32" or "int8"
    concurrency: int  # batch size when in process
    burst: Callable[[], Burst]


def bursts(
    targets: Sequence[Target], rounds: int, begun: Callable[[int, Target], None]
) -> Iterable[tuple[Target, dict[str, list[float]]]]:
    """Runs `rounds` bursts of each; yields each target with every figure of each round, in order.

    `begun` is told the round and the target before each burst.
    """
    figures: dict[int, dict[str, list[float]]] = {index: defaultdict(list) for index, _ in enumerate(targets)}
    for number in range(rounds):
        for index, target in enumerate(targets):
            begun(number, target)
            for name, value in target.burst().items():
                figures[index][name].append(value)
    for index, target in enumerate(targets):
        yield target, dict(figures[index])


def interleave(
    targets: Sequence[Target], rounds: int, begun: Callable[[int, Target], None]
) -> Iterable[tuple[Target, Burst]]:
    """The same with the median of every figure over the rounds."""
    for target, figures in bursts(targets, rounds, begun):
        yield target, {name: statistics.median(values) for name, values in figures.items()}
