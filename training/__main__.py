"""`python -m training --profile lite`: learn the heads and the calibration, write
training/checkpoints/<profile>/. `python -m training finetune`: by hand and before that, the image encoder's
last blocks.

Exit codes: 0 done, 1 something could not be had or read, 2 wrong arguments.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from catalogue.errors import CatalogueError
from export.errors import ExportError
from export.settings import Settings
from training.errors import TrainingError
from training.finetune import finetune
from training.run import train

MAX_THREADS = 8

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
console = Console(stderr=True)


@app.callback(invoke_without_command=True)
def main(
    context: typer.Context,
    profile: Annotated[str, typer.Option(help="A profile of export/profiles.")] = "lite",
    seed: Annotated[int, typer.Option(min=0, help="Another seed, other random numbers.")] = 0,
) -> None:
    """Train on the train split, choose on validation; the test split is not looked at."""
    if context.invoked_subcommand is None:
        _show(_run(train, profile, seed))


@app.command("finetune")
def finetune_command(
    profile: Annotated[str, typer.Option(help="A profile of export/profiles.")] = "lite",
    seed: Annotated[int, typer.Option(min=0, help="Another seed, other random numbers.")] = 0,
) -> None:
    """Fine-tune the image encoder on drawings from elsewhere; train the heads again afterwards."""
    found = _run(finetune, profile, seed)
    table = Table("share of the way", "NDCG@10", title="Stamps of train and validation, none trained on")
    for share, figure in found["figure_by_share"].items():
        table.add_row(share, f"{figure:.3f}")
    Console().print(table)


def _run(work: Callable[..., dict[str, Any]], profile: str, seed: int) -> dict[str, Any]:
    threads = min(os.cpu_count() or 1, MAX_THREADS)
    try:
        with _bars() as progress:
            return work(profile, Settings(), threads, progress, seed)
    except (TrainingError, ExportError, CatalogueError) as error:
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
