"""What is learned, written to training/checkpoints/<profile>/.

python -m training --profile lite                        the heads and the calibration
python -m training rerank --grpc HOST:PORT --triton ...  the re-ranker, on what a running system finds

Exit codes: 0 done, 1 something could not be had or read, 2 wrong arguments.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from catalogue.errors import CatalogueError
from export.errors import ExportError
from export.settings import Settings
from queries import QueriesError
from training.errors import TrainingError
from training.run import train

MAX_THREADS = 8

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
console = Console(stderr=True)


Profile = Annotated[str, typer.Option(help="A profile of export/profiles.")]
Seed = Annotated[int, typer.Option(min=0, help="Another seed, other random numbers.")]


@app.callback(invoke_without_command=True)
def main(context: typer.Context, profile: Profile = "lite", seed: Seed = 0) -> None:
    """Train on the train split, choose on validation; the test split is not looked at."""
    if context.invoked_subcommand is not None:
        return
    with _failing(), _bars() as progress:
        metrics = train(profile, Settings(), _threads(), progress, seed)
    _show(metrics)


@app.command()
def rerank(
    grpc: Annotated[str, typer.Option(help="A system with the train and validation items, and no others.")],
    triton: Annotated[str, typer.Option(help="Its Triton, host:port of gRPC.")],
    profile: Profile = "lite",
    seed: Seed = 0,
) -> None:
    """The re-ranker, on what a running system finds; `make rerank` starts one."""
    from training.rerank_run import train_reranker

    with _failing(), _bars() as progress:
        metrics = train_reranker(profile, Settings(), grpc, triton, _threads(), progress, seed)
    Console().print(metrics["table"], markup=False, highlight=False)


def _threads() -> int:
    return min(os.cpu_count() or 1, MAX_THREADS)


@contextmanager
def _failing() -> Iterator[None]:
    try:
        yield
    except (TrainingError, ExportError, CatalogueError, QueriesError) as error:
        console.print(f"[red]{type(error).__name__}[/red]: {error}", highlight=False)
        sys.exit(1)


@contextmanager
def _bars() -> Iterator[Any]:
    columns = (TextColumn("{task.description:24}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as bars:
        tasks: dict[str, TaskID] = {}

        def progress(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = bars.add_task(what, total=total)
            bars.update(tasks[what], completed=done, total=total)

        yield progress


def _show(metrics: dict[str, Any]) -> None:
    out = Console()
    table = Table("NDCG@10", "text -> image", "image -> text", title="Cross-validated on train + validation")
    for name, score in metrics["ablation_cross_validated"].items():
        table.add_row(name, f"{score['text_to_image']:.3f}", f"{score['image_to_text']:.3f}")
    out.print(table)
    table = Table("pair", "NDCG@10", "queries", "gallery", title="Validation, heads as they are served")
    for name, figure in metrics["validation"].items():
        table.add_row(name, f"{figure['ndcg@10']:.3f}", str(figure["queries"]), str(figure["gallery"]))
    out.print(table)


app()
