"""Sends a catalogue to the running system with a progress bar."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from catalogue import ManifestItem, MediaFileError, to_proto
from cli.client import Client
from sensorium.v1 import sensorium_pb2 as pb

__all__ = ["PassedOverMedia", "Summary", "index_items"]

MAX_ITEM_BYTES = 64 * 1024 * 1024
"""As the API has it by default. One message above its bound would end the whole stream."""


@dataclass(frozen=True, slots=True)
class PassedOverMedia:
    """Media that an item is indexed without. `path` is None for a text of a manifest."""

    item_id: str
    path: Path | None
    error: pb.Error


@dataclass(slots=True)
class Summary:
    """What became of the items: counts per outcome, rows in all, each refusal, and what was passed over.

    `refused_files` has, by the id of the refused item, the file that the refusal is about, if any.
    """

    outcomes: Counter[str] = field(default_factory=Counter)
    rows: int = 0
    refused: list[pb.UpsertResult] = field(default_factory=list)
    refused_files: dict[str, Path] = field(default_factory=dict)
    passed_over: list[PassedOverMedia] = field(default_factory=list)

    def add(self, item: ManifestItem, result: pb.UpsertResult) -> None:
        self.outcomes[pb.UpsertResult.Outcome.Name(result.outcome)] += 1
        self.rows += result.rows
        if result.outcome == pb.UpsertResult.REFUSED:
            self.refused.append(result)
            if result.error.HasField("part") and result.error.part < len(item.media):
                path = item.media[result.error.part].path
                if path is not None:
                    self.refused_files[item.id] = path

    def line(self) -> str:
        counts = ", ".join(f"{count:,} {name.lower()}" for name, count in sorted(self.outcomes.items()))
        return f"{counts or 'nothing to do'}; {self.rows:,} rows"


def index_items(
    client: Client, items: list[ManifestItem], console: Console, *, lenient: bool = False
) -> Summary:
    """Upserts all; a refused item is reported and the others go on. Raises cli.client.ClientError.

    `lenient` is for files that nobody chose one by one: an item whose media was refused is sent again without
    that media, as long as other media or a description are left.
    """
    summary = Summary()
    columns = (TextColumn("{task.description:<22}"), BarColumn(30), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        bar = progress.add_task("indexing", total=len(items))
        while items:
            again: list[ManifestItem] = []
            for item, result in _sent(client, items):
                rest = without_refused(item, result) if lenient else None
                if rest is None:
                    summary.add(item, result)
                    progress.advance(bar)
                else:
                    summary.passed_over.append(
                        PassedOverMedia(item.id, item.media[result.error.part].path, result.error)
                    )
                    again.append(rest)
            items = again
    return summary


def _sent(client: Client, items: list[ManifestItem]) -> Iterator[tuple[ManifestItem, pb.UpsertResult]]:
    """Each item with its outcome: those that were sent in their order, then those that could not be."""
    sent: deque[ManifestItem] = deque()
    unsent: list[tuple[ManifestItem, pb.UpsertResult]] = []
    for result in client.upsert(messages(items, sent, unsent)):
        yield sent.popleft(), result
    yield from unsent


def without_refused(item: ManifestItem, result: pb.UpsertResult) -> ManifestItem | None:
    """`item` without the media that `result` refuses; None when it refuses none, or leaves nothing."""
    error = result.error
    if result.outcome != pb.UpsertResult.REFUSED or not error.HasField("part"):
        return None
    if error.part >= len(item.media):
        return None
    media = item.media[: error.part] + item.media[error.part + 1 :]
    return item.model_copy(update={"media": media}) if media or item.description else None


def messages(
    items: list[ManifestItem],
    sent: deque[ManifestItem],
    unsent: list[tuple[ManifestItem, pb.UpsertResult]],
) -> Iterator[pb.Item]:
    """The messages of the items that can be sent, which go to `sent`; others go to `unsent` with the reason.

    What an iterator raises, gRPC tells nobody.
    """
    # One item's bytes in memory at a time: gRPC takes the next only as the server takes this one.
    for item in items:
        try:
            message = to_proto(item)
        except MediaFileError as error:
            unreadable = pb.Error(code="catalogue.unreadable", message=str(error), part=error.index)
            unsent.append((item, refusal(item, unreadable)))
            continue
        if message.ByteSize() > MAX_ITEM_BYTES:
            limit = f"max_item_bytes={MAX_ITEM_BYTES}"
            too_large = pb.Error(code="request.too_large", message="the item is too large", limit=limit)
            sizes = [len(media.data) for media in message.media]
            if sizes:
                too_large.part = sizes.index(max(sizes))
            unsent.append((item, refusal(item, too_large)))
            continue
        sent.append(item)
        yield message


def refusal(item: ManifestItem, error: pb.Error) -> pb.UpsertResult:
    return pb.UpsertResult(id=item.id, outcome=pb.UpsertResult.REFUSED, error=error)
