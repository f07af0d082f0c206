"""The bench as a Markdown table and a plot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")

from matplotlib import pyplot as plt

from benchmarks.rounds import Burst, Target

__all__ = ["Row", "write_report"]


@dataclass(frozen=True, slots=True)
class Row:
    """Medians over the rounds. Latencies in milliseconds; none for the bound, which has no requests."""

    what: str
    modality: str
    precision: str
    concurrency: int
    per_second: float
    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None

    @classmethod
    def of(cls, target: Target, figures: Burst) -> Row:
        return cls(
            target.what,
            target.modality,
            target.precision,
            target.concurrency,
            figures["per_second"],
            figures.get("p50_ms"),
            figures.get("p95_ms"),
            figures.get("p99_ms"),
        )

    def as_dict(self) -> dict[str, object]:
        return asdict(self)


def write_report(result: Mapping[str, object], rows: Sequence[Row], out: Path) -> None:
    """bench.md and bench.png in `out`."""
    (out / "bench.md").write_text(markdown(result, rows))
    plot(rows, out / "bench.png", str(result["machine"]))


def share_of_bound(row: Row, rows: Sequence[Row]) -> float | None:
    """Of the bound with the same modality and precision: its smallest batch for one request at a time, else
    its largest.
    """
    if row.what != "triton":
        return None
    bounds = sorted(
        (
            one
            for one in rows
            if (one.what, one.modality, one.precision) == ("in process", row.modality, row.precision)
        ),
        key=lambda one: one.concurrency,
        reverse=row.concurrency > 1,
    )
    return row.per_second / bounds[0].per_second if bounds else None


def markdown(result: Mapping[str, object], rows: Sequence[Row]) -> str:
    lines = [
        f"Measured on {result['machine']}; medians of {result['rounds']} interleaved rounds.",
        "",
        "| what | query | encoder | concurrent | per second | of the bound | p50 ms | p95 ms | p99 ms |",
        "|---|---|---|--:|--:|--:|--:|--:|--:|",
    ]
    for row in rows:
        share = share_of_bound(row, rows)
        size = f"batch {row.concurrency}" if row.what == "in process" else str(row.concurrency)
        cells = [
            row.what,
            row.modality,
            row.precision,
            size,
            f"{row.per_second:.1f}",
            "" if share is None else f"{share:.0%}",
            *(ms(value) for value in (row.p50_ms, row.p95_ms, row.p99_ms)),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    lines += ["", "| figure | value |", "|---|--:|"]
    for name in ("mean_batch_at_32", "text_search", "memory_mib"):
        lines += flat(name, result[name])
    return "\n".join(lines) + "\n"


def ms(value: float | None) -> str:
    return "" if value is None else f"{value:.1f}"


def flat(prefix: str, value: object) -> list[str]:
    if isinstance(value, Mapping):
        return [line for key, inner in value.items() for line in flat(f"{prefix}: {key}", inner)]
    return [f"| {prefix} | {value:.2f} |"]


def plot(rows: Sequence[Row], path: Path, machine: str) -> None:
    """Left: Triton as a share of the bound. Right: median latency of a whole search."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(13, 5), layout="constrained")
    shares = [(row, share) for row in rows if (share := share_of_bound(row, rows)) is not None]
    labels = [f"{row.modality} {row.precision}, {row.concurrency} at once" for row, _ in shares]
    left.barh(labels, [100 * share for _, share in shares], color="#3b6ea5")
    left.axvline(100, color="#444444", linewidth=1)
    left.invert_yaxis()
    left.set_xlabel("throughput, % of ONNX Runtime in process at the same precision")
    left.set_title("Triton over gRPC")
    found = [row for row in rows if row.what.startswith("search") and row.p50_ms is not None]
    labels = [
        f"{row.modality}, {row.what.removeprefix('search on ')}, {row.concurrency} at once" for row in found
    ]
    bars = right.barh(labels, [row.p50_ms or 0.0 for row in found], color="#a5673b")
    right.bar_label(bars, fmt="%.0f", padding=3, fontsize=8)
    right.set_xscale("log")
    right.margins(x=0.15)  # room for the labels
    right.invert_yaxis()
    right.set_xlabel("p50 of a whole search, ms (log scale)")
    right.set_title("Whole searches, embedding cache off")
    for axes in (left, right):
        axes.tick_params(axis="y", labelsize=8)
    figure.suptitle(machine, fontsize=9)
    figure.savefig(path, dpi=120)
    plt.close(figure)
