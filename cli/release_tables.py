"""Releases as tables for a terminal."""

from __future__ import annotations

import datetime

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table

from releases.manifest import Manifest
from releases.state import State
from sensorium.v1 import sensorium_pb2 as pb

__all__ = ["comparison_table", "history_table", "manifest_table", "releases_table"]

HISTORY = 10


def releases_table(made: list[Manifest], state: State, status: pb.Status | None) -> RenderableType:
    """Every release, what it is for, and what the running system says of it."""
    table = Table(box=None)
    for column in ("release", "made", "embedding version", "role", "state"):
        table.add_column(column, overflow="fold")
    served = dict(status.releases) if status else {}
    known = {manifest.name for manifest in made}
    for name, release in served.items():
        if name not in known:  # the repository's own set
            table.add_row(escape(name), "", release.embedding_version, release.role, _state(release))
    for manifest in made:
        release = served.get(manifest.name, pb.ReleaseStatus())
        table.add_row(
            manifest.name,
            manifest.created_at,
            manifest.embedding_version,
            release.role or _role(manifest.name, state),
            _state(release),
        )
    return table


def comparison_table(release: pb.ReleaseStatus) -> RenderableType:
    """A canary against the current release, by modality, in the same time."""
    table = Table(title=f"canary, {release.percent:g} % of the requests", title_justify="left")
    for column in ("modality", "requests", "errors", "p50 ms", "p95 ms", "median score", "beyond bounds"):
        table.add_column(column, justify="left" if column in ("modality", "beyond bounds") else "right")
    for each in release.comparisons:
        now, new = each.current, each.canary
        table.add_row(
            each.modality,
            f"{now.requests} / {new.requests}",
            f"{now.error_rate:.3f} / {new.error_rate:.3f}",
            f"{now.p50_ms:.1f} / {new.p50_ms:.1f}",
            f"{now.p95_ms:.1f} / {new.p95_ms:.1f}",
            f"{now.median_score:.3f} / {new.median_score:.3f}",
            ", ".join(each.breaches),
        )
    table.caption = "current / canary"
    return table


def manifest_table(manifest: Manifest, release: pb.ReleaseStatus | None) -> RenderableType:
    """What one release consists of, and the comparison where it is a canary."""
    table = Table(show_header=False, box=None)
    for what in ("name", "created_at", "note", "profile", "embedding_version", "milvus", "sha256"):
        table.add_row(what.replace("_", " "), escape(str(getattr(manifest, what))))
    table.add_row("files", str(len(manifest.files)))
    for model, version in manifest.models.items():
        table.add_row(f"  {model}", f"version {version}")
    if release is None:
        return table
    table.add_row("role", release.role)
    table.add_row("state", _state(release))
    return Group(table, comparison_table(release)) if release.role == "canary" else table


def history_table(state: State) -> RenderableType:
    """The last changes, the newest last."""
    table = Table(box=None, show_header=False)
    for change in state.history[-HISTORY:]:
        at = datetime.datetime.fromtimestamp(change.at_s, datetime.UTC).isoformat(timespec="seconds")
        table.add_row(at, escape(change.what), escape(change.why))
    return table


def _state(release: pb.ReleaseStatus) -> str:
    if release.state == "backfill":
        return f"backfill, {release.items_done} of {release.items_total}"
    return escape(release.state)


def _role(name: str, state: State) -> str:
    if name in (state.current, state.previous):
        return "current" if name == state.current else "previous"
    return "staged" if name in state.staged else ""
