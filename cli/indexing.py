"""Sends a catalogue to the running system with a progress bar."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from catalogue import CatalogueError, ManifestItem, to_proto
from cli.client import Client
from sensorium.v1 import sensorium_pb2 as pb

__all__ = ["Summary", "index_items"]

MAX_ITEM_BYTES = 64 * 1024 * 1024
"""As the API has it by default. One message above its bound would end the whole stream."""


@dataclass(slots=True)
class Summary:
    """What became of the items: counts per outcome, rows in all, and each refusal."""

    outcomes: Counter[str] = field(default_factory=Counter)
    rows: int = 0
    refused: list[pb.UpsertResult] = field(default_factory=list)

    def add(self, result: pb.UpsertResult) -> None:
        self.outcomes[pb.UpsertResult.Outcome.Name(result.outcome)] += 1
        self.rows += result.rows
        if result.outcome == pb.UpsertResult.REFUSED:
            self.refused.append(result)

    def line(self) -> str:
        counts = ", ".join(f"{count:,} {name.lower()}" for name, count in sorted(self.outcomes.items()))
        return f"{counts or 'nothing to do'}; {self.rows:,} rows"


def index_items(client: Client, items: list[ManifestItem], console: Console) -> Summary:
    """Upserts all; a refused item is reported and the others go on. Raises cli.client.ClientError."""
    summary = Summary()
    columns = (TextColumn("{task.description:<22}"), BarColumn(30), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        bar = progress.add_task("indexing", total=len(items))
        unsent: list[pb.UpsertResult] = []
        for result in client.upsert(messages(items, unsent)):
            summary.add(result)
            progress.advance(bar)
        for result in unsent:
            summary.add(result)
            progress.advance(bar)
    return summary


def messages(items: list[ManifestItem], unsent: list[pb.UpsertResult]) -> Iterator[pb.Item]:
    """The items that can be sent; others go to `unsent`: what an iterator raises, gRPC tells nobody."""
    # One item's bytes in memory at a time: gRPC takes the next only as the server takes this one.
    for item in items:
        try:
            message = to_proto(item)
        except CatalogueError as error:
            unsent.append(refusal(item, pb.Error(code="catalogue.unreadable", message=str(error))))
            continue
        if message.ByteSize() > MAX_ITEM_BYTES:
            limit = f"max_item_bytes={MAX_ITEM_BYTES}"
            too_large = pb.Error(code="request.too_large", message="the item is too large", limit=limit)
            unsent.append(refusal(item, too_large))
            continue
        yield message


def refusal(item: ManifestItem, error: pb.Error) -> pb.UpsertResult:
    return pb.UpsertResult(id=item.id, outcome=pb.UpsertResult.REFUSED, error=error)
