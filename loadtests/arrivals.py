"""What is sent when: drawn from a seed before the first request leaves, so that no answer can change it."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from loadtests.errors import SettingsError

__all__ = ["MIX", "PROTOCOLS", "Arrival", "Phase", "Traffic", "zipf_shares"]

MIX = {"text": 0.45, "image": 0.35, "audio": 0.12, "video": 0.08}
PROTOCOLS = ("grpc", "rest")


@dataclass(frozen=True, slots=True)
class Phase:
    """`rate` requests a second on average for `duration_s` seconds."""

    name: str
    rate: float
    duration_s: float


class Arrival(NamedTuple):
    """One request: when it is due, in seconds since the first phase began, and what it asks."""

    due_s: float
    phase: str
    modality: str
    query: int
    protocol: str


def zipf_shares(count: int, exponent: float) -> NDArray[np.float64]:
    """[count], sum 1: how often each rank is asked, the r-th in proportion to r ** -exponent."""
    weights = np.arange(1, count + 1, dtype=np.float64) ** -exponent
    return np.asarray(weights / weights.sum())


@dataclass(frozen=True)
class Traffic:
    """Poisson arrivals whose modality follows MIX, whose query follows Zipf's law over a shuffled pool, and
    of which `rest_share` go over REST, the others over gRPC.

    `pools` says how many queries there are of each modality. Which of them are popular depends on `seed`
    alone, so that all scenarios of a run ask for the same ones.

    Raises:
        SettingsError: a modality of the mix has no queries, or a number is out of range.
    """

    pools: Mapping[str, int]
    seed: int = 0
    zipf: float = 1.0
    rest_share: float = 0.5
    mix: Mapping[str, float] = field(default_factory=lambda: dict(MIX))

    def __post_init__(self) -> None:
        if lacking := [name for name in self.mix if self.pools.get(name, 0) < 1]:
            raise SettingsError(f"no queries of {', '.join(lacking)}")
        if self.seed < 0 or self.zipf < 0 or not 0 <= self.rest_share <= 1:
            raise SettingsError("the seed and Zipf's exponent are 0 or more, the share of REST 0 to 1")

    def plan(self, label: str, phases: Sequence[Phase]) -> list[Arrival]:
        """The arrivals of phases that follow each other, in order; the same for the same seed and label."""
        seeds = np.random.SeedSequence([self.seed, zlib.crc32(label.encode())]).spawn(4)
        times, kinds, ranks, faces = map(np.random.default_rng, seeds)
        due, names = _poisson(times, phases)
        modalities = kinds.choice(list(self.mix), size=len(due), p=_normal(self.mix.values()))
        over_rest = faces.random(len(due)) < self.rest_share
        queries = np.zeros(len(due), dtype=np.int64)
        for modality in self.mix:
            own = np.flatnonzero(modalities == modality)
            shares = zipf_shares(self.pools[modality], self.zipf)
            queries[own] = self._popular(modality)[ranks.choice(len(shares), size=len(own), p=shares)]
        return [
            Arrival(float(at), name, str(modality), int(query), PROTOCOLS[int(rest)])
            for at, name, modality, query, rest in zip(
                due, names, modalities, queries, over_rest, strict=True
            )
        ]

    def _popular(self, modality: str) -> NDArray[np.int64]:
        """The queries of a modality, the most popular first."""
        random = np.random.default_rng([self.seed, zlib.crc32(modality.encode())])
        return random.permutation(self.pools[modality])


def _poisson(random: np.random.Generator, phases: Sequence[Phase]) -> tuple[NDArray[np.float64], list[str]]:
    """When each is due, and in which phase. Given their number, Poisson arrivals are uniform in time."""
    times: list[NDArray[np.float64]] = []
    names: list[str] = []
    begin_s = 0.0
    for phase in phases:
        if not phase.rate > 0 or not phase.duration_s > 0:
            raise SettingsError(f"{phase.name}: a rate and a duration are more than 0")
        count = int(random.poisson(phase.rate * phase.duration_s))
        times.append(begin_s + np.sort(random.random(count)) * phase.duration_s)
        names += [phase.name] * count
        begin_s += phase.duration_s
    return np.concatenate(times) if times else np.zeros(0), names


def _normal(shares: Iterable[float]) -> NDArray[np.float64]:
    values = np.array(list(shares), dtype=np.float64)
    return np.asarray(values / values.sum())
