"""Arithmetic of the comparison with peers, and its tables in Markdown."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

__all__ = ["BOUND", "OURS", "SEARCH_NAIVE", "SEARCH_OURS", "PeerRow", "Ratio", "Spread", "markdown", "ratios"]

OURS, BOUND, PLAIN = "triton", "in process", ("fastapi", "fastapi in loop")
BATCHING = ("litserve", "mlserver", "infinity")
ENCODERS = (BOUND, *PLAIN, *BATCHING)
SEARCH_OURS, SEARCH_NAIVE = "search, text rows", "search, naive"


@dataclass(frozen=True, slots=True)
class Spread:
    """Of one figure over the rounds."""

    median: float
    least: float
    most: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        return cls(statistics.median(values), min(values), max(values))

    def text(self, digits: int = 0) -> str:
        return f"{self.median:.{digits}f} ({self.least:.{digits}f} to {self.most:.{digits}f})"


@dataclass(frozen=True, slots=True)
class PeerRow:
    """One system at one precision and concurrency: every figure of every round, in order."""

    system: str
    precision: str
    concurrency: int
    figures: Mapping[str, Sequence[float]]

    def spread(self, name: str) -> Spread | None:
        values = self.figures.get(name)
        return Spread.of(values) if values else None

    def as_dict(self) -> dict[str, object]:
        spreads = {name: asdict(Spread.of(values)) for name, values in self.figures.items()}
        rounds = list(self.figures["per_second"])
        named = {"system": self.system, "precision": self.precision, "concurrency": self.concurrency}
        return {**named, **spreads, "per_second_of_rounds": rounds}


@dataclass(frozen=True, slots=True)
class Ratio:
    """Ours by theirs, throughput of the same round. `asked` is the target, None where there is none."""

    precision: str
    concurrency: int
    to: str
    spread: Spread
    asked: float | None

    def as_dict(self) -> dict[str, object]:
        return asdict(self)


def ratios(rows: Sequence[PeerRow]) -> list[Ratio]:
    """Of our `embed_text` to each peer, to the bound and to the best peer with batching of each round; of
    our text search to the naive one.
    """
    found = []
    for ours in rows:
        others = [row for row in rows if row.concurrency == ours.concurrency]
        if ours.system == SEARCH_OURS:
            asked = 4.0 if ours.concurrency > 1 else None
            naive = [row for row in others if row.system == SEARCH_NAIVE]
            found += [_ratio(ours, row.system, [row], asked) for row in naive]
        if ours.system != OURS:
            continue
        encoders = [row for row in others if row.precision == ours.precision and row.system in ENCODERS]
        for row in encoders:
            asked = 1.0 if row.system in PLAIN and ours.concurrency == 1 else None
            found.append(_ratio(ours, row.system, [row], asked))
        best = [row for row in encoders if row.system in BATCHING]
        if best:
            asked = 1.4 if ours.concurrency > 1 else None
            found.append(_ratio(ours, f"best of {', '.join(row.system for row in best)}", best, asked))
    return found


def _ratio(ours: PeerRow, to: str, others: Sequence[PeerRow], asked: float | None) -> Ratio:
    theirs = [max(values) for values in zip(*(row.figures["per_second"] for row in others), strict=True)]
    each = [own / other for own, other in zip(ours.figures["per_second"], theirs, strict=True)]
    return Ratio(ours.precision, ours.concurrency, to, Spread.of(each), asked)


def markdown(result: Mapping[str, object], rows: Sequence[PeerRow], found: Sequence[Ratio]) -> str:
    versions = result["versions"]
    assert isinstance(versions, Mapping)
    lines = [
        f"Measured on {result['machine']}; {result['rounds']} interleaved rounds of {result['seconds']} s; "
        "median (least to most). Client and server share the cores.",
        "",
        "| system | precision | at once | per second | p50 ms | p99 ms | server CPU ms | client cores |",
        "|---|---|--:|--:|--:|--:|--:|--:|",
    ]
    for row in sorted(rows, key=lambda one: (one.precision, -one.concurrency)):
        spreads = [(row.spread(name), digits) for name, digits in COLUMNS]
        cells = [spread.text(digits) if spread else "" for spread, digits in spreads]
        lines.append(f"| {row.system} | {row.precision} | {row.concurrency} | {' | '.join(cells)} |")
    for row in rows:
        degraded = row.spread("degraded")
        if degraded and degraded.most > 0:
            lines += [
                "",
                f"{row.system} x {row.concurrency}: {degraded.median:.1%} of the answers were degraded.",
            ]
    lines += ["", "| ours by | precision | at once | ratio | asked |", "|---|---|--:|--:|--:|"]
    for one in found:
        asked = "" if one.asked is None else f"{one.asked:.1f}"
        lines.append(f"| {one.to} | {one.precision} | {one.concurrency} | {one.spread.text(2)} | {asked} |")
    lines += ["", "| process | PSS, MiB |", "|---|--:|"]
    memory = result["memory_mib"]
    assert isinstance(memory, Mapping)
    lines += [f"| {name} | {value:.0f} |" for name, value in memory.items()]
    lines += ["", "| peer | versions |", "|---|---|"]
    for name, packages in versions.items():
        lines.append(
            f"| {name} | {', '.join(f'{package} {version}' for package, version in packages.items())} |"
        )
    return "\n".join(lines) + "\n"


COLUMNS = (("per_second", 0), ("p50_ms", 1), ("p99_ms", 1), ("server_cpu_ms", 2), ("client_cores", 2))
