"""Sends a catalogue to the running system with a progress bar."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from catalogue import ManifestItem, to_proto
from cli.client import Client
from sensorium.v1 import sensorium_pb2 as pb

__all__ = ["Summary", "index_items"]


@dataclass(slots=True)
class Summary:
    """What became of the items: counts per outcome, rows in all, and each refusal."""

    outcomes: Counter[str] = field(default_factory=Counter)
    rows: int = 0
    refused: list[pb.UpsertResult] = field(default_factory=list)

    def line(self) -> str:
        counts = ", ".join(f"{count:,} {name.lower()}" for name, count in sorted(self.outcomes.items()))
        return f"{counts or 'nothing to do'}; {self.rows:,} rows"


def index_items(client: Client, items: list[ManifestItem], console: Console) -> Summary:
    """Upserts all; a refused item is reported and the others go on. Raises cli.client.ClientError."""
    summary = Summary()
    columns = (TextColumn("{task.description:<22}"), BarColumn(30), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        bar = progress.add_task("indexing", total=len(items))
        for result in client.upsert(messages(items)):
            summary.outcomes[pb.UpsertResult.Outcome.Name(result.outcome)] += 1
            summary.rows += result.rows
            if result.outcome == pb.UpsertResult.REFUSED:
                summary.refused.append(result)
            progress.advance(bar)
    return summary


def messages(items: list[ManifestItem]) -> Iterator[pb.Item]:
    # One item's bytes in memory at a time: gRPC takes the next only as the server takes this one.
    for item in items:
        yield to_proto(item)
