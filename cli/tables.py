"""Search responses and status as tables for a terminal."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from sensorium.v1 import sensorium_pb2 as pb

__all__ = ["hits_table", "stage_line", "status_table"]


def hits_table(response: pb.SearchResponse, title: str) -> RenderableType:
    """Hits with score, the strongest signals and the moment; below it the time of each stage."""
    table = Table(title=escape(title), title_justify="left", expand=False)
    for name, justify in (("#", "right"), ("score", "right")):
        table.add_column(name, justify=justify)  # type: ignore[arg-type]
    for name in ("item", "title", "why", "moment"):
        table.add_column(name, overflow="fold")
    for rank, hit in enumerate(response.hits, start=1):
        table.add_row(
            str(rank),
            f"{hit.score:.3f}",
            escape(hit.item.id),
            escape(hit.item.title or hit.item.description[:60]),
            why(hit),
            moment(hit),
        )
    if not response.hits:
        table.caption = "nothing found"
    return Group(table, *part_lines(response), stage_line(response))


def why(hit: pb.Hit) -> str:
    strongest = sorted(hit.signals, key=lambda signal: -signal.score * abs(signal.weight))[:2]
    names = [
        f"{name(signal.query_modality)}->{name(signal.item_modality)} {signal.score:.2f}"
        + (f" ({signal.space})" if signal.space != "unified" else "")
        for signal in strongest
    ]
    return escape(", ".join(names))


def moment(hit: pb.Hit) -> str:
    if not hit.HasField("moment"):
        return ""
    return f"{name(hit.moment.modality)} {hit.moment.start_s:.1f}-{hit.moment.end_s:.1f} s"


def part_lines(response: pb.SearchResponse) -> list[Text]:
    return [
        Text(f"  heard in part {index}: {part.transcript!r}")
        for index, part in enumerate(response.parts)
        if part.transcript
    ]


def stage_line(response: pb.SearchResponse) -> Text:
    """One line: milliseconds per stage and in total, and what was cut short."""
    stages = "  ".join(f"{stage.stage} {stage.ms:.1f}" for stage in response.stages)
    line = Text(f"  {response.total_ms:.1f} ms:  {stages}", style="dim")
    if response.degraded:
        line.append(f"\n  degraded: {', '.join(response.degraded)}", style="yellow")
    return line


def status_table(status: pb.Status) -> RenderableType:
    """What runs, with which weights, and how much is indexed."""
    table = Table(show_header=False, box=None)
    table.add_row("version", status.version)
    table.add_row("profile", status.profile)
    table.add_row("embedding version", status.embedding_version)
    table.add_row("items", f"{status.items:,}")
    for modality, rows in sorted(status.rows.items()):
        table.add_row(f"  {modality} rows", f"{rows:,}")
    for dependency, state in sorted(status.dependencies.items()):
        table.add_row("item store" if dependency == "items" else dependency, state)
    for model, version in sorted(status.models.items()):
        table.add_row(f"  {model}", f"version {version}")
    return table


def name(modality: pb.Modality) -> str:
    return pb.Modality.Name(modality).lower()
