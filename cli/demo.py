"""`make demo`: starts the system, indexes the catalogue, searches it by every modality and serves the page.

python -m cli.demo            # until Ctrl-C
python -m cli.demo --check    # searches only; 0 if each found its item
"""

from __future__ import annotations

import argparse
import signal
import sys
import threading
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from catalogue import ManifestItem, read_catalogue
from cli.catalogues import demo_manifest
from cli.client import Client
from cli.demo_queries import demo_queries
from cli.failures import KNOWN
from cli.indexing import index_items
from cli.stack import Stack
from cli.tables import hits_table, status_table
from orchestrator.settings import load_settings

__all__ = ["run"]

console = Console()


def run(check: bool) -> int:
    """0 when every sample search found the item that it was made from."""
    settings = load_settings()
    stack = Stack(settings)
    items = list(read_catalogue(demo_manifest(settings.home)))
    # SIGTERM ends a long step as Ctrl-C does: by KeyboardInterrupt, through the `finally` below.
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    started: list[str] = []
    try:
        with console.status("starting Triton, Milvus and the orchestrator") as line:
            started = stack.up(lambda what, elapsed_s: line.update(f"waiting for {what} ({elapsed_s:.0f} s)"))
        with Client(stack.target) as client:
            summary = index_items(client, items, console)
            console.print(summary.line())
            for refused in summary.refused:
                console.print(f"refused {refused.id}: {refused.error.message}", style="yellow", markup=False)
            console.print(status_table(client.status()))
            missed = search_samples(client, items)
        if not check:
            console.print(f"\n[bold]The search page is at {stack.page}/[/bold]   (Ctrl-C stops everything)")
            threading.Event().wait()
    finally:
        if started:  # a system that ran before goes on
            stack.down()
    return 1 if missed else 0


def search_samples(client: Client, items: Sequence[ManifestItem]) -> list[str]:
    """Runs and prints the sample searches; the titles of those that did not find their item."""
    overview = Table(title="Found", title_justify="left")
    for name in ("query", "rank of its item", "ms"):
        overview.add_column(name)
    missed = []
    for query in demo_queries(items):
        response = client.search(query.request)
        console.print(hits_table(response, query.title))
        ids = [hit.item.id for hit in response.hits]
        rank = ids.index(query.expected) + 1 if query.expected in ids else None
        overview.add_row(query.title, str(rank) if rank else "[red]not found", f"{response.total_ms:.0f}")
        if rank is None:
            missed.append(query.title)
    console.print(overview)
    return missed


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--check", action="store_true", help="exit after the searches")
    arguments = parser.parse_args()
    try:
        return run(arguments.check)
    except KeyboardInterrupt:
        console.print("stopped")
        return 0 if not arguments.check else 130
    except (*KNOWN, LookupError) as error:
        console.print(f"error: {error}", style="red", markup=False)
        return 1


if __name__ == "__main__":
    sys.exit(main())
